"""A part as a request body: framed with its checksum behind it, so nothing is read twice or held whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import crc64nvme_text

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.engine.protocols import PartBody

CHECKSUM_HEADER = "x-amz-checksum-crc64nvme"
# Bytes of data per frame, as boto3 sends. The AWS CRT sends a whole part as one frame, but MinIO refuses frames of more
# than 16 MiB.
_FRAME = MiB
_TRAILER = b"0\r\n" + CHECKSUM_HEADER.encode() + b":%s\r\n\r\n"


class RequestBody:
    """
    What botocore's HTTP client reads a part from: ``read`` hands out whatever comes next, of any length.

    urllib3 sends what ``read`` returns and asks again until it is empty, whatever size it asked for; so a piece goes
    from the source's buffer to the socket without a copy.

    :param trailer: frame the bytes as ``aws-chunked`` with their CRC-64/NVME as the trailer (Amazon S3 API Reference,
        "Signature calculations: chunked upload with trailing checksums", unsigned payload); else send them plain.
    :param ask_first: announce the bytes with ``Expect: 100-continue``, so that a refusal is heard. urllib3 reads the
        body to its end all the same.
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
        left, in_frame, edge = self.part.size, 0, b""
        for whole in self.part.pieces():
            piece = whole
            while piece:
                if not in_frame:
                    in_frame = min(_FRAME, left)
                    yield b"%s%x\r\n" % (edge, in_frame)
                    edge = b"\r\n"
                now, piece = piece[:in_frame], piece[in_frame:]
                yield now
                in_frame -= len(now)
                left -= len(now)
        yield edge + _TRAILER % crc64nvme_text(self.part.crc).encode()


def framed_length(size: int) -> int:
    """Bytes on the wire for ``size`` bytes of data in frames with the trailer."""
    full, rest = divmod(size, _FRAME)
    wire = full * (len(b"%x" % _FRAME) + 4 + _FRAME)
    if rest:
        wire += len(b"%x" % rest) + 4 + rest
    return wire + len(_TRAILER % crc64nvme_text(0).encode())
