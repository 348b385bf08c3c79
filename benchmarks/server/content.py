"""The bytes of every object: a pattern whose period divides no part size, so that a misplaced part shows."""

from __future__ import annotations

import random
from functools import cache

PERIOD = 2**20 + 7
SLICE = 2**20
"""The most that :func:`at` can give at once."""

_ONCE = random.Random(42).randbytes(PERIOD)
_PATTERN = memoryview(_ONCE + _ONCE[:SLICE])


def at(offset: int, length: int) -> memoryview:
    """Give up to ``length`` bytes of content from ``offset``; at most SLICE of them."""
    start = offset % PERIOD
    return _PATTERN[start : start + min(length, SLICE)]


@cache
def crc64nvme(size: int) -> int:
    """Give the checksum of the first ``size`` bytes of content; of 100 GiB as soon as of one period."""
    from awscrt import checksums

    periods, rest = divmod(size, PERIOD)
    crc = 0
    once, count = checksums.crc64nvme(_ONCE), PERIOD
    while periods:
        if periods % 2:
            crc = checksums.combine_crc64nvme(crc, once, count)
        once, count = checksums.combine_crc64nvme(once, once, count), 2 * count
        periods //= 2
    return int(checksums.combine_crc64nvme(crc, checksums.crc64nvme(_ONCE[:rest]), rest))
