"""What reads from a bucket: many GETs at once, driven by one thread. Two implementations, one protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.exceptions import S3StreamError

ANSWER_LIMIT = 64 * 1024
"""Bytes of body accepted whatever was asked for, so that an error's explanation can be read."""

ATTRIBUTES = "attributes="
"""The query that makes a GET of a key GetObjectAttributes."""


class Get:
    """
    One GET of an object, of a range of it, or of a page of the bucket's list; filled with the answer when it ends.

    :param key: the object; None for a page.
    :param query: encoded, sorted by name.
    :param fields: further header lines, to be signed.
    :param span: (first byte, byte after the last) to ask for; None: the whole object.
    :param etag: without quotes; answers of other versions are refused by the store (If-Match); "" any.
    :param limit: bytes of body accepted at most; more end the GET with an error.
    :param begin: called once when a body is about to arrive, with this GET, its status 200 or 206 and its head known;
        an error it returns ends the GET.
    :param write: takes the body as it arrives, some pieces at a time; when it returns True the rest is not wanted, and
        the GET ends as if that had been all. None: the body is collected in ``body``. Needs ``begin``.
    :param head: ask for the head alone (HEAD).
    :param job: whatever the one who asks wants to find again.

    When it ends, either ``error`` says how the transport failed, or ``status``, ``headers`` and ``body`` are the
    answer, complete as HTTP frames it. What the answer means is for the one who asked to judge.
    """

    __slots__ = (
        "begin", "body", "error", "etag", "fields", "head", "head_lines", "job", "key", "limit", "line", "query",
        "span", "status", "write",
    )  # fmt: skip

    def __init__(
        self,
        key: str | None,
        *,
        query: str = "",
        fields: tuple[str, ...] = (),
        span: tuple[int, int] | None = None,
        etag: str = "",
        limit: int = ANSWER_LIMIT,
        begin: Callable[[Get], S3StreamError | None] | None = None,
        write: Callable[[list[bytes]], bool] | None = None,
        head: bool = False,
        job: Any = None,
    ) -> None:
        self.key = key
        self.query = query
        self.fields = fields
        self.span = span
        self.etag = etag
        self.limit = limit
        self.begin = begin
        self.write = write
        self.head = head
        self.job = job
        self.status = 0
        self.head_lines: list[bytes] = []
        self.body: list[bytes] = []
        self.error: S3StreamError | None = None
        self.line: Any = None  # the reader's own

    @property
    def headers(self) -> dict[str, str]:
        """The answer's header fields, their names in lower case."""
        return parse_head(self.head_lines)


def parse_head(lines: list[bytes]) -> dict[str, str]:
    """Read the last head among raw header lines; an interim answer (1xx) may precede it."""
    fields: dict[str, str] = {}
    for line in b"".join(lines).decode("latin-1").split("\n"):
        name, found, value = line.partition(":")
        if found:
            fields[name.lower()] = value.strip()
        elif line.startswith("HTTP/"):
            fields.clear()
    return fields


def status_of(lines: list[bytes]) -> int:
    """Read the status of the last head among raw header lines; 0 if there is none."""
    for line in reversed(lines):
        if line.startswith(b"HTTP/"):
            code = line[9:12] if line.startswith(b"HTTP/1.") else line.split(b" ")[1][:3]
            return int(code) if code.isdigit() else 0
    return 0


class Reader(Protocol):
    """Reads from one bucket. All methods but ``wake`` belong to one thread."""

    def submit(self, get: Get) -> None:
        """Begin a GET. Never blocks."""

    def poll(self, timeout: float) -> list[Get]:
        """Give those that have ended, waiting at most ``timeout`` seconds for the first."""

    def cancel(self, get: Get) -> None:
        """Drop a GET that is under way and the connection it used; it will not be given by ``poll``."""

    def pause(self, get: Get) -> None:
        """
        Take no more of its body for now; what has been read already still comes.

        One that is not connected yet brings what arrives in the first call of libcurl, which may be megabytes.
        """

    def resume(self, get: Get) -> None:
        """Go on with it."""

    def wake(self) -> None:
        """Make a waiting ``poll`` return. Any thread."""

    def close(self) -> None:
        """Drop everything under way."""
