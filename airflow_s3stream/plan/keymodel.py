"""
Where keys are likely to be, learnt from those that were seen.

The model is a table per place below the prefix: how often each character stood there. A place is the number of a path
component and the offset in it, so that names of different lengths do not blur what follows them. Taking the places for
independent of each other, it says which share of the keys to expect between any two strings, and so where to cut a
range of keys in two like halves although its keys are not known. It may be wrong: that costs requests, never keys.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from itertools import accumulate
from math import sqrt
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_COMPONENT = 2048  # more than a key has characters: places are numbered component * _COMPONENT + offset
_NEGLIGIBLE = 1e-9  # share of a range below which a deeper place no longer matters
_UNSEEN = 1e-3  # share of a character that no table knows
_VARYING_DOUBT = 0.5  # weight, in pages, of the characters that a varying place may yet show
_SETTLED = 4  # pages without a new character at a place after which half of the doubt is gone
_ALPHABET = 100  # characters; a place with more of them says nothing about others
_DIGITS, _LOWER, _UPPER = "0123456789", "abcdefghijklmnopqrstuvwxyz", "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
# Beginnings of scripts: a name that is not ASCII may be followed by many others, tens of thousands of characters away.
_SCRIPTS = (
    "\u0080\u00c0\u0100\u0370\u0400\u0430\u0530\u0600\u0900\u0e00\u1100\u2000\u3040\u30a0\u3400\u4e00\u5800\u6200\u6c00"
    "\u7600\u8000\u8a00\u9400\uac00\ub400\ubc00\uc400\ucc00\uf900\U00010000\U0001f300\U0001f600\U00020000\U00100000"
)
_STRAY = "-0A_a\u0080"  # what may come where nothing like it was seen, at little weight
_STRAY_WEIGHT = 0.02


class _Place(NamedTuple):
    """A place's characters in order; each stands for the strings from it up to the next one."""

    chars: list[str]
    shares: dict[str, float]
    sums: list[float]  # sums[i]: shares of chars[:i]

    def span(self, above: str, below: str) -> tuple[int, int]:
        """Give the indices of the characters between two; "" is no bound."""
        low = bisect_right(self.chars, above) if above else 0
        high = bisect_left(self.chars, below) if below else len(self.chars)
        return low, max(low, high)


class _Group(NamedTuple):
    """Neighbouring pieces of a range: ``stem`` followed by one of its place's ``chars[low:high]``."""

    stem: str
    at: int
    low: int
    high: int
    scale: float
    mass: float


