"""One object, one file: written under a temporary name in its own directory, then renamed."""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_s3stream.engine.localerrors import clash, key_refused, local_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.localdirs import Directories
    from airflow_s3stream.engine.localmatch import Matching
    from airflow_s3stream.engine.localnames import PackedHashes
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry

Body = bytes | bytearray | memoryview | list[bytes]

_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
WORTH_ANOTHER_TRY = {errno.ENOENT, errno.ESTALE, errno.EMFILE, errno.ENFILE}
"""Errors that pass when this thread's open directories are closed: they were deleted, or take descriptors."""


class Placer:
    """
    Writes files below a root. Safe for threads.

    :param temp_name: gives a name that was never given before.
    :param replaces: whether a file that is there already may be replaced.
    :param root: the root as the user named it, for errors.
    """

    def __init__(
        self, directories: Directories, matching: Matching, temp_name: Callable[[], str], *, replaces: bool, root: str
    ) -> None:
        self._directories = directories
        self._matching = matching
        self._temp_name = temp_name
        self._replaces = replaces
        self._name = root

    def write(self, entry: ObjectEntry, path: str, body: Body) -> str:
        """
        Write a whole object; give the path for the results.

        :param entry: with size, ETag and Last-Modified as the answer to the GET told them.
        :raises KeyRefused: the path is taken.
        :raises LocalError: the run cannot go on.
        """
        try:
            self._place(entry, path, body)
        except OSError as error:
            if error.errno not in WORTH_ANOTHER_TRY:
                raise self.error(error, entry, path, "write") from error
            self._directories.forget()
            try:
                self._place(entry, path, body)
            except OSError as again:
                raise self.error(again, entry, path, "write") from again
        return path

    def _place(self, entry: ObjectEntry, path: str, body: Body) -> None:
        directory = self._directories.open(path.rpartition("/")[0], make=True)
        temp = self._temp_name()
        fd = os.open(temp, _NEW, 0o666, dir_fd=directory)
        try:
            try:
                _write_all(fd, body)
                self.stamp(fd, entry)
                inode = self.inode(fd)
            finally:
                os.close(fd)  # may be the first to tell that the disk is full
            self.publish(entry, path, temp, directory, inode)
        except BaseException:
            with suppress(OSError):
                os.unlink(temp, dir_fd=directory)
            raise

    def stamp(self, fd: int, entry: ObjectEntry) -> None:
        """Give an open file the object's mtime, where that is known."""
        if entry.modified:
            mtime = self._matching.mtime_ns(entry)
            os.utime(fd, ns=(mtime, mtime))

    def publish(self, entry: ObjectEntry, path: str, temp: str, directory: int, inode: int) -> None:
        """Give a finished file its final name."""
        self._rename(temp, path[path.rfind("/") + 1 :], directory)

    def inode(self, fd: int) -> int:
        """Give what :meth:`publish` has to know the file by."""
        return 0

    def _rename(self, temp: str, name: str, directory: int) -> None:
        if not self._replaces:  # a rename would replace a file that came after wanted() had looked
            os.link(temp, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)
            os.unlink(temp, dir_fd=directory)
        else:
            os.rename(temp, name, src_dir_fd=directory, dst_dir_fd=directory)

    def error(self, error: OSError, entry: ObjectEntry, path: str, doing: str) -> S3StreamError:
        """Tell a failure as this package's error."""
        return key_refused(error, entry.key, path) or local_error(error, self._name, f"{doing} {path!a}")


class CarefulPlacer(Placer):
    """
    For a file system that takes two names for one: no file of this run is replaced by another of it.

    :param inodes: of the files of this run.
    """

    def __init__(
        self,
        directories: Directories,
        matching: Matching,
        temp_name: Callable[[], str],
        *,
        replaces: bool,
        root: str,
        inodes: PackedHashes,
    ) -> None:
        super().__init__(directories, matching, temp_name, replaces=replaces, root=root)
        self._inodes = inodes
        self._publishing = threading.Lock()

    def inode(self, fd: int) -> int:
        """Give the inode."""
        return os.fstat(fd).st_ino

    def publish(self, entry: ObjectEntry, path: str, temp: str, directory: int, inode: int) -> None:
        """Give a finished file its final name, unless that is another key's."""
        name = path[path.rfind("/") + 1 :]
        with self._publishing:  # between the look and the rename nobody else may publish
            with suppress(FileNotFoundError):
                if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino in self._inodes:
                    raise clash(entry.key, path, "the file system takes it for the path of another key of this run")
            self._rename(temp, name, directory)
            self._inodes.add(inode)


def _write_all(fd: int, body: Body) -> None:
    if isinstance(body, list):
        for piece in body:
            _write_all(fd, piece)
        return
    if body:
        written = os.write(fd, body)
        if written != len(body):  # the disk is nearly full, or a signal came
            rest = memoryview(body)
            while written < len(body):
                written += os.write(fd, rest[written:])
