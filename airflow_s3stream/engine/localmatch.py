"""Whether a file is an object already: told from its size and its mtime, which carries a fingerprint.

The mtime of a file written here is the object's Last-Modified in whole seconds; its nanoseconds are a fingerprint of
the ETag (its CRC-32 modulo 10**9, not quite 30 bits). Two versions of an object stored within one second and of one
size therefore differ, and one look at the directory entry is enough. Where the ETag is not known they are 0.
"""

from __future__ import annotations

import hashlib
import os
import re
import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_s3stream.plan.objects import ObjectEntry

SECOND = 10**9
_MD5 = re.compile("[0-9a-f]{32}")
_READ = 1 << 20


def fingerprint(etag: str) -> int:
    """Give the nanoseconds that stand for an ETag."""
    return zlib.crc32(etag.encode()) % SECOND if etag else 0


class Matching:
    """
    Compares files with objects.

    :param step_ns: what the file system rounds an mtime down to.
    """

    def __init__(self, step_ns: int = 1) -> None:
        self._step = step_ns

    def mtime_ns(self, entry: ObjectEntry) -> int:
        """Give the mtime for the file of this object."""
        return int(entry.modified) * SECOND + fingerprint(entry.etag)

    def finished(self, entry: ObjectEntry, status: os.stat_result) -> bool:
        """Tell whether a file that a run of the same request has finished holds this version, as far as it is known."""
        return (entry.size is None or status.st_size == entry.size) and self._same_time(entry, status)

    def same(self, entry: ObjectEntry, name: str, directory: int, status: os.stat_result) -> bool:
        """
        Tell whether any file is this object: the size, and the mtime or the content.

        A file with another mtime is read where the ETag is an MD5; an equal one gets its mtime, so that the next
        look is a short one.
        """
        if entry.size is None or status.st_size != entry.size:
            return False
        content = _MD5.fullmatch(entry.etag)
        # Whole seconds leave no room for a fingerprint, and then an overwrite in the same second looks the same.
        trusted = self._step < SECOND or not content
        if entry.modified and trusted and self._same_time(entry, status):
            return True
        return bool(content) and self._adopt(entry, name, directory)

    def _same_time(self, entry: ObjectEntry, status: os.stat_result) -> bool:
        seconds, nanoseconds = divmod(status.st_mtime_ns, SECOND)
        if entry.modified and self._step <= SECOND and seconds != int(entry.modified):
            return False
        if entry.modified and self._step > SECOND and abs(seconds - int(entry.modified)) * SECOND >= self._step:
            return False
        if not entry.etag or self._step >= SECOND:
            return True
        expected = fingerprint(entry.etag)
        return nanoseconds == expected - expected % self._step

    def _adopt(self, entry: ObjectEntry, name: str, directory: int) -> bool:
        # O_NONBLOCK: should a FIFO have taken the file's place, this must not wait for a writer.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(name, flags, dir_fd=directory), "rb", buffering=0) as file:
            digest = hashlib.md5(usedforsecurity=False)
            while piece := file.read(_READ):
                digest.update(piece)
            if digest.hexdigest() != entry.etag:
                return False
            if entry.modified:
                mtime = self.mtime_ns(entry)
                try:
                    os.utime(file.fileno(), ns=(mtime, mtime))
                except PermissionError:
                    pass  # another user's file: it is compared again next time
        return True
