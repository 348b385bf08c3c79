"""Objects as files below a directory: each whole or absent, none outside, none lost without a word."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, Literal

from airflow_s3stream.engine.localerrors import clash, local_error
from airflow_s3stream.engine.locallarge import LargeFile
from airflow_s3stream.engine.localmatch import Matching
from airflow_s3stream.engine.localnames import PackedHashes
from airflow_s3stream.engine.localplace import WORTH_ANOTHER_TRY, Body, CarefulPlacer, Placer
from airflow_s3stream.engine.localprobe import Traits, probe
from airflow_s3stream.engine.localroot import LocalRoot, syncfs
from airflow_s3stream.engine.localrun import read_boot_id

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry
    from airflow_s3stream.plan.paths import Layout

IfFileExists = Literal["overwrite", "skip_same", "fail"]


class LocalDirectory:
    """
    Writes objects as files. Every method may be called from several threads at once.

    A file is written under a temporary name in its own directory and renamed, so a final name always shows either the
    old file or the whole new one. Its mtime is the object's Last-Modified with a fingerprint of the ETag in the
    nanoseconds (see :mod:`~airflow_s3stream.engine.localmatch`). Nothing is synced file by file: call :meth:`sync`
    before success is reported.

    :param if_exists: ``overwrite``; ``skip_same`` leaves a file alone that is the object already; ``fail`` refuses
        keys whose file exists.
    :param request_id: equal for runs that ask for the same. After a run that was killed or failed, the next one with
        the same ``request_id`` takes the files that are finished as done, whatever ``if_exists`` says.
    """

    def __init__(
        self,
        root: Path,
        *,
        if_exists: IfFileExists = "overwrite",
        layout: Layout = "paths",
        request_id: str,
        sync: Callable[[int], None] = syncfs,
        boot_id: Callable[[], str] = read_boot_id,
        probe: Callable[[int], Traits] = probe,
        open_directories: int = 64,
    ) -> None:
        self._root = LocalRoot(root, request_id, sync=sync, boot_id=boot_id, open_directories=open_directories)
        self._root.begin()
        try:
            self.traits = probe(self._root.state.fd)
        except OSError as error:
            self._root.close(complete=False)
            raise local_error(error, self._root.name, "write a first file") from error
        self._matching = Matching(self.traits.mtime_step_ns)
        self._if_exists = if_exists
        # Where two keys may get one name, what was used is remembered: paths of one layout, inodes of a folding disk.
        self._paths = PackedHashes() if layout == "flatten" else None
        self._inodes = PackedHashes() if self.traits.folds else None
        directories, temp_name = self._root.directories, self._root.temp_name
        replaces, name = if_exists != "fail", self._root.name
        self.placer: Placer
        if self._inodes is None:
            self.placer = Placer(directories, self._matching, temp_name, replaces=replaces, root=name)
        else:
            self.placer = CarefulPlacer(directories, self._matching, temp_name, replaces=replaces, root=name,
                                        inodes=self._inodes)  # fmt: skip
        self._looks = if_exists != "overwrite" or self._root.state.resumed or self._inodes is not None

    @property
    def state(self) -> int:
        """A descriptor of ``ROOT/.s3stream``, where the results go; valid until :meth:`close`."""
        return self._root.state.fd

    def wanted(self, entry: ObjectEntry, path: str) -> Literal["fetch", "same"]:
        """
        Tell whether the object has to be fetched. Call it once for each object, before its GET.

        Costs one fstatat, or nothing where no file can be of use. ``skip_same`` may read a file to compare its MD5.

        :raises KeyRefused: the path is taken by another key or by a directory, or the file exists and must not.
        """
        if self._paths is not None and not self._paths.add(hash(path)):
            raise clash(entry.key, path, "another key of this run has the same path")
        if not self._looks:
            return "fetch"
        folder, _, name = path.rpartition("/")
        try:
            directory = self._root.directories.open(folder, make=False)
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            return self._compare(entry, path, name, directory, status)
        except FileNotFoundError:
            return "fetch"
        except OSError as error:
            raise self.placer.error(error, entry, path, "look at") from error

    def write(self, entry: ObjectEntry, path: str, body: Body) -> str:
        """Write a whole object; see :meth:`~airflow_s3stream.engine.localplace.Placer.write`."""
        return self.placer.write(entry, path, body)

    @property
    def root_fd(self) -> int:
        """A descriptor of the root, valid until :meth:`close`."""
        return self._root.fd

    @property
    def token(self) -> str:
        """What the temporary names of this run begin with, by which a later run knows its litter."""
        return self._root.state.token

    def open_large(self, entry: ObjectEntry, path: str, size: int) -> LargeFile:
        """
        Open a file for an object that comes in ranges, with its disk space reserved where the file system can.

        :raises DiskFull: there is no room for it.
        """
        publisher = _Publisher(self.placer, entry, path)
        try:
            try:
                return self._open_large(publisher, path, size)
            except OSError as error:
                if error.errno not in WORTH_ANOTHER_TRY:
                    raise
                self._root.directories.forget()
                return self._open_large(publisher, path, size)
        except OSError as error:
            raise self.placer.error(error, entry, path, "write") from error

    def _open_large(self, publisher: _Publisher, path: str, size: int) -> LargeFile:
        directory = self._root.directories.open(path.rpartition("/")[0], make=True)
        return LargeFile(directory, self._root.temp_name(), size, publisher)

    def sync(self) -> None:
        """Return when everything finished so far is on disk; a power loss cannot take it back."""
        self._root.sync()

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """
        End the run: call it once, when no thread writes any more.

        :param complete: the run succeeded: sync, and leave nothing to go on from.
        :param interrupted: it was told to stop, so the next run may go on as after a kill: even a key of which no
            version is known is done where its file is. After failures such a key is fetched again.
        """
        try:
            if complete:
                self._root.sync()
        except BaseException:
            self._root.close(complete=False)
            raise
        self._root.close(complete=complete, interrupted=interrupted)

    def _compare(
        self, entry: ObjectEntry, path: str, name: str, directory: int, status: os.stat_result
    ) -> Literal["fetch", "same"]:
        if stat.S_ISDIR(status.st_mode):
            raise clash(entry.key, path, "a directory is there")
        if self._is_same(entry, name, directory, status):
            if self._inodes is not None and not self._inodes.add(status.st_ino):
                raise clash(entry.key, path, "the file system takes it for the path of another key of this run")
            return "same"
        if self._if_exists == "fail":
            raise clash(entry.key, path, 'the file exists and if_exists="fail"')
        return "fetch"

    def _is_same(self, entry: ObjectEntry, name: str, directory: int, status: os.stat_result) -> bool:
        if not stat.S_ISREG(status.st_mode):
            return False
        state = self._root.state
        if state.resumed and state.covers(status.st_ctime_ns):
            named = bool(entry.etag or entry.modified)
            return (named or state.covers_keys(status.st_ctime_ns)) and self._matching.finished(entry, status)
        return self._if_exists == "skip_same" and self._matching.same(entry, name, directory, status)


class _Publisher:
    """Gives a large file its mtime and its name."""

    def __init__(self, placer: Placer, entry: ObjectEntry, path: str) -> None:
        self._placer = placer
        self._entry = entry
        self._path = path

    def finish(self, fd: int, entry: ObjectEntry | None) -> int:
        """Set the mtime."""
        self._placer.stamp(fd, entry or self._entry)
        return os.fstat(fd).st_ino

    def publish(self, temp: str, directory: int, inode: int) -> str:
        """Rename it."""
        self._placer.publish(self._entry, self._path, temp, directory, inode)
        return self._path

    def error(self, error: OSError) -> S3StreamError:
        """Tell which file failed."""
        return self._placer.error(error, self._entry, self._path, "write")
