"""A range of one version of an object: every answer checked, continued where it broke."""

from __future__ import annotations

import threading
from functools import partial
from typing import Protocol

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.loop import Job
from airflow_s3stream.engine.proof import etag_of
from airflow_s3stream.engine.reader import Get
from airflow_s3stream.exceptions import S3StreamError, SourceChanged, SourceMisbehaved, SourceTruncated
from airflow_s3stream.plan.ranges import ContentRange

_PROGRESS = MiB  # bytes that make a break a new one rather than the same again


class RangeOwner(Protocol):
    """Who wants the range. All on the network thread, but ``begun`` and ``take``, which are on the reader's."""

    @property
    def key(self) -> str:
        """Of the object."""

    @property
    def etag(self) -> str:
        """Of the version, without quotes; not empty."""

    @property
    def size(self) -> int:
        """Of the whole object, in bytes."""

    def asked(self, job: RangeJob) -> None:
        """Note that a GET for what is missing is about to be sent."""

    def begun(self, job: RangeJob) -> None:
        """Note that its answer has come and is a right one."""

    def take(self, job: RangeJob, pieces: list[bytes]) -> None:
        """
        Take the bytes from ``job.position`` on, which moves on only after.

        :raises S3StreamError: they cannot be taken, and none was; the GET ends.
        """

    def arrived(self, job: RangeJob) -> None:
        """Take note that the range is complete."""

    def lost(self, job: RangeJob, error: S3StreamError, *, general: bool) -> None:
        """Take note that it will not come."""


class RangeJob(Job):
    """
    Bytes [start, stop) of an object.

    :ivar position: of the next byte to come.
    :ivar stop: may be lowered while the range is under way (:meth:`lower`).
    """

    __slots__ = ("_asked_from", "_asked_to", "_guard", "_owner", "_turn", "checksum", "position", "start", "stop")

    def __init__(self, owner: RangeOwner, start: int, stop: int) -> None:
        super().__init__()
        self._owner = owner
        self._turn = 0  # of asking; a thread of boto3's may still bring bytes of an earlier one
        self._guard = threading.Lock()
        self.start = self.position = self._asked_from = start
        self.stop = self._asked_to = stop
        self.checksum = 0
        """For the owner's use."""

    @property
    def cost(self) -> int:
        return self.left

    @property
    def complete(self) -> bool:
        return self.position >= self.stop > self._asked_from

    @property
    def left(self) -> int:
        """Bytes still to come."""
        return self.stop - self.position

    @property
    def name(self) -> str:
        return f"GET {self._owner.key} bytes {self.position}-{self.stop - 1}"

    def again(self) -> Get:
        if self.position - self._asked_from >= _PROGRESS:
            self.failures.clear()  # what breaks now and then but moves on is not failing
            self.spent = 0
        with self._guard:
            self._turn += 1
            self._asked_from, self._asked_to = self.position, self.stop
        self.get = Get(self._owner.key, span=(self.position, self.stop), etag=self._owner.etag, limit=self.left,
                       begin=self._check, write=partial(self._take, self._turn))  # fmt: skip
        self._owner.asked(self)
        return self.get

    def lower(self, stop: int) -> bool:
        """Leave what is behind ``stop`` to somebody else; False if it has come by now."""
        with self._guard:
            if not self.position < stop < self.stop:
                return False
            self.stop = stop
            return True

    def answered(self, get: Get) -> None:
        if self.position < self.stop:
            raise SourceTruncated(f"the range ended {self.left} bytes early")
        self._owner.arrived(self)

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        self._owner.lost(self, error, general=general)

    def _check(self, get: Get) -> S3StreamError | None:
        error = self._verdict(get)
        if error is None:
            self._owner.begun(self)
        return error

    def _verdict(self, get: Get) -> S3StreamError | None:
        """Believe no answer to a range that does not say it is that range of that version (RFC 9110 section 15.3.7)."""
        headers, owner = get.headers, self._owner
        # Some stores send a range under status 200; what counts is that it says which range it is.
        if get.status != 206 and "content-range" not in headers:
            if self.position == 0 and self._asked_to == owner.size and etag_of(headers) == owner.etag:
                return None  # the whole, and the whole was asked for
            return SourceMisbehaved("the store ignores Range: it answered 200 with the whole object")
        found = ContentRange.parse(headers.get("content-range"))
        if found is None:
            return SourceMisbehaved(f"Content-Range is missing or malformed: {headers.get('content-range')!r}")
        if found.span.start != self.position or found.span.stop > self._asked_to:
            return SourceMisbehaved(
                f"bytes {self.position}-{self._asked_to - 1} were asked for; "
                f"the store sent {headers['content-range']!r}"
            )
        if found.total is not None and found.total != owner.size:
            return SourceChanged(f"the object has {found.total} bytes now, and had {owner.size}")
        if etag_of(headers) != owner.etag:
            return SourceChanged(f"the object was replaced while it was read: its ETag is {etag_of(headers)} now")
        return None

    def _take(self, turn: int, pieces: list[bytes]) -> bool:
        with self._guard:
            return turn != self._turn or self._take_in(pieces)

    def _take_in(self, pieces: list[bytes]) -> bool:
        size = sum(map(len, pieces))
        if self.position + size > self._asked_to:
            raise SourceMisbehaved("the store sent more bytes than were asked for")
        if self.position + size > self.stop:
            pieces = _first(pieces, self.left)
            size = self.left
        if size:
            self._owner.take(self, pieces)
            self.position += size
        return self.position >= self.stop and self.stop < self._asked_to


def _first(pieces: list[bytes], size: int) -> list[bytes]:
    """Give the first ``size`` bytes."""
    kept = []
    for piece in pieces:
        if size <= 0:
            break
        kept.append(piece[:size] if len(piece) > size else piece)
        size -= len(piece)
    return kept
