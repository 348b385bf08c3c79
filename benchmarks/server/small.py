"""
Serves very many small objects until its standard input closes: ``python -m benchmarks.server.small [options]``.

Bucket ``bench``, path style: listings, GET and HEAD with Range and If-Match. Every answer to a GET is made
beforehand. Prints its port as one line of JSON when it is ready; ``/_stats`` tells what it has served.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks.server.keyspace import BODIES, PREFIX, KeySpace
from benchmarks.server.loop import Loop
from benchmarks.server.pages import Pages

BUCKET = "/bench"
_GET = f"GET {BUCKET}/{PREFIX}".encode()
_RANGE = re.compile(rb"\r\nrange: *bytes=(\d*)-(\d*) *\r\n")
_MATCH = re.compile(rb'\r\nif-match: *"?([^"\r]*)"? *\r\n')
# What S3 sends beside the fields that matter: a client has to read them too.
_COMMON = (
    "x-amz-id-2: 8mQkhwbm4d1fcZJ3G2LnJ0a7EwN5yRkI1iM8dKXo6YvC3sTzHf9pVbUqWgAeBxDlMnOtRjSuPvQ=\r\n"
    "x-amz-request-id: 0A1B2C3D4E5F6789\r\nDate: Sat, 01 Aug 2026 00:00:00 GMT\r\nServer: AmazonS3\r\n"
)
_REASONS = {200: "OK", 206: "Partial Content", 404: "Not Found", 405: "Method Not Allowed", 412: "Precondition Failed"}
_REASONS[416] = "Range Not Satisfiable"


class Small(Loop):
    """Turns heads of requests into answers."""

    def __init__(self, listener: socket.socket, space: KeySpace, latency: float, list_latency: float) -> None:
        super().__init__(listener)
        self._space = space
        self._pages = Pages(space)
        self._latency = latency
        self._list_latency = list_latency
        pairs = zip(space.etags, space.bodies, strict=True)
        self._wholes = [_head(200, space.size, etag) + body for etag, body in pairs]
        self._counts: dict[str, int] = {}
        self._reset()

    def _reset(self) -> None:
        self._counts = {"Get": 0, "Head": 0, "List": 0, "Refused": 0}
        self.most_waiting = 0

    def answer(self, request: bytes) -> tuple[float, bytes]:
        """Give the latency and the answer to one request."""
        if request.startswith(_GET):
            number = self._space.number(request[len(_GET) : request.find(b" ", len(_GET))])
            if number is not None and b"ange:" not in request and b"atch:" not in request:
                self._counts["Get"] += 1
                return self._latency, self._wholes[number % BODIES]
        return self._other(request)

    def _other(self, request: bytes) -> tuple[float, bytes]:
        method, target = request.split(b" ", 2)[:2]
        url = urlsplit(target.decode())
        path = unquote(url.path)
        if path in ("/_stats", "/_reset"):
            return 0.0, self._control(path)
        if method not in (b"GET", b"HEAD"):
            return 0.0, self._refuse(405, "MethodNotAllowed", method)
        if path.rstrip("/") != BUCKET:
            return self._latency, self._object(method, path, request.lower())
        query = dict(parse_qsl(url.query, keep_blank_values=True))
        if method == b"HEAD" or "location" in query:
            return self._latency, _xml(200, b"<LocationConstraint></LocationConstraint>", method)
        self._counts["List"] += 1
        return self._list_latency, _xml(200, self._pages.page(query), method)

    def _object(self, method: bytes, path: str, lowered: bytes) -> bytes:
        found = self._space.number(path.removeprefix(f"{BUCKET}/{PREFIX}").encode())
        if found is None or not path.startswith(f"{BUCKET}/{PREFIX}"):
            return self._refuse(404, "NoSuchKey", method)
        number = found % BODIES
        body, etag = self._space.bodies[number], self._space.etags[number]
        match = _MATCH.search(lowered)
        if match and match[1].decode() not in (etag, "*"):
            return self._refuse(412, "PreconditionFailed", method)
        self._counts["Get" if method == b"GET" else "Head"] += 1
        asked = _RANGE.search(lowered)
        if not asked:
            return self._wholes[number] if method == b"GET" else _head(200, len(body), etag)
        first, last = _bounds(asked, len(body))
        if first > last:
            return self._refuse(416, "InvalidRange", method)
        part = body[first : last + 1]
        head = _head(206, len(part), etag, f"Content-Range: bytes {first}-{last}/{len(body)}\r\n")
        return head + part if method == b"GET" else head

    def _refuse(self, status: int, code: str, method: bytes) -> bytes:
        self._counts["Refused"] += 1
        return _xml(status, f"<Error><Code>{code}</Code><Message>{code}</Message></Error>".encode(), method)

    def _control(self, path: str) -> bytes:
        if path == "/_reset":
            self._reset()
        told = {**self._counts, "MaxInFlight": self.most_waiting}
        return _xml(200, json.dumps(told).encode(), b"GET")


def _bounds(asked: re.Match[bytes], size: int) -> tuple[int, int]:
    if not asked[1]:
        return max(0, size - int(asked[2] or 0)), size - 1
    return int(asked[1]), min(size - 1, int(asked[2] or size))


def _head(status: int, length: int, etag: str, extra: str = "") -> bytes:
    return (
        f"HTTP/1.1 {status} {_REASONS[status]}\r\n{_COMMON}Last-Modified: Sat, 01 Aug 2026 00:00:00 GMT\r\n"
        f'ETag: "{etag}"\r\nAccept-Ranges: bytes\r\nContent-Type: binary/octet-stream\r\n{extra}'
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def _xml(status: int, body: bytes, method: bytes) -> bytes:
    head = f"HTTP/1.1 {status} {_REASONS[status]}\r\n{_COMMON}Content-Type: application/xml\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + (b"" if method == b"HEAD" else body)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.server.small", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--objects", type=int, default=100_000)
    parser.add_argument("--size", type=int, default=1024, help="bytes of each object")
    parser.add_argument("--folders", action="store_true", help="small/0000/000 instead of small/0000000")
    parser.add_argument("--latency", type=float, default=0.0, help="seconds before each answer")
    parser.add_argument("--list-latency", type=float, help="seconds before each page of a listing (default: --latency)")
    return parser.parse_args()


def main() -> None:
    options = parse()
    listener = socket.create_server(("127.0.0.1", options.port), backlog=4096)
    list_latency = options.latency if options.list_latency is None else options.list_latency
    space = KeySpace(options.objects, options.size, folders=options.folders)
    small = Small(listener, space, options.latency, list_latency)
    print(json.dumps({"http": listener.getsockname()[1]}), flush=True)
    small.run()


if __name__ == "__main__":
    main()
