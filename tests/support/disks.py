"""Small file systems of a test's own, in a namespace that only a child process sees, and code that runs on them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

APART = ("unshare", "-rm")
"""Before a command: may mount what nobody else sees."""

# The child's arguments are the directory and its own code, which drop_root() runs once more, with a word after them.
PRELUDE = """
import ctypes, json, os, resource, subprocess, sys
from pathlib import Path

root = Path(sys.argv[1])

def mount(options, kind="tmpfs"):
    subprocess.run(["mount", "-t", kind, "-o", options, kind, root], check=True)

def drop_root():
    for capability in (1, 2):  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH
        ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[2], *sys.argv[1:], "dropped"])
"""


class Child:
    """
    Runs code in a process of its own, which has a directory as ``root`` and prints JSON.

    :param prepare: what the code needs beside :data:`PRELUDE`.
    :param run: how it runs: ``{before}`` and ``{run}``, indented by four, stand for what a test gives.
    """

    def __init__(self, prepare: str, run: str) -> None:
        self._prepare, self._run = prepare, run

    def __call__(self, root: Path, before: str, run: str, *, namespace: bool = False) -> dict[str, Any]:
        parts = {"before": before.replace("\n", "\n    "), "run": run.replace("\n", "\n    ")}
        code = PRELUDE + self._prepare + self._run.format(**parts)
        command = [sys.executable, "-c", code, str(root), code]
        done = subprocess.run([*APART, *command] if namespace else command, capture_output=True, text=True, timeout=50)
        assert done.returncode == 0, done.stderr
        answer: dict[str, Any] = json.loads(done.stdout)
        return answer


def mount_point(directory: Path) -> Path:
    """Make the directory, if need be; skip the test where a process may not mount anything there."""
    directory.mkdir(exist_ok=True)
    try:
        tried = subprocess.run(
            [*APART, "mount", "-t", "tmpfs", "tmpfs", str(directory)], capture_output=True, text=True
        )
        reason = tried.stderr.strip() if tried.returncode else ""
    except FileNotFoundError:
        reason = "there is no unshare"
    if reason:
        pytest.skip(f"a process may not mount a file system of its own here: {reason}")
    return directory
