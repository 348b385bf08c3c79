"""A queue between threads, waited for with a timeout that holds."""

from __future__ import annotations

import threading
import time
from collections import deque
from contextlib import suppress
from queue import Empty
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Mailbox(Generic[T]):
    """
    What some threads put, others get, in order and without a limit.

    Neither of the library's own: ``SimpleQueue.get(timeout=...)`` waits for ever, up to Python 3.12, when its time is
    over at the moment in which it wakes and another thread was faster, for it goes on with a negative timeout. And
    ``Queue`` holds a lock, which a finalizer or a signal handler that puts something would wait for in vain.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._items: deque[T] = deque()
        self._clock = clock
        self._bell = threading.Lock()  # free: something was put since it was last taken, or may have been
        self._bell.acquire()

    def put(self, item: T) -> None:
        """Add one. Any thread, and a signal handler too."""
        self._items.append(item)
        self._ring()

    def get(self, timeout: float) -> T:
        """
        Take the oldest one, waiting ``timeout`` seconds at most.

        :raises queue.Empty: there is none.
        """
        ends = self._clock() + timeout
        while True:
            left = ends - self._clock()
            with suppress(Empty):
                return self.get_nowait()
            if left <= 0:
                raise Empty
            self._bell.acquire(timeout=left)

    def get_nowait(self) -> T:
        """
        Take the oldest one.

        :raises queue.Empty: there is none.
        """
        try:
            item = self._items.popleft()
        except IndexError:
            raise Empty from None
        if self._items:
            self._ring()  # the bell may have rung once for several
        return item

    def _ring(self) -> None:
        with suppress(RuntimeError):  # it rings already
            self._bell.release()
