"""Hashes of very many names, in little memory."""

from __future__ import annotations

import threading

_BUCKETS = 1 << 14
_WIDTH = 8  # bytes of a hash


class PackedHashes:
    """
    A set of 64-bit hashes that costs about 10 bytes for each: bytes side by side in buckets.

    Two different names share a hash once in 2**64 pairs: among ten million names, a false alarm has a chance of three
    in a million. Safe for threads.
    """

    def __init__(self) -> None:
        self._buckets: list[bytearray | None] = [None] * _BUCKETS
        self._lock = threading.Lock()
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, hashed: int) -> bool:
        bucket = self._buckets[hashed % _BUCKETS]
        return bucket is not None and _find(bucket, _pack(hashed)) >= 0

    def add(self, hashed: int) -> bool:
        """Put a hash in; tell whether it is new."""
        packed = _pack(hashed)
        with self._lock:
            bucket = self._buckets[hashed % _BUCKETS]
            if bucket is None:
                bucket = self._buckets[hashed % _BUCKETS] = bytearray()
            elif _find(bucket, packed) >= 0:
                return False
            bucket += packed
            self._size += 1
            return True


def _pack(hashed: int) -> bytes:
    return (hashed & 0xFFFF_FFFF_FFFF_FFFF).to_bytes(_WIDTH, "little")


def _find(bucket: bytearray, packed: bytes) -> int:
    found = bucket.find(packed)
    while found >= 0 and found % _WIDTH:  # across two neighbours
        found = bucket.find(packed, found + 1)
    return found
