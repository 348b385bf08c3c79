"""The pieces of a file that are written: in memory, and in the journal for a later run."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, cast

from airflow_s3stream.config import GiB, KiB
from airflow_s3stream.engine.checksums import combine, continued
from airflow_s3stream.engine.objectjournal import FULL
from airflow_s3stream.plan.journal import Journal, Pieces, header_line, parse, piece_line

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.objectjournal import JournalFile
    from airflow_s3stream.plan.digests import Algorithm
    from airflow_s3stream.plan.journal import Header, Version, Written

_READ = 1 << 20
_SHORT = 256 * KiB  # of a journal; some thousand pieces
_FEW = 4096  # joined pieces of an object of any size


class NotedPieces:
    """
    What was noted by earlier runs, then by this one.

    :param journal: stays the caller's, who closes it.
    :param temp_size: bytes of the file that the pieces are in; None: there is none, and so no pieces.
    :raises OSError: from every method: the journal cannot be read or written.
    """

    def __init__(self, journal: JournalFile, temp_size: int | None) -> None:
        self._journal = journal
        self.earlier = parse(journal.read())
        """What the journal said when it was opened; nothing any more once it says what this run does."""
        self._header = self.earlier.header
        self._pieces = Pieces(0, "crc64nvme")
        if self._header:
            self._pieces = Pieces(self._header.size, self._header.algorithm)
            for piece in self.earlier.pieces if temp_size == self._header.size else []:
                self._pieces.add(piece)
        self._joins = False
        self._compact_at = _SHORT

    @property
    def total(self) -> int:
        """Bytes in all pieces."""
        return self._pieces.total

    @property
    def worth(self) -> int:
        """Bytes that a later run can have: none without an ETag, for nothing tells then that the object is the same."""
        return self.total if self._header and self._header.etag else 0

    @property
    def whole(self) -> bool:
        """Tell whether every byte is in a piece."""
        return self._pieces.whole

    def continue_with(self, version: Version, algorithm: str) -> bool:
        """Tell whether there are pieces of this version with checksums of this kind."""
        header = self.earlier.header
        return header is not None and header.continues(version, algorithm) and self.total > 0

    def as_left(self, boot_id: str, inode: int) -> bool:
        """Tell whether the file must hold what the journal says: no power was lost, and it is that file."""
        header = self.earlier.header
        return header is not None and header.boot_id == boot_id != "" and header.inode == inode

    def forget(self, size: int, algorithm: str) -> None:
        """Begin with none, of an object of ``size`` bytes; the journal says so at once."""
        self._pieces = Pieces(size, algorithm)
        self.earlier = Journal()
        self._journal.clear()

    def check(self, read: Callable[[int, int], bytes], told: Callable[[int], None]) -> None:
        """
        Drop the pieces that are not in the file as they were noted.

        :param read: gives bytes of the file from (size, offset).
        :param told: called with the number of bytes read so far; what it raises leaves all pieces unchecked.
        """
        header = cast("Header", self._header)
        algorithm = cast("Algorithm", header.algorithm)
        good = Pieces(header.size, algorithm)
        total = 0
        for piece in self._pieces:
            crc = 0
            for offset in range(piece.start, piece.stop, _READ):
                chunk = read(min(_READ, piece.stop - offset), offset)
                crc = continued(algorithm, chunk, crc)
                total += len(chunk)
                told(total)
            if crc == piece.checksum:
                good.add(piece)
        self._pieces = good

    def begin(self, header: Header, *, joins: bool) -> list[Written]:
        """Write what is known so far to the journal, as this run's; give the pieces."""
        self.earlier = Journal()
        self._header = header
        self._joins = joins
        self._rewrite()
        return list(self._pieces)

    def note(self, piece: Written) -> None:
        """
        Add a piece, in place of one with the same start.

        :raises ValueError: it overlaps another or is outside of the object.
        """
        if not self._pieces.add(piece):
            raise ValueError(f"{piece} does not fit in with the other pieces of {self._header}")
        self._journal.append(piece_line(piece))
        if self._journal.size > self._compact_at:
            self._compact()

    def _compact(self) -> None:
        header = cast("Header", self._header)
        if self._joins:
            joined = partial(combine, cast("Algorithm", header.algorithm))
            self._pieces.join(joined, max(GiB, header.size // _FEW))
        try:
            self._rewrite()
        except OSError as error:
            if error.errno not in FULL:  # then the long one goes on
                raise
            self._compact_at = 2 * self._journal.size

    def _rewrite(self) -> None:
        lines = [header_line(cast("Header", self._header)), *map(piece_line, self._pieces)]
        self._journal.replace(b"".join(lines))
        self._compact_at = max(_SHORT, 2 * self._journal.size)
