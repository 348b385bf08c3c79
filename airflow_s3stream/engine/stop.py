"""Stopping: a flag that a signal handler may set, and waiting that notices it."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, TypeVar

from airflow_s3stream.engine.mailbox import Mailbox
from airflow_s3stream.exceptions import DeadlineExceeded, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

POLL = 0.1  # seconds; how late a stop may be noticed by whoever waits


class StopFlag:
    """
    Asks a transfer to stop. Setting it takes no lock, so a signal handler may do it.

    Airflow calls ``on_kill`` from a signal handler on the very thread that waits for the transfer: an Event
    would deadlock there, a plain attribute cannot.
    """

    def __init__(self) -> None:
        self._reason: str | None = None

    def request(self, reason: str) -> None:
        """Ask to stop; the first reason is kept."""
        self._reason = self._reason or reason

    @property
    def reason(self) -> str | None:
        """Why, or None while nobody has asked."""
        return self._reason


class Limits:
    """The two ends of patience for one transfer: a stop flag and a deadline, checked together."""

    def __init__(
        self,
        stop: StopFlag,
        deadline: float | None,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.clock = clock
        self._sleep = sleep
        self._stop = stop
        self._seconds = deadline
        self._ends = None if deadline is None else clock() + deadline
        self._abandoned = False

    def abandon(self) -> None:
        """Make every later check raise: the transfer has failed and its workers must end."""
        self._abandoned = True

    def check(self) -> None:
        """
        Return if the transfer may go on.

        :raises Stopped: somebody asked to stop, or the transfer was abandoned.
        :raises DeadlineExceeded: the deadline has passed.
        """
        if self._stop.reason is not None:
            raise Stopped(f"the transfer was stopped: {self._stop.reason}")
        if self._abandoned:
            raise Stopped("the transfer was given up")
        if self._ends is not None and self.clock() >= self._ends:
            raise DeadlineExceeded(f"the transfer did not end within its deadline of {self._seconds:g} s")

    def remaining(self) -> float | None:
        """Seconds until the deadline; None when there is none."""
        return None if self._ends is None else max(0.0, self._ends - self.clock())

    def sleep(self, seconds: float) -> None:
        """Wait, in steps short enough to notice a stop."""
        ends = self.clock() + seconds
        while True:
            self.check()
            left = ends - self.clock()
            if left <= 0:
                return
            self._sleep(min(left, POLL))

    def call(
        self,
        action: Callable[[], T],
        *,
        discard: Callable[[T], object] | None = None,
        within: float | None = None,
        linger: float = 0.0,
    ) -> T:
        """
        Run a blocking call on a thread of its own, so that a stop need not wait for a socket.

        A call that is left behind ends by its socket's timeout.

        :param discard: undoes or closes what a call that was left behind returns in the end.
        :param within: seconds the call may take; None: any.
        :param linger: seconds to wait on after a stop, for a call that had better not be left behind: if it ends in
            them, its outcome counts.
        :raises TimeoutError: it took longer than ``within``.
        """
        ends = None if within is None else self.clock() + within

        def check() -> None:
            self.check()
            if ends is not None and self.clock() >= ends:
                raise TimeoutError

        return run_detached(action, check, discard, linger)


def run_detached(
    action: Callable[[], T],
    check: Callable[[], None],
    discard: Callable[[T], object] | None = None,
    linger: float = 0.0,
) -> T:
    """Run ``action`` on a daemon thread; wait for it, calling ``check`` at every poll."""
    results: Mailbox[tuple[T | None, BaseException | None]] = Mailbox()
    left = threading.Event()

    def drop() -> None:
        """Discard the result; whoever takes it out of the queue does it."""
        with suppress(Empty):
            value, _ = results.get_nowait()
            if value is not None and discard:
                discard(value)

    def run() -> None:
        try:
            results.put((action(), None))
        except BaseException as error:  # noqa: BLE001 - handed to the waiting thread, which raises it
            results.put((None, error))
        if left.is_set():
            drop()

    thread = threading.Thread(target=run, name="s3stream-call", daemon=True)
    try:
        thread.start()  # waits as well, so what a signal raises may come here
        value, error = _wait(results, check, linger)
    except BaseException as raised:
        left.set()
        # In case it ended just now. On yet another thread, for what undoes it may block as well.
        with suppress(RuntimeError):  # no thread is to be had; it must not hide what was raised
            threading.Thread(target=drop, name="s3stream-drop", daemon=True).start()
        if linger and not isinstance(raised, Exception) and thread.ident is not None:
            thread.join(linger)  # the process may be about to end, and what comes late is to be undone
        raise
    if error is not None:
        raise error
    return value  # type: ignore[return-value]


def _wait(queue: Mailbox[T], check: Callable[[], None], linger: float) -> T:
    while True:
        with suppress(Empty):
            return queue.get(timeout=POLL)
        try:
            check()
        except Exception:
            # An answer makes it as if the stop had come later, for the next check says it again. What a signal raises
            # in this thread, as Airflow's execution_timeout is, comes once: it is never swallowed.
            with suppress(Empty):
                return queue.get(timeout=linger) if linger else queue.get_nowait()
            raise
