"""When the figure of a running transfer is sure enough: its warming up cut off, its error known. Pure arithmetic."""

from __future__ import annotations

from math import inf, sqrt

WINDOW = 0.1
"""Seconds over which bytes are counted. Short enough for ten in a second, long enough for several reads of a slow
connection, and for an operating system's pauses to be a small part of it."""
SURE = 0.02
"""The standard error, as a share, at which a figure is sure: small beside the 5 % that settings may differ by."""
_LEAST = 5  # windows; of fewer the spread cannot be told
_EVEN = 0.001  # the standard error, as a share, of an even flow
_FEW = 0.10  # the standard error believed of fewer
# Seconds of connections' work. A range that ends sooner or later in it makes a difference of one wait for a first byte,
# which at 30 ms is then 1.5 %.
_WORK = 2.0
_SHORTEST = 0.5  # seconds, however many connections


class Steady:
    """
    The speed of a transfer, from bytes counted in windows of :data:`WINDOW`.

    Connections begin slowly (handshakes, a first byte, TCP's slow start) or, where a link lends credit, fast. How many
    windows that takes is found as simulations find theirs, by the MSER rule: cut off as many as make the standard error
    of the rest the smallest, but never more than half (White, "An effective truncation heuristic for bias reduction in
    simulation output", Simulation 69, 1997).
    """

    def __init__(self, connections: int) -> None:
        self._least = max(_LEAST, round(max(_WORK / connections, _SHORTEST) / WINDOW))
        self._windows: list[float] = []
        self.skipped = 0
        """Windows cut off at the start."""

    def add(self, count: int, seconds: float) -> None:
        """Take the bytes of a window that was ``seconds`` long."""
        self._windows.append(count / seconds)
        total = len(self._windows)
        best, even = inf, _EVEN * sum(self._windows) / total
        for skipped in range(total // 2 + 1):
            error = _error(self._windows[skipped:])
            if error < best:
                best, self.skipped = error, skipped
            if best < even:
                break  # what is as even as that has nothing to cut off

    @property
    def sure(self) -> bool:
        """Whether the figure is good enough to go on to another setting."""
        return self.counted >= self._least and self.error <= SURE

    @property
    def counted(self) -> int:
        """Windows that count."""
        return len(self._windows) - self.skipped

    @property
    def error(self) -> float:
        """The standard error of the mean, as a share of it; 1.0 where there is nothing to tell it from."""
        kept = self._windows[self.skipped :]
        mean = sum(kept) / len(kept) if kept else 0.0
        if len(kept) < 2 or not mean:
            return 1.0
        error = _error(kept) / mean
        return min(error if len(kept) >= _LEAST else max(error, _FEW), 1.0)


def _error(values: list[float]) -> float:
    """Give the standard error of the mean."""
    count = len(values)
    if count < 2:
        return inf
    mean = sum(values) / count
    return sqrt(sum((value - mean) ** 2 for value in values) / (count - 1) / count)
