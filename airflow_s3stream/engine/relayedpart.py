"""One part on its way from a range of the source into one UploadPart."""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_s3stream.engine.checksums import RunningDigest, crc64nvme
from airflow_s3stream.engine.pace import LEAST_READ, ReadSize
from airflow_s3stream.exceptions import S3StreamError, SourceTruncated
from airflow_s3stream.plan.ranges import ByteRange

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_s3stream.engine.protocols import Body
    from airflow_s3stream.engine.relay import Relay
    from airflow_s3stream.engine.retrying import Tries
    from airflow_s3stream.engine.run import Reading


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
        self.moved = 0
        """Bytes that have passed."""
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
                if position < self._span.stop and position - before < LEAST_READ:
                    # HTTP allows a shorter range than asked for; a source that gives crumbs is as good as broken.
                    raise SourceTruncated(f"the source sent {position - before} bytes of the range asked for")
            except S3StreamError as error:
                self._tries.reopen(error)

    def close(self) -> None:
        """Let go of the source, however far the part got."""
        opened, self._opened = self._opened, None
        with suppress(S3StreamError):
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
        self.moved += len(piece)
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
            left, read = self._span.stop - start, ReadSize(run.piece)
            while left:
                run.limits.check()
                reading.since = began = run.clock()
                got = body.readinto(self._buffer[: min(read.size, left)])
                reading.since = None
                if not got:
                    return
                read.took(got, run.clock() - began)
                left -= got
                yield self._buffer[:got]
        finally:
            self.close()
