"""Relay: ranges of the source straight into UploadParts, a chunk per worker in hand, whatever the part size."""

from __future__ import annotations

import threading
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.engine.mailbox import Mailbox
from airflow_s3stream.engine.pace import CHUNK
from airflow_s3stream.engine.relayedpart import RelayedPart
from airflow_s3stream.engine.retrying import Tries
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import S3StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_s3stream.engine.protocols import Body, CompletedPart, Sink, Source, Upload
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.plan.digests import Algorithm
    from airflow_s3stream.plan.parts import Part
    from airflow_s3stream.plan.probe import Probe
    from airflow_s3stream.plan.ranges import ByteRange


class Parts(Protocol):
    """What to move, as a :class:`~airflow_s3stream.plan.parts.TransferPlan` says it."""

    @property
    def connections(self) -> int:
        """Parts under way at once."""

    def parts(self) -> Iterator[Part]:
        """Name them in the order in which they are begun."""


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

    @property
    def stored(self) -> int:
        """How many parts the store has confirmed."""
        with self._lock:
            return len(self._completed)

    def move(self, plan: Parts, first: Body | None) -> list[CompletedPart]:
        """
        Move all parts; return them in order.

        :param first: the probe's body, from which part 1 is read; None: it is opened as all others are.
        """
        self._parts = plan.parts()
        self._first = first
        self.run.crew([self._work] * plan.connections)
        return [self._completed[number] for number in sorted(self._completed)]

    def open(self, span: ByteRange) -> Body:
        """Open a range of the probed version."""
        _, body = self.run.open(lambda: self._source.open_range(self._probe, span))
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
        try:
            while self._move_one(buffer, ahead):
                pass
        except BaseException:
            ahead.drop()
            raise

    def _move_one(self, buffer: memoryview, ahead: Ahead) -> bool:
        """Move the next part; False when all are taken."""
        self.run.limiter.acquire()
        try:
            part = ahead.next()
            if part is not None:
                self._store(part, buffer, ahead)
            return part is not None
        finally:
            self.run.limiter.release()

    def _store(self, part: Part, buffer: memoryview, ahead: Ahead) -> None:
        tries = Tries(self.run.retrier, f"part {part.number}")
        opened: Callable[[], Body | None] | None = ahead.body
        while True:
            body = RelayedPart(self, part.span, tries, buffer=buffer, opened=opened, on_sent=ahead.fetch)
            opened = None
            try:
                completed = self._sink.put_part(self._upload, part.number, body, ask_first=tries.failed)
            except S3StreamError as error:
                self.run.meter.lose(body.moved)
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
        self._opening: Mailbox[Body | BaseException] | None = None
        self._dropped = False

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
        """
        Wait for the range of the part given last; None if it was not opened ahead.

        :raises BaseException: what opening it has raised.
        """
        body, self._body = self._body, None
        if self._opening is None:
            return body
        opened = self._wait(self._opening)  # a stop leaves it where it is, for drop() to close
        self._opening = None
        if isinstance(opened, BaseException):
            raise opened
        return opened

    def drop(self) -> None:
        """Close what was opened and will not be read, or leave that to the thread that is opening it."""
        self._dropped = True
        if self._body is not None:
            self._body.close()
        if self._opening is not None:
            _close_one(self._opening)

    def _take(self) -> None:
        self._part, self._body = self._relay.take()
        if self._part is None or self._body is not None:
            return
        span = self._part.span
        opening: Mailbox[Body | BaseException] = Mailbox()
        self._opening = opening

        def run() -> None:
            try:
                opening.put(self._relay.open(span))
            except BaseException as error:  # noqa: BLE001 - raised again by the worker, which waits for one or the other
                opening.put(error)
            if self._dropped:
                _close_one(opening)

        threading.Thread(target=run, name="s3stream-open", daemon=True).start()

    def _wait(self, opening: Mailbox[Body | BaseException]) -> Body | BaseException:
        while True:
            try:
                return opening.get(timeout=POLL)
            except Empty:
                self._relay.run.limits.check()


def _close_one(opening: Mailbox[Body | BaseException]) -> None:
    """Close what has been opened, if it has; whoever takes it out of the queue is the one to close it."""
    with suppress(Empty):
        opened = opening.get_nowait()
        if not isinstance(opened, BaseException):
            opened.close()
