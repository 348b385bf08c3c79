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


def serve(connection: Connection, request: Request, link: Link) -> int:
    """Answer a request below /origin/, /plain/ or /chunked/; give the bytes of content sent."""
    kind, _, text = request.path[1:].partition("/")
    if request.method not in ("GET", "HEAD") or not text.isdigit():
        connection.respond(404 if request.method in ("GET", "HEAD") else 405)
        return 0
    size = int(text)
    common = {"ETag": f'"bench-{size}"', "Last-Modified": MODIFIED, "Content-Type": "application/octet-stream"}
    if kind == "origin":
        return send_ranged(connection, request, link, size, common)
    if kind == "plain":
        connection.send(head(200, {"Content-Length": str(size), **common}))
        return 0 if request.method == "HEAD" else _send(connection, link, 0, size)
    connection.send(head(200, {"Transfer-Encoding": "chunked", **common}))
    return 0 if request.method == "HEAD" else _send_chunked(connection, link, size)


def send_ranged(connection: Connection, request: Request, link: Link, size: int, headers: Mapping[str, str]) -> int:
    """Answer a GET or HEAD of an object whose content is a function of the offset; give the bytes sent."""
    headers = {"Accept-Ranges": "bytes", **headers}
    wanted = request.headers.get("if-match", headers["ETag"])
    if wanted not in ("*", headers["ETag"]):
        connection.respond(412, headers)
        return 0
    start, stop, status = 0, size, 200
    match = _RANGE.fullmatch(request.headers.get("range", ""))
    if match and request.headers.get("if-range", headers["ETag"]) in (headers["ETag"], headers["Last-Modified"]):
        start = int(match[1])
        stop = min(int(match[2]) + 1, size) if match[2] else size
        if start >= stop:
            connection.respond(416, {**headers, "Content-Range": f"bytes */{size}"})
            return 0
        status = 206
        headers = {**headers, "Content-Range": f"bytes {start}-{stop - 1}/{size}"}
    connection.send(head(status, {"Content-Length": str(stop - start), **headers}))
    return 0 if request.method == "HEAD" else _send(connection, link, start, stop)


def _send(connection: Connection, link: Link, start: int, stop: int) -> int:
    if link.free:
        for offset in range(start, stop, content.SLICE):
            connection.send(content.at(offset, stop - offset))
        return stop - start
    pace = Pace(link, link.down)
    for offset in range(start, stop, STEP):
        count = min(STEP, stop - offset)
        pace.passed(count)  # First, since bytes are received when the link has carried them, not before.
        connection.send(content.at(offset, count))
    return stop - start


def _send_chunked(connection: Connection, link: Link, size: int) -> int:
    pace = None if link.free else Pace(link, link.down)
    for offset in range(0, size, STEP):
        piece = content.at(offset, min(STEP, size - offset))
        if pace:
            pace.passed(len(piece))
        connection.send(b"%x\r\n" % len(piece))
        connection.send(piece)
        connection.send(b"\r\n")
    connection.send(b"0\r\n\r\n")
    return size
