"""What a misbehaving origin does: one function per behaviour, each returning a :class:`Fault`.

A fault strikes every request unless narrowed: ``close_after(100).once()``, ``ignore_range().from_request(2)``,
``throttle(503).times(3)``, ``close_after(100).where(lambda request: request.range == (0, None))``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tests.support.resource import Ending, Reply, Request, Resource, http_date


def _always(request: Request) -> bool:
    return True


@dataclass(frozen=True)
class Fault:
    """A named behaviour and the requests it strikes."""

    name: str
    spoil: Callable[[Request, Reply], None] | None = None
    """Changes an answer."""
    version: Callable[[Resource], Resource] | None = None
    """Changes what is served."""
    when: Callable[[Request], bool] = _always
    most: int | None = None
    """How many requests of one origin are struck; None: all that ``when`` accepts."""
    every: int = 1
    """Strike each such-and-such of the requests that ``when`` accepts: 2 spares the first, the third and so on."""

    def where(self, when: Callable[[Request], bool]) -> Fault:
        """Strike only requests that ``when`` accepts, beside what narrowed it before."""
        narrower = self.when
        return replace(self, when=lambda request: narrower(request) and when(request))

    def from_request(self, number: int) -> Fault:
        """Strike from the ``number``-th request on; 2 spares the probe."""
        return self.where(lambda request: request.number >= number)

    def on_request(self, *numbers: int) -> Fault:
        return self.where(lambda request: request.number in numbers)

    def times(self, count: int) -> Fault:
        """Strike only the first ``count`` requests that would be struck."""
        return replace(self, most=count)

    def once(self) -> Fault:
        return self.times(1)


def _cut(name: str, after: int, ending: Ending) -> Fault:
    def spoil(request: Request, reply: Reply) -> None:
        reply.cut_after, reply.ending = after, ending

    return Fault(name, spoil)


def close_after(count: int) -> Fault:
    """FIN after ``count`` bytes of the body, as if that were all; over a chunked body, in the middle of a chunk."""
    return _cut(f"close after {count}", count, "fin")


def reset_after(count: int) -> Fault:
    return _cut(f"RST after {count}", count, "reset")


def stall_after(count: int) -> Fault:
    """Go silent after ``count`` bytes, keeping the connection open."""
    return _cut(f"stall after {count}", count, "stall")


def drip(count: int, seconds: float) -> Fault:
    """Send ``count`` bytes, wait, and so on: never silent, never done."""
    return Fault(f"drip {count} B per {seconds} s", lambda request, reply: setattr(reply, "drip", (count, seconds)))


def flip_bit(offset: int) -> Fault:
    """Send one wrong bit at this offset of the object."""
    return Fault(f"bit flipped at {offset}", lambda request, reply: setattr(reply, "flip_at", offset))


def longer_length(by: int) -> Fault:
    """Promise ``by`` bytes more than are sent, then close."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.set("Content-Length", str(reply.length + by))
        reply.ending = "fin"

    return Fault(f"Content-Length {by} too long", spoil)


def shorter_length(by: int) -> Fault:
    """Send ``by`` bytes more than are promised, then close."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.set("Content-Length", str(reply.length))
        reply.extra, reply.ending = by, "fin"

    return Fault(f"{by} bytes beyond Content-Length", spoil)


def lengths(*values: str) -> Fault:
    """Send these Content-Length headers instead of the right one."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.drop("Content-Length")
        reply.headers += [("Content-Length", value) for value in values]
        reply.ending = "fin"

    return Fault(f"Content-Length {' and '.join(values)}", spoil)


def length_and_chunked() -> Fault:
    """Frame the body twice: a Content-Length beside Transfer-Encoding, the start of request smuggling."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.headers += [("Content-Length", str(reply.length)), ("Transfer-Encoding", "chunked")]
        reply.framing = "chunked"

    return Fault("Content-Length and chunked", spoil)


def ignore_range() -> Fault:
    """Answer 200 and the whole body whatever range was asked for."""
    return Fault("range ignored", version=lambda resource: replace(resource, ranges=False))


def _on_206(name: str, spoil: Callable[[Request, Reply], None]) -> Fault:
    def only_206(request: Request, reply: Reply) -> None:
        if reply.status == 206:
            spoil(request, reply)

    return Fault(name, only_206)


def wrong_start(by: int) -> Fault:
    """Serve a range that starts elsewhere, and say so in Content-Range."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.show(reply.start + by, min(reply.stop + by, reply.content.size))

    return _on_206(f"range starts {by} late", spoil)


