"""HTTP/1.1 on a raw socket: just enough of it, and nothing that copies a body."""

from __future__ import annotations

import io
import mmap
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from benchmarks.server.link import STEP, Pace
from benchmarks.server.tls import TlsSocket

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from benchmarks.server.state import Counter

HEAD_LIMIT = 64 * 1024
DISCARD = 64 * 2**20
REASONS = {
    200: "OK",
    204: "No Content",
    206: "Partial Content",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    412: "Precondition Failed",
    416: "Range Not Satisfiable",
}


class Closed(ConnectionError):
    """The client went away."""


@dataclass(frozen=True, slots=True)
class Request:
    """One request's head; header names in lower case."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]

    @property
    def length(self) -> int:
        """Content-Length, 0 without one."""
        return int(self.headers.get("content-length", 0))


class Connection:
    """One client connection, plain or TLS."""

    def __init__(self, sock: socket.socket | TlsSocket, sent: Counter) -> None:
        self._sock = sock
        self._sent = sent
        self._ahead = b""
        # Never written to over plain http (MSG_TRUNC), so it costs address space, not memory.
        self._waste = mmap.mmap(-1, 2 * STEP if isinstance(sock, TlsSocket) else DISCARD)

    def close(self) -> None:
        self._sock.close()
        self._waste.close()

    def read_request(self) -> Request | None:
        """Read a request's head; None when the client closed the connection instead."""
        while b"\r\n\r\n" not in self._ahead:
            more = self._sock.recv(HEAD_LIMIT)
            if not more:
                return None
            self._ahead += more
            if len(self._ahead) > 2 * HEAD_LIMIT:
                raise ValueError("request head too long")
        head, _, self._ahead = self._ahead.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _version = first.split(" ")
        fields = (line.partition(":") for line in lines)
        url = urlsplit(target)
        return Request(
            method=method,
            path=unquote(url.path),
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.strip().lower(): value.strip() for name, _, value in fields},
        )

    def read_into(self, buffer: memoryview) -> int:
        """Receive what is there, at most the buffer's length."""
        if self._ahead:
            taken = min(len(self._ahead), len(buffer))
            buffer[:taken] = self._ahead[:taken]
            self._ahead = self._ahead[taken:]
            return taken
        count = self._sock.recv_into(buffer)
        if not count:
            raise Closed("closed in the middle of a body")
        return count

    def read(self, count: int) -> bytes:
        """Receive exactly ``count`` bytes."""
        buffer = bytearray(count)
        view, have = memoryview(buffer), 0
        while have < count:
            have += self.read_into(view[have:])
        return bytes(buffer)

    def discard(self, count: int, pace: Pace | None) -> None:
        """
        Receive ``count`` bytes without looking at them.

        Over plain http the kernel drops them uncopied, so that one call can swallow a whole part.
        """
        step = STEP if pace else len(self._waste)
        while count:
            if self._ahead or isinstance(self._sock, TlsSocket):
                got = self.read_into(memoryview(self._waste)[: min(count, len(self._waste), step)])
            else:
                flags = socket.MSG_TRUNC | (0 if pace else socket.MSG_WAITALL)
                got = self._sock.recv_into(self._waste, min(count, step), flags)
                if not got:
                    raise Closed("closed in the middle of a body")
            count -= got
            if pace:
                pace.passed(got)

    def send(self, piece: Buffer) -> None:
        self._sock.sendall(piece)

    def send_content(self, piece: memoryview) -> None:
        """Send a piece of an object. It is counted first: of a client that goes away, who knows what it has had."""
        self._sent.add(len(piece))
        self.send(piece)

    def respond(self, status: int, headers: Mapping[str, str] | None = None, body: bytes = b"") -> None:
        """Send a whole answer that is in memory."""
        with_length = {"Content-Length": str(len(body)), **(headers or {})}
        self.send(head(status, with_length) + body)


def head(status: int, headers: Mapping[str, str]) -> bytes:
    """Write an answer's head."""
    lines = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in headers.items())]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class LengthBody(io.RawIOBase):
    """A request body of known length."""

    def __init__(self, connection: Connection, length: int, pace: Pace | None) -> None:
        self._connection = connection
        self._left = length
        self._pace = pace

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        view = memoryview(buffer).cast("B")
        count = self._connection.read_into(view[: self._left]) if self._left else 0
        self._left -= count
        if self._pace and count:
            self._pace.passed(count)
        return count


class EndlessBody(LengthBody):
    """The bytes from here on, whoever reads them must know where to stop."""

    def __init__(self, connection: Connection, pace: Pace | None) -> None:
        super().__init__(connection, 2**62, pace)
