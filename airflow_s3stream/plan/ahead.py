"""How far ahead of a reader to fetch, and in ranges of what size."""

from __future__ import annotations

from airflow_s3stream.config import KiB, MiB

LEAST_PART = 256 * KiB
_FIRST_SPAN = 512 * KiB  # fetched ahead after a seek, until reading goes on in order
_GROWTH = 2
_MOST_PART = 64 * MiB
_LEAST_SHARE = MiB  # below it, a round trip costs more than an idle connection
_FILL = 1.6  # bytes asked for, as a share of the memory: of ranges under way only half has arrived on average
_SPAN = 2.0  # the same, of all that lies ahead
TAIL = 64 * KiB
"""Bytes before an object's end that are fetched at once: what stands there are footers, read in several steps."""


class AheadPlan:
    """
    Plans ranges for one reader.

    Ranges at the beginning differ in size, so that they do not all end at the same time later on; those at the end
    become smaller, so that they do.

    :param size: of the object.
    :param connections: ranges under way at once; 1: one after the other, and nothing ahead.
    :param part_size: bytes of a range; None: as many as ``max_memory`` allows, and all there are with one connection.
    :param max_memory: bytes that may be held.
    """

    def __init__(self, size: int, connections: int, part_size: int | None, max_memory: int) -> None:
        self._size = size
        self._connections = connections
        auto = min(max(int(_FILL * max_memory / connections), LEAST_PART), _MOST_PART)
        self._part = part_size or (size if connections == 1 else auto)
        self._most = max(int(_SPAN * max_memory), self._part)
        self._span = self._most
        self._grow_at = 0
        self._begun = 0

    @property
    def part_size(self) -> int:
        """Bytes of a range, once reading has gone on in order for a while."""
        return self._part

    def restart(self, offset: int) -> None:
        """Begin anew at ``offset``: with all there is at the object's start, carefully elsewhere."""
        self._begun = 0
        self._span = self._most if offset == 0 else min(_FIRST_SPAN, self._most)
        self._grow_at = offset + self._span // 2

    def room(self, position: int, end: int) -> bool:
        """Whether another range is to be asked for, where ``position`` is read and ``end`` is asked for."""
        if end >= self._size:
            return False
        if self._connections == 1:
            return end <= position
        return end - position < self._span

    def next_stop(self, position: int, end: int) -> int:
        """Give where the next range, which begins at ``end``, is to stop."""
        if self._connections == 1:
            return min(end + self._part, self._size)
        while self._span < self._most and position >= self._grow_at:
            self._span = min(self._span * _GROWTH, self._most)
            self._grow_at = position + self._span // 2
        size = self._part
        if self._span < self._most:
            size = min(size, max(self._span // 2, LEAST_PART))
        elif self._begun < self._connections:
            self._begun += 1
            size = max(size * self._begun // self._connections, min(LEAST_PART, size))
        return min(end + min(size, self._share(end)), self._size)

    def _share(self, end: int) -> int:
        """Give what each connection would have to fetch of the rest: with no more, all end at about the same time."""
        return max((self._size - end) // self._connections, _LEAST_SHARE)
