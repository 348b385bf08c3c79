"""What of a prefix is not listed yet, and where to cut it so that several listers share the work."""

from __future__ import annotations

from bisect import bisect_right
from typing import TYPE_CHECKING

from airflow_s3stream.plan.keymodel import KeyModel

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_s3stream.plan.listpage import KeyRange, ListRequest
    from airflow_s3stream.plan.objects import ObjectEntry

_SAMPLE = 24  # keys of a page that the model learns from
_VAIN = 0.25  # a cut with nothing behind it makes the next cut of that stretch so much less attractive
_LONGEST_KEY = 1024  # bytes, by S3's rules; a store may refuse a start-after that is longer
_LONG = 4  # pages: a stretch that went on for so many is expected to go on for as many


class Stretch:
    """Keys not listed yet: above ``after`` (the last one seen), up to and including ``last``. One lister walks it."""

    __slots__ = ("after", "asked", "doubt", "empties", "expected", "found", "last", "token")

    def __init__(self, after: str, last: str | None, expected: float = 0.0) -> None:
        self.after = after
        self.last = last
        self.expected = expected  # keys that are probably left in it, those of a page under way included
        self.asked: ListRequest | None = None
        self.found = 0
        self.doubt = 1.0  # below 1: cuts of it found nothing behind them
        self.token = ""  # of an empty page, which is all that says where to go on after it
        self.empties = 0


class Frontier:
    """
    The stretches that are open. They do not overlap, and together they hold every key that was not handed out.

    Whatever an answer covers is crossed off all of them, whoever asked for it: so a key is taken by the first page that
    shows it, and where the cuts are, how many requests are under way, and in which order they end, is of no importance.
    """

    def __init__(self, prefix: str, start_after: str, last: str | None, page_size: int) -> None:
        self.prefix = prefix
        self.model = KeyModel()
        self.stretches: list[Stretch] = []
        self._page_size = page_size
        begins = start_after < prefix or start_after.startswith(prefix)
        if begins and (last is None or (last > start_after and last >= prefix)):
            self.stretches.append(Stretch(start_after, last))

    def cross_off(self, covered: KeyRange, entries: Sequence[ObjectEntry]) -> list[ObjectEntry]:
        """Take off what an answer covers, of which ``entries`` are all the keys; give those that were still open."""
        keys = [entry.key for entry in entries]
        taken: list[ObjectEntry] = []
        for stretch in list(self.stretches):
            if stretch.after < covered.start_after or (covered.last is not None and stretch.after >= covered.last):
                continue
            end = len(keys) if stretch.last is None else bisect_right(keys, stretch.last)
            new = entries[bisect_right(keys, stretch.after) : end]
            stretch.found += len(new)
            taken += new
            if covered.last is None or (stretch.last is not None and stretch.last <= covered.last):
                self.stretches.remove(stretch)
            else:
                self._advance(stretch, keys)
        return taken

    def judge(self, cut: str, *, useful: bool) -> None:
        """Note what came of the request at ``cut``: whether there was anything in the half that began there."""
        for stretch in self.stretches:
            if stretch.last == cut:
                stretch.doubt = 1.0 if useful else stretch.doubt * _VAIN

    def split(self) -> Stretch | None:
        """
        Cut the stretch with the most keys left, and give the upper half.

        :return: None, if no stretch is expected to have two more pages.
        """
        worth = [stretch for stretch in self.stretches if stretch.expected >= 2 * self._page_size]
        if not worth:
            return None
        stretch = max(worth, key=_promise)
        # The first page of it is listed from below in any case, so it is the rest that is halved.
        return self.cut(stretch, (1 + self._page_size / stretch.expected) / 2)

    def split_widest(self) -> Stretch | None:
        """Cut the stretch that is the widest by the model, whatever is expected in it, and give the upper half."""
        return self.cut(max(self.stretches, key=self.width), 1 / 2) if self.stretches else None

    def width(self, stretch: Stretch) -> float:
        """Tell the stretch's share of the model's mass."""
        return self.model.mass(self.relative(stretch.after), self.end_of(stretch))

    def cut(self, stretch: Stretch, fraction: float) -> Stretch | None:
        """Cut a stretch where about ``fraction`` of it is below, and give the upper part; None: it cannot be cut."""
        cut = self.model.cut(self.relative(stretch.after), self.end_of(stretch), fraction)
        if cut is None or len((self.prefix + cut[0]).encode()) > _LONGEST_KEY:
            stretch.expected = 0.0
            return None
        point, below = self.prefix + cut[0], cut[1]
        half = Stretch(point, stretch.last, stretch.expected * (1 - below))
        stretch.last, stretch.expected = point, stretch.expected * below
        self.stretches.append(half)
        return half

    def relative(self, key: str) -> str:
        """Give the key as the model wants it: without the prefix."""
        return key[len(self.prefix) :] if key.startswith(self.prefix) else ""

    def end_of(self, stretch: Stretch) -> str | None:
        """Give the stretch's end as the model wants it; None: the end of the prefix."""
        if stretch.last is None or not stretch.last.startswith(self.prefix):
            return None
        return stretch.last[len(self.prefix) :]

    def _advance(self, stretch: Stretch, keys: list[str]) -> None:
        """Note how far the stretch is listed, and how many keys may be left in it."""
        stretch.after, stretch.token, stretch.empties = keys[-1], "", 0
        below = len(self.prefix)
        step = max(1, len(keys) // _SAMPLE)
        self.model.observe([key[below:] for key in keys[::step]])
        last = keys[-1][below:]
        listed = self.model.mass(keys[0][below:], last)
        left = self.model.mass(last, self.end_of(stretch))
        # Keys are as dense in the rest as in this page; and a stretch that went on for long will go on.
        stretch.expected = max(len(keys) * left / max(listed, 1e-300), min(stretch.found, _LONG * self._page_size))


def _promise(stretch: Stretch) -> float:
    return stretch.expected * stretch.doubt
