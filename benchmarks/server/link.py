"""The link model: a latency before each answer, a cap per request, a cap on all requests together."""

from __future__ import annotations

import time
from ctypes import c_double, c_int64
from dataclasses import dataclass
from multiprocessing import Value
from typing import Any

MB = 1_000_000
STEP = 256 * 1024
"""Bytes between two looks at the clock: 10 ms at 25 MB/s."""
CREDIT = 0.1
"""Seconds of lost time that a body may catch up on: what a busy machine takes from the server, no more, since a
link does not run faster after its client has paused."""


class SharedLine:
    """
    One line that all requests of all processes share: who sends books its bytes behind all that is booked already.

    Must be made before the worker processes are forked.
    """

    def __init__(self, bytes_per_second: float) -> None:
        self._rate = bytes_per_second
        self._free: Any = Value(c_double, 0.0)
        self._bodies: Any = Value(c_int64, 0, lock=False)

    def enter(self) -> None:
        """Begin a body. A line that nothing was on has no lost time to catch up on."""
        with self._free.get_lock():
            if not self._bodies.value:
                self._free.value = max(self._free.value, time.monotonic())
            self._bodies.value += 1

    def leave(self) -> None:
        """End a body."""
        with self._free.get_lock():
            self._bodies.value -= 1

    def book(self, count: int) -> None:
        """Wait until the line has carried ``count`` more bytes."""
        with self._free.get_lock():
            self._free.value = due = _from(self._free.value) + count / self._rate
        time.sleep(max(0.0, due - time.monotonic()))


@dataclass(frozen=True, slots=True)
class Link:
    """What a request meets on its way. 0: no latency, no cap."""

    latency: float = 0.0
    """Seconds."""
    conn_rate: float = 0.0
    """Bytes per second of one request."""
    up: SharedLine | None = None
    down: SharedLine | None = None

    @property
    def free(self) -> bool:
        """True if nothing holds the bytes back, so they may go in the largest pieces."""
        return not self.conn_rate and self.up is None and self.down is None


class Pace:
    """Holds one body to the link's caps; a context, so that the line knows what is on it."""

    def __init__(self, link: Link, line: SharedLine | None) -> None:
        self._rate = link.conn_rate
        self._line = line
        self._free = time.monotonic()

    def __enter__(self) -> Pace:
        if self._line:
            self._line.enter()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._line:
            self._line.leave()

    def passed(self, count: int) -> None:
        """Note that ``count`` bytes went by and wait until they were due."""
        if self._line:
            self._line.book(count)
        if self._rate:
            self._free = _from(self._free) + count / self._rate
            time.sleep(max(0.0, self._free - time.monotonic()))


def _from(free: float) -> float:
    """Tell from when on the next bytes may travel, if the link was free at ``free``."""
    return max(free, time.monotonic() - CREDIT)
