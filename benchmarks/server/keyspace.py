"""Very many small objects: their keys, their bodies, and what a listing says of them, all from a number."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from typing import overload

PREFIX = "small/"
DIGITS = 7
"""Of every number, so that keys sort as their numbers do."""
FOLDER = 3
"""Digits of the last part of a key when keys are in folders: 1,000 objects in each."""
BODIES = 1021
"""Different bodies. Objects share them, so that none is made while a client waits; a prime, so that one object taken
for another shows in all but one of a thousand cases."""
LIMIT = 64 * 1024
"""Bytes of a body: all of them are held in memory."""


class KeySpace(Sequence[str]):
    """The keys ``small/0000000``, ``small/0000001``, ..., or ``small/0000/000``, ... in folders."""

    def __init__(self, count: int, size: int, *, folders: bool = False) -> None:
        if not 0 <= count <= 10**DIGITS or not 0 < size <= LIMIT:
            raise ValueError(f"at most {10**DIGITS} objects of 1 to {LIMIT} bytes, not {count} of {size}")
        self._count = count
        self._slash = DIGITS - FOLDER if folders else 0
        self.size = size
        self.bodies = [random.Random(number).randbytes(size) for number in range(BODIES)]
        self.etags = [hashlib.md5(body).hexdigest() for body in self.bodies]

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return self._many(range(*index.indices(self._count)))
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self._many(range(index, index + 1))[0]

    def _many(self, numbers: range) -> list[str]:
        if not self._slash:
            return [f"{PREFIX}{number:07d}" for number in numbers]
        return [f"{PREFIX}{number // 1000:04d}/{number % 1000:03d}" for number in numbers]

    def number(self, name: bytes) -> int | None:
        """Tell which object ``name``, a key without the prefix, is; None if there is none."""
        if self._slash:
            folder, slash, rest = name.partition(b"/")
            if len(folder) != self._slash or slash != b"/":
                return None
            name = folder + rest
        if len(name) != DIGITS or not name.isdigit():
            return None
        number = int(name)
        return number if number < self._count else None
