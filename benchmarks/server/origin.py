"""The origin: the same content with ranges, without them, and without a length."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from benchmarks.server import content
from benchmarks.server.link import STEP, Link, Pace
from benchmarks.server.wire import Connection, Request, head

if TYPE_CHECKING:
    from collections.abc import Mapping

_RANGE = re.compile(r"bytes=(\d+)-(\d*)")
MODIFIED = "Sat, 01 Aug 2026 00:00:00 GMT"


def serve(connection: Connection, request: Request, link: Link) -> None:
    """Answer a request below /origin/, /plain/ or /chunked/."""
    kind, _, text = request.path[1:].partition("/")
    if request.method not in ("GET", "HEAD") or not text.isdigit():
        connection.respond(404 if request.method in ("GET", "HEAD") else 405)
        return
    size = int(text)
    common = {"ETag": f'"bench-{size}"', "Last-Modified": MODIFIED, "Content-Type": "application/octet-stream"}
    if kind == "origin":
        send_ranged(connection, request, link, size, common)
        return
    frame = {"Content-Length": str(size)} if kind == "plain" else {"Transfer-Encoding": "chunked"}
    connection.send(head(200, {**frame, **common}))
    if request.method == "GET":
        _send(connection, link, 0, size) if kind == "plain" else _send_chunked(connection, link, size)


def send_ranged(
    connection: Connection,
    request: Request,
    link: Link,
    size: int,
    headers: Mapping[str, str],
    whole: Mapping[str, str] | None = None,
) -> None:
    """Answer a GET or HEAD of an object whose content is a function of the offset; ``whole``: not with a part."""
    headers = {"Accept-Ranges": "bytes", **headers}
    wanted = request.headers.get("if-match", headers["ETag"])
    if wanted not in ("*", headers["ETag"]):
        connection.respond(412, headers)
        return
    start, stop, status = 0, size, 200
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match and request.headers.get("if-range", headers["ETag"]) in (headers["ETag"], headers["Last-Modified"]):
        start = int(match[1])
        stop = min(int(match[2]) + 1, size) if match[2] else size
        if start >= stop:
            connection.respond(416, {**headers, "Content-Range": f"bytes */{size}"})
            return
        status = 206
        whole = {"Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    connection.send(head(status, {"Content-Length": str(stop - start), **headers, **(whole or {})}))
    if request.method == "GET":
        _send(connection, link, start, stop)


def _send(connection: Connection, link: Link, start: int, stop: int) -> None:
    if link.free:
        for offset in range(start, stop, content.SLICE):
            connection.send_content(content.at(offset, stop - offset))
        return
    with Pace(link, link.down) as pace:
        for offset in range(start, stop, STEP):
            count = min(STEP, stop - offset)
            pace.passed(count)  # First, since bytes are received when the link has carried them, not before.
            connection.send_content(content.at(offset, count))


def _send_chunked(connection: Connection, link: Link, size: int) -> None:
    with Pace(link, link.down) as pace:
        for offset in range(0, size, STEP):
            piece = content.at(offset, min(STEP, size - offset))
            pace.passed(len(piece))
            connection.send(b"%x\r\n" % len(piece))
            connection.send_content(piece)
            connection.send(b"\r\n")
    connection.send(b"0\r\n\r\n")
