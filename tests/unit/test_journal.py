"""The journal says only what can be trusted."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.plan.journal import (
    Header,
    Journal,
    Pieces,
    Version,
    Written,
    done_line,
    header_line,
    parse,
    piece_line,
)

SIZE = 1000
HEADER = Header(
    uri="s3://b/\u00e9", etag="e", size=SIZE, algorithm="crc64nvme", boot_id="boot", temp=".x.part", inode=7
)
VERSION = Version("s3://b/\u00e9", "e", SIZE, 0.0)
FIRST, SECOND, THIRD = Written(0, 100, 1), Written(300, 400, (1 << 64) - 1), Written(100, 300, 0)


def text_of(*pieces: Written, header: Header = HEADER) -> bytes:
    return header_line(header) + b"".join(map(piece_line, pieces))


def total_length(parts: Iterable[tuple[int, int]]) -> int:
    """In place of a CRC: a number that shows which parts were joined."""
    return sum(length for _, length in parts)


class TestParse:
    """What is read back."""

    def test_everything_that_was_written(self) -> None:
        """The pieces in the order of their bytes; the end with its level and mtime."""
        text = text_of(FIRST, SECOND, THIRD)
        assert parse(text) == Journal(HEADER, [FIRST, THIRD, SECOND])
        assert parse(text + done_line("crc64nvme", 5)) == Journal(HEADER, [FIRST, THIRD, SECOND], "crc64nvme", 5)

    def test_a_later_piece_with_the_same_start_supersedes(self) -> None:
        """Longer or shorter."""
        longer, shorter = Written(0, 300, 4), Written(0, 50, 5)
        assert parse(text_of(FIRST, SECOND, longer)).pieces == [longer, SECOND]
        assert parse(text_of(FIRST, longer, SECOND, shorter)).pieces == [shorter, SECOND]

    def test_cut_anywhere_it_is_what_was_whole_before(self) -> None:
        """A line counts with its end: a number that is cut is another number."""
        lines = [header_line(HEADER), *map(piece_line, (FIRST, SECOND, THIRD)), done_line("size", 9)]
        text = b"".join(lines)
        for length in range(len(text)):
            whole = text[:length].count(b"\n")
            expected = Journal(HEADER, sorted((FIRST, SECOND, THIRD)[: whole - 1])) if whole else Journal()
            assert parse(text[:length]) == expected, length

    @pytest.mark.parametrize(
        "line",
        [
            b"",
            b"[200,300]",
            b"[200,300,1,2]",
            b"[200,300,1.0]",
            b"[200,300,true]",
            b'["200",300,1]',
            b"[200,300,null]",
            b'{"start":200}',
            b'{"done":1,"mtime_ns":1}',
            b'{"done":"size"}',
            b"3",
            b"[200,300,1",
            b"[200,300,1]]",
            b"\0" * 40,
            b"\xff\xfe",
            b"[" * 100_000,
            b"[200,300," + b"9" * 5000 + b"]",
            b"[200,200,0]",
            b"[300,200,1]",
            b"[-10,20,1]",
            b"[900,1001,1]",
            b"[2000,3000,1]",
            b"[200,300,-1]",
            b"[200,300,18446744073709551616]",
            b"[50,150,1]",
            b"[99,100,1]",
            b"[250,301,1]",
            b"[399,401,1]",
            b"[0,301,1]",
        ],
    )
    def test_what_is_garbled_or_contradicts_ends_the_reading(self, line: bytes) -> None:
        """Nothing behind it counts, though it would by itself."""
        text = text_of(FIRST, SECOND) + line + b"\n" + piece_line(Written(500, 600, 1)) + done_line("size", 1)
        assert parse(text) == Journal(HEADER, [FIRST, SECOND])

    def test_a_crc_of_32_bits_is_not_longer(self) -> None:
        """It could be no checksum of that kind."""
        header = replace(HEADER, algorithm="crc32c")
        assert parse(text_of(Written(0, 1, 2**32 - 1), Written(1, 2, 2**32), header=header)).pieces == [
            Written(0, 1, 2**32 - 1)
        ]

    @pytest.mark.parametrize(
        "changes",
        [
            {"s3stream": 2},
            {"s3stream": None},
            {"uri": None},
            {"etag": 3},
            {"size": -1},
            {"size": "1000"},
            {"size": True},
            {"algorithm": "md5"},
            {"algorithm": []},
            {"inode": 1.5},
            {"boot_id": None},
            {"temp": None},
            {"more": 1},
        ],
        ids=str,
    )
    def test_another_header_is_none(self, changes: dict[str, Any]) -> None:
        """Of another format, or not one at all."""
        header = json.loads(header_line(HEADER)) | changes
        assert parse(json.dumps(header).encode() + b"\n" + piece_line(FIRST)) == Journal()

    @pytest.mark.parametrize("text", [b"", b"\n", b"[]\n", b"null\n", b"{}\n", b"\0\0\0\n", piece_line(FIRST)])
    def test_without_a_header_there_is_nothing(self, text: bytes) -> None:
        """An empty file is what a power loss may leave."""
        assert parse(text + piece_line(FIRST)) == Journal()

    def test_whatever_is_garbled_the_pieces_fit_together(self) -> None:
        """They lie in the object, and no two overlap."""
        chance = random.Random(4)
        text = text_of(*(Written(at, at + 50, at) for at in range(0, SIZE, 50))) + done_line("size", 1)
        for _ in range(3000):
            garbled = bytearray(text)
            for _ in range(chance.randrange(1, 4)):
                garbled[chance.randrange(len(text))] = chance.choice(b'0123456789,[]"{}:\n\0') or chance.randrange(256)
            journal = parse(bytes(garbled))
            edges = [edge for piece in journal.pieces for edge in piece[:2]]
            assert edges == sorted(edges)
            assert not edges or (edges[0] >= 0 and journal.header and edges[-1] <= journal.header.size)


class TestHeader:
    """Which run may go on with another's pieces."""

    def test_only_one_for_the_same_version_and_algorithm(self) -> None:
        """The time of the object does not matter: the ETag says more."""
        assert HEADER.continues(VERSION, "crc64nvme")
        assert HEADER.continues(VERSION._replace(modified=5.0), "crc64nvme")
        assert not HEADER.continues(VERSION, "crc32")
        for changes in ({"uri": "s3://b/e"}, {"etag": "f"}, {"size": SIZE + 1}, {"etag": ""}):
            assert not HEADER.continues(VERSION._replace(**changes), "crc64nvme")

    def test_without_an_etag_there_is_no_same_version(self) -> None:
        """Two contents of one length would be spliced."""
        assert not replace(HEADER, etag="").continues(VERSION._replace(etag=""), "crc64nvme")


