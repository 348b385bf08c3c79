"""Relay: ranges of the source straight into UploadParts, a chunk per worker in hand, whatever the part size."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from queue import Empty, SimpleQueue

from airflow_s3stream.config import KiB, MiB
from airflow_s3stream.engine.checksums import RunningDigest, crc64nvme
from airflow_s3stream.engine.protocols import Body, CompletedPart, Sink, Source, Upload
from airflow_s3stream.engine.retrying import Tries
from airflow_s3stream.engine.run import Reading, Run
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import S3StreamError, SourceTruncated
from airflow_s3stream.plan.digests import Algorithm
from airflow_s3stream.plan.parts import Part, TransferPlan
from airflow_s3stream.plan.probe import Probe
from airflow_s3stream.plan.ranges import ByteRange

CHUNK = MiB
"""Bytes a worker holds at most."""
_LEAST_READ = 64 * KiB
# Seconds a read should take. Shorter reads cost CPU per byte; longer ones delay the bytes already here, since a
# chunk is sent on only when it is read.
_QUICK, _SLOW = 0.004, 0.020


class RelayedPart:
    """
    One part on its way from the source to the store, as a :class:`~airflow_s3stream.engine.protocols.PartBody`.

    Where the source breaks, the range is reopened at the next byte while the store's request waits; where the store
    breaks, the part is begun anew with another of these.
    """

    def __init__(
        self,
        relay: Relay,
        span: ByteRange,
        tries: Tries,
        *,
        buffer: memoryview,
        opened: Callable[[], Body | None] | None,
        on_sent: Callable[[], None],
    ) -> None:
        self._relay = relay
        self._span = span
        self._tries = tries
        self._buffer = buffer
        self._opened = opened
        self._on_sent = on_sent
        self._md5 = hashlib.md5(usedforsecurity=False) if relay.want_md5 else None
        self._extra = RunningDigest(relay.extra) if relay.extra else None
        self._crc = 0
        self._reading: Reading | None = None

    @property
    def size(self) -> int:
        """Bytes of the part."""
        return len(self._span)

    @property
    def crc(self) -> int:
        """The CRC-64/NVME of the bytes that have passed."""
        return self._crc

    @property
    def md5(self) -> bytes | None:
        """The MD5, where it is wanted."""
        return self._md5.digest() if self._md5 else None

    @property
    def extra(self) -> bytes | None:
        """The other checksum the caller expects a value of, if it can be computed per part."""
        return self._extra.digest() if self._extra else None

    def sent(self) -> None:
        """All is on its way."""
        self._on_sent()

    def pieces(self) -> Iterator[memoryview]:
        """Read the range, reopening it where it breaks."""
        position = self._span.start
        while position < self._span.stop:
            try:
                before = position
                for piece in self._read(position):
                    position += len(piece)
                    yield self._taken(piece)
                if position < self._span.stop and position - before < _LEAST_READ:
                    # HTTP allows a shorter range than asked for; a source that gives crumbs is as good as broken.
                    raise SourceTruncated(f"the source sent {position - before} bytes of the range asked for")
            except S3StreamError as error:
                self._tries.reopen(error)

    def close(self) -> None:
        """Let go of the source, however far the part got."""
        opened, self._opened = self._opened, None
        body = opened() if opened else None
        if body is not None:
            body.close()
        if self._reading is not None:
            self._relay.run.unwatch(self._reading)
            self._reading.body.close()
            self._reading = None

    def _taken(self, piece: memoryview) -> memoryview:
        run = self._relay.run
        self._crc = crc64nvme(piece, self._crc)
        if self._md5:
            self._md5.update(piece)
        if self._extra:
            self._extra.update(piece)
        run.bandwidth.take(len(piece))
        run.meter.move(len(piece))
        self._tries.moved(len(piece))
        return piece

    def _read(self, start: int) -> Iterator[memoryview]:
        """Yield pieces from ``start`` until the part, or the range that the source chose to send, ends."""
        run, opened = self._relay.run, self._opened
        self._opened = None
        body = opened() if opened else None
        if body is None:
            body = self._relay.open(ByteRange(start, self._span.stop))
        self._reading = reading = run.watch(body)
        try:
            left, step = self._span.stop - start, _LEAST_READ
            while left:
                run.limits.check()
                reading.since = began = run.clock()
                got = body.readinto(self._buffer[: min(step, left)])
                reading.since = None
                if not got:
                    return
                step = _next_step(step, got, run.clock() - began)
                left -= got
                yield self._buffer[:got]
        finally:
            self.close()


def _next_step(step: int, got: int, seconds: float) -> int:
    if seconds < _QUICK and got == step:
        return min(2 * step, CHUNK)
    if seconds > _SLOW:
        return max(step // 2, _LEAST_READ)
    return step


class Relay:
    """Moves all parts of one object with N workers."""

    def __init__(
        self,
        run: Run,
        source: Source,
        sink: Sink,
        probe: Probe,
        *,
        upload: Upload,
        want_md5: bool = False,
        extra: Algorithm | None = None,
    ) -> None:
        self.run = run
        self.want_md5 = want_md5
        self.extra = extra
        self.extras: dict[int, bytes] = {}
        """Per part number, the value of ``extra``."""
        self._source = source
        self._sink = sink
        self._probe = probe
        self._upload = upload
        self._lock = threading.Lock()
        self._completed: dict[int, CompletedPart] = {}

    def move(self, plan: TransferPlan, first: Body) -> list[CompletedPart]:
        """
        Move all parts; return them in order.

        :param first: the probe's body, from which part 1 is read.
        """
        self._parts = plan.parts()
        self._first: Body | None = first
        self.run.crew([self._work] * plan.connections)
        return [self._completed[number] for number in sorted(self._completed)]

    def open(self, span: ByteRange) -> Body:
        """Open a range of the probed version."""
        _, body = self._source.open_range(self._probe, span)
        return body

    def take(self) -> tuple[Part | None, Body | None]:
        """Take the next part, and the probe's body with the first."""
        with self._lock:
            part = next(self._parts, None)
            opened, self._first = self._first, None
            return part, opened

    def _work(self) -> None:
        buffer = memoryview(bytearray(CHUNK))
        ahead = Ahead(self)
        while True:
            self.run.limiter.acquire()
            try:
                part = ahead.next()
                if part is None:
                    return
                self._store(part, buffer, ahead)
            except BaseException:
                ahead.drop()
                raise
            finally:
                self.run.limiter.release()

    def _store(self, part: Part, buffer: memoryview, ahead: Ahead) -> None:
        tries = Tries(self.run.retrier, f"part {part.number}")
        opened: Callable[[], Body | None] | None = ahead.body
        while True:
            body = RelayedPart(self, part.span, tries, buffer=buffer, opened=opened, on_sent=ahead.fetch)
            opened = None
            try:
                completed = self._sink.put_part(self._upload, part.number, body)
            except S3StreamError as error:
                tries.again(error)
            else:
                self._note(completed, body)
                return
            finally:
                body.close()

    def _note(self, completed: CompletedPart, body: RelayedPart) -> None:
        with self._lock:
            self._completed[completed.number] = completed
            if body.extra is not None:
                self.extras[completed.number] = body.extra
        self.run.stored(completed)


