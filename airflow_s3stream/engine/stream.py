"""One stream of all the source's bytes, mended where it breaks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import crc64nvme
from airflow_s3stream.engine.pace import ReadSize
from airflow_s3stream.engine.retrying import Tries
from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
    SourceChanged,
    SourceRefused,
    SourceTruncated,
)
from airflow_s3stream.plan.probe import check_same
from airflow_s3stream.plan.ranges import ByteRange

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.protocols import Body, Source
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.plan.probe import Probe

_READ = MiB


class SourceStream:
    """
    The source's bytes in order.

    Where the stream breaks it is opened again: at the next byte, if the source has ranges and a strong validator;
    else from the start, and what was read before is read again and must have the same CRC-64/NVME. Either way the
    bytes handed out are those of one single version. Read by one thread.

    :param first: the probe's body.
    :param on_bytes: sees all bytes, once, in order.
    :param most: bytes after which the source is refused.
    """

    def __init__(
        self,
        run: Run,
        source: Source,
        probe: Probe,
        first: Body,
        *,
        on_bytes: Callable[[memoryview], None] | None = None,
        most: int | None = None,
    ) -> None:
        self._run = run
        self._source = source
        self._probe = probe
        self._tries = Tries(run.retrier, "the source's stream", waits_for_store=False)
        self._read_size = ReadSize(run.piece)
        self._on_bytes = on_bytes
        self._most = most
        self._body: Body | None = first
        self._reading = run.watch(first)
        self.too_long = False
        """Whether it has passed ``most``."""
        self.position = 0
        """Bytes handed out so far."""
        self._crc = 0

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from its start, wholly unless the source ends; 0 at its end."""
        filled = 0
        while filled < len(view):
            self._run.limits.check()
            try:
                got = self._read(view[filled : filled + self._read_size.size])
            except S3StreamError as error:
                self._mend(error)
                continue
            if not got:
                break
            self._take(view[filled : filled + got])
            filled += got
        return filled

    def finish(self) -> None:
        """
        Check that the source ends here.

        :raises IntegrityError: it goes on.
        """
        if self.readinto(memoryview(bytearray(1))):
            raise IntegrityError(
                f"the source is longer than the {self.position - 1} bytes expected",
                op="read",
                target=self._source.name,
            )

    def _take(self, piece: memoryview) -> None:
        self.position += len(piece)
        self._crc = crc64nvme(piece, self._crc)
        if self._most is not None and self.position > self._most:
            self.too_long = True
            raise SourceRefused(
                f"the source is longer than max_bytes={self._most}", op="read", target=self._source.name
            )
        if self._on_bytes:
            self._on_bytes(piece)
        self._run.bandwidth.take(len(piece))
        self._run.meter.move(len(piece))
        self._tries.moved(len(piece))

    def _read(self, view: memoryview) -> int:
        if self._body is None:
            self._use(self._reopen())
            self._run.limits.check()  # whoever ended the transfer meanwhile did not know of this body
        assert self._body is not None  # noqa: S101 - for the type checker; _use has just set it
        self._reading.since = began = self._run.clock()
        try:
            got = self._body.readinto(view)
        finally:
            self._reading.since = None
        self._read_size.took(got, self._run.clock() - began)
        size = self._probe.size
        if not got and size is not None and self.position < size:
            if self._probe.framing == "chunked":  # a proper end: the size is the caller's, and it is wrong
                raise IntegrityError(f"the source has {self.position} bytes, expected_size is {size}", op="read")
            raise SourceTruncated(f"the source's body ended at byte {self.position} of {size}")
        return got

    def _mend(self, error: S3StreamError) -> None:
        self.close()
        error.target = error.target or self._source.name
        self._tries.reopen(error)

    def _use(self, body: Body) -> None:
        self._body = body
        self._reading = self._run.watch(body)

    def _reopen(self) -> Body:
        probe = self._probe
        size = probe.size
        if probe.accepts_ranges and probe.validator and size is not None and self.position < size:
            carried, body = self._run.open(lambda: self._source.open_range(probe, ByteRange(self.position, size)))
            if carried.stop != size:
                body.close()
                raise SourceTruncated("the source sent only a piece of the range asked for")
            return body
        again, body = self._run.open(self._source.open_whole)
        try:
            changed = check_same(probe, again)
            if changed:
                raise changed
            self._reread(body)
        except BaseException:
            body.close()
            raise
        return body

    def _reread(self, body: Body) -> None:
        """Read what was read before, and compare."""
        reading = self._run.watch(body)
        buffer, crc, left = memoryview(bytearray(_READ)), 0, self.position
        try:
            while left:
                self._run.limits.check()
                reading.since = self._run.clock()
                got = body.readinto(buffer[: min(left, _READ)])
                if not got:
                    raise SourceChanged(f"the source now ends {left} bytes before where it had come")
                crc = crc64nvme(buffer[:got], crc)
                left -= got
        finally:
            self._run.unwatch(reading)
        if crc != self._crc:
            raise SourceChanged(f"the first {self.position} bytes of the source are not what they were")

    def close(self) -> None:
        """Let go of the connection."""
        body, self._body = self._body, None  # at once: the reader and whoever ends the transfer may both be here
        if body is not None:
            self._run.unwatch(self._reading)
            body.close()
