"""Bodies in memory: objects as an iterator, in the order asked or as they come, read ahead within a limit."""

from __future__ import annotations

import os
import threading
from collections import deque
from contextlib import ExitStack, suppress
from io import BytesIO
from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.fetch import Fetch
from airflow_s3stream.engine.fetchrun import FetchRun
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.plan.download import BOOKKEEPING, ReadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry


class MemoryDestination:
    """
    Keeps bodies until they are taken.

    :param apply: turns (key, body) into what is kept; runs on finishing threads.
    """

    holds = True

    def __init__(self, apply: Callable[[str, bytes], Any] | None, *, keeps_errors: bool) -> None:
        self.inline = apply is None
        self._apply = apply
        self._keeps_errors = keeps_errors
        self._arrived: deque[tuple[int, str, Any, int]] = deque()
        self._something = threading.Event()
        self._delivered = 0
        self._counting = threading.Lock()
        self.wanted = 0
        """Index of the object that is to be taken next, where order matters."""
        self.given = 0
        """Bodies that the caller has been given."""
        self.ended = False
        """Whether nothing more will come."""

    def admit(self, entry: ObjectEntry) -> Any:
        """Not asked: the places are numbers, given in the order asked."""
        raise NotImplementedError

    def deliver(self, entry: ObjectEntry, place: int, body: bytes, etag: str, level: str) -> None:
        """Keep a body, or what becomes of it."""
        value = body if self._apply is None else self._apply(entry.key, body)
        self._arrived.append((place, entry.key, value, len(body) + BOOKKEEPING))
        with self._counting:
            self._delivered += 1

    def other_process(self, *, strict: bool) -> None:
        """Bodies are wanted in this process."""

    def note(self, entry: ObjectEntry, place: int, size: int, etag: str, level: str) -> None:
        """Not asked: there is no other process."""
        raise NotImplementedError

    def open_large(self, entry: ObjectEntry, place: int, size: int) -> MemoryBody:
        """Make room in memory."""
        return MemoryBody(self, entry, place, size)

    def failed(self, entry: ObjectEntry, place: int, error: S3StreamError) -> None:
        """Keep the error in the body's place, where that was asked for; else the reading ends with it."""
        if self._keeps_errors:
            self._arrived.append((place, entry.key, error, 0))

    @property
    def held(self) -> int:
        """Bodies delivered that the caller has not been given."""
        return self._delivered - self.given

    def flush(self) -> None:
        """Wake whoever waits."""
        self._something.set()

    def take(self) -> tuple[int, str, Any, int] | None:
        """Give (index, key, value, bytes held); None if there is nothing, after waiting a little if more may come."""
        if not self._arrived:
            self._something.clear()
            if not self._arrived and not self.ended:
                self._something.wait(POLL)
        return self._arrived.popleft() if self._arrived else None

    def drop(self) -> None:
        """Forget what was not taken, and give its memory back. Any thread, several at once."""
        with suppress(IndexError):
            while True:
                MEMORY.release(self._arrived.popleft()[3])


class MemoryBody:
    """A large object in memory, filled by ranges in any order."""

    def __init__(self, destination: MemoryDestination, entry: ObjectEntry, place: int, size: int) -> None:
        self._destination = destination
        self._entry = entry
        self._place = place
        self._bytes = BytesIO()
        if size:
            self._bytes.seek(size - 1)
            self._bytes.write(b"\0")
        self._view = self._bytes.getbuffer()

    def pwrite(self, chunk: bytes, offset: int) -> None:
        """Take bytes."""
        self._view[offset : offset + len(chunk)] = chunk

    def pread(self, size: int, offset: int) -> bytes:
        """Give bytes back."""
        return bytes(self._view[offset : offset + size])

    def commit(self, etag: str, level: str) -> None:
        """Deliver it, without a copy: BytesIO gives out its own bytes."""
        self._view.release()
        self._destination.deliver(self._entry, self._place, self._bytes.getvalue(), etag, level)

    def discard(self) -> None:
        """Forget it."""
        self._view.release()
        self._bytes = BytesIO()


def read_objects(
    client: S3Client,
    bucket: str,
    entries: Iterable[ObjectEntry],
    options: ReadOptions | None = None,
    *,
    ordered: bool = True,
    apply: Callable[[str, bytes], Any] | None = None,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
) -> Iterator[tuple[str, Any]]:
    """
    Iterate over (key, body) of objects, fetched in parallel ahead of whoever iterates.

    Bodies under way and waiting hold at most ``max_memory`` together (plus one object, where sizes are not known
    beforehand); what was taken is the caller's. ``entries`` is consumed on another thread.

    :param ordered: in the order of ``entries``; else as they come, which holds less.
    :param apply: maps (key, body) to what is given instead of the body; runs on several other threads.
    :raises S3StreamError: an object failed. With ``on_error="continue"`` its error takes the body's place.
    """
    options = options or ReadOptions()
    run = FetchRun(client, bucket, f"s3://{bucket}", options, stop=stop, listener=listener)
    destination = MemoryDestination(apply, keeps_errors=options.on_error == "continue")
    threads = min(4, os.cpu_count() or 1) if apply else 1
    fetch = Fetch(run, destination, entries=entries, numbered=True, finishers=threads)
    arriving = _arriving(run, fetch, destination)
    held: dict[int, tuple[str, Any, int]] = {}
    with ExitStack() as ending:  # whatever fails on the way
        ending.callback(lambda: MEMORY.release(sum(size for _, _, size in held.values())))
        ending.callback(arriving.close)
        for index, key, value, size in arriving:
            held[index if ordered else destination.wanted] = key, value, size
            while destination.wanted in held:
                key, value, size = held.pop(destination.wanted)
                destination.wanted += 1
                destination.given += size > 0
                MEMORY.release(size)
                yield key, value


def _arriving(
    run: FetchRun, fetch: Fetch, destination: MemoryDestination
) -> Generator[tuple[int, str, Any, int], None, None]:
    """
    Fetch on a thread of its own; give what arrives until all has, then raise what went wrong.

    That thread ends everything itself: whoever iterates may be broken off while waiting for it, or be cleared away by
    the garbage collector, which runs on any thread, in the middle of anything.
    """
    failures: list[BaseException] = []
    left = threading.Event()

    def work() -> None:
        try:
            with ExitStack() as ending:
                ending.callback(run.readers.close)
                ending.callback(fetch.close)
                run.drive(fetch)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failures.append(error)
        finally:
            destination.ended = True
            destination.flush()
            if left.is_set():
                destination.drop()

    thread = threading.Thread(target=work, name="s3stream-read", daemon=True)
    thread.start()
    try:
        while True:
            last = destination.ended
            got = destination.take()
            if got is not None:
                yield got
            elif last:
                break
        if failures:
            raise failures[0]
    finally:
        run.limits.abandon()
        left.set()
        with ExitStack() as ending:
            ending.callback(destination.drop)
            if threading.current_thread() is not thread and not fetch.dispatcher.runs_here:
                run.readers.wake()
                thread.join()
