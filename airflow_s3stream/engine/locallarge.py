"""A file that is written in pieces and appears when it is whole."""

from __future__ import annotations

import ctypes
import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry

_NEW = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_NO_ALLOCATION = {errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL, errno.EINTR}
_SECTOR = 512  # of st_blocks, whatever the file system uses
_TMPFS = 0x01021994  # statfs(2)
_MOST_PIECES = os.sysconf("SC_IOV_MAX")


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


def pwritev_all(fd: int, chunks: Sequence[bytes], offset: int) -> None:
    """Write all of many chunks, one behind the other, with as few calls as the kernel allows."""
    for first in range(0, len(chunks), _MOST_PIECES):
        batch = chunks[first : first + _MOST_PIECES]
        size = sum(map(len, batch))
        written = os.pwritev(fd, batch, offset)
        if written != size:  # the disk is nearly full, a signal came, or it was over 2 GiB
            rest = written
            for chunk in batch:
                if rest < len(chunk):
                    pwrite_all(fd, memoryview(chunk)[rest:], offset + written)
                    written += len(chunk) - rest
                rest = max(rest - len(chunk), 0)
        offset += size


def allocate(fd: int, offset: int, size: int) -> None:
    """
    Find out whether there is room for ``size`` bytes at ``offset``, and make the file as long as that.

    The space is reserved where the file system does that at once. Where it does not, free space is compared. glibc's
    posix_fallocate would write to each page there, which over NFS takes as long as the transfer; tmpfs would clear all
    its pages before the first byte can come, which it else does on the way.

    :raises OSError: there is no room, or the file would be larger than allowed.
    """
    if not size:
        return
    # What cannot be there is refused first: else the disk is full for everybody until the kernel gives up.
    held = max(os.fstat(fd).st_blocks * _SECTOR - offset, 0)
    _compare(os.statvfs(fd), size - held)
    if (_is_tmpfs(fd) or not _reserved(fd, offset, size)) and os.fstat(fd).st_size < offset + size:
        os.ftruncate(fd, offset + size)


def _reserved(fd: int, offset: int, size: int) -> bool:
    library = ctypes.CDLL(None, use_errno=True)
    call = getattr(library, "fallocate64", None) or getattr(library, "fallocate", None)
    if call is None:
        return False
    call.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_longlong, ctypes.c_longlong)
    if not call(fd, 0, offset, size):
        return True
    number = ctypes.get_errno()
    if number not in _NO_ALLOCATION:
        raise OSError(number, os.strerror(number))
    return False


def _compare(room: os.statvfs_result, needed: int) -> None:
    free = room.f_bavail if os.geteuid() else room.f_bfree  # some of it may be for root only
    if room.f_blocks and free * room.f_frsize < needed:  # no blocks at all: it does not tell
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def _is_tmpfs(fd: int) -> bool:
    # Its first field is the kind of the file system, the size of a long on nearly all machines.
    answer = (ctypes.c_long * 64)()
    call = getattr(ctypes.CDLL(None), "fstatfs", None)
    return call is not None and call(fd, answer) == 0 and answer[0] == _TMPFS


_START_WRITING = 2  # SYNC_FILE_RANGE_WRITE, sync_file_range(2)


def start_writeback(fd: int, offset: int, size: int) -> None:
    """
    Have the kernel begin to write these bytes to the disk, so that little is left to wait for when the file is synced.

    Only a hint: nothing is on disk for certain, and where it cannot be given nothing happens.
    """
    call = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if call is not None:
        call(fd, ctypes.c_longlong(offset), ctypes.c_longlong(size), ctypes.c_uint(_START_WRITING))