def later_start(by: int) -> Fault:
    """Leave out the first bytes of a range, and say so."""
    return _on_206(
        f"range without its first {by}",
        lambda request, reply: reply.show(min(reply.start + by, reply.stop - 1), reply.stop),
    )


def other_bytes(by: int) -> Fault:
    """Serve bytes from elsewhere under a Content-Range that is just as asked."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.start, reply.stop = reply.start - by, reply.stop - by

    return _on_206(f"bytes from {by} before", spoil)


def longer_range(by: int) -> Fault:
    """Serve a range that ends later than asked, and say so."""
    return _on_206(
        f"range ends {by} late",
        lambda request, reply: reply.show(reply.start, min(reply.stop + by, reply.content.size)),
    )


def short_range(count: int) -> Fault:
    """Serve only the first ``count`` bytes of a range, and say so, as RFC 9110 section 15.3.7 allows."""
    return _on_206(
        f"ranges of {count} bytes",
        lambda request, reply: reply.show(reply.start, min(reply.start + count, reply.stop)),
    )


def content_range(value: str | None) -> Fault:
    """Send this Content-Range, or none; ``{first}``, ``{last}`` and ``{total}`` stand for the right numbers."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.drop("Content-Range")
        if value is not None:
            right = {"first": reply.start, "last": reply.stop - 1, "total": reply.content.size}
            reply.set("Content-Range", value.format(**right))

    return _on_206(f"Content-Range {value}", spoil)


def multipart_ranges() -> Fault:
    """Answer one range as multipart/byteranges."""

    def spoil(request: Request, reply: Reply) -> None:
        about = reply.header("Content-Range")
        body = reply.content.bytes(reply.start, reply.stop)
        reply.drop("Content-Range")
        reply.set("Content-Type", "multipart/byteranges; boundary=edge")
        reply.text = b"--edge\r\nContent-Range: %s\r\n\r\n%s\r\n--edge--\r\n" % (str(about).encode(), body)

    return _on_206("multipart/byteranges", spoil)


def rewritten(*, obey_if_match: bool = True) -> Fault:
    """Serve another version: new ETag, other bytes of the same length."""
    return Fault("rewritten", version=lambda resource: resource.rewritten(obeys_if_match=obey_if_match))


def relabelled(etag: str | None) -> Fault:
    """Serve the same bytes under another ETag, or none, ignoring If-Match."""
    return Fault(f"ETag {etag}", version=lambda resource: replace(resource, etag=etag, obeys_if_match=False))


def status(code: int, text: bytes = b"", **headers: str) -> Fault:
    """Answer with this status instead; ``Retry_After="1"`` is the header Retry-After."""
    return Fault(f"status {code}", lambda request, reply: reply.say(code, text, **headers))


def throttle(code: int = 503, retry_after: str | None = None) -> Fault:
    headers = {} if retry_after is None else {"Retry_After": retry_after}
    return status(code, b"slow down\n", **headers)


def throttle_until(code: int, seconds: float) -> Fault:
    """Throttle with Retry-After as a date ``seconds`` after each answer."""
    return Fault(
        f"status {code}, Retry-After a date",
        lambda request, reply: reply.say(code, b"slow down\n", Retry_After=http_date(-seconds)),
    )


def at_most_at_once(count: int) -> Fault:
    """Answer 503 to whatever comes while ``count`` requests are being answered."""
    return throttle(503).where(lambda request: request.concurrent > count)


def header_flood(count: int) -> Fault:
    """Send ``count`` headers of no meaning."""
    return Fault(
        f"{count} headers",
        lambda request, reply: reply.headers.extend((f"X-Flood-{number}", "x" * 60) for number in range(count)),
    )


def head_drip(seconds: float) -> Fault:
    """Send one header line, wait, and so on."""
    return Fault(f"header line per {seconds} s", lambda request, reply: setattr(reply, "head_drip", seconds))
