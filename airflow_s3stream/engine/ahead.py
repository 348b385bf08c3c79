"""Entries read ahead on a thread of their own, for whoever names them may be slow: a pipe, a store, a computation."""

from __future__ import annotations

import threading
from collections import deque
from typing import TYPE_CHECKING

from airflow_s3stream.engine.stop import POLL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_s3stream.plan.objects import ObjectEntry

_BATCH = 250  # given at once
_AHEAD = 1_000


class Ahead:
    """
    Takes entries out of an iterable, some ahead, and gives them as soon as they are there.

    :param notify: called when there is something after there was nothing. On the reading thread.
    """

    def __init__(self, entries: Iterable[ObjectEntry], notify: Callable[[], None]) -> None:
        self._entries = entries
        self._notify = notify
        self._ready: deque[ObjectEntry] = deque()
        self._room = threading.Event()
        self._closed = False
        self._ended = False
        self._error: BaseException | None = None
        # Left behind when it hangs in a read: nothing can wake it there, and nothing waits for it.
        threading.Thread(target=self._read, name="s3stream-entries", daemon=True).start()

    @property
    def done(self) -> bool:
        """Whether all have been taken."""
        return self._ended and not self._ready and self._error is None

    def take(self) -> list[ObjectEntry]:
        """
        Give the next entries, none if there are none at the moment.

        :raises BaseException: what reading them raised, after all that came before.
        """
        ended = self._ended
        some = [self._ready.popleft() for _ in range(min(len(self._ready), _BATCH))]
        self._room.set()
        if ended and not self._ready and not some and self._error is not None:
            error, self._error = self._error, None
            raise error
        return some

    def close(self) -> None:
        """Read no more."""
        self._closed = True
        self._room.set()

    def _read(self) -> None:
        try:
            for entry in self._entries:
                while len(self._ready) >= _AHEAD and not self._closed:
                    self._room.clear()
                    if len(self._ready) >= _AHEAD:
                        self._room.wait(POLL)
                if self._closed:
                    return
                self._ready.append(entry)
                if len(self._ready) == 1:
                    self._notify()
        except BaseException as error:  # noqa: BLE001 - raised again by take
            self._error = error
        self._ended = True
        self._notify()
