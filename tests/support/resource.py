"""What an honest HTTP/1.1 server says about a body: validators, conditions and ranges as RFC 9110 has them."""

from __future__ import annotations

import email.utils
import re
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Literal

from tests.support.content import Content, Kept
from tests.support.wire import Headers

Framing = Literal["length", "chunked", "close"]
Ending = Literal["keep", "fin", "reset", "stall"]

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


def http_date(seconds_ago: float) -> str:
    return email.utils.formatdate(time.time() - seconds_ago, usegmt=True)


@dataclass(frozen=True, slots=True)
class Request:
    """One request as it came; ``number`` counts from 1 over the whole origin."""

    number: int
    method: str
    target: str
    headers: Headers
    concurrent: int = 1
    """Requests being answered when it came, this one included."""
    connection: int = 0
    """The origin's number of the connection that it came on, from 1 on."""

    @property
    def path(self) -> str:
        return self.target.split("?")[0]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    @property
    def range(self) -> tuple[int, int | None] | None:
        """First and last byte asked for, the last None when open; None without a range this origin reads."""
        match = _RANGE.fullmatch(self.header("Range") or "")
        if not match or not match[1]:
            return None
        return int(match[1]), int(match[2]) if match[2] else None


@dataclass(slots=True)
class Reply:
    """An answer before it is sent: an honest one, that faults then change."""

    status: int
    headers: Headers = field(default_factory=list)
    content: Content | Kept = Content(0)
    start: int = 0
    stop: int = 0
    """The body is the content's bytes from ``start`` to before ``stop``, or ``text`` when that is given."""
    text: bytes | None = None
    framing: Framing = "length"
    ending: Ending = "keep"
    cut_after: int | None = None
    """Bytes of the body after which ``ending`` happens; None: after all of it."""
    flip_at: int | None = None
    """Offset in the object of a byte whose lowest bit is sent wrong."""
    extra: int = 0
    """Bytes sent after the body's end."""
    drip: tuple[int, float] | None = None
    """Send so many bytes at a time, and wait so many seconds after each."""
    head_drip: float = 0.0
    """Seconds between the header lines."""
    wait: float = 0.0
    """Seconds before the head."""
    hold: tuple[int, threading.Event] | None = None
    """Send so many bytes of the body, with -1 not even the head, and the rest once the event is set."""

    @property
    def length(self) -> int:
        return len(self.text) if self.text is not None else self.stop - self.start

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def drop(self, *names: str) -> None:
        gone = {name.lower() for name in names}
        self.headers = [(key, value) for key, value in self.headers if key.lower() not in gone]

    def set(self, name: str, value: str) -> None:
        self.drop(name)
        self.headers.append((name, value))

    def say(self, status: int, text: bytes = b"", **headers: str) -> None:
        """Turn this into a short answer without any of the content; ``Retry_After=`` is the header Retry-After."""
        self.status, self.text, self.framing = status, text, "length"
        self.headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def show(self, start: int, stop: int) -> None:
        """Serve these bytes as a 206 whose headers agree with them."""
        self.status, self.start, self.stop = 206, start, stop
        self.set("Content-Range", f"bytes {start}-{stop - 1}/{self.content.size}")

    def pieces(self) -> Iterator[memoryview | bytes]:
        """Yield the body with the wrong bit, without the cut."""
        if self.text is not None:
            if self.text:
                yield self.text
            return
        at = self.start
        for view in self._views():
            if self.flip_at is not None and at <= self.flip_at < at + len(view):
                wrong = bytearray(view)
                wrong[self.flip_at - at] ^= 1
                yield bytes(wrong)
            else:
                yield view
            at += len(view)
        if self.extra:
            yield b"x" * self.extra

    def _views(self) -> Iterator[memoryview]:
        at, most = self.start, self.drip[0] if self.drip else 256 * 1024
        if self.hold and self.hold[0] > 0:  # a piece ends where it holds
            at = min(self.start + self.hold[0], self.stop)
            yield from self.content.views(self.start, at, most=most)
        yield from self.content.views(at, self.stop, most=most)


@dataclass(frozen=True, slots=True)
class Redirect:
    """Sends the client to ``to``."""

    to: str
    status: int = 302

    def answer(self, request: Request) -> Reply:
        return Reply(self.status, [("Location", self.to)])


@dataclass(frozen=True, slots=True)
class Resource:
    """A body and what its server says about it."""

    size: int
    seed: int = 1
    etag: str | None = '"v1"'
    modified: str | None = None
    """Last-Modified."""
    content_type: str | None = "application/octet-stream"
    encoding: str | None = None
    """Content-Encoding, which this server applies whether asked or not: the content is the encoded form."""
    ranges: bool = True
    framing: Framing = "length"
    obeys_if_match: bool = True
    empty_range: Literal[200, 416] = 416
    """How a range of an empty body is answered; Apache says 200, nginx says 416."""
    dated: bool = True
    """Send the header Date."""
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def content(self) -> Content:
        return Content(self.size, self.seed)

    def rewritten(self, etag: str = '"v2"', seed: int = 2, **changes: object) -> Resource:
        """Return the version that replaces this one: another validator and other bytes."""
        return replace(self, etag=etag, seed=seed, **changes)  # type: ignore[arg-type]

    def answer(self, request: Request) -> Reply:
        """Answer as RFC 9110 says: preconditions first, then If-Range, then the range."""
        if request.method not in ("GET", "HEAD"):
            return Reply(405, [("Allow", "GET, HEAD")])
        condition = request.header("If-Match")
        if self.obeys_if_match and condition is not None and not self._is(condition):
            return Reply(412, self._about())
        reply = Reply(200, self._about(), self.content, 0, self.size, framing=self.framing)
        asked = request.range
        if asked is None or not self.ranges or not self._same_for_if_range(request):
            return reply
        first, last = asked
        if last is not None and last < first:
            return reply  # no range at all (RFC 9110 section 14.1.1)
        if first >= self.size:
            if self.size or self.empty_range == 416:
                return Reply(416, [*self._about(), ("Content-Range", f"bytes */{self.size}")])
            return reply
        reply.show(first, self.size if last is None else min(last + 1, self.size))
        return reply

    def _is(self, condition: str) -> bool:
        # Strong comparison: a weak validator never matches.
        tags = [tag.strip() for tag in condition.split(",")]
        return "*" in tags or (self.etag is not None and not self.etag.startswith("W/") and self.etag in tags)

    def _same_for_if_range(self, request: Request) -> bool:
        condition = request.header("If-Range")
        return condition is None or self._is(condition) or condition == self.modified

    def _about(self) -> Headers:
        headers: Headers = []
        for name, value in (
            ("Date", http_date(0) if self.dated else None),
            ("ETag", self.etag),
            ("Last-Modified", self.modified),
            ("Content-Type", self.content_type),
            ("Content-Encoding", self.encoding),
            ("Accept-Ranges", "bytes" if self.ranges else None),
        ):
            if value is not None:
                headers.append((name, value))
        return [*headers, *self.headers]
