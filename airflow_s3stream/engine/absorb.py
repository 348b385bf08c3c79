"""Between the network and a file: a thread that writes, computes checksums and keeps the journal.

The network thread is bound by decryption; with writing and checksums beside it, not on it, a download keeps more than
one core busy, and a disk that holds a write up does not hold up the connections.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections import deque
from typing import TYPE_CHECKING, NamedTuple, Protocol

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import continued
from airflow_s3stream.engine.objectfile import Written
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_s3stream.engine.ranges import RangeJob
    from airflow_s3stream.engine.stop import Limits
    from airflow_s3stream.plan.digests import Algorithm

_NOTED = 8 * MiB  # bytes after which a range that is under way goes to the journal; so many are fetched again at most
_BACKLOG = 8 * MiB  # bytes that may wait for the disk at most
_BACKLOG_PARTS = 1  # the same in ranges: what waits is lost in a kill, and fetched again


class _Batch(NamedTuple):
    job: RangeJob
    offset: int
    pieces: list[bytes]  # none: the range is complete
    size: int


class Absorbed(Protocol):
    """Where the bytes go, as :class:`~airflow_s3stream.engine.objectfile.ObjectFile` takes them."""

    def write(self, chunks: list[bytes], offset: int) -> None:
        """Take bytes that follow each other."""

    def note(self, piece: Written) -> None:
        """Note what has been written."""

    def flush(self, start: int, stop: int) -> None:
        """Have bytes on their way to the disk."""


class Absorber:
    """
    Takes bytes of ranges.

    :param done: what the file holds already.
    :param ends: offsets at which parts of the object end, in order; no checksum goes across one.
    :param part_size: bytes of a range.
    :param wake: called when all that was given has been written, and on an error.
    """

    def __init__(
        self,
        file: Absorbed,
        algorithm: Algorithm,
        limits: Limits,
        *,
        done: Sequence[Written] = (),
        ends: Sequence[int] = (),
        part_size: int | None = None,
        wake: Callable[[], None],
    ) -> None:
        self._file = file
        self._algorithm = algorithm
        self._limits = limits
        self._part_ends = ends
        self._wake = wake
        self._waiting: deque[_Batch] = deque()
        self._backlog = 0
        self._most = _BACKLOG if part_size is None else min(_BACKLOG, _BACKLOG_PARTS * part_size)
        self._changed = threading.Condition()
        self._ending = False
        self._open: dict[RangeJob, Written] = {}  # what has been written of a range and is one piece so far
        self._noted: dict[RangeJob, int] = {}  # up to where the journal knows it
        self._pieces = {piece.start: piece for piece in done}
        self.stored = sum(piece.stop - piece.start for piece in done)
        """Bytes in the file."""
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="s3stream-write", daemon=True)
        self._thread.start()

    def put(self, job: RangeJob, pieces: list[bytes]) -> None:
        """
        Take bytes from ``job.position`` on, waiting while too many wait for the disk.

        :raises S3StreamError: the run stops, or the disk has failed.
        """
        size = sum(map(len, pieces))
        with self._changed:
            while self._backlog and self._backlog + size > self._most and not (self.error or self._ending):
                self._changed.wait(POLL)
                self._limits.check()
            if self.error:
                raise self.error
            if self._ending:
                raise Stopped("the download has ended")
            self._add(_Batch(job, job.position, pieces, size))

    def complete(self, job: RangeJob) -> None:
        """Take note that all bytes of a range have been given."""
        with self._changed:
            self._add(_Batch(job, job.stop, [], 0))

    @property
    def idle(self) -> bool:
        """Whether all that was given has been written."""
        return not self._waiting and not self._backlog

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
        """What the file holds, in order; complete when :attr:`idle`."""
        return sorted(self._pieces.values())

    def close(self) -> None:
        """Write what was given, note all of it in the journal, and end the thread. More than once does no harm."""
        with self._changed:
            self._ending = True
            self._changed.notify_all()
        self._thread.join()

    def _add(self, batch: _Batch) -> None:
        self._waiting.append(batch)
        self._backlog += batch.size
        self._changed.notify_all()

    def _work(self) -> None:
        try:
            while (batch := self._next()) is not None:
                self._absorb(batch)
                with self._changed:
                    self._backlog -= batch.size
                    self._changed.notify_all()
                if self.idle:
                    self._wake()
            for job in list(self._open):
                self._note(job)
        except BaseException as error:  # noqa: BLE001 - raised again where the network thread meets it
            self.error = error
            with self._changed:
                self._changed.notify_all()
            self._wake()

    def _next(self) -> _Batch | None:
        with self._changed:
            while not self._waiting and not self._ending:
                self._changed.wait(1.0)
            return self._waiting.popleft() if self._waiting else None

    def _absorb(self, batch: _Batch) -> None:
        job, offset = batch.job, batch.offset
        if not batch.pieces:
            if job in self._open:
                self._close_piece(job)
            return
        self._file.write(batch.pieces, offset)
        self._sum(job, offset, batch.pieces)
        self.stored += batch.size
        if job in self._open and self._open[job].stop - self._noted.get(job, job.start) >= _NOTED:
            self._note(job)

    def _sum(self, job: RangeJob, offset: int, pieces: list[bytes]) -> None:
        """Continue the checksum of a range; where a part of the object ends, so does the piece."""
        algorithm, end = self._algorithm, self._end_of_part(offset)
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
        piece = self._open[job]
        self._file.note(piece)
        self._file.flush(self._noted.get(job, piece.start), piece.stop)
        self._noted[job] = piece.stop
