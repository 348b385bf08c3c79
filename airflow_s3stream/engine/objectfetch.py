"""The supply of the network loop for one huge object: its ranges, over all connections, into a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from airflow_s3stream.engine.events import ObjectProgressed
from airflow_s3stream.engine.ranges import RangeJob
from airflow_s3stream.plan.download import WHOLE
from airflow_s3stream.plan.speeds import Speeds

if TYPE_CHECKING:
    from airflow_s3stream.engine.absorb import Absorber
    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.fetchrun import FetchRun
    from airflow_s3stream.engine.loop import Job
    from airflow_s3stream.engine.objecthead import ObjectHead
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.gaps import Gaps


class ObjectFetch:
    """
    Asks for what is missing, and in the last stretch divides what is under way among idle connections.

    :param gaps: what is missing.
    :param min_speed: see :class:`~airflow_s3stream.plan.getting.GetOptions`.
    """

    def __init__(
        self, run: FetchRun, head: ObjectHead, gaps: Gaps, absorber: Absorber, *, min_speed: int | None = None
    ) -> None:
        self.key, self.etag, self.size = head.key, head.etag, head.size
        self._run = run
        self._gaps = gaps
        self._absorber = absorber
        self._speeds = Speeds(run.clock, min_speed)
        self._under_way: set[RangeJob] = set()
        self._resumed = absorber.stored
        self._told = (run.clock(), absorber.stored)
        self._credited = absorber.stored
        self.slow_dropped = 0
        """Times a connection was dropped for being slow."""

    # What the loop asks.

    def next_job(self) -> Job | None:
        """Give the next range, or half of one under way."""
        span = self._gaps.take() or self._take_over()
        if span is None:
            return None
        job = RangeJob(self, *span)
        self._under_way.add(job)
        job.again()
        return job

    def turn(self) -> bool:
        """Drop what is slow, say how far it is."""
        for job in cast("list[RangeJob]", self._speeds.slow()):
            if self._run.loop.move(job):
                self._speeds.moved(job)
                self.slow_dropped += 1
        # After throttling, connections come back with progress; ranges are too large to be counted for it.
        answers, _ = divmod(self._absorber.stored - self._credited, WHOLE)
        if answers:
            self._credited += answers * WHOLE
            self._run.width.answered(answers)
        self.tick()
        return bool(self._under_way or self._gaps.left)

    def tell(self, event: Event) -> None:
        """Pass on an event."""
        self._run.tell(event)

    # What ranges tell.

    def asked(self, job: RangeJob) -> None:
        """Note that a request goes out."""
        self._speeds.asked(job)

    def begun(self, job: RangeJob) -> None:
        """Note that its answer has come."""
        self._speeds.begun(job)

    def take(self, job: RangeJob, pieces: list[bytes]) -> None:
        """Write bytes, on the reader's thread."""
        self._absorber.put(job, pieces)

    def arrived(self, job: RangeJob) -> None:
        """Take note of a finished range."""
        self._ended(job)
        self._absorber.complete(job)
        self._run.loop.budget.refund()

    def lost(self, job: RangeJob, error: S3StreamError, *, general: bool) -> None:
        """
        End the run: without one range there is no object.

        :raises S3StreamError: ``error``.
        """
        self._ended(job)
        error.op, error.target = error.op or "GetObject", error.target or self._run.uri
        raise error

    def tick(self, *, now: bool = False) -> None:
        """Say how far it is, when an interval has passed."""
        clock, (then, before) = self._run.clock(), self._told
        if not now and clock - then < self._run.options.progress_interval:
            return
        stored = self._absorber.stored
        rate = (stored - before) / (clock - then) if clock > then else 0.0
        self._told = clock, stored
        self._run.tell(
            ObjectProgressed(
                stored=stored,
                size=self.size,
                resumed=self._resumed,
                bytes_per_second=rate,
                seconds_left=(self.size - stored) / rate if rate else None,
                retries=self._run.loop.budget.spent,
                connections=self._run.loop.busy,
            )
        )

    def _ended(self, job: RangeJob) -> None:
        self._under_way.discard(job)
        self._speeds.ended(job)

    def _take_over(self) -> tuple[int, int] | None:
        victim = cast("RangeJob | None", self._speeds.longest())
        if victim is None:
            return None
        middle, stop = self._speeds.middle(victim), victim.stop
        return (middle, stop) if victim.lower(middle) else None
