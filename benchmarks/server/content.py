"""The bytes of every object: a pattern whose period divides no part size, so that a misplaced part shows."""

from __future__ import annotations

import random

PERIOD = 2**20 + 7
SLICE = 2**20
"""The most that :func:`at` can give at once."""

_ONCE = random.Random(42).randbytes(PERIOD)
_PATTERN = memoryview(_ONCE + _ONCE[:SLICE])


def at(offset: int, length: int) -> memoryview:
    """Give up to ``length`` bytes of content from ``offset``; at most SLICE of them."""
    start = offset % PERIOD
    return _PATTERN[start : start + min(length, SLICE)]


def crc64nvme(size: int) -> int:
    """Give the checksum of the first ``size`` bytes of content."""
    from awscrt import checksums

    crc = offset = 0
    while offset < size:
        piece = at(offset, size - offset)
        crc = checksums.crc64nvme(bytes(piece), crc)
        offset += len(piece)
    return crc
