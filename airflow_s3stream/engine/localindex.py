"""What is in the finished shards of a run that goes on: 16 bytes for each member, beside the run's record."""

from __future__ import annotations

import os
import re
import struct
import threading
from contextlib import suppress
from typing import IO, TYPE_CHECKING

from airflow_s3stream.engine.locallarge import pwrite_all
from airflow_s3stream.engine.localnames import PackedHashes
from airflow_s3stream.engine.localshard import HASHES, shard_name, version_hash

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.engine.localroot import LocalRoot
    from airflow_s3stream.engine.localshard import Shard
    from airflow_s3stream.plan.objects import ObjectEntry

_NAME = re.compile(r"shard-([0-9]{5,})\.index")
_IDENTITY = struct.Struct("<QQ")  # inode and size of the shard, at the head of its index
_MEMBERS = 4096  # read at a time


class ShardIndex:
    """
    The indexes ``.s3stream/shard-NNNNN.index`` of the shards that are finished.

    An index is written before its shard appears, and names the shard's inode and size: it is of no use beside any
    other file of that name.

    :raises OSError: they cannot be read.
    """

    def __init__(self, root: LocalRoot) -> None:
        self._root = root
        self.finished: set[int] = set()
        self._versions = PackedHashes()
        self._keys: PackedHashes | None = None
        self._lock = threading.Lock()
        for name in os.listdir(root.state.fd):
            match = _NAME.fullmatch(name)
            if match and self._is_finished(int(match[1])):
                self.finished.add(int(match[1]))
                for version, _ in self._members(int(match[1])):
                    self._versions.add(version)
            elif match:
                os.unlink(name, dir_fd=root.state.fd)
        self._kept = sorted(self.finished)
        self._oldest = min(map(self._changed_ns, self._kept), default=0)

    def holds(self, entry: ObjectEntry) -> bool:
        """
        Tell whether a shard of the run before holds this version; with no ETag known, any version.

        Where a bare key does not count as done, no shard of the run before is kept: a member would be twice there.
        """
        if not len(self._versions):
            return False
        if entry.etag:
            return version_hash(entry.key, entry.etag) in self._versions
        with self._lock:
            if not self._root.state.covers_keys(self._oldest):
                self.finished -= set(self._kept)
                self._versions = PackedHashes()
                return False
            if self._keys is None:
                self._keys = PackedHashes()
                for number in self._kept:
                    for _, key in self._members(number):
                        self._keys.add(key)
        return version_hash(entry.key, "") in self._keys

    def note(self, shard: Shard, inode: int, size: int) -> None:
        """Write the index of a shard that is about to appear."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(_index_name(shard.number), flags, 0o666, dir_fd=self._root.state.fd)
        try:
            pwrite_all(fd, _IDENTITY.pack(inode, size) + shard.index, 0)
        finally:
            os.close(fd)
        shard.index.clear()

    def forget(self) -> None:
        """Remove the indexes: the run succeeded."""
        for number in self.finished:
            with suppress(FileNotFoundError):
                os.unlink(_index_name(number), dir_fd=self._root.state.fd)

    def _is_finished(self, number: int) -> bool:
        if not self._root.state.resumed:
            return False
        with suppress(OSError, struct.error), self._open(number) as file:
            identity = _IDENTITY.unpack(file.read(_IDENTITY.size))
            shard = os.stat(shard_name(number), dir_fd=self._root.fd, follow_symlinks=False)
            return identity == (shard.st_ino, shard.st_size) and self._root.state.covers(shard.st_ctime_ns)
        return False

    def _changed_ns(self, number: int) -> int:
        return os.stat(shard_name(number), dir_fd=self._root.fd, follow_symlinks=False).st_ctime_ns

    def _members(self, number: int) -> Iterator[tuple[int, int]]:
        with self._open(number) as file:
            file.seek(_IDENTITY.size)
            while hashes := file.read(HASHES.size * _MEMBERS):
                yield from ((version, key) for version, key in HASHES.iter_unpack(hashes))

    def _open(self, number: int) -> IO[bytes]:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
        return open(os.open(_index_name(number), flags, dir_fd=self._root.state.fd), "rb")


def _index_name(number: int) -> str:
    return f"shard-{number:05d}.index"
