"""One trial of a tune: counts what moves, says when it has seen enough, and makes a sample of it."""

from __future__ import annotations

import threading
from statistics import median
from typing import TYPE_CHECKING, NamedTuple

from airflow_s3stream.config import GiB, MiB
from airflow_s3stream.plan.steady import WINDOW, Steady
from airflow_s3stream.plan.tuning import Sample, Setting, throttling

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.trialcost import PeakMemory, Processors, Spent

# Seconds after the first byte in which the other connections may get theirs too, before counting begins without them.
_GATHER = 2.0
_FIRST = 10.0  # seconds without any byte, after which a setting is as good as broken
_LEAST_FIRST = 64 * 1024  # bytes


class Box(NamedTuple):
    """What a trial may take: ``seconds`` once all connections are under way, ``bytes`` in all."""

    seconds: float
    bytes: int
    early: bool
    """End as soon as the figure is sure."""


class _Edge(NamedTuple):
    """What had been counted at the end of a window."""

    at: float
    bytes: int
    spent: Spent


class Trial:
    """
    Watches one setting being tried.

    ``bytes`` moved so far, ``requests`` made, :ivar errors: of them failed, :ivar throttles: of those were told to
        slow down. Whoever drives the transfer keeps them.
    :ivar first_bytes: seconds from a request to its first byte, of connections that were open already.
    """

    def __init__(
        self, setting: Setting, box: Box, clock: Callable[[], float], memory: PeakMemory, processors: Processors
    ) -> None:
        self.setting = setting
        self.bytes = self.requests = self.errors = self.throttles = 0
        self.first_bytes: list[float] = []
        self._box = box
        self._clock = clock
        self._memory = memory
        self._processors = processors
        self._steady = Steady(setting.connections)
        self._edges: list[_Edge] = []
        memory.begin()
        self._spent = processors.read()
        self._began = clock()
        self._first: float | None = None
        self._thread = threading.get_ident()

    def moved(self, count: int) -> None:
        """Count bytes, and close the window if it is time: whoever drives the transfer may not look for a while."""
        self.bytes += count
        # What other threads bring waits for the next look: CPU time is counted by thread.
        if self._edges and threading.get_ident() == self._thread:
            self._close(self._clock(), WINDOW)

    def look(self, *, under_way: bool = True) -> bool:
        """
        Close the window if it is time; return True when the trial is to end.

        :param under_way: all connections have got bytes.
        """
        now = self._clock()
        if self.bytes and self._first is None:
            self._first = now
        if self._first is None:
            return now - self._began >= _FIRST
        if self.bytes >= self._box.bytes or self.throttling:
            self._close(now, WINDOW / 2)
            return True
        if not self._edges:
            if under_way or now - self._first >= _GATHER:
                self._edges.append(self._edge(now))
            return False
        self._close(now, WINDOW)
        return now - self._edges[0].at >= self._box.seconds or (self._box.early and self._steady.sure)

    @property
    def throttling(self) -> bool:
        """Whether the store has asked for less so often that this setting is none."""
        return throttling(self.throttles, self.requests)

    def first_part(self, number: int) -> int:
        """
        Give the bytes of the first range of the connection ``number``, from 0 on.

        Each begins with another length, so that their ranges end one after the other from the start as they will after
        a while, and any half second shows as many of the waits between two ranges as any other.
        """
        count, part = self.setting
        return min(max(part * (number % count + 1) // count, _LEAST_FIRST), part)

    @property
    def sure(self) -> bool:
        """Whether its figure means anything."""
        return self._steady.error < 1.0

    def sample(self) -> Sample:
        """Make a sample of what has been seen."""
        first = self._edges[self._steady.skipped] if self._edges else _Edge(self._began, 0, self._spent)
        last = self._edges[-1] if len(self._edges) > 1 else self._edge(self._clock())
        seconds = max(last.at - first.at, 1e-9)
        count = last.bytes - first.bytes
        return Sample(
            connections=self.setting.connections,
            part_size=self.setting.part_size,
            bytes=count,
            seconds=seconds,
            bytes_per_second=count / seconds,
            error=self._steady.error,
            cpu_seconds_per_gib=(last.spent.process - first.spent.process) * GiB / max(count, MiB),
            peak_memory=self._memory.peak(),
            requests=self.requests,
            errors=self.errors,
            throttles=self.throttles,
            first_byte_seconds=median(self.first_bytes) if self.first_bytes else None,
            busy=self._processors.busy(first.spent, last.spent, seconds),
        )

    def _close(self, now: float, least: float) -> None:
        """End a window, if it is long enough to say something."""
        if self._edges and now - self._edges[-1].at >= least:
            edge = self._edge(now)
            self._steady.add(edge.bytes - self._edges[-1].bytes, now - self._edges[-1].at)
            self._edges.append(edge)

    def _edge(self, now: float) -> _Edge:
        return _Edge(now, self.bytes, self._processors.read())
