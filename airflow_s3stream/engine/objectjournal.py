"""The journal of a file that is under way, which is also its lock: held (flock) while a run is at work."""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import FileBusy, LocalError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.objectplace import Place

_READ = 1 << 20
_MOST = 64 * _READ  # a journal of ours is far shorter; of anything else no more is read
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a disk without room."""


class JournalFile:
    """
    The journal, opened and locked until :meth:`close`.

    A line that finds the disk full waits for the next one: the journal is then short of what is written, which costs
    fetching again and nothing else.

    :raises FileBusy: another run holds it.
    :raises OSError: it cannot be made.
    """

    def __init__(self, place: Place, sync: Callable[[int], None]) -> None:
        self._place = place
        self._sync = sync
        self._waiting = b""
        self._fd = self._take()
        self.size = os.fstat(self._fd).st_size
        """Bytes."""

    def read(self) -> bytes:
        """Give what earlier runs wrote."""
        read = bytearray()
        while len(read) < _MOST and (piece := os.pread(self._fd, _READ, len(read))):
            read += piece
        return bytes(read)

    def append(self, line: bytes) -> None:
        """Add a line."""
        self._waiting += line
        try:
            written = os.write(self._fd, self._waiting)
        except OSError as error:
            if error.errno not in FULL:
                raise
            return
        if written < len(self._waiting):  # the disk is full: a cut line would spoil those that follow
            os.ftruncate(self._fd, self.size)
            return
        self.size += written
        self._waiting = b""

    def clear(self) -> None:
        """Say that nothing can be trusted from now on."""
        os.ftruncate(self._fd, 0)
        self.size, self._waiting = 0, b""

    def replace(self, content: bytes) -> None:
        """
        Put other lines in place of all, at once: whoever is killed here leaves the old ones or the new ones.

        The lock goes over to the new file before that one gets the name, so nobody can come in between.
        """
        place = self._place
        place.clear(place.new_journal)
        fd = place.open(place.new_journal, os.O_CREAT | os.O_EXCL | os.O_APPEND)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.write(fd, content) < len(content):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            self._sync(fd)  # else a power loss could leave the new name with no lines at all
            os.rename(place.new_journal, place.journal, src_dir_fd=place.directory, dst_dir_fd=place.directory)
        except BaseException:
            os.close(fd)
            place.remove(place.new_journal)
            raise
        _release(self._fd)
        self._fd, self.size, self._waiting = fd, len(content), b""

    def close(self, *, remove: bool) -> None:
        """Give the lock back; with ``remove`` leave no journal."""
        try:
            if self._waiting and not remove:
                self.append(b"")
            if remove:
                with suppress(OSError, LocalError):
                    self._place.clear(self._place.new_journal)
                self._place.remove(self._place.journal)  # last, for from here on another run may begin
        finally:
            fd, self._fd = self._fd, -1
            _release(fd)

    def _take(self) -> int:
        place = self._place
        while True:
            fd = place.open(place.journal, os.O_CREAT | os.O_APPEND)
            try:
                self._lock(fd)
                # A run that came to its end meanwhile took the journal away, and the lock on it is worth nothing.
                status = place.look(place.journal)
                if status and os.path.samestat(status, os.fstat(fd)):
                    return fd
            except BaseException:
                os.close(fd)
                raise
            os.close(fd)

    def _lock(self, fd: int) -> None:
        place = self._place
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise FileBusy(
                f"another run is writing to {place.shown}; wait for its end, or give each run a file of its own",
                op="local",
                target=place.shown,
            ) from None
        except OSError as error:
            if error.errno in _NO_LOCKS and not os.fstat(fd).st_size:
                place.remove(place.journal)  # nobody can hold it here
            raise


def _release(fd: int) -> None:
    # A child process that was forked meanwhile has the descriptor, too, and would keep the lock.
    try:
        fcntl.flock(fd, fcntl.LOCK_UN)
    finally:
        os.close(fd)
