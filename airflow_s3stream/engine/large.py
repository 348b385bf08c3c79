"""A large object: its head, its ranges, and the proof of the whole."""

from __future__ import annotations

import hashlib
import threading
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import combine, continued
from airflow_s3stream.engine.loop import Job
from airflow_s3stream.engine.proof import check_strict, dated, etag_is_md5, etag_of, full_checksum
from airflow_s3stream.engine.reader import Get
from airflow_s3stream.exceptions import (
    IntegrityError,
    LocalError,
    S3StreamError,
    SourceChanged,
    SourceMisbehaved,
    SourceTruncated,
    Stopped,
)
from airflow_s3stream.plan.digests import COMBINABLE
from airflow_s3stream.plan.download import WHOLE
from airflow_s3stream.plan.ranges import ContentRange

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
        return RangeJob(self, start, self._next)

    @property
    def exhausted(self) -> bool:
        """Whether every range has been asked for."""
        return self._ended or (self.body is not None and self._next >= self.size)

    def arrived(self, start: int, checksum: int, length: int) -> None:
        """Take note of a finished range."""
        self.under_way -= 1
        self.fetch.budget_refund()
        self._done[start] = (checksum, length)
        if not self._ended and not self.under_way and self._next >= self.size:
            self.fetch.finishers.add(self)

    def abandon(self, error: S3StreamError, *, general: bool) -> None:
        """Give the object up; ranges under way end unheard."""
        if self._ended:
            return
        self._ended = True
        self.drop()
        self.fetch.large_ended(self)
        self.fetch.release(self._reserved)
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
                self.fetch.finishers.add(self)
            return
        if error is not None:
            self.abandon(self.fetch.own(error), general=isinstance(error, LocalError))
            return
        self.fetch.large_ended(self)
        self.settle()

    def settle(self) -> None:
        """Give back the memory, or hand it over with the body, if that has been published."""
        if self._published:
            self.fetch.delivered(self._reserved, self.size)

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
        self._large.fetch.finishers.add(self._large)

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        self._large.abandon(error, general=general)


class RangeJob(Job):
    """A range of a large object, continued where it broke."""

    __slots__ = ("_asked_from", "_checksum", "_large", "_position", "_start", "_stop")

    def __init__(self, large: LargeObject, start: int, stop: int) -> None:
        super().__init__()
        self._large = large
        self._start = self._position = start
        self._stop = stop
        self._checksum = 0
        self._asked_from = start
        self.get = self.again()

    @property
    def cost(self) -> int:
        return self._stop - self._position

    @property
    def name(self) -> str:
        return f"GET {self._large.entry.key} bytes {self._position}-{self._stop - 1}"

    def again(self) -> Get:
        if self._position - self._asked_from >= MiB:
            self.failures.clear()  # what breaks now and then but moves on is not failing
            self.spent = 0
        self._asked_from = self._position
        span = (self._position, self._stop)
        self.get = Get(self._large.entry.key, span=span, etag=self._large.etag, limit=self._stop - self._position,
                       begin=self._check, write=self._take)  # fmt: skip
        return self.get

    def answered(self, get: Get) -> None:
        if self._position < self._stop:
            raise SourceTruncated(f"the range ended {self._stop - self._position} bytes early")
        self._large.arrived(self._start, self._checksum, self._stop - self._start)

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        self._large.abandon(error, general=general)

    def _check(self, get: Get) -> S3StreamError | None:
        """Believe no answer to a range that does not say it is that range of that version (RFC 9110 section 15.3.7)."""
        headers = get.headers
        # Some stores send a range under status 200; what counts is that it says which range it is.
        if get.status != 206 and "content-range" not in headers:
            if self._position == 0 and self._stop == self._large.size and etag_of(headers) == self._large.etag:
                return None  # the whole, and the whole was asked for
            return SourceMisbehaved("the store ignores Range: it answered 200 with the whole object")
        found = ContentRange.parse(headers.get("content-range"))
        if found is None:
            return SourceMisbehaved(f"Content-Range is missing or malformed: {headers.get('content-range')!r}")
        if found.span.start != self._position or found.span.stop > self._stop:
            return SourceMisbehaved(
                f"bytes {self._position}-{self._stop - 1} were asked for; the store sent {headers['content-range']!r}"
            )
        if found.total is not None and found.total != self._large.size:
            return SourceChanged(f"the object has {found.total} bytes now, and had {self._large.size}")
        if etag_of(headers) != self._large.etag:
            return SourceChanged(f"the object was replaced while it was read: its ETag is {etag_of(headers)} now")
        return None

    def _take(self, chunk: bytes) -> None:
        if self._position + len(chunk) > self._stop:
            raise SourceMisbehaved("the store sent more bytes than were asked for")
        with self._large.guard:
            if self._large.body is None:
                raise Stopped("the object was given up")
            self._large.body.pwrite(chunk, self._position)
        if self._large.algorithm:
            self._checksum = continued(self._large.algorithm, chunk, self._checksum)
        self._position += len(chunk)
