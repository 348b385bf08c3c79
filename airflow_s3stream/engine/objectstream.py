"""One object as a binary stream, fed by parallel ranges that run ahead within a fixed amount of memory."""

from __future__ import annotations

import io
from collections import deque
from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.fetchrun import FetchRun
from airflow_s3stream.engine.objecthead import ask_head
from airflow_s3stream.engine.objectproof import OrderedProof, find_promise_of
from airflow_s3stream.engine.proof import check_strict
from airflow_s3stream.engine.readahead import ReadAhead
from airflow_s3stream.exceptions import IntegrityError
from airflow_s3stream.plan.ahead import TAIL, AheadPlan
from airflow_s3stream.plan.gaps import paced
from airflow_s3stream.plan.getting import GetOptions, GetResult

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.objecthead import ObjectHead
    from airflow_s3stream.engine.objectproof import Promise
    from airflow_s3stream.engine.run import Chances
    from airflow_s3stream.engine.stop import StopFlag

_RECENT = 256 * 1024  # bytes kept behind the reader at least, for short seeks back
_LINE = 8 * 1024  # bytes read at a time to find the end of a line
_SINGLE = 2 << 20  # bytes held where nothing is read ahead


def open_object(
    client: S3Client,
    bucket: str,
    key: str,
    options: GetOptions | None = None,
    *,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
    chances: Chances | None = None,
) -> ObjectStream:
    """
    Open one object for reading.

    Nothing but its head is asked for before the first read. ``connections=1`` is one plain GET, not read ahead.

    :raises IntegrityError: with ``strict``, the store promises neither a checksum nor an MD5.
    :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`.
    """
    options = options or GetOptions()
    uri = f"s3://{bucket}/{key}"
    run = FetchRun(client, bucket, uri, options, stop=stop, listener=listener, chances=chances)
    try:
        head = ask_head(run, key)
        promise = find_promise_of(head, run)
        if promise is None:
            check_strict(options.strict, *run.warnings)
        return ObjectStream(run, head, promise, options)
    except BaseException:
        run.readers.close()
        raise


