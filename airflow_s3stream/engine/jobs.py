"""What the network loop does for downloads: fetch a page of the list, or a whole object. Large ones: see large."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.loop import Job
from airflow_s3stream.engine.proof import dated, prove_whole
from airflow_s3stream.engine.reader import Get
from airflow_s3stream.exceptions import SourceMisbehaved
from airflow_s3stream.plan.download import BOOKKEEPING

if TYPE_CHECKING:
    from airflow_s3stream.engine.fetch import Fetch
    from airflow_s3stream.engine.writer import Done, Work
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.listpage import ListRequest
    from airflow_s3stream.plan.objects import ObjectEntry


class Lists(Protocol):
    """Who wants pages."""

    uri: str

    def listed(self, request: ListRequest, body: bytes) -> None:
        """Take a page of the list."""


class PageJob(Job):
    """A page of the bucket's list."""

    __slots__ = ("_fetch", "_request")

    def __init__(self, fetch: Lists, request: ListRequest) -> None:
        super().__init__()
        self._fetch = fetch
        self._request = request
        self.get = self.again()

    @property
    def name(self) -> str:
        return "a page of the list"

    def again(self) -> Get:
        self.get = Get(None, query=self._request.query, limit=16 * MiB)
        return self.get

    def answered(self, get: Get) -> None:
        self._fetch.listed(self._request, b"".join(get.body))

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        error.op, error.target = error.op or "ListObjectsV2", error.target or self._fetch.uri
        raise error


class WholeJob(Job):
    """An object in one GET."""

    __slots__ = ("_entry", "_fetch", "_place", "_reserved", "_size")

    def __init__(self, fetch: Fetch, entry: ObjectEntry, place: Any, reserved: int) -> None:
        super().__init__()
        self._fetch = fetch
        self._entry = entry
        self._place = place
        self._reserved = reserved
        self._size = 0
        self.get = self.again()

    @property
    def cost(self) -> int:
        return self._entry.size or 0

    def again(self) -> Get:
        size = self._entry.size
        self.get = Get(self._entry.key, limit=self._reserved - BOOKKEEPING if size is None else size)
        return self.get

    @property
    def owed(self) -> int:
        return 0 if self._entry.size is not None else self._size

    def answered(self, get: Get) -> None:
        if get.status != 200:
            raise SourceMisbehaved(f"the store answered {get.status}, a part, to a GET of the whole", retryable=True)
        self._size = sum(map(len, get.body))
        self._fetch.finish(self, self._size)

    def pack(self) -> Work:
        """Give what the writing process needs."""
        get, entry = self.get, self._entry
        body = get.body[0] if len(get.body) == 1 else b"".join(get.body)
        return entry.key, entry.size, entry.etag, entry.modified, self._place, get.head_lines, body

    def unpack(self, done: Done) -> None:
        """Take note of what the writing process did."""
        level, etag, self._size = done
        self.get.body = []
        self._fetch.destination.note(self._entry, self._place, self._size, etag, level)
        self._fetch.count(level, self._size)

    def finish(self) -> None:
        """Prove the body and deliver it."""
        get, entry = self.get, self._entry
        body = get.body[0] if len(get.body) == 1 else b"".join(get.body)
        get.body = []
        self._size = len(body)
        headers = get.headers
        level, etag = prove_whole(entry, headers, body, strict=self._fetch.options.strict)
        destination = self._fetch.destination
        if not destination.holds:
            entry = dated(entry, headers)
        destination.deliver(entry, self._place, body, etag, level)
        self._fetch.count(level, self._size)

    def finished(self, error: BaseException | None) -> None:
        """Take note of how finishing went."""
        if error is None:
            self.settle()
        else:
            self.get.body = []
            self._fetch.judge(self, error)

    def settle(self) -> None:
        """Give back the memory, or hand it over with the body."""
        self._fetch.memory.delivered(self._reserved, self._size)

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        self._fetch.memory.release(self._reserved)
        if self._fetch.too_large(self.get, self._entry):
            self._fetch.reconsider(self._entry, self._place, self.get)
            return
        self._fetch.failed(self._entry, self._place, error, general=general)
