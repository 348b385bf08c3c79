"""Child processes that say what they do into a log, and never outlive the demo."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

PATIENCE = 3.0
"""Seconds a process is given to end by itself before it is made to."""


class DemoFailed(Exception):
    """The demo cannot go on; ``log`` is where the reason stands."""

    def __init__(self, message: str, log: Path | None = None) -> None:
        super().__init__(message)
        self.log = log


@contextlib.contextmanager
def running(command: list[str], *, log: Path, env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command while the context lasts; then end it and whatever it started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        # A session of its own: Ctrl-C in the terminal reaches the demo alone, which then ends its children in order.
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=env, start_new_session=True
        )
    try:
        yield process
    finally:
        _end(process)


def run(
    command: list[str], *, log: Path, env: Mapping[str, str], timeout: float, hopeless: Callable[[], str] = lambda: ""
) -> None:
    """
    Run a command to its end; DemoFailed unless it succeeds.

    :param hopeless: asked every second; a reason ends the command at once.
    """
    name = " ".join(command[1:3])
    deadline = time.monotonic() + timeout
    with running(command, log=log, env=env) as process:
        while process.poll() is None:
            reason = hopeless() or ("it takes too long" if time.monotonic() > deadline else "")
            if reason:
                raise DemoFailed(f"`{name}` was stopped: {reason}", log)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
    if process.returncode:
        raise DemoFailed(f"`{name}` failed with exit code {process.returncode}", log)


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            continue
        break
