"""Several :class:`~airflow_s3stream.engine.curlreader.CurlReader`, each on a thread of its own, behind one protocol.

One thread is enough to ask for things. It is not enough to decrypt, check and write all that a fast line brings, and
all of that is done on the thread that drives libcurl, outside of Python's lock.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from functools import partial
from queue import Empty
from typing import TYPE_CHECKING

from airflow_s3stream.engine.curlreader import CurlReader
from airflow_s3stream.engine.mailbox import Mailbox
from airflow_s3stream.engine.stop import POLL

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.config import Timeouts
    from airflow_s3stream.engine.address import Address
    from airflow_s3stream.engine.reader import Get

_MOST = 2  # threads; they take turns at Python's lock, and the gain of more has not been measured
_FEWEST = 4  # connections that a thread is worth


def threads_for(connections: int) -> int:
    """Give the number of threads that a download over so many connections is worth on this machine."""
    return max(1, min(_MOST, len(os.sched_getaffinity(0)), connections // _FEWEST))


class CurlCrew:
    """
    A :class:`~airflow_s3stream.engine.reader.Reader` that spreads its GETs over threads.

    What a GET calls, it calls on one of these, also for a moment after it was cancelled.

    :param threads: started when they are needed.
    """

    def __init__(self, address: Address, *, connections: int, timeouts: Timeouts, threads: int) -> None:
        self._ended: Mailbox[Get | BaseException | None] = Mailbox()
        each = -(-connections // threads)
        self._workers = [
            _Worker(CurlReader(address, connections=each, timeouts=timeouts), f"s3stream-curl-{number}", self._ended)
            for number in range(1, threads + 1)
        ]
        self._open: dict[Get, _Worker] = {}

    def move(self, address: Address) -> None:
        """Send what is submitted from now on to another address."""
        for worker in self._workers:
            worker.order(partial(worker.reader.move, address))

    def submit(self, get: Get) -> None:
        """Begin a GET, on the thread that has least to do."""
        worker = min(self._workers, key=lambda one: one.open)
        worker.open += 1
        self._open[get] = worker
        worker.order(partial(worker.reader.submit, get))

    def poll(self, timeout: float) -> list[Get]:
        """Give those that ended."""
        ended: list[Get] = []
        try:
            got = self._ended.get(timeout=timeout) if timeout > 0 else self._ended.get_nowait()
            while True:
                if isinstance(got, BaseException):
                    raise got
                if got is not None and self._forget(got):
                    ended.append(got)
                got = self._ended.get_nowait()
        except Empty:
            return ended

    def cancel(self, get: Get) -> None:
        """Drop a GET and the connection it used."""
        if worker := self._forget(get):
            worker.order(partial(worker.reader.cancel, get))

    def pause(self, get: Get) -> None:
        """Take no more of its body for now."""
        if worker := self._open.get(get):
            worker.order(partial(worker.reader.pause, get))

    def resume(self, get: Get) -> None:
        """Go on with it."""
        if worker := self._open.get(get):
            worker.order(partial(worker.reader.resume, get))

    def wake(self) -> None:
        """Make ``poll`` return."""
        self._ended.put(None)

    def close(self) -> None:
        """Drop everything, close all connections, and end the threads. More than once does no harm."""
        for worker in self._workers:
            worker.stop()
        for worker in self._workers:
            worker.join()
        self._open.clear()

    def _forget(self, get: Get) -> _Worker | None:
        worker = self._open.pop(get, None)
        if worker is not None:
            worker.open -= 1
        return worker


class _Worker:
    """
    A thread that drives one reader, and nobody else does.

    :ivar open: GETs that it has been given and that have not ended; the crew counts.
    """

    def __init__(self, reader: CurlReader, name: str, ended: Mailbox[Get | BaseException | None]) -> None:
        self.reader = reader
        self.open = 0
        self._ended = ended
        self._orders: deque[Callable[[], None]] = deque()
        self._over = False
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def order(self, call: Callable[[], None]) -> None:
        """Have the thread do something, after all it was given before."""
        self._orders.append(call)
        if self._thread.ident is None:
            self._thread.start()
        self.reader.wake()

    def stop(self) -> None:
        """Begin to end it."""
        self._over = True
        self.reader.wake()

    def join(self) -> None:
        """Wait for its end."""
        if self._thread.ident is None:
            self.reader.close()
        else:
            self._thread.join()

    def _work(self) -> None:
        try:
            while not self._over:
                while self._orders:
                    self._orders.popleft()()
                for get in self.reader.poll(POLL):
                    self._ended.put(get)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._ended.put(error)
        finally:
            self.reader.close()
