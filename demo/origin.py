"""
An HTTP origin for a folder of files, with what a good one has: ranges, validators, conditions.

``python -m http.server`` has no ranges. This is the same server with them, and with sendfile, so that it is not
the origin one measures.
"""

from __future__ import annotations

import email.utils
import re
import sys
import threading
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any, BinaryIO, Self
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    import os
    from pathlib import Path
    from types import TracebackType

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Origin:
    """Serve the files of ``folder`` at ``url``, on a free port of loopback, while the context lasts."""

    def __init__(self, folder: Path) -> None:
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, folder.resolve()))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="origin")
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        # A client that hangs up is no error of the server's.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body leave in two writes, and Nagle would hold the second back.
    disable_nagle_algorithm = True

    def __init__(self, folder: Path, *connection: Any) -> None:
        self._folder = folder
        super().__init__(*connection)

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = (self._folder / unquote(urlsplit(self.path).path).lstrip("/")).resolve()
        if not path.is_relative_to(self._folder) or not path.is_file():
            self._answer(HTTPStatus.NOT_FOUND, {})
            return
        with path.open("rb") as file:
            self._serve(file, _Version(path.stat()))

    def _serve(self, file: BinaryIO, version: _Version) -> None:
        """Answer as RFC 9110 says: If-Match, then If-None-Match, then If-Range, then the range."""
        about = version.headers()
        if not version.matches(self.headers.get("If-Match", "*")):
            self._answer(HTTPStatus.PRECONDITION_FAILED, about)
        elif "If-None-Match" in self.headers and version.matches(self.headers["If-None-Match"]):
            self._answer(HTTPStatus.NOT_MODIFIED, about)
        else:
            self._serve_range(file, version.size, about, version.same(self.headers.get("If-Range")))

    def _serve_range(self, file: BinaryIO, size: int, about: dict[str, str], same: bool) -> None:
        asked = _parse_range(self.headers.get("Range", ""), size) if same else None
        if asked is None:
            self._answer(HTTPStatus.OK, about, file, 0, size)
            return
        first, stop = asked
        if first >= stop:
            self._answer(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, {**about, "Content-Range": f"bytes */{size}"})
            return
        about["Content-Range"] = f"bytes {first}-{stop - 1}/{size}"
        self._answer(HTTPStatus.PARTIAL_CONTENT, about, file, first, stop)

    def _answer(
        self, status: HTTPStatus, headers: dict[str, str], file: BinaryIO | None = None, first: int = 0, stop: int = 0
    ) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Length", str(stop - first))
        self.end_headers()
        if file is None or first == stop or self.command == "HEAD":
            return
        self.connection.sendfile(file, first, stop - first)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: one line per range would bury what the demo has to say."""


class _Version:
    """One version of a file, told apart by size and time of change as nginx does it."""

    def __init__(self, stat: os.stat_result) -> None:
        self.size = stat.st_size
        self._etag = f'"{stat.st_mtime_ns:x}-{stat.st_size:x}"'
        self._modified = email.utils.formatdate(stat.st_mtime, usegmt=True)

    def headers(self) -> dict[str, str]:
        return {
            "ETag": self._etag,
            "Last-Modified": self._modified,
            "Accept-Ranges": "bytes",
            "Content-Type": "application/octet-stream",
        }

    def matches(self, condition: str) -> bool:
        return condition.strip() == "*" or self._etag in [tag.strip() for tag in condition.split(",")]

    def same(self, if_range: str | None) -> bool:
        return if_range is None or if_range in (self._etag, self._modified)


def _parse_range(header: str, size: int) -> tuple[int, int] | None:
    """Return the range asked for as first byte and stop; None for none, several, or one that makes no sense."""
    match = _RANGE.fullmatch(header)
    if match is None or not any(match.groups()):
        return None
    first, last = match.groups()
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, size) if last else size
