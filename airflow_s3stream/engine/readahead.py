"""One object in order: ranges fetched in parallel ahead of whoever reads, within a fixed amount of memory.

The reader's thread takes bytes from the front; a network thread fetches; between them stands one lock. What is ahead is
counted in bytes that have arrived, not in ranges that were asked for: when too much is held, connections are paused,
but never the one that the reader waits for.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING, cast

from airflow_s3stream.engine.aheadpart import AheadPart, State, without_first
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import Stopped
from airflow_s3stream.plan.speeds import Speeds

if TYPE_CHECKING:
    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.fetchrun import FetchRun
    from airflow_s3stream.engine.loop import Job
    from airflow_s3stream.engine.objecthead import ObjectHead
    from airflow_s3stream.engine.ranges import RangeJob
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.ahead import AheadPlan

_RESUME_BELOW = 0.75  # of the memory allowed, so that connections do not stop and go with every piece
_PATIENCE = 15.0  # seconds that a connection is paused before it is given up: stores close those that do not read
_ENOUGH = 256 * 1024  # bytes worth waking a reader for who has asked for more
_WORTH_WAITING = 1 << 20  # bytes to wait for and drop, at a seek, rather than break connections off
_FEW = 32  # pieces; more are enough, without counting


class ReadAhead:
    """
    Fetches one version of an object, from its start or wherever :meth:`go_to` says.

    :param plan: how far ahead, in ranges of what size.
    :param max_memory: bytes that may be held. They are not counted with those of other transfers: whoever reads may be
        waiting for one of them.
    """

    def __init__(
        self, run: FetchRun, head: ObjectHead, plan: AheadPlan, max_memory: int, min_speed: int | None = None
    ) -> None:
        self.key, self.etag, self.size = head.key, head.etag, head.size
        self._run = run
        self._plan = plan
        self._most = max_memory
        self._speeds = Speeds(run.clock, min_speed)
        self._changed = threading.Condition()
        self._parts: deque[AheadPart] = deque()  # in order and without gaps, from ``position`` on
        self._stale: list[AheadPart] = []  # which the network thread is to drop
        self.position = 0
        """Offset of the next byte to be taken."""
        self.slow_dropped = 0
        """Times a connection was dropped for being slow."""
        self.fetched = 0
        """Bytes that have arrived, wanted or not."""
        self._end = 0  # of the last part
        self._held = 0
        self._waits_for = 0  # bytes that the reader waits for; 0: it does not wait
        self._paused = False
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None

    @property
    def held(self) -> int:
        """Bytes that have arrived and not been taken."""
        return self._held

    # The reader's side.

    def give(self, most: int) -> list[bytes]:
        """
        Give up to ``most`` bytes from :attr:`position` on, waiting for the first; nothing at the object's end.

        :raises S3StreamError: they cannot be had.
        """
        if self.position >= self.size or most <= 0:
            return []
        self._start()
        with self._changed:
            while not (self._parts and self._parts[0].pieces):
                if self._error is not None:
                    raise self._error
                if self._thread is None or not self._thread.is_alive():
                    raise Stopped("the stream was opened by another process; open it in the one that reads it")
                self._waits_for = most
                self._run.readers.wake()  # what it waits for may be paused
                self._changed.wait(POLL)
            self._waits_for = 0
            taken = self._take(most)
            asks = self._low if self._paused else not self._full and self._plan.room(self.position, self._end)
        if asks:
            self._run.readers.wake()
        return taken

    def go_to(self, offset: int) -> None:
        """Move the position, forward through what is on its way already, or to begin anew there."""
        with self._changed:
            if self._thread and self._is_near(offset):
                self._drop_before(offset)
            else:
                self._drop_before(self.size + 1)
                self._end = offset
                self._plan.restart(offset)
            self.position = offset
        if self._thread:
            self._run.readers.wake()

    def _is_near(self, offset: int) -> bool:
        """Whether waiting for ``offset`` is quicker than asking for it anew."""
        if not self.position <= offset <= self._end:
            return False
        part = next((part for part in self._parts if offset < part.stop), None)
        return part is None or offset - part.position <= _WORTH_WAITING

    def close(self) -> None:
        """End the network thread, which closes the connections, and give all memory back."""
        self._run.limits.abandon()
        if self._thread is None:
            self._run.readers.close()
        elif self._thread is not threading.current_thread():  # the garbage collector may run there
            self._run.readers.wake()
            self._thread.join()
        with self._changed:
            self._drop_before(self.size + 1)

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="s3stream-ahead", daemon=True)
            self._thread.start()

    def _take(self, most: int) -> list[bytes]:
        given: list[bytes] = []
        left = most
        while left and self._parts and self._parts[0].pieces:
            part = self._parts[0]
            piece = part.pop(left)
            given.append(piece)
            left -= len(piece)
            if part.state is State.ENDED and not part.pieces:
                self._parts.popleft()
        self.position += most - left
        self._held -= most - left
        return given

    def _drop_before(self, offset: int) -> None:
        while self._parts and self._parts[0].stop <= offset:
            part = self._parts.popleft()
            self._held -= sum(map(len, part.pieces))
            part.pieces.clear()
            if part.state is not State.ENDED:
                self._stale.append(part)
        if self._parts:
            self._held -= self._parts[0].skip_to(offset)

    @property
    def _hungry(self) -> bool:
        """Whether the reader waits and there is nothing to give."""
        return bool(self._waits_for) and not (self._parts and self._parts[0].pieces)

    @property
    def _low(self) -> bool:
        return self._held < _RESUME_BELOW * self._most

    @property
    def _full(self) -> bool:
        return self._held >= self._most

    # The network thread: what the loop asks.

    def _work(self) -> None:
        try:
            self._run.drive(self)
        except BaseException as error:  # noqa: BLE001 - raised again where it is read
            self._error = error
        finally:
            self._run.readers.close()
        with self._changed:
            self._changed.notify_all()

    def next_job(self) -> Job | None:
        """Give the next range, when there is room for it."""
        with self._changed:
            full = self._full and not (self._hungry and not self._parts)
            if full or not self._plan.room(self.position, self._end):
                return None
            stop = self._plan.next_stop(self.position, self._end)
            part = AheadPart(self, self._end, stop)
            part.again()  # before another thread can see it
            self._parts.append(part)
            self._end = stop
        return part

    def turn(self) -> bool:
        """Drop what is not wanted any more; let connections go on, or rest."""
        with self._changed:
            stale, self._stale = self._stale, []
        for part in stale:
            self._speeds.ended(part)
            if part.state in (State.FLOWS, State.PAUSED):
                self._run.loop.drop(part)
        if self._full:
            self._rest()
        if self._paused:
            self._let_go_on()
        for slow in self._speeds.slow():
            if isinstance(slow, AheadPart) and self._run.loop.move(slow):
                self._speeds.moved(slow)
                self.slow_dropped += 1
        return True

    def tell(self, event: Event) -> None:
        """Pass on an event."""
        self._run.tell(event)

    def _rest(self) -> None:
        """Pause all connections but that of the part that the reader waits for."""
        with self._changed:
            self._paused = True
            first = 1 if self._hungry else 0
            # One of which all bytes have come is about to end, unless it is paused.
            resting = [part for part in list(self._parts)[first:] if part.left and part.state is State.FLOWS]
        now = self._run.clock()
        for part in resting:
            part.state, part.paused_at = State.PAUSED, now
            self._speeds.paused(part)
            self._run.readers.pause(part.get)

    def _let_go_on(self) -> None:
        with self._changed:
            resting = [part for part in self._parts if part.rests]
            low = self._low
            hungry = self._hungry and bool(resting) and resting[0] is self._parts[0]
            going = resting if low else resting[:1] if hungry else []
            self._paused = len(going) < len(resting)
        now = self._run.clock()
        for part in going:
            parked = part.state is State.PARKED
            part.state = State.FLOWS
            if parked:
                self._run.loop.start(part)
            else:
                self._speeds.resumed(part)
                self._run.readers.resume(part.get)
        if self._hungry and self._out_of_turn:
            # After throttling, those that rest must not keep the one waited for from its turn.
            for part in [part for part in resting if part.state is State.PAUSED][-1:]:
                self._park(part)
        for part in resting[len(going) :]:
            if part.left and now - part.paused_at > _PATIENCE:
                self._park(part)

    @property
    def _out_of_turn(self) -> bool:
        """Whether so much is under way that the first part, if it waits to be asked for again, is not."""
        loop, allowed = self._run.loop, self._run.width.allowed
        with self._changed:
            first = self._parts[0] if self._parts else None
        return loop.busy > allowed or (loop.busy == allowed and first is not None and loop.waits(first))

    def _park(self, part: AheadPart) -> None:
        if part.state is State.PAUSED:
            part.state = State.PARKED
            self._run.loop.drop(part)

    # What ranges tell.

    def asked(self, job: RangeJob) -> None:
        """Note that a request goes out."""
        cast("AheadPart", job).state = State.FLOWS
        self._speeds.asked(job)

    def begun(self, job: RangeJob) -> None:
        """Note that its answer has come."""
        self._speeds.begun(job)

    def take(self, job: RangeJob, pieces: list[bytes]) -> None:
        """Keep bytes that have arrived, from ``job.position`` on."""
        part = cast("AheadPart", job)
        with self._changed:
            self.fetched += sum(map(len, pieces))
            if part not in self._parts:
                raise Stopped("these bytes are not wanted any more")
            if not part.pieces and part.front > part.position:  # a seek has gone ahead of them
                pieces = without_first(pieces, part.front - part.position)
            size = sum(map(len, pieces))
            part.pieces.extend(pieces)
            self._held += size
            if self._waits_for and part is self._parts[0]:
                there = sum(map(len, part.pieces)) if len(part.pieces) < _FEW else _ENOUGH
                if self._full or there >= min(self._waits_for, _ENOUGH):  # full: no more will come before it takes some
                    self._changed.notify_all()
            full = self._full
        if not full:
            return
        if threading.current_thread() is self._thread:
            self._rest()
        else:
            self._run.readers.wake()  # only the network thread pauses and resumes

    def arrived(self, job: RangeJob) -> None:
        """Take note of a finished range."""
        self._speeds.ended(job)
        self._run.loop.budget.refund()
        self._complete(cast("AheadPart", job))

    def lost(self, job: RangeJob, error: S3StreamError, *, general: bool) -> None:
        """
        End the stream, if the range is still wanted.

        :raises S3StreamError: ``error``.
        """
        self._speeds.ended(job)
        wanted = job in self._parts
        self._complete(cast("AheadPart", job))
        if wanted:
            error.op, error.target = error.op or "GetObject", error.target or self._run.uri
            raise error

    def _complete(self, part: AheadPart) -> None:
        with self._changed:
            part.state = State.ENDED
            if not part.pieces and self._parts and part is self._parts[0]:
                self._parts.popleft()
            self._changed.notify_all()