class KeyModel:
    """The tables. Strings here are relative to the prefix; an end of None is the end of the prefix."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, float]] = {}
        self._novel: dict[int, int] = {}  # the page that last showed a new character at the place
        self._pages = 0
        self._stale_at = 0
        self._places: dict[int, _Place] = {}

    def observe(self, keys: Sequence[str]) -> None:
        """Learn from some keys of one page. A page counts once, for its keys are alike because they are neighbours."""
        common = _common(keys[0], keys[-1])  # keys ascend: so it is that of all of them
        start = self._count(common, 0, 1.0)
        share = 1 / len(keys)
        for key in keys:
            self._count(key[len(common) :], start, share)
        self._pages += 1
        if self._pages >= self._stale_at:  # tables change ever more slowly, and making them is what costs
            self._stale_at = self._pages + 1 + self._pages // 16
            self._tabulate()

    def _count(self, text: str, at: int, share: float) -> int:
        for char in text:
            table = self._seen.get(at)
            if table is None:
                table = self._seen[at] = {}
            if char not in table:
                self._novel[at] = self._pages
                table[char] = 0.0
            table[char] += share
            at = _next(at, char)
        return at

    def mass(self, start: str, stop: str | None) -> float:
        """Tell the share of all keys that is expected above ``start`` and not above ``stop``."""
        return sum(group.mass for group in self._groups(start, stop))

    def cut(self, start: str, stop: str | None, fraction: float, grain: float = 1 / 8) -> tuple[str, float] | None:
        """
        Find a string between ``start`` and ``stop`` that has ``fraction`` of the range's mass below it.

        The shortest string that misses it by about half of ``grain`` at most will do.

        :return: the string, and the fraction that it really has below it; None: there is nothing to cut.
        """
        groups = list(self._groups(start, stop))
        total = sum(group.mass for group in groups)
        if total <= 0:
            return None
        wanted, below = total * fraction, 0.0
        for group in groups:
            if below + group.mass >= wanted and group.high > group.low:
                break
            below += group.mass
        point, inside = self._descend(group, wanted - below, total * grain)
        if not start < point or (stop is not None and point >= stop):
            return None
        return point, (below + inside) / total

    def _descend(self, group: _Group, wanted: float, fine: float) -> tuple[str, float]:
        """Find where ``wanted`` of the group's mass is passed; give the string and the mass really passed."""
        stem, at, low, high, scale, _ = group
        passed = 0.0
        while True:
            chars, shares, sums = self._places[at]
            index = max(low, bisect_right(sums, sums[low] + (wanted - passed) / scale, low, high) - 1)
            char = chars[index]
            passed += scale * (sums[index] - sums[low])
            piece = scale * shares[char]
            at = _next(at, char)
            if piece > fine and at in self._places:
                stem, scale, low, high = stem + char, piece, 0, len(self._places[at].chars)
            elif wanted - passed > piece / 2 and index + 1 < high:
                return stem + chars[index + 1], passed + piece
            else:
                return stem + char, passed

    def _groups(self, start: str, stop: str | None) -> Iterator[_Group]:
        """Give the pieces between two strings, in order: what follows start at each depth, then what precedes stop."""
        common = 0 if stop is None else len(_common(start, stop))
        steps = self._steps(start, common)
        for depth in range(len(steps) - 1, common, -1):
            yield self._group(start[:depth], steps[depth], start[depth : depth + 1], "")
        if common < len(steps):
            yield self._group(
                start[:common], steps[common], start[common : common + 1], (stop or "")[common : common + 1]
            )
        if stop is not None:
            steps = self._steps(stop, common)
            for depth in range(common + 1, min(len(steps), len(stop))):
                yield self._group(stop[:depth], steps[depth], "", stop[depth])

    def _steps(self, text: str, common: int) -> list[tuple[int, float]]:
        """Give the place after each beginning of ``text`` and that beginning's mass, as deep as it matters."""
        at, scale, least = 0, 1.0, 0.0
        steps: list[tuple[int, float]] = []
        for depth, char in enumerate(text):
            place = self._places.get(at)
            if depth == common:
                least = scale * _NEGLIGIBLE
            if place is None or scale < least:
                return steps
            steps.append((at, scale))
            scale = max(scale * place.shares.get(char, _UNSEEN), 1e-290)
            at = _next(at, char)
        if at in self._places:
            steps.append((at, scale))
        return steps

    def _group(self, stem: str, step: tuple[int, float], above: str, below: str) -> _Group:
        at, scale = step
        place = self._places[at]
        low, high = place.span(above, below)
        return _Group(stem, at, low, high, scale, scale * (place.sums[high] - place.sums[low]))

    def _tabulate(self) -> None:
        varying = {char for table in self._seen.values() if len(table) > 1 for char in table}
        run = 0
        alphabets: dict[int, list[set[str]]] = {}
        for at, table in self._seen.items():
            if len(table) > 1:
                alphabets.setdefault(at // _COMPONENT, []).append(set(table))
        for at in sorted(self._seen, reverse=True):
            table = self._seen[at]
            run = run + 1 if len(table) == 1 else 0
            kin = set() if run else _kin(table, alphabets[at // _COMPONENT])
            self._places[at] = _tabulate(table, varying, kin, run, self._pages - self._novel[at])


def _common(one: str, other: str) -> str:
    """Give the beginning that two strings share."""
    length = 0
    for ours, theirs in zip(one, other, strict=False):
        if ours != theirs:
            break
        length += 1
    return one[:length]


def _next(at: int, char: str) -> int:
    return at + 1 if char != "/" else (at // _COMPONENT + 1) * _COMPONENT


def _tabulate(table: dict[str, float], varying: set[str], kin: set[str], run: int, stable: int) -> _Place:
    """
    Make a place's table.

    ``run`` tells how many places from this one on have shown one character only. Anything may stand beside it, at
    any of these places and equally likely at each: so the doubt of one is the smaller, the more there are. It wanes
    with the root of the pages seen, for most of them come from where keys were found before and prove little.
    """
    doubt = sqrt(max(1.0, sum(table.values()))) / run if run else _VARYING_DOUBT
    likely = set(varying)
    for kind in (_DIGITS, _LOWER, _UPPER):
        if not table.keys().isdisjoint(kind):
            likely.update(kind)
    if any(char > "\x7f" for char in table):
        likely.update(_SCRIPTS)
    weights = dict.fromkeys(_STRAY, doubt * _STRAY_WEIGHT / len(_STRAY))
    for char in likely:
        weights[char] = doubt / len(likely)
    # How often a character was seen says where the listers were, not where the keys are: so all count alike. The others
    # of its kind do too while new ones keep coming, and less the longer none came (``stable``: for so many pages).
    even = sum(table.values()) / len(table)
    for char in kin:
        weights[char] = even * _SETTLED / (_SETTLED + stable)
    for char in table:
        weights[char] = even
    chars = sorted(weights)
    total = sum(weights[char] for char in chars)  # in order, so that equal runs cut at equal places
    shares = {char: weights[char] / total for char in chars}
    return _Place(chars, shares, [0.0, *accumulate(shares.values())])


def _kin(table: dict[str, float], alphabets: list[set[str]]) -> set[str]:
    """
    Give the characters likely at a place because of those seen there.

    They are all digits, letters between letters, and whatever other places of the component show together with these.
    """
    kin = set(_DIGITS) if not table.keys().isdisjoint(_DIGITS) else set()
    for kind in (_LOWER, _UPPER):
        letters = table.keys() & set(kind)
        if letters:
            kin.update(kind[kind.index(min(letters)) : kind.index(max(letters)) + 1])
    for alphabet in alphabets:
        if len(alphabet) <= _ALPHABET and table.keys() < alphabet:
            kin |= alphabet
    return kin