class TestPieces:
    """Kept apart, counted, joined."""

    def test_they_are_counted(self) -> None:
        """And whole when every byte is there; an empty object is whole at once."""
        pieces = Pieces(400, "crc64nvme")
        for piece, total in ((FIRST, 100), (SECOND, 200), (THIRD, 400)):
            assert not pieces.whole
            assert pieces.add(piece)
            assert pieces.total == total
        assert pieces.whole
        assert list(pieces) == [FIRST, THIRD, SECOND]
        assert Pieces(0, "crc64nvme").whole

    def test_a_piece_that_does_not_fit_changes_nothing(self) -> None:
        """It is told."""
        pieces = Pieces(400, "crc64nvme")
        pieces.add(FIRST)
        assert not pieces.add(Written(50, 150, 1))
        assert list(pieces) == [FIRST]

    def test_joined_but_for_the_last_of_each_row(self) -> None:
        """Which may still grow, in place of itself."""
        pieces = Pieces(SIZE, "crc64nvme")
        for start in (0, 10, 20, 50, 60, 90):
            pieces.add(Written(start, start + 10, 1))
        pieces.join(total_length, SIZE)
        assert list(pieces) == [Written(0, 20, 20), Written(20, 30, 1), Written(50, 60, 1), Written(60, 70, 1),
                                Written(90, 100, 1)]  # fmt: skip
        assert pieces.add(Written(20, 40, 2))
        assert pieces.add(Written(90, 120, 2))
        assert not pieces.add(Written(10, 20, 2))

    def test_joined_pieces_have_an_end(self) -> None:
        """A power loss shall not cost all of it."""
        pieces = Pieces(SIZE, "crc64nvme")
        for start in range(0, 100, 10):
            pieces.add(Written(start, start + 10, 1))
        pieces.join(total_length, 40)
        assert [piece[:2] for piece in pieces] == [(0, 40), (40, 80), (80, 90), (90, 100)]
        pieces.join(total_length, 40)
        assert [piece[:2] for piece in pieces] == [(0, 40), (40, 80), (80, 90), (90, 100)]

    @given(st.sets(st.integers(0, 60)), st.integers(1, 30))
    def test_joining_keeps_every_byte(self, starts: set[int], most: int) -> None:
        """None is added, none is lost, and the CRCs are asked for in order."""

        def digits(parts: Iterable[tuple[int, int]]) -> int:
            parts = list(parts)
            assert len(parts) > 1
            return int.from_bytes(b"".join(crc.to_bytes(1, "big") * length for crc, length in parts)[-8:], "big")

        pieces = Pieces(61, "crc64nvme")
        for start in sorted(starts, key=lambda start: start * 7 % 61):
            assert pieces.add(Written(start, start + 1, start))
        pieces.join(digits, most)
        assert {byte for piece in pieces for byte in range(piece.start, piece.stop)} == starts
        assert pieces.total == len(starts)
        for piece in pieces:
            assert piece.stop - piece.start <= most
            assert piece.checksum == int.from_bytes(bytes(range(piece.start, piece.stop))[-8:], "big")
