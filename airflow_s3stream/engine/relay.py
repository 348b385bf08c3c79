"""Relay: ranges of the source straight into UploadParts, a chunk per worker in hand, whatever the part size."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress

from airflow_s3stream.config import KiB, MiB
from airflow_s3stream.engine.checksums import RunningDigest, crc64nvme
from airflow_s3stream.engine.protocols import Body, CompletedPart, Sink, Source, Upload
from airflow_s3stream.engine.retrying import Tries
from airflow_s3stream.engine.run import Reading, Run
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
        opened: Body | None,
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
        if self._opened is not None:
            self._opened.close()
            self._opened = None
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
        run, body = self._relay.run, self._opened
        self._opened = None
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

    def _take(self) -> tuple[Part | None, Body | None]:
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
                part, opened = ahead.take()
                if part is None:
                    return
                self._store(part, opened, buffer, ahead)
            except BaseException:
                ahead.drop()
                raise
            finally:
                self.run.limiter.release()

    def _store(self, part: Part, opened: Body | None, buffer: memoryview, ahead: Ahead) -> None:
        what = f"part {part.number}"
        tries = Tries(self.run.retrier, what)
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
    A worker's next part, opened while the store's answer to the last one is on its way.

    Hides one round trip per part: the source's first byte and the store's answer are waited for together.
    """

    def __init__(self, relay: Relay) -> None:
        self._relay = relay
        self._part: Part | None = None
        self._body: Body | None = None

    def take(self) -> tuple[Part | None, Body | None]:
        """Give the part fetched ahead, or else the next one."""
        if self._part is None:
            return self._relay._take()
        part, body = self._part, self._body
        self._part = self._body = None
        return part, body

    def fetch(self) -> None:
        """Take the next part and open it. A failure here is left to the part's own first read."""
        if self._part is not None or self._relay.run.limiter.throttling:
            return
        self._part, self._body = self._relay._take()
        if self._part is not None and self._body is None:
            with suppress(S3StreamError):
                self._body = self._relay.open(self._part.span)

    def drop(self) -> None:
        """Close what was opened and will not be read."""
        if self._body is not None:
            self._body.close()
            self._body = None
