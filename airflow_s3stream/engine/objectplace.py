"""Where a file that is written in pieces goes: its directory, its name, and the names of what lies beside it."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from typing import TYPE_CHECKING

from airflow_s3stream.engine.localerrors import local_error
from airflow_s3stream.exceptions import ConfigError, LocalDenied

if TYPE_CHECKING:
    from collections.abc import Callable

_MARK = ".s3stream."
_LONGEST = f"{_MARK}journal.new"
# File systems without hard links say one of these.
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS}
# Some cannot sync a directory, and need not.
_NO_SYNC = {errno.EINVAL, errno.EOPNOTSUPP, errno.ENOTSUP}
_FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFLNK: "a symbolic link, which is not followed",
    stat.S_IFDIR: "a directory",
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


class Place:
    """
    The directory of a file, made where it is missing and kept open, and the names in it.

    :param path: as the user gave it. A symbolic link stays, and what it leads to is replaced.
    :param sync: brings a directory to the disk.
    :raises ConfigError: there is something that is no regular file.
    :raises LocalError: the directory cannot be made or opened.
    """

    def __init__(self, path: str, sync: Callable[[int], None]) -> None:
        self.shown = path if path.isprintable() else ascii(path)
        self.path = _resolve(path)
        self.folder, self.name = os.path.split(self.path)
        self._sync = sync
        try:
            self._make(self.folder)
            self.directory = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise local_error(error, self.folder, "open the directory") from error
        self.temp, self.journal, self.new_journal = self._names()

    def beside(self, name: str) -> str:
        """Give the whole path of a name here, for people."""
        path = os.path.join(self.folder, name)
        return path if path.isprintable() else ascii(path)

    def look(self, name: str) -> os.stat_result | None:
        """Look at a name here without following a link; None: there is nothing."""
        try:
            return os.stat(name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return None

    def open(self, name: str, flags: int = 0) -> int:
        """
        Open a file of ours, for reading and writing: so a FIFO of its name cannot make it wait.

        :raises LocalDenied: what has that name is no file of ours, and is left alone.
        """
        try:
            fd = os.open(name, flags | _FLAGS, 0o666, dir_fd=self.directory)
        except OSError as error:
            if error.errno in (errno.ELOOP, errno.EISDIR, errno.ENXIO) and (status := self.look(name)):
                self.check(name, status)
            raise
        try:
            self.check(name, os.fstat(fd))
        except BaseException:
            os.close(fd)
            raise
        return fd

    def check(self, name: str, status: os.stat_result) -> None:
        """
        See that what has this name may be a file of ours.

        :raises LocalDenied: it cannot be.
        """
        what = "" if stat.S_ISREG(status.st_mode) else _KINDS.get(stat.S_IFMT(status.st_mode), "no file")
        # In a directory like /tmp anybody can put a file under our names, and could change it while we trust it.
        if not what and os.fstat(self.directory).st_mode & stat.S_ISVTX and status.st_uid != os.geteuid():
            what = "a file of another user"
        # Appending to it would change the file that it is under its other name.
        if not what and status.st_nlink > 1 and name == self.journal:
            what = "a file with a second name (a hard link)"
        if what:
            path = self.beside(name)
            raise LocalDenied(f"{path} is in the way: it is {what}; remove it", op="local", target=path)

    def clear(self, name: str) -> None:
        """
        Remove a file of ours, if it is there.

        :raises LocalDenied: what has that name is no file of ours.
        """
        if status := self.look(name):
            self.check(name, status)
            self.remove(name)

    def remove(self, name: str) -> None:
        """Remove a name, if it is there."""
        try:
            os.unlink(name, dir_fd=self.directory)
        except FileNotFoundError:
            pass

    def publish(self, *, replaces: bool) -> None:
        """
        Give the temporary file its name.

        :raises FileExistsError: something has that name and must not be replaced.
        """
        here = {"src_dir_fd": self.directory, "dst_dir_fd": self.directory}
        if not replaces:  # a rename would replace a file that came after the first look
            try:
                os.link(self.temp, self.name, **here, follow_symlinks=False)
            except OSError as error:
                if error.errno not in _NO_LINKS:
                    raise
                if self.look(self.name):
                    raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST)) from error
            else:
                os.unlink(self.temp, dir_fd=self.directory)
                return
        os.rename(self.temp, self.name, **here)

    def sync(self) -> None:
        """Bring the names here to the disk."""
        self._sync_directory(self.directory)

    def close(self) -> None:
        """Give the directory back."""
        os.close(self.directory)

    def _make(self, folder: str) -> None:
        missing = []
        while not os.path.isdir(folder):
            missing.append(folder)
            folder = os.path.dirname(folder)
        for path in reversed(missing):
            try:
                os.mkdir(path)
            except FileExistsError:  # another run was faster; or it is a file, which the next step tells
                continue
            # At once, for a later run cannot know which directories were new.
            above = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            try:
                self._sync_directory(above)
            finally:
                os.close(above)

    def _sync_directory(self, fd: int) -> None:
        try:
            self._sync(fd)
        except OSError as error:
            if error.errno not in _NO_SYNC:
                raise

    def _names(self) -> tuple[str, str, str]:
        stem = self.name
        if len(os.fsencode(f".{stem}{_LONGEST}")) > os.fpathconf(self.directory, "PC_NAME_MAX"):
            stem = hashlib.sha256(os.fsencode(stem)).hexdigest()[:32]
        stem = f".{stem}{_MARK}"
        return f"{stem}part", f"{stem}journal", f"{stem}journal.new"


def _resolve(path: str) -> str:
    """Give the absolute path without links of a file that is there or can be made."""
    if not path or "\0" in path:
        raise ConfigError(f"path={path!r} must be the path of a file")
    try:
        status = os.stat(path)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR):
            raise ConfigError(f"path={path!r} cannot be the path of a file: {error.strerror}") from error
        raise local_error(error, os.path.dirname(path) or ".", f"look at {os.path.basename(path)!a}") from error
    else:
        kind = stat.S_IFMT(status.st_mode)
        if kind == stat.S_IFDIR:
            raise ConfigError(f"path={path!r} is a directory; give the path of a file in it")
        if kind != stat.S_IFREG:
            raise ConfigError(
                f"path={path!r} is {_KINDS.get(kind, 'no regular file')}, which cannot be replaced by a file; give the "
                "path of a file, or in the command - for standard output"
            )
    try:
        return os.path.realpath(path)
    except OSError as error:
        raise local_error(error, "the current directory", f"find {path!a}") from error
