"""How fast and how wide: memory, connections and bandwidth."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from airflow_s3stream.config import KiB, MiB
from airflow_s3stream.engine.stop import POLL, Limits

if TYPE_CHECKING:
    from collections.abc import Callable

CHUNK = MiB
"""Bytes that one worker reads, and holds, at a time at most."""
LEAST_READ = 64 * KiB
# Seconds a read should take. Shorter reads cost CPU per byte; longer ones delay the bytes already here, and look like a
# stall on a slow source.
_QUICK, _SLOW = 0.004, 0.020
_LEAST_CHUNK = 16 * KiB
_RECOVER_AFTER = 4  # parts stored without being throttled before one more connection is tried
_SETTLE = 2.0  # seconds in which a burst of throttling answers counts as one


class MemoryBudget:
    """
    Bytes of part buffers held by this process. Reserve before allocating; no reservation, no buffer.

    One for the whole process: each transfer waits until what all of them hold, and its own next buffer, fit under its
    ``max_memory``. A transfer that holds none gets one at once, for those that fill the memory may wait for its end:
    whoever iterates over objects that are read ahead, and copies something for each.
    """

    def __init__(self) -> None:
        self._held = 0
        self._changed = threading.Condition()

    @property
    def held(self) -> int:
        """Bytes reserved now."""
        return self._held

    def reserve(self, size: int, ceiling: int, limits: Limits, own: Callable[[], int]) -> None:
        """
        Wait until ``size`` more bytes fit under ``ceiling``, or the transfer stops.

        :param own: tells how many bytes the transfer holds.
        """
        with self._changed:
            while own() and self._held + size > ceiling:
                self._changed.wait(POLL)
                limits.check()
            self._held += size

    def try_reserve(self, size: int, ceiling: int) -> bool:
        """Reserve ``size`` bytes if they fit under ``ceiling`` now, or nothing is held."""
        with self._changed:
            if self._held and self._held + size > ceiling:
                return False
            self._held += size
            return True

    def release(self, size: int) -> None:
        """Give bytes back."""
        with self._changed:
            self._held -= size
            self._changed.notify_all()


MEMORY = MemoryBudget()


class ConnectionLimiter:
    """
    How many parts of one transfer may be under way: halved when a side throttles, one more after a few successes.

    Additive increase, multiplicative decrease, as TCP does it; never below 1 or above the setting.
    """

    def __init__(self, connections: int, limits: Limits) -> None:
        self._most = self._allowed = connections
        self._busy = 0
        self._streak = 0
        self._settled = float("-inf")
        self._limits = limits
        self._changed = threading.Condition()

    @property
    def allowed(self) -> int:
        """Connections allowed now."""
        return self._allowed

    def plan(self, connections: int) -> None:
        """Set the width to that of the plan, before the first part."""
        self._most = self._allowed = connections

    @property
    def throttling(self) -> bool:
        """Whether a side has asked for less and the full width is not back yet."""
        return self._allowed < self._most

    def acquire(self) -> None:
        """Wait for a place, or until the transfer stops."""
        while True:
            with self._changed:
                if self._busy < self._allowed:
                    self._busy += 1
                    return
                self._changed.wait(POLL)
            self._limits.check()

    def release(self) -> None:
        """Leave the place."""
        with self._changed:
            self._busy -= 1
            self._changed.notify()

    def throttled(self) -> None:
        """Halve, once for a burst of refusals."""
        with self._changed:
            self._streak = 0
            now = self._limits.clock()
            if now >= self._settled:
                self._allowed = max(1, self._allowed // 2)
                self._settled = now + _SETTLE

    def succeeded(self) -> None:
        """Note a part stored; after a few, allow one more connection."""
        with self._changed:
            self._streak += 1
            if self._streak >= _RECOVER_AFTER and self._allowed < self._most:
                self._streak = 0
                self._allowed += 1
                self._changed.notify()


class Bandwidth:
    """Bytes per second shared by all connections of a transfer; None: unlimited."""

    def __init__(self, rate: int | None, limits: Limits) -> None:
        self._rate = rate
        self._limits = limits
        self._free = limits.clock()
        self._lock = threading.Lock()

    def piece(self, connections: int) -> int:
        """
        Give the bytes to read at a time, so that no connection waits long for its turn.

        S3 drops a request whose body pauses for about 20 seconds.
        """
        if self._rate is None:
            return CHUNK
        return min(max(self._rate // (4 * connections), _LEAST_CHUNK), CHUNK)

    def take(self, size: int) -> None:
        """Book ``size`` bytes behind all that is booked already, and wait for their turn."""
        if self._rate is None:
            return
        with self._lock:
            now = self._limits.clock()
            self._free = max(self._free, now) + size / self._rate
            wait = self._free - now
        self._limits.sleep(wait)


class ReadSize:
    """How many bytes to read at a time: as many as a source delivers in a few milliseconds."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.size = min(LEAST_READ, most)

    def took(self, got: int, seconds: float) -> None:
        """Learn from one read."""
        if seconds < _QUICK and got == self.size:
            self.size = min(2 * self.size, self._most)
        elif seconds > _SLOW:
            self.size = max(self.size // 2, min(LEAST_READ, self._most))
