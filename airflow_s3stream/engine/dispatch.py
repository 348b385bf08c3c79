"""Where bodies are finished: on the network thread, on threads of their own, or in the writing process."""

from __future__ import annotations

from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from airflow_s3stream.engine.finishing import Finishers
from airflow_s3stream.engine.writing import SMALL, WritingProcess, worthwhile
from airflow_s3stream.exceptions import S3StreamError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.destination import Destination
    from airflow_s3stream.engine.fetchrun import Tally
    from airflow_s3stream.engine.finishing import Item
    from airflow_s3stream.engine.jobs import WholeJob

_MANY = 1_000  # objects after which a process of its own pays for writing small ones


class Dispatcher:
    """
    Has items finished where that costs least. The network thread's.

    :param threads: that finish items.
    :param wake: wakes the network thread; called from others.
    """

    def __init__(
        self, destination: Destination, tally: Tally, *, strict: bool, threads: int, wake: Callable[[], None]
    ) -> None:
        self._destination = destination
        self._tally = tally
        self._strict = strict
        self._wake = wake
        self._threads = Finishers(threads, self._notify)
        self._process: WritingProcess | None = None
        self._process_due = worthwhile()
        self._flush_due = False

    @property
    def pending(self) -> int:
        """Items not taken back yet."""
        process = self._process
        return self._threads.pending + (0 if process is None else process.pending)

    @property
    def runs_here(self) -> bool:
        """Whether it is one of its threads that asks. Any thread."""
        return any(finishers.runs_here for finishers in self._all())

    def add(self, item: Item) -> None:
        """Have an item finished on a thread."""
        self._threads.add(item)

    def finish(self, job: WholeJob, size: int | None) -> None:
        """Have a whole body proved and delivered."""
        if self._destination.inline and size is not None and size <= SMALL:
            # A copy of it is all that is wanted; handing it to another thread would cost more than proving it.
            self._finish_here(job)
            return
        if self._process_due and self._tally.objects >= _MANY:
            self._start_process()
        if self._process is not None and size is not None and size <= SMALL:
            self._process.add(job)
        else:
            self._threads.add(job)

    def turn(self) -> None:
        """Hand over what has been gathered, and take back what is finished."""
        for finishers in self._all():
            finishers.flush()
            finishers.take()
        if self._flush_due:
            self._flush_due = False
            self._destination.flush()

    def complete(self, check: Callable[[], None]) -> None:
        """
        See the writing process off, after all has been finished well.

        :param check: called now and then; raises to break it off.
        :raises LocalError: it did not end well.
        """
        if self._process is not None:
            self._process.complete(check)

    def close(self) -> None:
        """End the threads and the process; what they finished well is settled, the rest dropped."""
        with ExitStack() as ending:  # the process too, whatever fails or breaks off the wait for the threads
            for finishers in reversed(self._all()):
                ending.callback(_end, finishers)

    def _finish_here(self, job: WholeJob) -> None:
        self._flush_due = True
        try:
            job.finish()
        except S3StreamError as error:
            job.finished(error)
        else:
            job.settle()

    def _start_process(self) -> None:
        self._process_due = False
        settings = self._destination.other_process(strict=self._strict)
        if settings is not None:
            # Without one it is only slower.
            with suppress(OSError):
                self._process = WritingProcess(settings, self._notify)

    def _all(self) -> list[Finishers]:
        return [self._threads] if self._process is None else [self._threads, self._process]

    def _notify(self) -> None:
        self._destination.flush()
        self._wake()


def _end(finishers: Finishers) -> None:
    finishers.close()
    for item in finishers.finished():
        item.settle()
