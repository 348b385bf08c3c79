"""Bodies that are a function of (seed, offset): any byte can be checked, none is stored, any size is free."""

from __future__ import annotations

import functools
import hashlib
import random
from collections.abc import Iterator
from dataclasses import dataclass


class Quiet(bytes):
    """Bytes of which a failing test prints no more than what they amount to."""

    def __repr__(self) -> str:
        return f"<{len(self)} bytes, MD5 {hashlib.md5(self).hexdigest()}>"


PERIOD = 1_048_583
"""The first prime above 1 MiB: no two parts of a round size hold the same bytes, so a swapped part is noticed."""


@functools.lru_cache(maxsize=16)
def _two_periods(seed: int) -> memoryview:
    # Twice, so that a slice of up to one period never has to be joined from two pieces.
    return memoryview(random.Random(seed).randbytes(PERIOD) * 2)


@functools.lru_cache(maxsize=8192)
def _digest(algorithm: str, content: Content) -> bytes:
    digest = hashlib.new(algorithm)
    for view in content.views():
        digest.update(view)
    return digest.digest()


@dataclass(frozen=True, slots=True)
class Content:
    """
    ``size`` bytes that only ``seed`` and ``shift`` decide; a shorter one with the same two is a prefix of a longer one.

    Making a seed's bytes costs milliseconds and megabytes, so a store of thousands of objects gives each a
    ``shift`` instead: where in those bytes it begins.
    """

    size: int
    seed: int = 1
    shift: int = 0

    def views(self, start: int = 0, stop: int | None = None, most: int = 256 * 1024) -> Iterator[memoryview]:
        """Yield the bytes from ``start`` to before ``stop`` as views of at most ``most`` bytes, copying none."""
        ring = _two_periods(self.seed)
        stop = self.size if stop is None else stop
        while start < stop:
            count = min(most, PERIOD, stop - start)
            at = (start + self.shift) % PERIOD
            yield ring[at : at + count]
            start += count

    def bytes(self, start: int = 0, stop: int | None = None) -> bytes:
        return b"".join(self.views(start, stop))

    def digest(self, algorithm: str) -> bytes:
        """Return the hash of the whole body; remembered, since the same sizes are used over and over."""
        return _digest(algorithm, self)

    def sha256(self) -> str:
        return self.digest("sha256").hex()


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes of somebody's making, with what :class:`Content` can do."""

    body: bytes

    @property
    def size(self) -> int:
        return len(self.body)

    def views(self, start: int = 0, stop: int | None = None, most: int = 256 * 1024) -> Iterator[memoryview]:
        stop = self.size if stop is None else stop
        for at in range(start, stop, most):
            yield memoryview(self.body)[at : min(at + most, stop)]

    def bytes(self, start: int = 0, stop: int | None = None) -> bytes:
        return self.body[start:stop]

    def digest(self, algorithm: str) -> bytes:
        return hashlib.new(algorithm, self.body).digest()
