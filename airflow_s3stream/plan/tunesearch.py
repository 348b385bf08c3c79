"""The order in which settings are measured: a search that stops early, or the whole grid. No I/O: it is told."""

from __future__ import annotations

from math import hypot
from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.plan.tuning import BUSY, SAME_SPEED, WITHIN, Sample, Setting, choose

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from airflow_s3stream.plan.tuning import Grid

_MISSES = 2  # steps in a row that gain nothing, before more connections are given up: small gains add up
_ROUNDS = 3  # of connections, then part sizes; the second only if the part size changed, which is rare
_FAR = 3  # doublings between the part sizes that are tried first: 64 MiB and 8 MiB
_CONFIRMED = 2  # rounds in which a close call is measured again
_DOUBT = 2.0  # standard errors
_LOSS = 0.3  # share; what is slower by more than that is, whatever the doubt


class Order(Protocol):
    """Says what to measure next."""

    def next(self) -> Setting | None:
        """Name the setting to measure, which may be one again; None: enough is known."""

    def tell(self, sample: Sample) -> None:
        """Take the measurement of the setting that was named last."""

    @property
    def done(self) -> bool:
        """Whether enough is known to choose; what :meth:`next` names after that is only for comparison."""

    @property
    def samples(self) -> list[Sample]:
        """What is known: one of each setting, in the order in which they came."""

    @property
    def candidates(self) -> list[Sample]:
        """Those of them that may be recommended."""


class _Known:
    """What is known of each setting."""

    def __init__(self, grid: Grid, default: Setting, *, only_grid: bool = False) -> None:
        self._grid = grid
        self._default = default
        self._only_grid = only_grid
        self._apart = only_grid and default not in grid
        self.by_setting: dict[Setting, Sample] = {}
        self._steps = self._walk()
        self.done = False
        """Whether enough is known to choose."""

    @property
    def samples(self) -> list[Sample]:
        """What is known."""
        return list(self.by_setting.values())

    @property
    def candidates(self) -> list[Sample]:
        """Those of them that may be recommended; the default, if nothing else is known."""
        every = self.samples
        return [known for known in every if known.setting in self._grid or not self._only_grid] or every

    def next(self) -> Setting | None:
        """Name the setting to measure; None: enough is known."""
        setting = next(self._steps, None)
        if setting is None and not self.done:
            self.done = True
            if self._apart:
                return self._default
        return setting

    def tell(self, sample: Sample) -> None:
        """Take a measurement in."""
        before = self.by_setting.get(sample.setting)
        self.by_setting[sample.setting] = before.and_again(sample) if before else sample

    def _walk(self) -> Iterator[Setting]:
        raise NotImplementedError


class FullGrid(_Known):
    """Every setting once, and the default before them all, or after; see :class:`Search`."""

    def _walk(self) -> Iterator[Setting]:
        if not self._apart:
            yield self._default
        yield from (setting for setting in self._grid.settings() if setting != self._default)


