"""What one download shares: readers, limits, width, and what it has to tell."""

from __future__ import annotations

import threading
from collections import Counter
from typing import TYPE_CHECKING

from airflow_s3stream.engine.events import Event, Fetched, Listener, Retried
from airflow_s3stream.engine.loop import Loop, Supply
from airflow_s3stream.engine.readers import Readers
from airflow_s3stream.engine.run import Chances
from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.engine.width import Width, affordable
from airflow_s3stream.plan.download import MOST_CONNECTIONS, START_CONNECTIONS

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.plan.download import ReadOptions
    from airflow_s3stream.plan.getting import GetOptions

_TOLD_RETRIES = 5  # lines about retries per interval; the rest is only counted


class Tally:
    """Counts. ``deliver`` may be called by any thread, the rest belongs to the network thread."""

    def __init__(self) -> None:
        self.objects = self.bytes = self.listed = self.failed = self.skipped = self.boto3 = 0
        self.verification: Counter[str] = Counter()
        self._lock = threading.Lock()

    def deliver(self, level: str, size: int) -> None:
        """Count an object fetched."""
        with self._lock:
            self.objects += 1
            self.bytes += size
            self.verification[level] += 1

    def skip(self) -> None:
        """Count an object left alone. Any thread."""
        with self._lock:
            self.skipped += 1


class FetchRun:
    """
    One download under way.

    :param uri: what people call it.
    :param threads: that bodies are taken on.
    """

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        uri: str,
        options: ReadOptions | GetOptions,
        *,
        stop: StopFlag | None = None,
        listener: Listener | None = None,
        chances: Chances | None = None,
        threads: int = 1,
    ) -> None:
        chances = chances or Chances()
        self.options = options
        self.bucket = bucket
        self.uri = uri
        self.clock = chances.clock
        self.limits = Limits(stop or StopFlag(), options.timeouts.deadline, clock=chances.clock, sleep=chances.sleep)
        self.tally = Tally()
        self.warnings: list[str] = []
        first = options.connections or START_CONNECTIONS
        most = options.connections or MOST_CONNECTIONS
        self.width = Width(min(first, affordable(first)), self._afford(most), chances.clock)
        self.readers = Readers(client, bucket, connections=most, timeouts=options.timeouts, threads=threads)
        if self.readers.obstacle:
            self.warnings.append(f"everything is read through boto3, which is slow: {self.readers.obstacle}")
        self.began = chances.clock()
        self.listing_seconds = 0.0
        self.loop: Loop
        self._loops: list[Loop] = []
        self._chances = chances
        self._listener = listener
        self._last = (self.began, 0, 0)
        self._retries_told, self._retries_since = 0, self.began

    def drive(self, supply: Supply) -> None:
        """Run a network loop until the supply is spent."""
        self.loop = Loop(
            self.readers,
            supply,
            self.options.retry,
            self.limits,
            self.width,
            max_bandwidth=self.options.max_bandwidth,
            draw=self._chances.draw,
        )
        self._loops.append(self.loop)
        self.loop.run()

    @property
    def requests(self) -> int:
        """Sent so far."""
        return sum(loop.requests for loop in self._loops)

    @property
    def retries(self) -> int:
        """Made so far."""
        return sum(loop.budget.spent for loop in self._loops)

    @property
    def seconds(self) -> float:
        """How long it has taken so far."""
        return self.clock() - self.began

    def listing_ended(self) -> None:
        """Take the time: all objects have been named."""
        self.listing_seconds = self.seconds

    def tell(self, event: Event) -> None:
        """Pass on an event; of retries only some, for there may be thousands."""
        if isinstance(event, Retried) and not self._worth_telling():
            return
        if self._listener:
            self._listener(event)

    def tick(self, *, listing_done: bool) -> None:
        """Tell how far it is, when an interval has passed."""
        now, (then, objects, size) = self.clock(), self._last
        if now - then < self.options.progress_interval:
            return
        tally, elapsed = self.tally, now - then
        self._last = (now, tally.objects, tally.bytes)
        rate = (tally.objects - objects) / elapsed
        left = tally.listed - tally.objects - tally.skipped - tally.failed
        self.tell(
            Fetched(
                objects=tally.objects,
                bytes=tally.bytes,
                listed=tally.listed,
                listing_done=listing_done,
                skipped=tally.skipped,
                failed=tally.failed,
                objects_per_second=rate,
                bytes_per_second=(tally.bytes - size) / elapsed,
                seconds_left=left / rate if listing_done and rate else None,
                retries=self.loop.budget.spent,
                connections=self.width.allowed,
            )
        )

    def _worth_telling(self) -> bool:
        now = self.clock()
        if now - self._retries_since >= self.options.progress_interval:
            self._retries_told, self._retries_since = 0, now
        self._retries_told += 1
        return self._retries_told <= _TOLD_RETRIES

    def _afford(self, connections: int) -> int:
        most = affordable(connections)
        if most < (self.options.connections or START_CONNECTIONS):
            self.warnings.append(
                f"{most} connections instead of {self.options.connections or START_CONNECTIONS}: "
                "the limit on open files (ulimit -n) allows no more"
            )
        return most
