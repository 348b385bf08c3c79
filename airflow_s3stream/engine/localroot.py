"""The root of a download: opened once, its state taken, swept of old litter, synced at the end."""

from __future__ import annotations

import ctypes
import errno
import itertools
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from airflow_s3stream.engine.localdirs import Directories
from airflow_s3stream.engine.localerrors import local_error
from airflow_s3stream.engine.localrun import RunState, read_boot_id
from airflow_s3stream.plan.paths import STATE, TEMP

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def syncfs(fd: int) -> None:
    """
    Bring everything written to the file system of ``fd`` to the disk, and learn of write-back errors.

    :raises OSError: it could not be brought there.
    """
    call = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if call is None:
        os.sync()
    elif call(fd):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class LocalRoot:
    """
    The directory that a run writes to. Made where it is missing; locked against other runs until :meth:`close`.

    :raises DirectoryBusy: another run writes there.
    :raises DiskFull: nothing can be written there any more.
    :raises LocalDenied: it may not be written.
    """

    def __init__(
        self,
        path: Path,
        request_id: str,
        *,
        sync: Callable[[int], None] = syncfs,
        boot_id: Callable[[], str] = read_boot_id,
        open_directories: int = 64,
    ) -> None:
        self.name = str(path)
        self._sync = sync
        self._numbers = itertools.count()
        try:
            os.makedirs(path, exist_ok=True)
            self.fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise local_error(error, self.name, "open the directory") from error
        try:
            self._check_room()
            self.state = RunState(self.fd, self.name, request_id, boot_id=boot_id)
        except BaseException as error:
            os.close(self.fd)
            if isinstance(error, OSError):
                raise local_error(error, self.name, f"make {STATE}/") from error
            raise
        self.directories = Directories(self.fd, open_directories)

    def begin(self) -> None:
        """Remove what a killed run left, and write down that a run is under way."""
        try:
            if self.state.litter != frozenset():
                self._sweep()
            self.state.begin()
            os.fsync(self.fd)  # so that the state folder itself outlives a power loss
        except OSError as error:
            self.close(complete=False)
            raise local_error(error, self.name, f"write {STATE}/") from error

    def temp_name(self) -> str:
        """Give a name for a file that is under way; never given twice."""
        return f".s3stream-{self.state.token}-{next(self._numbers):x}.tmp"

    def sync(self) -> None:
        """
        Return when everything written so far is on disk.

        :raises LocalError: it could not be brought there.
        """
        try:
            asked = self.state.now()
            for fd in (self.fd, *self.directories.mounts.values()):
                self._sync(fd)
            self.state.synced(asked)
        except OSError as error:
            raise local_error(error, self.name, "bring what was written to the disk") from error

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """Close everything; forget the run when it succeeded, else keep its record for the next."""
        self.directories.close()
        try:
            self.state.close(complete=complete, interrupted=interrupted)
        except OSError as error:
            raise local_error(error, self.name, f"remove {STATE}/run.json") from error
        finally:
            os.close(self.fd)

    def _check_room(self) -> None:
        """Find out early what would end the run at its first file."""
        room = os.statvfs(self.fd)
        if room.f_flag & os.ST_RDONLY:
            number = errno.EROFS
        # Some file systems count no inodes: zero of zero is not full.
        elif not room.f_bavail or (room.f_files and not room.f_favail):
            number = errno.ENOSPC
        else:
            return
        raise OSError(number, os.strerror(number))

    def _sweep(self) -> None:
        """Remove the temporary files of the runs that the record names, and of no other."""
        tokens = self.state.litter
        for folder, name in _files(self.directories):
            match = TEMP.fullmatch(name)
            if match and (tokens is None or match[1] in tokens):
                with suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=self.directories.open(folder, make=False))


def _files(directories: Directories) -> Iterator[tuple[str, str]]:
    """Walk the tree without following a link, leaving out what is the root of another download."""
    pending = [""]
    while pending:
        folder = pending.pop()
        try:
            entries = os.scandir(directories.open(folder, make=False))
        except OSError:
            continue  # gone, or not ours to read: then nothing of ours is in it
        with entries:
            below, names = [], []
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    below.append(entry.name)
                elif entry.name.startswith(STATE):
                    names.append(entry.name)
        if folder and STATE in below:
            continue
        yield from ((folder, name) for name in names)
        pending += [f"{folder}/{name}" if folder else name for name in below if folder or name != STATE]
