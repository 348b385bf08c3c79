"""Ranges of keys, in S3's order: that of UTF-8 bytes, which is the order of Python's strings too."""

from __future__ import annotations

from bisect import bisect_right, insort
from operator import itemgetter
from typing import TYPE_CHECKING, NamedTuple

from airflow_s3stream.plan.listfrontier import Frontier, Stretch
from airflow_s3stream.plan.listpage import KeyRange, ListPage, ListRequest, check_prefix, parse_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.plan.objects import ObjectEntry

_PROBES = 96  # requests for any prefix, and _PROBES_PER_PIECE more for each piece
_PROBES_PER_PIECE = 4
_GRAIN = 1 / 512  # of a gap, how exactly the end of a piece is placed in it
_MARKS = 64  # per page: keys where a piece may end


class _Unit(NamedTuple):
    """Neighbouring keys: counted ones up to ``start`` (no ``stretch``), or those expected in a stretch above it."""

    start: str
    keys: float
    stretch: Stretch | None


class Splitting:
    """
    About ``pieces`` key ranges of similar size that together are the prefix, found by a bounded number of probes.

    The protocol is that of :class:`~airflow_s3stream.plan.listing.Listing`; :attr:`ranges` is for when it is done.
    Sizes are estimates, save for prefixes so small that the probes have listed them. However wrong they are, the ranges
    neither overlap nor leave a gap.
    """

    def __init__(
        self,
        prefix: str,
        *,
        pieces: int = 16,
        start_after: str = "",
        last: str | None = None,
        listers: int = 16,
        page_size: int = 1000,
    ) -> None:
        self.pages = 0
        self._whole = KeyRange(start_after, last)
        self._pieces = pieces
        self._listers = listers
        self._page_size = page_size
        self._frontier = Frontier(prefix, start_after, last, page_size)
        self._probes = _PROBES + _PROBES_PER_PIECE * pieces if pieces > 1 else 0
        self._under_way: set[ListRequest] = set()
        self._counted: list[_Unit] = []
        self._windows: list[tuple[str, str, int]] = []  # first and last key of each half page, relative, and how many
        self._next = self._choose()

    @property
    def done(self) -> bool:
        """Whether nothing is under way and no further probe is worth its request."""
        return not self._under_way and self._next is None

    def next_request(self) -> ListRequest | None:
        """Give the next probe; None: wait for an answer, or all is done."""
        if self._next is None or len(self._under_way) >= self._listers:
            return None
        stretch = self._next
        request = ListRequest(self._frontier.prefix, stretch.after, max_keys=self._page_size)
        stretch.asked = request
        self._under_way.add(request)
        self._probes -= 1
        self._next = self._choose()
        return request

    def feed(self, request: ListRequest, body: bytes) -> list[ObjectEntry]:
        """Take the answer to ``request``. Nothing is to be fetched: the list is always empty."""
        self.take(request, parse_page(body))
        return []

    def take(self, request: ListRequest, page: ListPage) -> None:
        """Take an answer that is parsed already; see :meth:`feed`."""
        check_prefix(self._frontier.prefix, page)
        self._under_way.discard(request)
        self.pages += 1
        for stretch in self._frontier.stretches:
            if stretch.asked == request:
                stretch.asked = None
        if page.entries and page.entries[0].key <= request.start_after:
            # The store takes no notice of start-after: no range but the whole could be listed at its own cost.
            self._frontier.stretches.clear()
            self._counted.clear()
            self._probes = 0
        elif page.entries or not page.truncated:
            self._count(request, page)
        else:
            self._give_up(request)
        # What is chosen is cut already, so the choice stands, unless this page has shown what the probe was to find.
        if self._next not in self._frontier.stretches:
            self._next = self._choose()

    def _count(self, request: ListRequest, page: ListPage) -> None:
        covered = KeyRange(request.start_after, page.entries[-1].key if page.truncated else None)
        new = sorted(self._frontier.cross_off(covered, page.entries))
        self._frontier.judge(request.start_after, useful=bool(new))
        self._note_density([self._frontier.relative(entry.key) for entry in page.entries])
        for stretch in self._frontier.stretches:  # its neighbours: they have learnt how dense keys are at one end
            if stretch.last == request.start_after or stretch.after == covered.last:
                stretch.expected = self._guess(stretch)
        step = max(1, -(-len(new) // _MARKS))
        for first in range(0, len(new), step):
            marked = new[first : first + step]
            self._counted.append(_Unit(marked[-1].key, len(marked), None))

    def _note_density(self, keys: list[str]) -> None:
        # Both ends of a page are noted apart, for a dense partition may begin or end within it.
        middle = len(keys) // 2
        for half in (keys[: middle + 1], keys[middle:]):
            if len(half) > 1:
                insort(self._windows, (half[0], half[-1], len(half) - 1))

    def _give_up(self, request: ListRequest) -> None:
        """Probe no further after a page without keys that is said to be truncated: start-after leads no further."""
        for stretch in self._frontier.stretches:
            if stretch.after == request.start_after:
                stretch.expected = 0.0

    def _choose(self) -> Stretch | None:
        """
        Choose what to probe: the middle of what seems the largest.

        Where many keys are is not known before it was looked at, so every fourth probe goes to the widest gap. When
        nothing seems large, probes go to gaps and to what follows the pages seen, so that a small prefix is listed to
        its end.
        """
        frontier = self._frontier
        if self._probes <= 0 or not frontier.stretches:
            return None
        if not self.pages:
            return None if self._under_way else frontier.stretches[0]
        idle = [stretch for stretch in frontier.stretches if stretch.asked is None]
        if self._probes % 4:
            split = frontier.split()
            if split:
                return split
        if idle and self._probes % 4 == 1:
            return max(idle, key=lambda stretch: stretch.expected)
        return frontier.split_widest() or (idle[0] if idle else None)

    @property
    def ranges(self) -> list[KeyRange]:
        """The ranges, in order."""
        start = self._whole.start_after
        ranges = []
        for end in self._ends():
            if start < end and (self._whole.last is None or end < self._whole.last):
                ranges.append(KeyRange(start, end))
                start = end
        return [*ranges, KeyRange(start, self._whole.last)]

    def _ends(self) -> Iterator[str]:
        units = self._units()
        total = sum(unit.keys for unit in units)
        passed, piece = 0.0, 1
        for unit in units:
            while piece < self._pieces and passed + unit.keys >= (target := total * piece / self._pieces) > 0:
                yield self._end_in(unit, (target - passed) / unit.keys)
                piece += 1
            passed += unit.keys

    def _end_in(self, unit: _Unit, fraction: float) -> str:
        if unit.stretch is None:
            return unit.start
        frontier = self._frontier
        cut = frontier.model.cut(frontier.relative(unit.start), frontier.end_of(unit.stretch), fraction, _GRAIN)
        return frontier.prefix + cut[0] if cut else unit.start

    def _units(self) -> list[_Unit]:
        """Put what was counted and what is guessed in the order of keys."""
        units = self._counted + [
            _Unit(stretch.after, self._guess(stretch), stretch) for stretch in self._frontier.stretches
        ]
        return sorted(units, key=lambda unit: (unit.start, unit.stretch is not None))

    def _guess(self, stretch: Stretch) -> float:
        """Guess the keys in a gap from how dense they are in the pages before and behind it."""
        after, model = self._frontier.relative(stretch.after), self._frontier.model
        index = bisect_right(self._windows, after, key=itemgetter(0))
        around = self._windows[max(0, index - 1) : index + 1]
        dense = [keys / max(model.mass(first, last), 1e-300) for first, last, keys in around]
        return self._frontier.width(stretch) * sum(dense) / len(dense) if dense else 0.0
