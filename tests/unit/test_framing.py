"""The frames around a part's bytes are exactly as long as announced, and end in the right checksum."""

from __future__ import annotations

import base64
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import RunningDigest, combine, crc64nvme
from airflow_s3stream.engine.framing import RequestBody, framed_length
from airflow_s3stream.exceptions import SourceTruncated

if TYPE_CHECKING:
    from collections.abc import Iterator


class Part:
    """A part in memory, cut into pieces at the given places."""

    md5 = None

    def __init__(self, content: bytes, cuts: list[int]) -> None:
        self.content = content
        self.size = len(content)
        self.edges = sorted({0, self.size, *(cut % (self.size + 1) for cut in cuts)})
        self.crc = crc64nvme(content)
        self.was_sent = False

    def pieces(self) -> Iterator[memoryview]:
        view = memoryview(self.content)
        for start, stop in pairwise(self.edges):
            yield view[start:stop]

    def sent(self) -> None:
        self.was_sent = True


def wire(body: RequestBody) -> bytes:
    out = bytearray()
    while piece := body.read(16384):
        out += piece
    return bytes(out)


def unframe(data: bytes) -> tuple[bytes, dict[str, str]]:
    """Undo aws-chunked as a store does."""
    content, position = bytearray(), 0
    while True:
        end = data.index(b"\r\n", position)
        size = int(data[position:end], 16)
        position = end + 2
        if not size:
            break
        content += data[position : position + size]
        assert data[position + size : position + size + 2] == b"\r\n"
        position += size + 2
    trailers = dict(line.split(":", 1) for line in data[position:].decode().split("\r\n") if line)
    return bytes(content), trailers


@settings(max_examples=40, deadline=None)
@given(size=st.integers(1, 3 * MiB), cuts=st.lists(st.integers(0, 3 * MiB), max_size=20))
def test_framing_is_undone_to_the_same_bytes(size: int, cuts: list[int]) -> None:
    """However the source's pieces fall across the frames."""
    part = Part((b"0123456789abcdef" * (size // 16 + 1))[:size], cuts)
    body = RequestBody(part, trailer=True)
    data = wire(body)
    assert len(data) == framed_length(size) == int(body.headers()["Content-Length"])
    content, trailers = unframe(data)
    assert content == part.content
    assert base64.b64decode(trailers["x-amz-checksum-crc64nvme"]) == part.crc.to_bytes(8, "big")
    assert part.was_sent


@pytest.mark.parametrize("size", [1, MiB - 1, MiB, MiB + 1, 2 * MiB, 64 * MiB, 5 * 1024 * MiB])
def test_announced_lengths_at_the_edges(size: int) -> None:
    """Frames of 1 MiB, their hexadecimal sizes, and the trailer."""
    frames = [MiB] * (size // MiB) + ([size % MiB] if size % MiB else [])
    trailer = len("0\r\nx-amz-checksum-crc64nvme:") + 12 + 4
    assert framed_length(size) == sum(len(f"{frame:x}") + 4 + frame for frame in frames) + trailer


def test_plain_bytes_are_sent_as_they_are() -> None:
    """To a store that keeps no checksums."""
    part = Part(b"x" * 1000, [10, 500])
    body = RequestBody(part, trailer=False)
    assert wire(body) == part.content
    assert body.headers() == {"Content-Length": "1000"}
    assert part.was_sent


def test_a_part_that_breaks_keeps_its_error() -> None:
    """The HTTP client wraps it; the cause must not be lost."""

    class Broken(Part):
        def pieces(self) -> Iterator[memoryview]:
            yield memoryview(b"half")
            raise SourceTruncated("cut")

    body = RequestBody(Broken(b"x" * 10, []), trailer=True)
    with pytest.raises(SourceTruncated):
        wire(body)
    assert isinstance(body.failure, SourceTruncated)


@given(st.binary(max_size=4000), st.lists(st.integers(0, 4000), max_size=8))
def test_checksums_of_parts_combine_to_that_of_the_whole(content: bytes, cuts: list[int]) -> None:
    """For each checksum that may be computed in parallel."""
    edges = sorted({0, len(content), *(min(cut, len(content)) for cut in cuts)})
    pieces = [content[a:b] for a, b in pairwise(edges)]
    for algorithm in ("crc32", "crc32c", "crc64nvme"):
        parts = []
        for piece in pieces:
            digest = RunningDigest(algorithm)  # type: ignore[arg-type]
            digest.update(piece)
            parts.append((int.from_bytes(digest.digest(), "big"), len(piece)))
        whole = RunningDigest(algorithm)  # type: ignore[arg-type]
        whole.update(content)
        assert combine(algorithm, parts) == int.from_bytes(whole.digest(), "big")  # type: ignore[arg-type]


def test_the_checksums_are_the_published_ones() -> None:
    """Check values for "123456789", those of the CRC catalogue among them."""
    expected = {
        "crc32": "cbf43926",
        "crc32c": "e3069283",
        "crc64nvme": "ae8b14860a799888",
        "md5": "25f9e794323b453885f5181f1b624d0b",
        "sha256": "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
    }
    for algorithm, value in expected.items():
        digest = RunningDigest(algorithm)  # type: ignore[arg-type]
        digest.update(b"1234")
        digest.update(memoryview(b"56789"))
        assert digest.digest().hex() == value
