"""The journal beside a file that is under way: which version of which object, and which pieces are written.

One JSON value a line. The first is the header, an object; then one array ``[start, stop, checksum]`` for each piece,
of which a later one with the same start supersedes the earlier; at the end ``{"done": level, "mtime_ns": n}``, written
just before the file gets its name. A line that is cut, garbled, or contradicts those before it ends the reading:
what comes after it is not trusted.
"""

from __future__ import annotations

import json
from bisect import bisect_left, insort
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

FORMAT = 1
_BITS = {"crc32": 32, "crc32c": 32, "crc64nvme": 64}


class Version(NamedTuple):
    """
    One version of an object.

    ``size`` is bytes; ``etag`` comes without its quotes, "" unknown; ``modified`` is Last-Modified in seconds since the
    epoch, 0 unknown.
    """

    uri: str
    etag: str
    size: int
    modified: float


class Written(NamedTuple):
    """Bytes [start, stop) are in the file; their CRC."""

    start: int
    stop: int
    checksum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the pieces are pieces of."""

    uri: str
    etag: str
    size: int
    algorithm: str
    boot_id: str  # "" where nothing tells one boot from the next
    temp: str  # name of the file the pieces are in
    inode: int  # of that file

    def continues(self, version: Version, algorithm: str) -> bool:
        """
        Tell whether a run for ``version`` may go on with the pieces.

        Without an ETag nothing tells two versions apart, so then it may not.
        """
        return self.same_version(version) and self.algorithm == algorithm

    def same_version(self, version: Version) -> bool:
        """Tell whether it is the same version of the same object."""
        return bool(version.etag) and (self.uri, self.etag, self.size) == (version.uri, version.etag, version.size)


class Pieces:
    """Pieces of an object of ``size`` bytes that do not overlap, in the order of their starts."""

    def __init__(self, size: int, algorithm: str) -> None:
        self._size = size
        self._checksums = 1 << _BITS[algorithm]
        self._starts: list[int] = []
        self._by_start: dict[int, Written] = {}

    def __iter__(self) -> Iterator[Written]:
        return (self._by_start[start] for start in self._starts)

    def __len__(self) -> int:
        return len(self._starts)

    @property
    def total(self) -> int:
        """Bytes in all pieces."""
        return sum(piece.stop - piece.start for piece in self._by_start.values())

    def add(self, piece: Written) -> bool:
        """Take a piece in, in place of one with the same start; False: it overlaps another or is none."""
        start, stop, checksum = piece
        if not (0 <= start < stop <= self._size and 0 <= checksum < self._checksums):
            return False
        at = bisect_left(self._starts, start)
        after = at + (start in self._by_start)
        if after < len(self._starts) and self._starts[after] < stop:
            return False
        if at and self._by_start[self._starts[at - 1]].stop > start:
            return False
        if after == at:
            insort(self._starts, start)
        self._by_start[start] = piece
        return True

    @property
    def whole(self) -> bool:
        """Tell whether every byte is in a piece."""
        return self.total == self._size

    def join(self, combine: Callable[[Iterable[tuple[int, int]]], int], most: int) -> None:
        """
        Make one piece of those that follow each other.

        The last of each row stays as it is: it may still grow. So does what would be longer than ``most`` bytes, for
        a piece that does not outlive a power loss is lost as a whole.

        :param combine: gives the CRC of adjacent pieces from their (CRC, length).
        """
        pieces = list(self)
        groups: list[list[Written]] = []
        for piece, after in zip(pieces, [*pieces[1:], None], strict=False):
            closed = after is not None and after.start == piece.stop
            follows = bool(groups) and groups[-1][-1].stop == piece.start
            if closed and follows and piece.stop - groups[-1][0].start <= most:
                groups[-1].append(piece)
            else:
                groups.append([piece])
        joined = [_joined(group, combine) for group in groups]
        self._starts = [piece.start for piece in joined]
        self._by_start = {piece.start: piece for piece in joined}


def _joined(group: list[Written], combine: Callable[[Iterable[tuple[int, int]]], int]) -> Written:
    if len(group) == 1:
        return group[0]
    checksum = combine((piece.checksum, piece.stop - piece.start) for piece in group)
    return Written(group[0].start, group[-1].stop, checksum)


@dataclass(slots=True)
class Journal:
    """What a journal says."""

    header: Header | None = None  # None: nothing that can be gone on with
    pieces: list[Written] = field(default_factory=list)
    done: str = ""  # how the whole file was verified; "" it was not whole yet
    mtime_ns: int = 0  # of the whole file


def parse(text: bytes) -> Journal:
    """Read a journal as far as it can be trusted."""
    *lines, _ = text.split(b"\n")  # a line counts with its end; what comes behind the last one is cut
    journal = Journal()
    if not lines or (header := _header(_value(lines[0]))) is None:
        return journal
    journal.header = header
    pieces = Pieces(header.size, header.algorithm)
    for line in lines[1:]:
        value = _value(line)
        if _is_done(value):
            journal.done, journal.mtime_ns = value["done"], value["mtime_ns"]
            break
        if not _is_piece(value) or not pieces.add(Written(*value)):
            break
    journal.pieces = list(pieces)
    return journal


def header_line(header: Header) -> bytes:
    """Write the first line."""
    return _line({"s3stream": FORMAT, **asdict(header)})


def piece_line(piece: Written) -> bytes:
    """Write the line of a piece."""
    return b"[%d,%d,%d]\n" % piece


def done_line(level: str, mtime_ns: int) -> bytes:
    """Write the last line: the file is whole and on disk, verified by ``level``, and will get its name now."""
    return _line({"done": level, "mtime_ns": mtime_ns})


def _line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _value(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _header(value: Any) -> Header | None:
    if not isinstance(value, dict) or value.pop("s3stream", None) != FORMAT:
        return None
    texts = [value.get(name) for name in ("uri", "etag", "algorithm", "boot_id", "temp")]
    numbers = [value.get(name) for name in ("size", "inode")]
    if len(value) != len(texts) + len(numbers) or not all(type(text) is str for text in texts):
        return None
    if not all(type(number) is int and number >= 0 for number in numbers) or value["algorithm"] not in _BITS:
        return None
    return Header(**value)


def _is_piece(value: Any) -> bool:
    return (
        isinstance(value, list) and len(value) == len(Written._fields) and all(type(number) is int for number in value)
    )


def _is_done(value: Any) -> bool:
    return isinstance(value, dict) and type(value.get("done")) is str and type(value.get("mtime_ns")) is int
