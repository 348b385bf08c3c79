"""Trials of downloading: ranges of one version of an object, through the network loop of a real download."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, cast

from airflow_s3stream.engine.absorb import Absorber
from airflow_s3stream.engine.curlcrew import threads_for
from airflow_s3stream.engine.curlreader import signable
from airflow_s3stream.engine.loop import Loop
from airflow_s3stream.engine.objecthead import ask_head
from airflow_s3stream.engine.ranges import RangeJob
from airflow_s3stream.engine.readers import Readers
from airflow_s3stream.engine.width import Width
from airflow_s3stream.exceptions import Stopped

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.loop import Job, Supply
    from airflow_s3stream.engine.objectfile import Written
    from airflow_s3stream.engine.objecthead import ObjectHead
    from airflow_s3stream.engine.trial import Trial
    from airflow_s3stream.engine.tuneplace import Place
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.tuning import Kind


class GetTrials:
    """
    Tries settings on one object.

    :raises S3StreamError: there is no such object, it may not be read, or the store cannot be reached.
    """

    kind: Kind = "get"
    source = ""

    def __init__(self, client: S3Client, bucket: str, key: str, place: Place) -> None:
        self.uri = f"s3://{bucket}/{key}"
        self.endpoint: str = client.meta.endpoint_url
        self._client = client
        self._bucket = bucket
        self._place = place
        self.warnings: list[str] = []
        self._head = self._ask(key)
        if not signable(key):
            self.warnings.append("the object is read through boto3, which is slow: libcurl cannot ask for such a key")
        self.size = self._head.size
        self._next = 0  # where the next range begins

    def measure(self, trial: Trial) -> None:
        """Move ranges until the trial has seen enough."""
        setting, place = trial.setting, self._place
        readers = self._readers(setting.connections)
        absorber = Absorber(_Nowhere(), "crc64nvme")
        ranges = _Ranges(self, trial, absorber, place)
        width = _CountingWidth(setting.connections, trial, place)
        ranges.loop = Loop(readers, ranges, place.options.retry, place.limits, width, draw=place.chances.draw)
        try:
            ranges.loop.run()
        finally:
            trial.requests = ranges.loop.requests
            readers.close()
            absorber.close()

    def close(self) -> str:
        """Nothing is left of a download."""
        return ""

    def take(self, size: int) -> tuple[int, int]:
        """Give the next bytes of the object, from its start again after its end."""
        start = self._next if self._next < self._head.size else 0
        self._next = min(start + size, self._head.size)
        return start, self._next

    @property
    def head(self) -> ObjectHead:
        """The version."""
        return self._head

    def _ask(self, key: str) -> ObjectHead:
        readers = self._readers(1)
        try:
            return ask_head(cast("Any", _Asking(self, readers, self._place)), key)
        finally:
            readers.close()

    def _readers(self, connections: int) -> Readers:
        timeouts = self._place.options.timeouts
        readers = Readers(
            self._client, self._bucket, connections=connections, timeouts=timeouts, threads=threads_for(connections)
        )
        if readers.obstacle and not self.warnings:
            self.warnings.append(f"everything is read through boto3, which is slow: {readers.obstacle}")
        return readers


class _Asking:
    """What asking for the head needs of a run."""

    def __init__(self, trials: GetTrials, readers: Readers, place: Place) -> None:
        self.uri = trials.uri
        self._readers = readers
        self._place = place

    def tell(self, event: Event) -> None:
        self._place.tell(event)

    def drive(self, supply: Supply) -> None:
        place = self._place
        width = Width(1, 1, place.clock)
        Loop(self._readers, supply, place.options.retry, place.limits, width, draw=place.chances.draw).run()


class _Ranges:
    """The supply of the loop, and the owner of its ranges: without end, until the trial has seen enough."""

    loop: Loop

    def __init__(self, trials: GetTrials, trial: Trial, absorber: Absorber, place: Place) -> None:
        head = trials.head
        self.key, self.etag, self.size = head.key, head.etag, head.size
        self._trials = trials
        self._trial = trial
        self._absorber = absorber
        self._clock = place.clock
        self._under_way: set[RangeJob] = set()
        self._begun = 0  # ranges of which the first byte has come
        self._given = 0
        self._over = False
        self._counting = threading.Lock()
        self._asked: dict[RangeJob, float] = {}

    # What the loop asks.

    def next_job(self) -> Job | None:
        """Give the next range."""
        if self._over:
            return None
        count, part = self._trial.setting
        size = self._trial.first_part(self._given) if self._given < count else part
        self._given += 1
        job = RangeJob(self, *self._trials.take(size))
        self._under_way.add(job)
        job.again()
        return job

    def turn(self) -> bool:
        """See whether it is enough; then drop what is under way."""
        self._trial.requests = self.loop.requests
        if not self._over and self._trial.look(under_way=self._begun >= self._trial.setting.connections):
            self._over = True
            for job in self._under_way:
                self.loop.drop(job)
            self._under_way.clear()
        return not self._over

    def tell(self, event: Event) -> None:
        """Count what fails; a tune tells of it at the end, in one figure."""
        self._trial.errors += 1

    # What ranges tell.

    def asked(self, job: RangeJob) -> None:
        """Note that a request goes out."""
        self._asked[job] = self._clock()

    def begun(self, job: RangeJob) -> None:
        """Note that its answer has come."""
        asked = self._asked.pop(job, None)
        with self._counting:
            # The first of each connection waited for a handshake too.
            if asked is not None and self._begun >= self._trial.setting.connections:
                self._trial.first_bytes.append(self._clock() - asked)
            self._begun += 1

    def take(self, job: RangeJob, pieces: list[bytes]) -> None:
        """Count, and hand over to where checksums are computed."""
        if self._over:  # a thread of the boto3 reader may be late
            raise Stopped("the trial is over")
        with self._counting:
            self._trial.moved(sum(map(len, pieces)))
        self._absorber.put(job, pieces)

    def arrived(self, job: RangeJob) -> None:
        """Take note of a finished range."""
        self._ended(job)
        self._absorber.complete(job)
        self.loop.budget.refund()

    def lost(self, job: RangeJob, error: S3StreamError, *, general: bool) -> None:
        """
        End the trial.

        :raises S3StreamError: ``error``.
        """
        self._ended(job)
        error.op, error.target = error.op or "GetObject", error.target or self._trials.uri
        raise error

    def _ended(self, job: RangeJob) -> None:
        self._under_way.discard(job)
        self._asked.pop(job, None)


class _Nowhere:
    """Where the bytes of a tune go, in place of a file."""

    def write(self, chunks: list[bytes], offset: int) -> None:
        """Forget them."""

    def note(self, piece: Written) -> None:
        """Forget it."""

    def flush(self, start: int, stop: int) -> None:
        """There is nothing to flush."""


class _CountingWidth(Width):
    """Counts how often the store asks for less."""

    def __init__(self, connections: int, trial: Trial, place: Place) -> None:
        super().__init__(connections, connections, place.clock)
        self._trial = trial

    def throttled(self, asked_in: int) -> None:
        """Halve, as a download does, and count."""
        self._trial.throttles += 1
        super().throttled(asked_in)
