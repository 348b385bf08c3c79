"""What all parts of one running transfer share, and the loop that watches over its workers."""

from __future__ import annotations

import random
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from airflow_s3stream.engine.events import Event, Listener, Progressed, Retried
from airflow_s3stream.engine.mailbox import Mailbox
from airflow_s3stream.engine.pace import Bandwidth, ConnectionLimiter
from airflow_s3stream.engine.protocols import Body
from airflow_s3stream.engine.retrying import Retrier
from airflow_s3stream.engine.stop import POLL, Limits, StopFlag
from airflow_s3stream.exceptions import S3StreamError, SinkThrottled, SourceStalled, SourceThrottled, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.config import CopyOptions
    from airflow_s3stream.engine.protocols import CompletedPart

T = TypeVar("T")
P = TypeVar("P")
B = TypeVar("B", bound=Body)

_JOIN = 0.4  # seconds given to workers to end before they are left to their sockets' timeouts


@dataclass(slots=True, eq=False)
class Reading:
    """One open body being read: who blocks, since when, and how much has passed."""

    body: Body
    since: float | None = None
    """When the read under way began; None between reads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chances:
    """Time and chance, so that tests can hold them still."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    draw: Callable[[], float] = random.random


class Run:
    """
    One transfer under way: its limits, retries, pace, and what it has to tell.

    Workers post events; the thread that called hands them to the listener. State marked "workers" is touched by
    worker threads under ``_lock`` or through the queue, the rest by the calling thread alone.
    """

    def __init__(
        self, options: CopyOptions, stop: StopFlag, listener: Listener | None, chances: Chances | None = None
    ) -> None:
        chances = chances or Chances()
        self.options = options
        self.clock = chances.clock
        self.limits = Limits(stop, options.timeouts.deadline, clock=chances.clock, sleep=chances.sleep)
        self.retrier = Retrier(options.retry, self.limits, draw=chances.draw, on_retry=self._on_retry)
        self.bandwidth = Bandwidth(options.max_bandwidth, self.limits)
        self.piece = self.bandwidth.piece(options.connections)
        """Bytes to read at a time at most."""
        self.limiter = ConnectionLimiter(options.connections, self.limits)
        self.stragglers: list[threading.Thread] = []
        """Workers that did not end when they were told to."""
        self.meter = Meter(options.progress_interval, chances.clock)
        self._listener = listener
        self._caller = threading.get_ident()
        self._events: SimpleQueue[Event] = SimpleQueue()  # workers
        self._lock = threading.Lock()
        self._readings: set[Reading] = set()  # workers, under _lock

    def tell(self, event: Event) -> None:
        """Give an event to the listener. Calling thread only."""
        if self._listener:
            self._listener(event)

    def call(self, what: str, action: Callable[[], T]) -> T:
        """Run one request to the store on the control path: retried, and interruptible by stop and deadline."""
        return self.retrier.call(what, lambda: self.limits.call(action))

    def open(self, action: Callable[[], tuple[P, B]]) -> tuple[P, B]:
        """
        Ask the source once; interruptible, and bounded although a source may drip its headers byte by byte.

        :raises SourceStalled: the head of its answer did not come in time.
        """
        timeouts = self.options.timeouts
        within = timeouts.connect + timeouts.read + timeouts.stall
        try:
            return self.limits.call(action, discard=lambda opened: opened[1].close(), within=within)
        except TimeoutError:
            raise SourceStalled(f"the source did not answer in {within:g} s (the three timeouts together)") from None

    def watch(self, body: Body) -> Reading:
        """Begin to watch a body for stalls and stops. Any thread."""
        reading = Reading(body)
        with self._lock:
            self._readings.add(reading)
        return reading

    def unwatch(self, reading: Reading) -> None:
        """Stop watching. Any thread."""
        with self._lock:
            self._readings.discard(reading)

    def stored(self, part: CompletedPart) -> None:
        """Note a part that the store has. Any thread."""
        self.meter.store(part.size)
        self.retrier.budget.refund()
        self.limiter.succeeded()

    def crew(self, workers: list[Callable[[], None]]) -> None:
        """
        Run workers on threads of their own until all have ended, watching over them.

        :raises BaseException: the first failure of a worker, a stop, or the deadline; the workers are ended first.
        """
        done: Mailbox[BaseException | None] = Mailbox()
        threads = [
            threading.Thread(target=_report, args=(work, done), name=f"s3stream-{number}", daemon=True)
            for number, work in enumerate(workers)
        ]
        try:
            for thread in threads:
                thread.start()
            left = len(threads)
            while left:
                try:
                    error = done.get(timeout=POLL)
                except Empty:
                    self._tick()
                    continue
                if error is not None:
                    raise error
                left -= 1
                self._tick()
        except BaseException:
            self._end(threads)
            self._flush()
            raise
        self._flush()

    def _end(self, threads: list[threading.Thread]) -> None:
        self.stragglers = [thread for thread in threads if thread.ident is not None]  # if this is interrupted, all
        self.limits.abandon()
        self._interrupt(lambda _: Stopped("the transfer was given up"))
        ends = time.monotonic() + _JOIN
        for thread in self.stragglers:
            thread.join(max(0.0, ends - time.monotonic()))
        self.stragglers = [thread for thread in self.stragglers if thread.is_alive()]

    def _tick(self) -> None:
        self.limits.check()
        self._interrupt(self._stalled)
        self._flush()
        progress = self.meter.due(self.retrier.budget.spent, self.limiter.allowed)
        if progress:
            self.tell(progress)

    def _stalled(self, reading: Reading) -> S3StreamError | None:
        since, stall = reading.since, self.options.timeouts.stall  # read once: its worker may end the read meanwhile
        if since is None or self.clock() - since < stall:
            return None
        return SourceStalled(f"the source did not deliver one read in stall_timeout ({stall:g} s)")

    def _flush(self) -> None:
        with suppress(Empty):
            while True:
                self.tell(self._events.get_nowait())

    def _interrupt(self, judge: Callable[[Reading], S3StreamError | None]) -> None:
        with self._lock:
            readings = list(self._readings)
        for reading in readings:
            error = judge(reading)
            if error:
                reading.body.interrupt(error)

    def _on_retry(self, what: str, error: S3StreamError, pause: float) -> None:
        if isinstance(error, SinkThrottled | SourceThrottled):
            self.limiter.throttled()
        self._events.put(Retried(what=what, reason=str(error), pause=pause))
        if threading.get_ident() == self._caller:
            self._flush()


