"""How many requests may be under way: fewer when the store throttles, more while more of them help."""

from __future__ import annotations

import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

_RECOVER_AFTER = 4  # answers without throttling before one more connection is tried
_WINDOW = 0.4  # seconds over which speed is compared
_IDLE = 0.15  # share of the time that the network thread must have waited for answers, if more connections are to help
_GROWTH = 1.5
_WORTH = 1.04  # times as fast as before, or growing ends
_SPARE_FILES = 64  # descriptors left to everything else in the process


def affordable(connections: int) -> int:
    """Cap ``connections`` by the process's limit on open files; each takes one descriptor."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit == resource.RLIM_INFINITY:
        return connections
    used = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else _SPARE_FILES
    return max(1, min(connections, limit - used - _SPARE_FILES))


class Width:
    """
    The connections allowed now. One thread uses it.

    Throttling halves them, and each few good answers give one back: additive increase, multiplicative decrease. Where
    nobody set a number, they also grow by half as long as the thread has time to spare, all connections are busy, and
    the last growth paid.
    """

    def __init__(self, first: int, most: int, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._most = most
        self._target = self.allowed = first
        self.peak = 0
        """Most that were under way at once."""
        self._streak = 0
        self.era = 0
        """Halvings so far."""
        self._growing = first < most
        self._began = clock()
        self._answers = 0
        self._waited = 0.0
        self._starved = False
        self._rate = 0.0

    @property
    def throttling(self) -> bool:
        """Whether the store has asked for less and the full width is not back yet."""
        return self.allowed < self._target

    def throttled(self, asked_in: int) -> None:
        """
        Halve, once for a burst of refusals, and grow no more.

        :param asked_in: the ``era`` when the refused request was sent; a refusal of one that was under way at the last
            halving says nothing about the width since.
        """
        self._streak = 0
        self._growing = False
        if asked_in == self.era:
            self.allowed = max(1, self.allowed // 2)
            self.era += 1

    def answered(self, count: int) -> None:
        """Note good answers; after a few, allow one more connection."""
        self._answers += count
        if self.allowed < self._target:
            self._streak += count
            self.allowed = min(self._target, self.allowed + self._streak // _RECOVER_AFTER)
            self._streak %= _RECOVER_AFTER

    def waited(self, seconds: float, busy: int) -> None:
        """Note time spent waiting for answers with ``busy`` requests under way."""
        self._waited += seconds
        self.peak = max(self.peak, busy)
        if busy < self.allowed:
            self._starved = True  # nothing to ask for, so more connections would not have helped
        if self._growing:
            self._consider()

    def _consider(self) -> None:
        elapsed = self._clock() - self._began
        if elapsed < _WINDOW:
            return
        rate, idle = self._answers / elapsed, self._waited / elapsed
        if not self._starved:
            if rate < self._rate * _WORTH:
                self._growing = False
            elif idle > _IDLE and not self.throttling:
                self._rate = rate
                self._target = self.allowed = min(self._most, int(self._target * _GROWTH))
                self._growing = self._target < self._most
        self._began, self._answers, self._waited, self._starved = self._clock(), 0, 0.0, False