class Ahead:
    """
    A worker's next part, its range being opened while the worker still waits for the store.

    Hides a round trip per part: the source's first byte, and the store's answer to the part before or to the
    request for this one, are waited for together.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._part: Part | None = None
        self._body: Body | None = None
        self._opening: SimpleQueue[Body | None] | None = None

    def fetch(self) -> None:
        """Take the next part and begin to open it, unless that was done or a side is throttling."""
        if self._part is None and not self._relay.run.limiter.throttling:
            self._take()

    def next(self) -> Part | None:
        """Give the next part, fetched ahead or not; None when all are taken."""
        if self._part is None:
            self._take()
        part, self._part = self._part, None
        return part

    def body(self) -> Body | None:
        """Wait for the range of the part given last; None if it could not be opened, which its own reading will find."""
        opening, self._opening = self._opening, None
        if opening is not None:
            self._body = self._wait(opening)
        body, self._body = self._body, None
        return body

    def drop(self) -> None:
        """Close what was opened and will not be read."""
        opening, self._opening = self._opening, None
        if opening is not None:
            with suppress(S3StreamError):
                self._body = self._wait(opening)
        if self._body is not None:
            self._body.close()
            self._body = None

    def _take(self) -> None:
        self._part, self._body = self._relay.take()
        if self._part is None or self._body is not None:
            return
        span, opening = self._part.span, SimpleQueue[Body | None]()
        self._opening = opening

        def run() -> None:
            body = None
            with suppress(S3StreamError):
                body = self._relay.open(span)
            opening.put(body)

        threading.Thread(target=run, name="s3stream-open", daemon=True).start()

    def _wait(self, opening: SimpleQueue[Body | None]) -> Body | None:
        while True:
            try:
                return opening.get(timeout=POLL)
            except Empty:
                self._relay.run.limits.check()
