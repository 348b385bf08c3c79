"""A large object among others: its head, its ranges, and the proof of the whole."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import combine, continued
from airflow_s3stream.engine.loop import Job
from airflow_s3stream.engine.proof import check_strict, dated, etag_is_md5, etag_of, full_checksum
from airflow_s3stream.engine.ranges import RangeJob
from airflow_s3stream.engine.reader import Get
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    IntegrityError,
    LocalError,
    S3StreamError,
    SourceMisbehaved,
    Stopped,
)
from airflow_s3stream.plan.digests import COMBINABLE
from airflow_s3stream.plan.download import WHOLE

if TYPE_CHECKING:
    from airflow_s3stream.engine.destination import LargeBody
    from airflow_s3stream.engine.fetch import Fetch
    from airflow_s3stream.plan.objects import ObjectEntry

_READ = MiB


class LargeObject:
    """A large object being fetched by ranges: what is left to ask for, what has been computed."""

    def __init__(self, fetch: Fetch, entry: ObjectEntry, place: Any, reserved: int) -> None:
        self._reserved = reserved
        self.fetch = fetch
        self.entry = entry
        self.place = place
        self.etag = ""
        self.size = entry.size or 0
        self.headers: dict[str, str] = {}
        self.body: LargeBody | None = None
        self.guard = threading.Lock()
        """Held while ``body`` is written or dropped: a thread of the boto3 reader may be late, and the body's file
        descriptor be another's by then."""
        self.algorithm: Any = None  # of the running checksum; None where the store keeps none that can be joined
        self._promised = b""
        self._next = 0
        self.under_way = 0
        """Ranges."""
        self._done: dict[int, tuple[int, int]] = {}  # (checksum, length) of finished ranges by their start
        self._ended = False
        self._published = False

    def begin(self, headers: dict[str, str]) -> None:
        """
        Learn from the head which version this is.

        :raises S3StreamError: it is not what was listed.
        """
        self.headers, self.etag = headers, etag_of(headers)
        self.entry = dated(self.entry, headers)
        length = headers.get("content-length", "")
        if not (length.isascii() and length.isdigit()):
            raise SourceMisbehaved(f"the store tells the object's length as {length!r}")
        self.size = int(length)
        if self.entry.size is not None and self.size != self.entry.size and self.etag == self.entry.etag:
            raise SourceMisbehaved(
                f"the store tells two lengths of one version: {self.entry.size} and {self.size} bytes"
            )
        if not self.etag:
            raise SourceMisbehaved("the store gives no ETag, so ranges of a large object cannot be held together")
        promised = full_checksum(headers)
        if promised and promised[0] in COMBINABLE:
            self.algorithm, self._promised = promised

    def next_range(self) -> RangeJob | None:
        """Give the next range to ask for; None when all have been, or there is no room for it yet."""
        if self._ended or self.body is None or self._next >= self.size:
            return None
        start, self._next = self._next, min(self._next + WHOLE, self.size)
        self.under_way += 1
        job = RangeJob(self, start, self._next)
        job.again()
        return job

    @property
    def exhausted(self) -> bool:
        """Whether every range has been asked for."""
        return self._ended or (self.body is not None and self._next >= self.size)

    @property
    def key(self) -> str:
        """Of the object."""
        return self.entry.key

    def asked(self, job: RangeJob) -> None:
        """Do nothing."""

    def begun(self, job: RangeJob) -> None:
        """Do nothing."""

    def take(self, job: RangeJob, pieces: list[bytes]) -> None:
        """Put bytes in their place. The network thread, or a thread of boto3's."""
        with self.guard:
            if self.body is None:
                raise Stopped("the object was given up")
            self.body.pwrite(b"".join(pieces), job.position)
        if self.algorithm:
            for piece in pieces:
                job.checksum = continued(self.algorithm, piece, job.checksum)

    def lost(self, job: RangeJob, error: S3StreamError, *, general: bool) -> None:
        """Give the object up."""
        self.abandon(error, general=general)

    def arrived(self, job: RangeJob) -> None:
        """Take note of a finished range."""
        self.under_way -= 1
        self.fetch.budget_refund()
        self._done[job.start] = (job.checksum, job.stop - job.start)
        if not self._ended and not self.under_way and self._next >= self.size:
            self.fetch.dispatcher.add(self)

    def abandon(self, error: S3StreamError, *, general: bool) -> None:
        """Give the object up; ranges under way end unheard."""
        if self._ended:
            return
        self._ended = True
        self.drop()
        self.fetch.large_ended(self)
        self.fetch.memory.release(self._reserved)
        self.fetch.failed(self.entry, self.place, error, general=general)

    def drop(self) -> None:
        """Leave nothing behind."""
        with self.guard:
            body, self.body = self.body, None
            if body is not None:
                body.discard()

    def finish(self) -> None:
        """Make room for it, when that has not been done; else prove and publish it."""
        if self.body is None:
            self.body = self.fetch.destination.open_large(self.entry, self.place, self.size)
            return
        level = self._prove(self.body)
        self.body.commit(self.etag, level)
        self._ended = self._published = True
        self.fetch.count(level, self.size)

    def finished(self, error: BaseException | None) -> None:
        """Take note of how finishing went."""
        if error is None and not self._ended:
            if not self.size:
                self.fetch.dispatcher.add(self)
            return
        if isinstance(error, Stopped | DeadlineExceeded):
            raise error  # that is the run's end, and not the object's fault
        if error is not None:
            self.abandon(self.fetch.own(error), general=isinstance(error, LocalError))
            return
        self.fetch.large_ended(self)
        self.settle()

    def settle(self) -> None:
        """Give back the memory, or hand it over with the body, if that has been published."""
        if self._published:
            self.fetch.memory.delivered(self._reserved, self.size)

    def _prove(self, body: LargeBody) -> str:
        if self.algorithm:
            total = combine(self.algorithm, [self._done[start] for start in sorted(self._done)])
            if total != int.from_bytes(self._promised, "big"):
                raise IntegrityError(
                    f"the object does not have the {self.algorithm} that the store keeps", retryable=True
                )
            return str(self.algorithm)
        if etag_is_md5(self.etag, self.headers):
            self._prove_md5(body)
            return "md5-etag"
        check_strict(self.fetch.options.strict)
        return "size"

    def _prove_md5(self, body: LargeBody) -> None:
        digest, offset = hashlib.md5(usedforsecurity=False), 0
        while chunk := body.pread(_READ, offset):
            self.fetch.check()
            digest.update(chunk)
            offset += len(chunk)
        if digest.hexdigest() != self.etag:
            raise IntegrityError("the object does not have the MD5 that its ETag is", retryable=True)


class HeadJob(Job):
    """The head of a large object: which version, and which checksum the store keeps of it."""

    __slots__ = ("_large",)

    def __init__(self, large: LargeObject) -> None:
        super().__init__()
        self._large = large
        self.get = self.again()

    @property
    def name(self) -> str:
        return f"HEAD {self._large.entry.key}"

    def again(self) -> Get:
        self.get = Get(self._large.entry.key, head=True)
        return self.get

    def answered(self, get: Get) -> None:
        self._large.begin(get.headers)
        self._large.fetch.dispatcher.add(self._large)

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        self._large.abandon(error, general=general)
