"""One tar shard while it is written: members at offsets of their own, from several threads."""

from __future__ import annotations

import hashlib
import os
import struct
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_s3stream.engine.locallarge import allocate, pwrite_all
from airflow_s3stream.engine.localtar import BLOCK, END, filler, padding
from airflow_s3stream.exceptions import IntegrityError

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry

HASHES = struct.Struct("<QQ")  # of a member: its version, its key
_ZEROS = bytes(BLOCK)
_MOST_BUFFERS = os.sysconf("SC_IOV_MAX")


def version_hash(key: str, etag: str) -> int:
    """Give a hash of a key and an ETag; of the key alone where the ETag is empty."""
    named = f"{key}\0{etag}".encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(named, digest_size=8).digest(), "little")


def shard_name(number: int) -> str:
    """Give a finished shard's name."""
    return f"shard-{number:05d}.tar"


class Shard:
    """
    An archive under a temporary name. :meth:`reserve` gives out its bytes, front to back; whoever got some fills them.

    :raises OSError: it cannot be made.
    """

    def __init__(self, root: int, number: int, temp: str) -> None:
        self.number = number
        self.name = shard_name(number)
        self.index = bytearray()  # of HASHES
        self.broken = False
        self._root = root
        self._temp = temp
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self.fd = os.open(temp, flags, 0o666, dir_fd=root)
        self._lock = threading.Lock()
        self._end = 0
        self._users = 0
        self._closed = False

    def room_for(self, size: int, shard_size: int) -> bool:
        """Tell whether a member of this length fits; anything fits into an empty shard."""
        return not self._end or self._end + size + len(END) <= shard_size

    def reserve(self, size: int) -> int:
        """Give the offset of ``size`` bytes that are the caller's until :meth:`release`."""
        with self._lock:
            offset = self._end
            self._end += size
            self._users += 1
            return offset

    def release(self, entry: ObjectEntry | None) -> bool:
        """
        Say that reserved bytes are written.

        :param entry: the member, or None if there is none in them.
        :returns: whether the shard is ready for :meth:`publish`: nobody writes any more and nobody will.
        """
        with self._lock:
            if entry is not None:
                versions = version_hash(entry.key, entry.etag), version_hash(entry.key, "")
                self.index += HASHES.pack(*versions)
            self._users -= 1
            return self._closed and not self._users

    def give_back(self, offset: int, size: int) -> bool:
        """Take bytes back, if they are the last; else somebody has the next, and they must be filled."""
        with self._lock:
            if offset + size != self._end:
                return False
            self._end = offset
            return True

    def close(self) -> bool:
        """Give out no more; tell whether the shard is ready for :meth:`publish`."""
        with self._lock:
            self._closed = True
            return not self._users

    def publish(self, note: Callable[[Shard, int, int], None]) -> None:
        """
        End the archive and give it its name.

        :param note: told of the shard, its inode and its size just before it appears.
        """
        pwrite_all(self.fd, END, self._end)
        size = self._end + len(END)
        os.ftruncate(self.fd, size)  # a member that was taken back may have been longer
        note(self, os.fstat(self.fd).st_ino, size)
        fd, self.fd = self.fd, -1
        os.close(fd)
        os.rename(self._temp, self.name, src_dir_fd=self._root, dst_dir_fd=self._root)

    def discard(self) -> None:
        """Remove it."""
        with suppress(OSError):
            os.unlink(self._temp, dir_fd=self._root)
        fd, self.fd = self.fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)


def write_member(shard: Shard, offset: int, head: bytes, pieces: list[bytes], size: int) -> None:
    """Write header, bytes and padding in one call, or in more where the kernel takes less."""
    buffers = [head, *pieces]
    rest = padding(size)
    if rest:
        buffers.append(_ZEROS[:rest])
    total = len(head) + size + rest
    written = os.pwritev(shard.fd, buffers, offset) if len(buffers) <= _MOST_BUFFERS else 0
    if written != total:
        pwrite_all(shard.fd, b"".join(buffers)[written:], offset + written)


class LargeMember:
    """A member that is written in pieces at its place in a shard. Any thread may write."""

    def __init__(
        self,
        shard: Shard,
        entry: ObjectEntry,
        path: str,
        size: int,
        head: bytes,
        *,
        released: Callable[[Shard, bool], None],
        failed: Callable[[OSError, Shard], S3StreamError],
    ) -> None:
        self._shard = shard
        self._entry = entry
        self._path = path
        self._size = size
        self._released = released
        self._failed = failed
        self._total = len(head) + size + padding(size)
        self._start = shard.reserve(self._total)
        self._body = self._start + len(head)
        self._open = True
        try:
            allocate(shard.fd, self._start, self._total)  # and not a byte of its neighbours
            pwrite_all(shard.fd, head, self._start)
            pwrite_all(shard.fd, _ZEROS[: padding(size)], self._body + size)
        except OSError as error:
            self._open = False
            raise failed(error, shard) from error

    def pwrite(self, chunk: bytes | bytearray | memoryview, offset: int) -> None:
        """
        Write a piece at its place.

        :raises LocalError: the run cannot go on.
        """
        if offset + len(chunk) > self._size:  # it would be in the next member
            raise IntegrityError(f"key {self._entry.key!a} brought more than its {self._size} bytes")
        try:
            pwrite_all(self._shard.fd, chunk, self._body + offset)
        except OSError as error:
            raise self._failed(error, self._shard) from error

    def pread(self, size: int, offset: int) -> bytes:
        """Read back, for a checksum; b"" behind the end."""
        try:
            return os.pread(self._shard.fd, max(0, min(size, self._size - offset)), self._body + offset)
        except OSError as error:
            raise self._failed(error, self._shard) from error

    def commit(self, entry: ObjectEntry | None = None) -> str:
        """
        Count it as a member; give the shard and the path for the results.

        :param entry: the object as the answers told it, where that is more than was known at the beginning.
        """
        self._open = False
        self._released(self._shard, self._shard.release(entry or self._entry))
        return f"{self._shard.name}:{self._path}"

    def discard(self) -> None:
        """Leave no member: give the bytes back, or make them something that readers pass over."""
        if not self._open:
            return
        self._open = False
        if not self._shard.give_back(self._start, self._total):
            try:
                offset = self._start
                for piece in filler(self._total):
                    pwrite_all(self._shard.fd, piece, offset)
                    offset += len(piece)
            except OSError as error:
                raise self._failed(error, self._shard) from error
        self._released(self._shard, self._shard.release(None))