def _report(work: Callable[[], None], done: Mailbox[Any]) -> None:
    try:
        work()
    except BaseException as error:  # noqa: BLE001 - raised again by the thread that watches
        done.put(error)
    else:
        done.put(None)


@dataclass(slots=True, eq=False)
class Meter:
    """Counts bytes and says when a progress event is due."""

    interval: float
    clock: Callable[[], float]
    size: int | None = None
    _stored: int = 0
    _moved: int = 0
    _lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _last: tuple[float, int] = (0.0, 0)

    def start(self, size: int | None) -> None:
        """Begin the first interval."""
        self.size = size
        self._last = (self.clock(), 0)

    def resume(self, size: int) -> None:
        """Count bytes that the store had before. Calling thread, before any are moved."""
        self._stored += size
        self._moved += size
        self._last = (self._last[0], self._moved)

    def move(self, size: int) -> None:
        """Count bytes on their way. Any thread."""
        with self._lock:
            self._moved += size

    def store(self, size: int) -> None:
        """Count bytes the store has confirmed. Any thread."""
        with self._lock:
            self._stored += size

    def lose(self, size: int) -> None:
        """Count bytes of a part that must be moved again. Any thread."""
        with self._lock:
            self._lost += size

    def due(self, retries: int, connections: int) -> Progressed | None:
        """Give the event if an interval has passed since the last."""
        now, (then, before) = self.clock(), self._last
        if now - then < self.interval:
            return None
        with self._lock:
            stored, moved, under_way = self._stored, self._moved, self._moved - self._stored - self._lost
        self._last = (now, moved)
        rate = (moved - before) / (now - then)
        left = None if self.size is None or not rate else max(0, self.size - stored - under_way) / rate
        return Progressed(
            stored=stored,
            under_way=under_way,
            size=self.size,
            rate=rate,
            seconds_left=left,
            retries=retries,
            connections=connections,
        )
