"""Which ranges of an object are still to be asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.config import MiB

if TYPE_CHECKING:
    from collections.abc import Iterable

LEAST_PART, MOST_AUTO_PART = 8 * MiB, 64 * MiB
_RANGES_A_SECOND = 4


def part_size_for(size: int, connections: int) -> int:
    """
    Choose the bytes of a range, where nobody did: one range for each connection, between 8 and 64 MiB.

    A range costs a round trip in which its connection carries nothing: 64 MiB at 25 MB/s are 2.7 s, beside which 30 ms
    are little. More would only make a range that is lost dearer.
    """
    share = -(-size // connections)
    return min(max(share, LEAST_PART), MOST_AUTO_PART)


def paced(part_size: int | None, max_bandwidth: int | None) -> int | None:
    """
    Cut ranges down so that a bandwidth is kept evenly: it is booked per range, when that is asked for.

    :param part_size: bytes; None: not decided. :param max_bandwidth: bytes per second; None: no limit.
    """
    if max_bandwidth is None:
        return part_size
    most = max(max_bandwidth // _RANGES_A_SECOND, 1)
    return most if part_size is None else min(part_size, most)


class Gaps:
    """
    The bytes of an object that nobody has asked for yet, given out in order.

    :param size: of the object, in bytes.
    :param done: (start, stop) of what is there already; they do not overlap.
    :param part_size: most bytes given out at once.
    """

    def __init__(self, size: int, done: Iterable[tuple[int, int]], part_size: int) -> None:
        self._part_size = part_size
        self._gaps: list[tuple[int, int]] = []
        at = 0
        for start, stop in sorted(done):
            if start > at:
                self._gaps.append((at, start))
            at = max(at, stop)
        if at < size:
            self._gaps.append((at, size))
        self._gaps.reverse()  # the next is taken from the end

    @property
    def left(self) -> int:
        """Bytes not given out yet."""
        return sum(stop - start for start, stop in self._gaps)

    def take(self) -> tuple[int, int] | None:
        """Give the next range as (start, stop); None when all have been given."""
        if not self._gaps:
            return None
        start, stop = self._gaps.pop()
        cut = start + self._part_size
        if cut < stop:
            self._gaps.append((cut, stop))
            stop = cut
        return start, stop
