"""What is done with bodies off the network thread: proving, writing, mapping. A few threads, fed in batches."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

_BATCH = 32  # items handed over at once at most: fewer wake-ups than one by one, and yet work for every thread


class Item(Protocol):
    """Something to finish."""

    def finish(self) -> None:
        """Do the work, on a finishing thread."""

    def finished(self, error: BaseException | None) -> None:
        """Take note, on the network thread."""

    def settle(self) -> None:
        """Take note only of what is held, since all is over."""


class Finishers:
    """
    Threads that finish items.

    :param notify: called from a finishing thread when outcomes wait for :meth:`take`.
    """

    def __init__(self, threads: int, notify: Callable[[], None]) -> None:
        self._notify = notify
        self._queue: SimpleQueue[list[Item] | None] = SimpleQueue()
        self._outcomes: deque[tuple[Item, BaseException | None]] = deque()
        self._gathered: list[Item] = []
        self._abandoned = False
        self.pending = 0
        """Items not taken back yet."""
        self._threads = [
            threading.Thread(target=self._work, name=f"s3stream-finish-{n}", daemon=True) for n in range(threads)
        ]
        for thread in self._threads:
            thread.start()

    def add(self, item: Item) -> None:
        """Hand over an item; :meth:`flush` sends what is left of a batch."""
        self.pending += 1
        self._gathered.append(item)
        if len(self._gathered) >= _BATCH:
            self.flush()

    def flush(self) -> None:
        """Send what has been gathered."""
        if self._gathered:
            self._queue.put(self._gathered)
            self._gathered = []

    def take(self) -> None:
        """Tell the items that are finished so."""
        while self._outcomes:
            item, error = self._outcomes.popleft()
            self.pending -= 1
            item.finished(error)

    @property
    def runs_here(self) -> bool:
        """Whether it is one of these threads that asks; it cannot wait for their end."""
        return threading.current_thread() in self._threads

    def finished(self) -> list[Item]:
        """Give what was finished well and has not been taken; after :meth:`close`."""
        return [item for item, error in self._outcomes if error is None]

    def close(self, patience: float | None = None) -> bool:
        """
        End the threads; what they have not begun is dropped.

        :param patience: seconds to wait for work that has begun; None: until it ends.
        :returns: whether all have ended.
        """
        self._abandoned = True
        for _ in self._threads:
            self._queue.put(None)
        for thread in self._threads:
            thread.join(patience)
        return not any(thread.is_alive() for thread in self._threads)

    def _work(self) -> None:
        while (batch := self._queue.get()) is not None:
            for item in batch:
                if self._abandoned:
                    break
                try:
                    item.finish()
                except BaseException as error:  # noqa: BLE001 - the network thread decides what becomes of it
                    self._outcomes.append((item, error))
                else:
                    self._outcomes.append((item, None))
            self._notify()
