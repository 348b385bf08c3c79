"""A file that is written in pieces and appears when it is whole."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ALLOCATION = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL}


class Publisher(Protocol):
    """Whoever gives a large file its name."""

    def finish(self, fd: int, entry: ObjectEntry | None) -> int:
        """Give the open file its mtime; return its inode."""

    def publish(self, temp: str, directory: int, inode: int) -> str:
        """Give the closed file its final name; return the path for the results."""

    def error(self, error: OSError) -> S3StreamError:
        """Tell a failure as this package's error."""


class LargeFile:
    """
    A file under a temporary name, with its disk space reserved where the file system can. Any thread may write.

    :param directory: stays the caller's; this file keeps one of its own, for the last range may come much later.
    :raises OSError: it cannot be made, or there is no room for it.
    """

    def __init__(self, directory: int, temp: str, size: int, publisher: Publisher) -> None:
        self._publisher = publisher
        self._temp = temp
        self._directory = os.dup(directory)
        try:
            self._fd = os.open(temp, _NEW, 0o666, dir_fd=self._directory)
        except OSError:
            os.close(self._directory)
            raise
        try:
            allocate(self._fd, 0, size)
        except BaseException:
            self.discard()
            raise

    def pwrite(self, chunk: bytes | bytearray | memoryview, offset: int) -> None:
        """
        Write a piece at its place.

        :raises LocalError: the run cannot go on.
        """
        try:
            pwrite_all(self._fd, chunk, offset)
        except OSError as error:
            raise self._publisher.error(error) from error

    def pread(self, size: int, offset: int) -> bytes:
        """Read back, for a checksum; b"" behind the end."""
        try:
            return os.pread(self._fd, size, offset)
        except OSError as error:
            raise self._publisher.error(error) from error

    def commit(self, entry: ObjectEntry | None = None) -> str:
        """
        Let the file appear; give the path for the results.

        :param entry: the object as the answers told it, where that is more than was known at the beginning.
        """
        try:
            inode = self._publisher.finish(self._fd, entry)
            fd, self._fd = self._fd, -1
            os.close(fd)  # may be the first to tell that the disk is full
            path = self._publisher.publish(self._temp, self._directory, inode)
        except OSError as error:
            self.discard()
            raise self._publisher.error(error) from error
        except BaseException:
            self.discard()
            raise
        os.close(self._directory)
        self._directory = -1
        return path

    def discard(self) -> None:
        """Remove what was written; the old file stays. Does nothing after the end."""
        directory, self._directory = self._directory, -1
        if directory < 0:
            return
        with suppress(OSError):
            os.unlink(self._temp, dir_fd=directory)
        os.close(directory)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def pwrite_all(fd: int, chunk: bytes | bytearray | memoryview, offset: int) -> None:
    """Write all of it: the kernel may take less when the disk is nearly full."""
    written = os.pwrite(fd, chunk, offset)
    if written != len(chunk):
        rest = memoryview(chunk)
        while written < len(chunk):
            written += os.pwrite(fd, rest[written:], offset + written)


def allocate(fd: int, offset: int, size: int) -> None:
    """
    Reserve the disk space for ``size`` bytes, so that a full disk shows at once, where the file system can.

    :raises OSError: there is no room.
    """
    if not size:
        return
    try:
        os.posix_fallocate(fd, offset, size)
    except OSError as error:
        if error.errno not in _NO_ALLOCATION:
            raise