class Search(_Known):
    """
    Finds the setting that :func:`~airflow_s3stream.plan.tuning.choose` would choose from the whole grid, in few steps.

    What it builds on: speed grows with connections until something is full, the line, the store or this machine (as
    its CPU shows), and may fall after; a connection more never carries more than the one before. Larger parts hide the
    wait for the first byte, until that is a small share of each. So it climbs from the default along the connections,
    goes down to the fewest that still do, tries other part sizes there, and measures again where the choice hangs on
    less than the error of a measurement.

    :param default: measured first.
    :param only_grid: if the grid does not have it, it is measured last, for comparison, and not recommended.
    """

    def _walk(self) -> Iterator[Setting]:
        if not self._apart:
            yield self._default
        count, part = self._default.connections, self._grid.part_sizes[-1]
        if self._default in self._grid:
            part = self._default.part_size
        for _ in range(_ROUNDS):
            yield from self._climb(count, part)
            yield from self._descend(part)
            known = [self.by_setting[setting] for setting in self._line(part) if setting in self.by_setting]
            here = choose(known).recommended.setting
            there = yield from self._try_parts(here)
            if there == here:
                break
            count, part = there
        yield from self._confirm()

    # Along the connections

    def _climb(self, count: int, part: int) -> Iterator[Setting]:
        """Add connections, from about ``count`` on, while that helps."""
        line = self._line(part)
        start = min(line, key=lambda setting: abs(setting.connections - count))
        yield from self._look(start)
        top, best, misses = start, self._rate(start), 0
        for setting in line[line.index(start) + 1 :]:
            # Throttled already; given up; or as fast as this machine can.
            if not best or misses == _MISSES or self.by_setting[top].busy >= BUSY:
                return
            yield from self._look(setting)
            rate, doubt = self._rate(setting), self._doubt(setting, top)
            if rate < (1 + SAME_SPEED - min(doubt, _LOSS)) * best:  # surely no gain, or a loss
                return
            misses = 0 if rate > (1 + SAME_SPEED) * best else misses + 1
            top, best = (setting, rate) if not misses else (top, best)

    def _descend(self, part: int) -> Iterator[Setting]:
        """Find the fewest connections that are fast enough: step by step while fewer are faster, then by halving."""
        line = self._line(part)
        top = max((setting for setting in line if setting in self.by_setting), key=self._rate)
        while (at := line.index(top)) > 0:
            yield from self._look(line[at - 1])
            if self._rate(line[at - 1]) < self._rate(top):
                break
            top = line[at - 1]
        low, high = -1, line.index(top)
        for at in range(high - 1, -1, -1):
            if line[at] in self.by_setting:
                if not self._fast_enough(line[at]):
                    low = at
                    break
                high = at
        while high - low > 1:
            middle = (low + high) // 2
            yield from self._look(line[middle])
            if self._fast_enough(line[middle]):
                high = middle
            else:
                low = middle

    # Along the part sizes

    def _try_parts(self, here: Setting) -> Generator[Setting, None, Setting]:
        """Go to other part sizes while that helps: far ones first, then the nearest."""
        sizes = [part for part in self._grid.part_sizes if Setting(here.connections, part) in self._grid]
        start = here
        for step in (_FAR, 1):
            moved = True
            while moved:
                moved = False
                at = sizes.index(here.part_size)
                for other in (max(at - step, 0), min(at + step, len(sizes) - 1)):
                    there = Setting(here.connections, sizes[other])
                    yield from self._look(there)
                    if self._rate(there) > (1 + max(SAME_SPEED, self._doubt(there, here))) * self._rate(here):
                        here, moved = there, True
                        break
            if here == start:
                break
        return here

    # At the end

    def _confirm(self) -> Iterator[Setting]:
        """Measure again what the choice hangs on, if it is closer to the limit than its error."""
        for _ in range(_CONFIRMED):
            best = choose(self.candidates).best
            doubtful = {sample.setting for sample in self.candidates if self._in_doubt(sample, best)}
            sure = min(
                (sample.connections for sample in self.candidates if sample.setting not in doubtful
                 and self._fast_enough(sample.setting)), default=best.connections
            )  # fmt: skip
            near = [setting for setting in doubtful if setting.connections < min(sure, best.connections)]
            if not near:
                return
            yield min(near)
            yield best.setting

    def _in_doubt(self, sample: Sample, best: Sample) -> bool:
        if sample.throttled or not best.bytes_per_second:
            return False
        ratio = sample.bytes_per_second / best.bytes_per_second
        return abs(ratio - (1 - WITHIN)) < self._doubt(sample.setting, best.setting)

    # What is known

    def _look(self, setting: Setting) -> Iterator[Setting]:
        if setting not in self.by_setting:
            yield setting

    def _line(self, part: int) -> list[Setting]:
        """Give the settings of all numbers of connections, with parts of this size or the largest that fit."""
        found = (self._grid.at(count, part) for count in self._grid.connections)
        return [setting for setting in found if setting is not None]

    def _rate(self, setting: Setting) -> float:
        """Bytes per second; 0 where the store throttled: what it bears only now and then is no way to go."""
        known = self.by_setting.get(setting)
        return 0.0 if known is None or known.throttled else known.bytes_per_second

    def _doubt(self, one: Setting, other: Setting) -> float:
        """Say by which share two figures may differ without meaning it."""
        return _DOUBT * hypot(self.by_setting[one].error, self.by_setting[other].error)

    def _fast_enough(self, setting: Setting) -> bool:
        return self._rate(setting) >= (1 - WITHIN) * max(map(self._rate, self.by_setting))
