"""The run's end of the writing process."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections import deque
from contextlib import ExitStack, suppress
from queue import Empty
from typing import TYPE_CHECKING, Protocol, cast

from airflow_s3stream import exceptions
from airflow_s3stream.config import KiB
from airflow_s3stream.engine.finishing import Finishers, Item
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.engine.writer import Done, Settings, Work, receive, send
from airflow_s3stream.exceptions import LocalError, S3StreamError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

SMALL = 64 * KiB
"""Bytes; larger bodies are not worth being copied to another process."""
_AHEAD = 4  # batches that may be on their way: enough to keep it busy, and few to wait for at the end
_PATIENCE = 5.0  # seconds in which a process that was told to end may finish a batch
_START = "import sys; sys.path[:] = {path!r}; from airflow_s3stream.engine.writer import main; main({settings!r})"


class Portable(Item, Protocol):
    """An item that another process can finish."""

    def pack(self) -> Work:
        """Give what the other process needs."""

    def unpack(self, done: Done) -> None:
        """Take note of what it did, as ``finish`` would have. On the thread that talks to it."""


class WritingProcess(Finishers):
    """
    Finishes portable items in a child process.

    :param settings: for the child; the socket's descriptor is filled in.
    :param patience: seconds in which the child, told to end, may finish what it has.
    :raises OSError: the process cannot be started.
    """

    def __init__(self, settings: Settings, notify: Callable[[], None], *, patience: float = _PATIENCE) -> None:
        self._patience = patience
        self._peer, theirs = socket.socketpair()
        with theirs:
            settings = settings._replace(socket=theirs.fileno())
            start = _START.format(path=sys.path, settings=json.dumps(settings))
            # -S: what it imports is told by sys.path; nothing else of the environment is its business.
            try:
                self._child = subprocess.Popen(  # noqa: S603 - this interpreter, and nothing from outside
                    [sys.executable, "-I", "-S", "-c", start],
                    pass_fds=(settings.socket, settings.root),
                    stdin=subprocess.DEVNULL,
                )
            except BaseException:
                self._peer.close()
                raise
        super().__init__(1, notify)

    def complete(self, check: Callable[[], None]) -> None:
        """
        Let the process end in its own time, since all went well: it may have a file system to bring to the disk.

        :param check: called now and then; raises to break it off.
        :raises LocalError: it did not end well.
        """
        self._peer.shutdown(socket.SHUT_WR)
        while True:
            check()
            with suppress(subprocess.TimeoutExpired):
                if self._child.wait(POLL):
                    raise LocalError("the writing process could not bring what it wrote to the disk")
                return

    def close(self, patience: float | None = None) -> bool:
        """End the thread and the process, by force where that takes long."""
        patience = self._patience if patience is None else patience
        with ExitStack() as ending:  # whatever fails on the way
            ending.callback(self._end_child, patience)
            ending.callback(self._peer.close)
            self._abandoned = True
            self._queue.put(None)
            with suppress(OSError):
                self._peer.shutdown(socket.SHUT_WR)  # it finishes what it has, and ends
            if super().close(patience):
                return True
            self._child.kill()  # a disk that hangs; nothing it holds is half published
            with suppress(OSError):
                self._peer.shutdown(socket.SHUT_RDWR)  # the thread waits for it no longer, even where no signal ends it
            return super().close(patience)

    def _end_child(self, patience: float) -> None:
        try:
            self._child.wait(patience)
        except subprocess.TimeoutExpired:
            self._child.kill()
            with suppress(subprocess.TimeoutExpired):  # not even that ends it while the kernel waits for the disk
                self._child.wait(patience)

    def _work(self) -> None:
        under_way: deque[list[Portable]] = deque()
        try:
            while True:
                if len(under_way) < _AHEAD:
                    try:
                        batch = self._queue.get(block=not under_way)
                    except Empty:
                        batch = []
                    if batch is None:
                        return
                    if batch:
                        portable = cast("list[Portable]", batch)
                        under_way.append(portable)
                        send(self._peer, [item.pack() for item in portable])
                        continue
                self._take_back(under_way[0])
                under_way.popleft()
        except (OSError, EOFError):
            self._lose(
                under_way, LocalError("the writing process ended unexpectedly; was it killed for want of memory?")
            )
        except BaseException as error:  # noqa: BLE001 - the network thread raises it
            self._lose(under_way, error)

    def _lose(self, under_way: deque[list[Portable]], error: BaseException) -> None:
        """Tell of all that will not be finished, what has not been sent included."""
        lots: list[Sequence[Item]] = list(under_way)
        with suppress(Empty):
            while True:
                lots.append(self._queue.get_nowait() or ())
        for lot in lots:
            self._outcomes.extend((item, error) for item in lot)
        self._notify()

    def _take_back(self, batch: list[Portable]) -> None:
        answers: list[Done] | None = receive(self._peer)
        if answers is None:
            raise EOFError
        for item, done in zip(batch, answers, strict=True):
            error: BaseException | None = _error(done)
            if error is None:
                try:
                    item.unpack(done)
                except S3StreamError as own:
                    error = own
            self._outcomes.append((item, error))
        self._notify()


def _error(done: Done) -> S3StreamError | None:
    name, message, last = done
    if not isinstance(last, bool):
        return None
    found: S3StreamError = getattr(exceptions, name)(message, retryable=last)
    return found


def worthwhile() -> bool:
    """Whether there is another core for it."""
    return len(os.sched_getaffinity(0)) > 1 and bool(sys.executable)
