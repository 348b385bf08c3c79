"""What the store says of an object before its bytes: which version, how long, and what can be proved of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Protocol

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.loop import Job
from airflow_s3stream.engine.proof import dated, etag_of
from airflow_s3stream.engine.reader import ATTRIBUTES, Get
from airflow_s3stream.exceptions import SourceMisbehaved
from airflow_s3stream.plan.objects import ObjectEntry
from airflow_s3stream.plan.partsxml import PAGE, parse_parts

if TYPE_CHECKING:
    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.loop import Supply
    from airflow_s3stream.exceptions import S3StreamError

_PARTS_LIMIT = MiB  # bytes of a page; a thousand parts with SHA-256 are some 130 KB


class Asks(Protocol):
    """What can send requests: a :class:`~airflow_s3stream.engine.fetchrun.FetchRun`, or less."""

    @property
    def uri(self) -> str:
        """What people call the object."""

    def drive(self, supply: Supply, /) -> None:
        """Run a network loop until the supply is spent."""

    def tell(self, event: Event, /) -> None:
        """Pass on an event."""


class ObjectHead(NamedTuple):
    """One version of an object. ``etag`` is without quotes and not empty; ``modified`` epoch seconds, 0 unknown."""

    key: str
    etag: str
    size: int
    modified: float
    headers: dict[str, str]


def read_head(key: str, headers: dict[str, str]) -> ObjectHead:
    """
    Read an answer to HEAD.

    :raises SourceMisbehaved: it tells no length, or no ETag.
    """
    length, etag = headers.get("content-length", ""), etag_of(headers)
    if not (length.isascii() and length.isdigit()):
        raise SourceMisbehaved(f"the store tells the object's length as {length!r}")
    if not etag:
        raise SourceMisbehaved("the store gives no ETag, so ranges of the object cannot be held together")
    return ObjectHead(key, etag, int(length), dated(ObjectEntry(key), headers).modified, headers)


def ask_head(run: Asks, key: str) -> ObjectHead:
    """
    Ask for an object's head, with retries.

    :raises S3StreamError: there is no such object, it may not be read, or the store cannot be reached.
    """
    return read_head(key, ask(run, Get(key, head=True), "HeadObject").headers)


def ask_part_sizes(run: Asks, key: str, count: int) -> tuple[int, ...]:
    """
    Ask for the sizes of the parts in which an object was uploaded (GetObjectAttributes), page by page, with retries.

    Only for sizes: the answer cannot be pinned to a version, but what is computed with them is compared with the pinned
    version's own checksum.

    :param count: of the parts.
    :returns: () where the store keeps none.
    :raises S3StreamError: it may not be asked, or answers what S3 would not.
    """
    sizes: list[int] = []
    marker = 0
    while True:
        fields: tuple[str, ...] = (f"x-amz-max-parts: {PAGE}", "x-amz-object-attributes: ObjectParts")
        if marker:
            fields += (f"x-amz-part-number-marker: {marker}",)
        get = Get(key, query=ATTRIBUTES, fields=fields, limit=_PARTS_LIMIT)
        page = parse_parts(b"".join(ask(run, get, "GetObjectAttributes").body))
        sizes += page.sizes
        if not page.marker:
            return tuple(sizes)
        if page.marker <= marker or len(sizes) > count:
            raise SourceMisbehaved("the store's list of parts does not end")
        marker = page.marker


def ask(run: Asks, get: Get, op: str) -> Get:
    """
    Send one request through the run's loop; give it with its answer.

    :param op: what S3 calls it.
    :raises S3StreamError: it failed.
    """
    asking = _Asking(run, get, op)
    run.drive(asking)
    return asking.get


class _Asking(Job):
    """The one job, and its own supply."""

    __slots__ = ("_given", "_op", "_run")

    def __init__(self, run: Asks, get: Get, op: str) -> None:
        super().__init__()
        self._run = run
        self._op = op
        self._given = False
        self.get = get

    def next_job(self) -> Job | None:
        if self._given:
            return None
        self._given = True
        return self

    def turn(self) -> bool:
        return not self._given

    def tell(self, event: Event) -> None:
        self._run.tell(event)

    @property
    def name(self) -> str:
        return f"{self._op} {self.get.key}"

    def again(self) -> Get:
        old = self.get
        self.get = Get(old.key, query=old.query, fields=old.fields, limit=old.limit, head=old.head)
        return self.get

    def answered(self, get: Get) -> None:
        """Keep it."""

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        error.op, error.target = error.op or self._op, error.target or self._run.uri
        raise error
