"""``s3stream`` as a test runs it: in this process, in one of its own, on a terminal, on a small disk."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from airflow_s3stream.cli.command import main
from tests.support.disks import APART, mount_point
from tests.support.readstore import ReadStore

COMMAND = (sys.executable, "-m", "airflow_s3stream.cli")

MEASURED = (
    "import resource, sys; from airflow_s3stream.cli.command import main; code = main(sys.argv[1:]); "
    "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024, file=sys.stderr); sys.exit(code)"
)


class Done(NamedTuple):
    """How a run ended, and what it wrote."""

    code: int
    out: str
    errors: str

    @property
    def result(self) -> dict[str, Any]:
        return dict(json.loads(self.out.splitlines()[-1]))

    def assert_one_sentence(self, code: int, said: str) -> None:
        """Fail unless it ended with this code, after one line of complaint that says this."""
        assert self.code == code, self
        assert said in self.errors, self
        assert self.errors.startswith("s3stream: "), self
        assert self.errors.count("\n") == 1, self


class Run:
    """Runs the command in this process, which takes a tenth of the time of another."""

    def __init__(self, captured: pytest.CaptureFixture[str]) -> None:
        self._captured = captured

    def __call__(self, *words: str) -> Done:
        self._captured.readouterr()
        return Done(main(words), *self._captured.readouterr())


@dataclass(frozen=True)
class Fetch:
    """Runs a command that reads a store; a test names only what it wants otherwise."""

    run: Run
    name: str
    source: str
    to: Path
    store: ReadStore
    options: tuple[str, ...] = ()

    def __call__(self, *options: str, source: str = "", to: Path | str = "") -> Done:
        where = ("--endpoint-url", self.store.endpoint_url, *self.options)
        return self.run(self.name, source or self.source, str(to or self.to), *where, *options)


def in_a_process(command: Sequence[str], **about: Any) -> Done:
    """Run it in a process of its own, for a test that needs another environment, stdin or limit there."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=50, check=False, **about)
    return Done(done.returncode, done.stdout, done.stderr)


def peak_memory(command: Sequence[str]) -> int:
    """Run it in a process of its own, and return how many bytes of memory that took at most."""
    words = command[len(COMMAND) :]
    done = subprocess.run(
        [sys.executable, "-c", MEASURED, *words],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return int(done.stderr.split()[-1])


def on_a_terminal(command: Sequence[str], *, stderr: int = subprocess.STDOUT, **environment: str) -> Done:
    """Run it with a terminal as stdout, and as stderr too unless that is a pipe."""
    ours, terminal = pty.openpty()
    process = subprocess.Popen(command, stdout=terminal, stderr=stderr, text=True, env={**os.environ, **environment})
    os.close(terminal)
    shown = bytearray()
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:
        pass  # how Linux says that the other side of a pseudo-terminal is closed
    os.close(ours)
    _, errors = process.communicate(timeout=30)
    return Done(process.returncode, shown.decode(errors="replace"), errors or "")


def on_a_small_disk(command: Sequence[str], directory: Path, options: str, look: str) -> Done:
    """
    Run it with a file system mounted over the directory, in a namespace that only the child sees.

    :param options: of the mount, such as ``size=1m``.
    :param look: prints what is left there, before the file system is gone.
    """
    mount_point(directory)
    run = f"mount -t tmpfs -o {options} tmpfs {directory} && {' '.join(command)}"
    return in_a_process([*APART, "bash", "-c", f"{run}; code=$?; {look}; exit $code"])
