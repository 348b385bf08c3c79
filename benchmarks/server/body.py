"""Swallows an upload's body, and learns from it what is asked: its size, its trailer, in check mode its checksum."""

from __future__ import annotations

import io
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.server.wire import Closed, Connection, EndlessBody, LengthBody, Request

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

    from benchmarks.server.link import Pace

READ = 256 * 1024
TAIL = 512
"""Bytes at the end of an aws-chunked body that hold the trailer."""
_TRAILER = re.compile(rb"(?:^|\r\n)(x-amz-checksum-[a-z0-9]+) *: *([A-Za-z0-9+/=]+)\r\n")


@dataclass(frozen=True, slots=True)
class Body:
    """What an upload's body was."""

    received: int
    """Bytes on the wire, framing included."""
    size: int
    """Bytes of content."""
    crc64nvme: int | None
    """Of the content; None unless checking."""
    trailer: Mapping[str, str] = field(default_factory=dict)


class ChunkedBody(io.RawIOBase):
    """Decodes chunks with a hexadecimal length line and trailers; HTTP's and S3's are alike in this."""

    def __init__(self, framed: io.BufferedReader) -> None:
        self._framed = framed
        self._left = 0
        self._ended = False
        self.trailer: dict[str, str] = {}
        self.received = 0

    def readable(self) -> bool:
        return True

    def _line(self) -> bytes:
        line = self._framed.readline()
        if not line.endswith(b"\r\n"):
            raise Closed("ended in the middle of a chunk's frame")
        self.received += len(line)
        return line

    def _end(self) -> None:
        self._ended = True
        while (line := self._line()) != b"\r\n":
            name, _, value = line.decode("latin-1").partition(":")
            self.trailer[name.strip().lower()] = value.strip()

    def readinto(self, buffer: Buffer) -> int:
        if self._ended:
            return 0
        if not self._left:
            self._left = int(self._line().partition(b";")[0], 16)
            if not self._left:
                self._end()
                return 0
        count = self._framed.readinto1(memoryview(buffer).cast("B")[: self._left])
        if not count:
            raise Closed("ended in the middle of a chunk")
        self._left -= count
        self.received += count
        if not self._left and self._line() != b"\r\n":
            raise ValueError("a chunk is longer than its length line says")
        return count


def swallow(connection: Connection, request: Request, pace: Pace | None, *, check: bool) -> Body:
    """Read the body of an upload; ``check`` decodes it and takes its checksum."""
    if check or "chunked" in request.headers.get("transfer-encoding", ""):
        return _decode(connection, request, pace, check=check)
    length = request.length
    tail = min(length, TAIL) if "x-amz-trailer" in request.headers else 0
    connection.discard(length - tail, pace)
    trailer = {name.decode(): value.decode() for name, value in _TRAILER.findall(connection.read(tail))}
    return Body(length, int(request.headers.get("x-amz-decoded-content-length", length)), None, trailer)


def _decode(connection: Connection, request: Request, pace: Pace | None, *, check: bool) -> Body:
    http: ChunkedBody | None = None
    aws: ChunkedBody | None = None
    payload: io.RawIOBase = LengthBody(connection, request.length, pace)
    if "chunked" in request.headers.get("transfer-encoding", ""):
        payload = http = ChunkedBody(io.BufferedReader(EndlessBody(connection, pace), READ))
    if check and "aws-chunked" in request.headers.get("content-encoding", ""):
        payload = aws = ChunkedBody(io.BufferedReader(payload, READ))
    size, crc = _measure(payload, check=check)
    if aws and http:
        _measure(http, check=False)  # HTTP's own last chunk, behind S3's
    claimed = int(request.headers.get("x-amz-decoded-content-length", size))
    if check and claimed != size:
        raise ValueError(f"X-Amz-Decoded-Content-Length says {claimed}, the body has {size}")
    received = http.received if http else request.length
    return Body(received, claimed, crc if check else None, aws.trailer if aws else {})


def _measure(payload: io.RawIOBase, *, check: bool) -> tuple[int, int]:
    buffer = bytearray(READ)
    size = crc = 0
    while count := payload.readinto(buffer):
        size += count
        if check:
            crc = _crc64nvme(bytes(buffer[:count]), crc)
    return size, crc


def _crc64nvme(piece: bytes, crc: int) -> int:
    from awscrt import checksums

    return int(checksums.crc64nvme(piece, crc))