class ObjectStream(io.RawIOBase):
    """
    A version of an object, readable and seekable, for one thread at a time.

    ``read(n)`` and ``readinto`` give all bytes asked for unless the object ends. Reading in order is what it is made
    for; a seek to bytes that are on their way or were just read costs little, any other begins anew there.

    Bytes are given as they come. Once all have been given in order from the first to the last, they are proved, and
    the read that gives the last ones raises instead if they are wrong: so act on what was read when the end has been
    reached without an error.
    """

    def __init__(self, run: FetchRun, head: ObjectHead, promise: Promise | None, options: GetOptions) -> None:
        super().__init__()
        self.uri = run.uri
        self.size = head.size
        """In bytes."""
        self.etag = head.etag
        self.verification = ""
        """What was proved, once every byte has been read in order; "" before."""
        self.warnings = run.warnings
        self._run = run
        self.promised = promise.level if promise else "size"
        """What will be proved at the end."""
        self._proof = OrderedProof(promise) if promise else None
        self._proved = 0  # bytes, from the first on
        memory = min(options.max_memory, _SINGLE) if options.connections == 1 else options.max_memory
        plan = AheadPlan(head.size, options.connections, paced(options.part_size, options.max_bandwidth), memory)
        self._part_size = plan.part_size
        self._ahead = ReadAhead(run, head, plan, memory, options.min_speed)
        self._at = 0  # where the reader is; the read-ahead may be further
        self._recent: deque[bytes] = deque()  # what the read-ahead gave last
        self._kept = 0  # bytes of it
        self._wrong: IntegrityError | None = None  # every read says so from then on
        if not head.size:
            self._prove_end()

    def __repr__(self) -> str:
        return f"<ObjectStream {self.uri} at {self._at} of {self.size}>"

    @property
    def held(self) -> int:
        """Bytes that have been read ahead."""
        return self._ahead.held

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Give the offset of the next byte."""
        self._check_open()
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """
        Move; nothing is asked for before the next read.

        :raises ValueError: the place is before the first byte, or ``whence`` is unknown.
        """
        self._check_open()
        bases = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self.size}
        if whence not in bases:
            raise ValueError(f"whence={whence!r} must be 0, 1 or 2")
        target = bases[whence] + offset
        if target < 0:
            raise ValueError(f"offset={offset} leads to {target}, which is before the first byte")
        self._at = target
        return target

    def read(self, size: int | None = -1, /) -> bytes:
        """
        Give the next ``size`` bytes, or all that are left; fewer only at the object's end.

        :raises S3StreamError: they cannot be had, or the object turned out to be wrong.
        """
        self._check_open()
        left = max(self.size - self._at, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        pieces: list[bytes] = []
        while wanted:
            found = self._next(wanted)
            pieces += found
            wanted -= sum(map(len, found))
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def readline(self, size: int | None = -1, /) -> bytes:
        """Give the next line; the last may have no end. :class:`io.BufferedReader` around the stream is faster."""
        left = self.size if size is None or size < 0 else size
        pieces = []
        while left and (piece := self.read(min(left, _LINE))):
            end = piece.find(b"\n") + 1
            if end:
                self._at -= len(piece) - end  # what comes behind is kept for this
                pieces.append(piece[:end])
                break
            pieces.append(piece)
            left -= len(piece)
        return b"".join(pieces)

    def readall(self) -> bytes:
        """Give all bytes that are left."""
        return self.read(-1)

    def readinto(self, buffer: Any, /) -> int:
        """Fill ``buffer``; return how much of it was filled, which is less than all only at the object's end."""
        self._check_open()
        with memoryview(buffer) as given, given.cast("B") as view:
            wanted = min(len(view), max(self.size - self._at, 0))
            filled = 0
            while filled < wanted:
                for piece in self._next(wanted - filled):
                    view[filled : filled + len(piece)] = piece
                    filled += len(piece)
            return filled

    def result(self) -> GetResult:
        """Give what has been read, and at what cost, as of a file whose path is ``-``; also while reading."""
        run, fetched = self._run, self._ahead.fetched
        return GetResult(
            uri=self.uri, path="-", status="downloaded", size=self.size, fetched=fetched, resumed=0,
            seconds=run.seconds, bytes_per_second=fetched / run.seconds if run.seconds else 0.0, etag=self.etag,
            verification=self.verification, connections=run.width.peak, part_size=self._part_size,
            requests=run.requests, retries=run.retries,
            slow_dropped=self._ahead.slow_dropped, warnings=self.warnings,
        )  # fmt: skip

    def close(self) -> None:
        """Drop the connections, and give the memory back."""
        if not self.closed:
            try:
                self._ahead.close()
            finally:
                super().close()

    def _next(self, most: int) -> list[bytes]:
        """Give some bytes from where the reader is, at most ``most``, and move on."""
        ahead = self._ahead
        behind = ahead.position - self._at
        if 0 < behind <= self._kept:
            pieces = [self._last(behind)[:most]]
        else:
            if behind:
                self._move()
            pieces = ahead.give(most)
            self._note(pieces)
        self._at += sum(map(len, pieces))
        return pieces

    def _last(self, size: int) -> bytes:
        """Give the last bytes that the read-ahead gave."""
        pieces: list[bytes] = []
        there = 0
        for piece in reversed(self._recent):
            pieces.append(piece)
            there += len(piece)
            if there >= size:
                break
        return b"".join(reversed(pieces))[there - size :]

    def _move(self) -> None:
        """Bring the read-ahead to where the reader is."""
        self._recent.clear()
        self._kept = 0
        tail = self.size - TAIL
        if self._at > tail > self._ahead.position:
            # Whoever reads a footer's length reads the footer next, which stands before it.
            self._ahead.go_to(tail)
            skip = self._at - tail
            while skip:
                pieces = self._ahead.give(skip)
                self._note(pieces)
                skip -= sum(map(len, pieces))
        else:
            self._ahead.go_to(self._at)

    def _note(self, pieces: list[bytes]) -> None:
        """Prove what comes in order, and keep the last of it for short seeks back."""
        size = sum(map(len, pieces))
        if self._ahead.position - size == self._proved:
            self._proved += size
            if self._proof:
                for piece in pieces:
                    self._proof.update(piece)
            if self._proved == self.size:
                self._prove_end()
        self._recent.extend(pieces)
        self._kept += size
        while self._kept - len(self._recent[0]) >= _RECENT:
            self._kept -= len(self._recent.popleft())

    def _prove_end(self) -> None:
        try:
            if self._proof:
                self._proof.finish()
        except IntegrityError as error:
            error.op, error.target = "GetObject", self.uri
            self._wrong = error
            raise
        self.verification = self.promised

    def _check_open(self) -> None:
        if self.closed:
            raise ValueError("the stream is closed")
        if self._wrong is not None:
            raise self._wrong
