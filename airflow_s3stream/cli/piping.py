"""An object on stdout: in large pieces, onto a terminal only if it is text, and quiet when nobody reads any more."""

from __future__ import annotations

import os
import signal
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.events import Noted, ObjectFinished, ObjectProgressed, ObjectStarted
from airflow_s3stream.exceptions import ConfigError, LocalError, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.objectstream import ObjectStream
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.getting import GetOptions, GetResult

_FD = 1
_LOOKED_AT = 2000  # bytes, among which curl too looks for a NUL


def is_terminal() -> bool:
    """Say whether stdout is one."""
    return os.isatty(_FD)


def write_to_stdout(stream: ObjectStream, options: GetOptions, stop: StopFlag, tell: Listener) -> GetResult:
    """
    Write the whole stream, and tell how far it is.

    :raises ConfigError: it is no text, and would go onto a terminal.
    :raises BrokenPipeError: nobody reads any more.
    :raises LocalError: it cannot be written to for another reason.
    :raises S3StreamError: what reading raises; Stopped, also while a write waits.
    """
    begun = stream.result()
    tell(
        ObjectStarted(
            uri=stream.uri, path="stdout", size=stream.size, etag=stream.etag, resumed=0, part_size=begun.part_size,
            connections=options.connections, proof=stream.promised,
        )
    )  # fmt: skip
    meter = _Meter(stream, options.progress_interval, tell)
    chunk = memoryview(bytearray(MiB))
    with _signals_break(stop) as writing:
        while size := stream.readinto(chunk):
            if not meter.written and is_terminal() and b"\0" in bytes(chunk[: min(size, _LOOKED_AT)]):
                raise ConfigError(f"{stream.uri} is no text, and stdout is a terminal; write it to a file or a pipe")
            rest = chunk[:size]
            while rest:
                with writing():
                    written = _write(rest)
                rest = rest[written:]
                meter.count(written)
    result = stream.result()
    for warning in result.warnings:
        tell(Noted(text=warning))
    tell(ObjectFinished(result=result))
    return result


def _write(chunk: memoryview) -> int:
    try:
        return os.write(_FD, chunk)
    except BrokenPipeError:
        raise
    except OSError as error:
        raise LocalError(f"cannot write to stdout: {error.strerror}") from error


class _Meter:
    """Tells once an interval how far it is."""

    def __init__(
        self, stream: ObjectStream, interval: float, tell: Listener, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.written = 0
        self._stream = stream
        self._interval = interval
        self._tell = tell
        self._clock = clock
        self._last = (clock(), 0)

    def count(self, size: int) -> None:
        """Count bytes written."""
        self.written += size
        now, (then, before) = self._clock(), self._last
        if now - then < self._interval:
            return
        self._last = (now, self.written)
        rate, result = (self.written - before) / (now - then), self._stream.result()
        self._tell(
            ObjectProgressed(
                stored=self.written, size=result.size, resumed=0, bytes_per_second=rate,
                seconds_left=(result.size - self.written) / rate if rate else None, retries=result.retries,
                connections=result.connections,
            )
        )  # fmt: skip


@contextmanager
def _signals_break(stop: StopFlag) -> Iterator[Callable[[], Any]]:
    """
    Have a signal end what is done within ``writing()``, which may wait for its reader for ever.

    Elsewhere the handlers only set the flag, which whoever reads looks at.
    """
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    under_way = False

    def handle(number: int, frame: Any) -> None:
        handler = kept[signal.Signals(number)]
        if callable(handler):
            handler(number, frame)
        if under_way:
            raise Stopped(f"the transfer was stopped: {stop.reason}")

    @contextmanager
    def writing() -> Iterator[None]:
        nonlocal under_way
        under_way = True
        try:
            yield
        finally:
            under_way = False

    for number in kept:
        signal.signal(number, handle)
    try:
        yield writing
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)
