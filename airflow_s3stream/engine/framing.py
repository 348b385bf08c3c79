"""A part as a request body: framed with its checksum behind it, so nothing is read twice or held whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.engine.checksums import crc64nvme_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.engine.protocols import PartBody

CHECKSUM_HEADER = "x-amz-checksum-crc64nvme"
_TRAILER = b"0\r\n" + CHECKSUM_HEADER.encode() + b":%s\r\n\r\n"


class RequestBody:
    """
    What botocore's HTTP client reads a part from: ``read`` hands out whatever comes next, of any length.

    ``http.client`` sends what ``read`` returns and asks again until it is empty, whatever size it asked for; so
    a piece goes from the source's buffer to the socket without a copy.

    :param trailer: frame the bytes as ``aws-chunked`` with their CRC-64/NVME as the trailer (Amazon S3 API Reference,
        "Signature calculations: chunked upload with trailing checksums", unsigned payload); else send them plain.
    :param ask_first: send the bytes only when the store asks for them.
    """

    def __init__(self, part: PartBody, *, trailer: bool, ask_first: bool = False) -> None:
        self.part = part
        self.ask_first = ask_first
        self.trailer = trailer
        self.failure: BaseException | None = None
        self._pieces = self._all()

    def read(self, _size: int = -1) -> memoryview | bytes:
        """Give the next piece; empty at the end."""
        try:
            return next(self._pieces, b"")
        except BaseException as error:
            self.failure = error
            raise

    def headers(self) -> dict[str, str]:
        """Give the headers that describe this body; all of them are signed."""
        if not self.trailer:
            return {"Content-Length": str(self.part.size)}
        return {
            "Content-Length": str(framed_length(self.part.size)),
            "Content-Encoding": "aws-chunked",
            "X-Amz-Decoded-Content-Length": str(self.part.size),
            "X-Amz-Trailer": CHECKSUM_HEADER,
        }

    def _all(self) -> Iterator[memoryview | bytes]:
        yield from self._framed() if self.trailer else self.part.pieces()
        # Resumed here only when more is asked for after the last piece: all has been handed to the kernel.
        self.part.sent()

    def _framed(self) -> Iterator[memoryview | bytes]:
        # One frame for the whole part, as the AWS CRT and the Rust SDK send an unsigned payload.
        yield b"%x\r\n" % self.part.size
        yield from self.part.pieces()
        yield b"\r\n"
        yield _TRAILER % crc64nvme_text(self.part.crc).encode()


def framed_length(size: int) -> int:
    """Bytes on the wire for ``size`` bytes of data in one frame with the trailer."""
    return len(b"%x" % size) + 4 + size + len(_TRAILER % crc64nvme_text(0).encode())
