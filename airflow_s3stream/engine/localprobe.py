"""What a file system does with names and times, found out by trying."""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from dataclasses import dataclass

# A name with a letter of either case and one that has two normal forms, and spellings a folding disk takes for it.
_NAME = "probe-{}-a\u00e9"
_OTHERS = ("PROBE-{}-A\u00c9", "probe-{}-ae\u0301")
_STEPS_NS = (1, 100, 1_000, 1_000_000, 10_000_000, 10**9, 2 * 10**9)
_SECONDS = 1_600_000_001  # odd, which two-second clocks cannot keep
_NANOSECONDS = 123_456_789


@dataclass(frozen=True, slots=True)
class Traits:
    """How a file system treats names and times."""

    folds: bool  # names that differ in case or normal form are one name
    mtime_step_ns: int  # an mtime is kept to a multiple of this


def probe(directory: int) -> Traits:
    """Make a file there, look at it, remove it."""
    token = secrets.token_hex(4)
    name = _NAME.format(token)
    asked = _SECONDS * 10**9 + _NANOSECONDS
    fd = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=directory)
    try:
        try:
            os.utime(fd, ns=(asked, asked))
        finally:
            os.close(fd)
        kept = os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns
        step = next((step for step in _STEPS_NS if kept == asked - asked % step), _STEPS_NS[-1])
        return Traits(any(_exists(other.format(token), directory) for other in _OTHERS), step)
    finally:
        with suppress(OSError):
            os.unlink(name, dir_fd=directory)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except OSError:
        return False
    return True
