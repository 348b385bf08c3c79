"""Which of many connections are too slow to keep, and which has most left to do."""

from __future__ import annotations

import math
from collections import deque
from statistics import median
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

WINDOW = 5.0
"""Seconds over which a connection's speed is judged."""
SHARE = 0.2
"""Of the typical speed, below which a connection is dropped. Connections of one host differ by a factor of 2 or 3 in
good health; one at a fifth costs more than the round trips of a new one."""
_LOOK = 0.5  # seconds between looks
_REFERENCES = 3  # speeds that must be known before one is called typical
_FINISHED = 16  # of which the speeds are remembered
_MOVES = 5  # times one range is moved; after that the way to it is slow, not the connection
_WORTH_ROUND_TRIPS = 4  # that must be left of a range, or dividing it gains nothing
_WORTH_BYTES = 256 * 1024
_WORTH_SECONDS = 0.1


class Moving(Protocol):
    """A range under way."""

    position: int
    stop: int


class _Track:
    __slots__ = ("asked", "at", "began", "begun", "mark", "moves", "speed")

    def __init__(self) -> None:
        self.asked = self.mark = 0.0
        self.begun: float | None = None  # when the answer came
        self.began = self.at = 0  # position then; and at the last mark
        self.speed: float | None = None  # in the last full window
        self.moves = 0


class Speeds:
    """
    Watches ranges under way.

    :param min_speed: bytes per second below which a connection is always dropped; None: only one far slower than the
        others is.
    """

    def __init__(self, clock: Callable[[], float], min_speed: int | None = None) -> None:
        self._clock = clock
        self._least = min_speed or 0
        self._tracks: dict[Moving, _Track] = {}
        self._finished: deque[tuple[float, float]] = deque(maxlen=_FINISHED)  # when, how fast
        self._look_at = 0.0
        self.latency = 0.0
        """Seconds from a request to its answer, of late."""

    def asked(self, job: Moving) -> None:
        """Note that a request is sent."""
        track = self._tracks.setdefault(job, _Track())
        track.asked = track.mark = self._clock()
        track.begun, track.speed = None, None
        track.at = track.began = job.position

    def begun(self, job: Moving) -> None:
        """Note that its answer has come."""
        track = self._tracks.get(job)
        if track is not None:
            track.begun = self._clock()
            took = track.begun - track.asked
            self.latency = took if not self.latency else self.latency + (took - self.latency) / 4

    def ended(self, job: Moving) -> None:
        """Note that it is over, one way or another."""
        track = self._tracks.pop(job, None)
        if track is not None and track.begun is not None:
            took = self._clock() - track.begun
            if took > 0 and job.position > track.began:
                self._finished.append((self._clock(), (job.position - track.began) / took))

    def paused(self, job: Moving) -> None:
        """Note that its connection will not be read from, which is not its fault."""
        track = self._tracks.get(job)
        if track is not None:
            track.mark, track.speed = math.inf, None

    def resumed(self, job: Moving) -> None:
        """Note that it is read from again."""
        track = self._tracks.get(job)
        if track is not None:
            track.mark, track.at, track.speed = self._clock(), job.position, None

    def slow(self) -> list[Moving]:
        """Give those that should go on over another connection; they are judged anew after :meth:`asked`."""
        now = self._clock()
        if now < self._look_at:
            return []
        self._look_at = now + _LOOK
        # The first answer may take its time where all answers do.
        window = max(WINDOW, _WORTH_ROUND_TRIPS * self.latency)
        for job, track in self._tracks.items():
            if now - track.mark >= window:
                track.speed = (job.position - track.at) / (now - track.mark)
                track.mark, track.at = now, job.position
        return [job for job, track in self._tracks.items() if self._is_slow(job, track)]

    def moved(self, job: Moving) -> None:
        """Note that it goes on over another connection."""
        track = self._tracks.get(job)
        if track is not None:
            track.moves += 1

    def longest(self) -> Moving | None:
        """Give the range of which another connection may well take half; None if none is worth it."""
        now, best, longest = self._clock(), None, 0.0
        typical = self._typical()
        for job, track in self._tracks.items():
            speed = self._speed(job, track, now) or typical
            left = job.stop - job.position
            if speed is None or track.begun is None or left < 2 * _WORTH_BYTES:
                continue
            seconds = left / speed if speed else float("inf")
            if seconds > max(longest, _WORTH_ROUND_TRIPS * self.latency, _WORTH_SECONDS):
                best, longest = job, seconds
        return best

    def middle(self, job: Moving) -> int:
        """Give the offset at which to divide a range, so that both halves end at the same time."""
        now = self._clock()
        left = job.stop - job.position
        lead = int(self.latency * (self._speed(job, self._tracks[job], now) or 0.0))
        return job.position + min((left + lead) // 2, left - _WORTH_BYTES)

    def _is_slow(self, job: Moving, track: _Track) -> bool:
        if track.speed is None or track.moves >= _MOVES:
            return False
        # To tell that one has stalled, any other that moves is enough.
        typical = self._typical(job, track.asked, 1 if track.begun and not track.speed else _REFERENCES)
        return track.speed < self._least or (typical is not None and track.speed < SHARE * typical)

    def _typical(
        self, but: Moving | None = None, since: float = math.inf, references: int = _REFERENCES
    ) -> float | None:
        known = [track.speed for job, track in self._tracks.items() if track.speed is not None and job is not but]
        if len(known) < references:
            # The past only where the present is not enough, and no distant one: lines become slower as a whole, too.
            since = min(self._clock() - WINDOW, since)
            known += [speed for when, speed in self._finished if when >= since]
        return median(known) if len(known) >= references else None

    @staticmethod
    def _speed(job: Moving, track: _Track, now: float) -> float | None:
        if track.begun is None or now <= track.begun:
            return None
        recent = (job.position - track.began) / (now - track.begun)
        return track.speed if track.speed is not None else recent
