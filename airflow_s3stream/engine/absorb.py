"""Between the network and a file: writes, computes checksums and keeps the journal, on whichever thread brings bytes.

Not behind a queue, on a thread of its own: bytes are written and summed while they are still in the cache of the core
that decrypted them, which costs a fifth less CPU; and what waits in no queue is not lost when the process is killed.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import continued
from airflow_s3stream.engine.objectfile import Written
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import S3StreamError, Stopped

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_s3stream.engine.ranges import RangeJob
    from airflow_s3stream.plan.digests import Algorithm

_NOTED = 8 * MiB  # bytes after which a range that is under way goes to the journal; so many are fetched again at most


class Absorbed(Protocol):
    """Where the bytes go, as :class:`~airflow_s3stream.engine.objectfile.ObjectFile` takes them."""

    def write(self, chunks: list[bytes], offset: int) -> None:
        """Take bytes that follow each other. Any thread, several at once."""

    def note(self, piece: Written) -> None:
        """Note what has been written. One thread at a time."""

    def flush(self, start: int, stop: int) -> None:
        """Have bytes on their way to the disk. Any thread."""


class Absorber:
    """
    Takes bytes of ranges: of several at once, of each by one thread at a time.

    :param done: what the file holds already.
    :param ends: offsets at which parts of the object end, in order; no checksum goes across one.
    """

    def __init__(
        self, file: Absorbed, algorithm: Algorithm, *, done: Sequence[Written] = (), ends: Sequence[int] = ()
    ) -> None:
        self._file = file
        self._algorithm = algorithm
        self._part_ends = ends
        self._changed = threading.Condition()
        self._writers = 0
        self._closed = False
        self._ending = threading.RLock()  # for a second one to end it waits until the first has noted all
        self._open: dict[RangeJob, Written] = {}  # what has been written of a range and is one piece so far
        self._noted: dict[RangeJob, int] = {}  # up to where the journal knows it
        self._pieces = {piece.start: piece for piece in done}
        self.stored = sum(piece.stop - piece.start for piece in done)
        """Bytes in the file."""

    def put(self, job: RangeJob, pieces: list[bytes]) -> None:
        """
        Write bytes from ``job.position`` on. Any thread.

        :raises S3StreamError: the download has ended, or they cannot be written.
        """
        with self._changed:
            if self._closed:
                raise Stopped("the download has ended")
            self._writers += 1
        try:
            self._file.write(pieces, job.position)
            self._sum(job, job.position, pieces)
        finally:
            with self._changed:
                self._writers -= 1
                self._changed.notify_all()

    def complete(self, job: RangeJob) -> None:
        """
        Take note that all bytes of a range have been given.

        :raises LocalError: the journal cannot be written.
        """
        if job in self._open:
            self._close_piece(job)

    def reach(self, anchor: int, known: int) -> tuple[int, int]:
        """
        Tell how far the file holds all bytes, waiting a little for more than ``known``.

        :param anchor: where a piece begins; 0 at first, then what this returned.
        :returns: where the piece begins that is the first not to be complete, and up to where bytes are there.
        """
        with self._changed:
            found = self._reach(anchor)
            if found[1] <= known:
                self._changed.wait(POLL)
                found = self._reach(anchor)
            return found

    def _reach(self, anchor: int) -> tuple[int, int]:
        while piece := self._pieces.get(anchor):
            anchor = piece.stop
        return anchor, max((one.stop for one in self._open.values() if one.start == anchor), default=anchor)

    @property
    def pieces(self) -> list[Written]:
        """What the file holds, in order; complete when all ranges are."""
        return sorted(self._pieces.values())

    def close(self) -> None:
        """
        Take no more, and note what has been written of ranges that are not complete. More than once does no harm.

        Whoever calls it, nobody writes any more when it returns: the file may be closed then, and its descriptor be
        another's.
        """
        with self._changed:
            self._closed = True
            while self._writers:
                self._changed.wait()
        with self._ending, suppress(S3StreamError):  # a later run fetches again what is not noted
            for job in list(self._open):
                if self._noted.get(job) != self._open[job].stop:
                    self._note(job)

    def _sum(self, job: RangeJob, offset: int, pieces: list[bytes]) -> None:
        """Continue the checksum of a range; where a part of the object ends, so does the piece."""
        algorithm, end = self._algorithm, self._end_of_part(offset)
        begun = offset
        start, _, checksum = self._open.get(job) or Written(offset, offset, 0)
        for piece in pieces:
            view: bytes | memoryview = piece
            while end is not None and offset + len(view) >= end:
                cut = end - offset
                checksum = continued(algorithm, memoryview(view)[:cut], checksum)
                self._hold(job, Written(start, end, checksum))
                self._close_piece(job)
                view = memoryview(view)[cut:]
                start, checksum, offset = end, 0, end
                end = self._end_of_part(offset)
            checksum = continued(algorithm, view, checksum)
            offset += len(view)
        if offset > start:
            self._hold(job, Written(start, offset, checksum))
            if offset - self._noted.get(job, start) >= _NOTED:
                self._note(job)
        with self._changed:
            self.stored += offset - begun

    def _hold(self, job: RangeJob, piece: Written) -> None:
        with self._changed:
            self._open[job] = piece

    def _end_of_part(self, offset: int) -> int | None:
        at = bisect_right(self._part_ends, offset)
        return self._part_ends[at] if at < len(self._part_ends) else None

    def _close_piece(self, job: RangeJob) -> None:
        if self._noted.get(job) != self._open[job].stop:
            self._note(job)
        with self._changed:
            piece = self._open.pop(job)
            self._pieces[piece.start] = piece
            self._noted.pop(job, None)

    def _note(self, job: RangeJob) -> None:
        with self._changed:
            piece = self._open[job]
            self._file.note(piece)
            known = self._noted.get(job, piece.start)
            self._noted[job] = piece.stop
        self._file.flush(known, piece.stop)
