"""HTTP/1.1 as bytes on a socket: reading heads and framed bodies, and breaking connections on purpose."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

Headers = list[tuple[str, str]]

_LONGEST_LINE = 64 * 1024


class Broken(Exception):
    """The peer closed or sent something that is not HTTP; the connection is of no more use."""


@dataclass(slots=True)
class Head:
    """A start line and its headers, in the order they came."""

    start: str
    headers: Headers

    def get(self, name: str, default: str = "") -> str:
        return next((value for key, value in self.headers if key.lower() == name.lower()), default)

    def encode(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers), "", ""]
        return "\r\n".join(lines).encode("latin-1")


def without(headers: Headers, *names: str) -> Headers:
    """Return the headers except those called ``names``."""
    dropped = {name.lower() for name in names}
    return [(name, value) for name, value in headers if name.lower() not in dropped]


def read_head(stream: BinaryIO) -> Head | None:
    """Read one head; None when the peer closed before it began."""
    lines: list[str] = []
    while True:
        line = stream.readline(_LONGEST_LINE)
        if not line and not lines:
            return None
        if not line.endswith(b"\n"):
            raise Broken("the head was cut")
        text = line.rstrip(b"\r\n").decode("latin-1")
        if text:
            lines.append(text)
        elif lines:
            break
    headers: Headers = []
    for text in lines[1:]:
        name, _, value = text.partition(":")
        headers.append((name, value.strip()))
    return Head(lines[0], headers)


def read_body(stream: BinaryIO, head: Head, *, until_close: bool = False, most: int = 256 * 1024) -> Iterator[bytes]:
    """Yield a body's payload, chunked or counted or up to the close of the connection."""
    if head.get("Transfer-Encoding").lower() == "chunked":
        yield from _read_chunked(stream)
    elif head.get("Content-Length"):
        yield from _read_counted(stream, int(head.get("Content-Length")), most)
    elif until_close:
        while piece := stream.read(most):
            yield piece


def _read_counted(stream: BinaryIO, left: int, most: int) -> Iterator[bytes]:
    while left:
        piece = stream.read(min(most, left))
        if not piece:
            raise Broken(f"{left} bytes of the body are missing")
        left -= len(piece)
        yield piece


def _read_chunked(stream: BinaryIO) -> Iterator[bytes]:
    while True:
        size = int(stream.readline(_LONGEST_LINE).split(b";")[0], 16)
        if not size:
            while stream.readline(_LONGEST_LINE).strip():
                pass  # trailers
            return
        yield from _read_counted(stream, size, size)
        stream.readline(_LONGEST_LINE)


def reset(sock: socket.socket) -> None:
    """Close with RST rather than FIN: what was not yet sent is thrown away."""
    with contextlib.suppress(OSError):
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


def finish(sock: socket.socket) -> None:
    """Close with FIN, over TLS with close_notify, as an honest peer does."""
    with contextlib.suppress(OSError, ValueError):
        if isinstance(sock, ssl.SSLSocket):
            sock.settimeout(0.2)
            sock.unwrap()
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_WR)
    sock.close()


def wait_for(event: threading.Event, sock: socket.socket, stopping: threading.Event) -> bool:
    """Hold the connection open and silent until ``event`` is set; False if the peer leaves or ``stopping`` is set."""
    while not stopping.is_set():
        if event.wait(0.02):
            return True
        with contextlib.suppress(ValueError, OSError):
            readable, _, _ = select.select([sock], [], [], 0)
            if readable:
                return False
    return False


def wait_for_close(sock: socket.socket, stopping: threading.Event, seconds: float = 120.0) -> None:
    """Hold the connection open and silent until the peer leaves, ``stopping`` is set or ``seconds`` pass."""
    waited = 0.0
    while waited < seconds and not stopping.wait(0.02):
        waited += 0.02
        with contextlib.suppress(ValueError, OSError):
            readable, _, _ = select.select([sock], [], [], 0)
            if not readable:
                continue
        return
