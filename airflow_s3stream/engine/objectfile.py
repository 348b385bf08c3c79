"""One object as one file: written in pieces, gone on with by a later run, seen when it is whole."""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, cast

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.localerrors import clash, key_refused, local_error
from airflow_s3stream.engine.locallarge import allocate, pwritev_all, start_writeback
from airflow_s3stream.engine.localmatch import Matching
from airflow_s3stream.engine.localprobe import probe
from airflow_s3stream.engine.localrun import read_boot_id
from airflow_s3stream.engine.objectjournal import JournalFile
from airflow_s3stream.engine.objectpieces import NotedPieces
from airflow_s3stream.engine.objectplace import Place
from airflow_s3stream.exceptions import IntegrityError, LocalError, S3StreamError
from airflow_s3stream.plan.journal import Header, Version, Written, done_line
from airflow_s3stream.plan.objects import ObjectEntry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from airflow_s3stream.engine.localfiles import IfFileExists
    from airflow_s3stream.plan.digests import Algorithm

__all__ = ["ObjectFile", "Version", "Written"]

_NEW = os.O_CREAT | os.O_EXCL


class ObjectFile:
    """
    A file that is written under a hidden name beside it, and gets its own name when it is whole.

    A journal beside it names the pieces that are written, so that a later run goes on where this one ended, however it
    ended. Until :meth:`commit`, :meth:`keep` or :meth:`discard` no other run can write to the same file. One thread at
    a time.

    :param path: links are followed: the link stays, what it leads to is replaced. Missing directories are made.
    :param resume: go on with what an earlier run left; False: remove it.
    :param if_exists: see :meth:`is_same`.
    :param sync: brings an open file or directory to the disk.
    :raises ConfigError: there is something that is no regular file.
    :raises FileBusy: another run is writing to the same file.
    :raises LocalError: nothing can be written there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        resume: bool = True,
        if_exists: IfFileExists = "overwrite",
        sync: Callable[[int], None] = os.fsync,
        boot_id: Callable[[], str] = read_boot_id,
    ) -> None:
        self._resume = resume
        self._if_exists = if_exists
        self._sync = sync
        self._boot_id = boot_id()
        self._place = Place(os.fspath(path), sync)
        self.path = self._place.path
        """Absolute, links resolved."""
        self.verification = ""
        """What an earlier run, killed when the file had its name already, gave to :meth:`commit`."""
        self._fd = -1
        self._closed = self._removed = self._published = False
        self._is_same = False  # the file is the object already
        self._version = Version("", "", 0, 0.0)
        try:
            with self._telling("lock"):
                self._journal = JournalFile(self._place, sync)
        except BaseException:
            self._place.close()
            raise
        try:
            with self._telling("read the journal of"):
                temp = self._place.look(self._place.temp)
                self._noted = NotedPieces(self._journal, temp.st_size if temp else None)
        except BaseException:
            self._journal.close(remove=False)
            self._place.close()
            raise

    def is_same(self, version: Version) -> bool:
        """
        Tell whether the file is this version already, so that nothing has to be fetched.

        It is where an earlier run was killed after it gave the file its name; and with ``if_exists="skip_same"`` where
        size and mtime are those of the version, or the ETag is the MD5 of the content (which is then read).

        :raises KeyRefused: the file exists, is not that earlier run's, and ``if_exists`` is ``fail``.
        """
        place = self._place
        with self._telling("look at"):
            status = place.look(place.name)
            if status is None:
                return False
            if self._was_finished(version, status):
                place.sync()
                self.verification, self._is_same = self._noted.earlier.done, True
            elif self._if_exists == "fail":
                raise clash(version.uri, self.path, 'the file exists and if_exists="fail"')
            elif self._if_exists == "skip_same" and stat.S_ISREG(status.st_mode):
                matching = Matching(probe(place.directory).mtime_step_ns)
                self._is_same = matching.same(_entry(version), place.name, place.directory, status)
        return self._is_same

    def begin(
        self, version: Version, algorithm: str, *, joins: bool = True, told: Callable[[int], None] = lambda _: None
    ) -> list[Written]:
        """
        Open the file and reserve its disk space; give the pieces that are there already and can be trusted.

        After a reboot what was written last may be lost although the journal names it. Then each piece is read back and
        compared with its checksum, which takes as long as reading them takes.

        :param algorithm: of the checksums: crc64nvme, crc32c or crc32.
        :param joins: whether a later run may get two pieces that follow each other as one.
        :param told: called with the number of bytes read back so far, at each MiB; what it raises ends that.
        :raises DiskFull: there is no room for the object.
        :raises LocalError: the file can otherwise not be made.
        """
        self._version = version
        self._is_same = False
        if self._resume and self._noted.continue_with(version, algorithm) and self._reopen():
            if not self._noted.as_left(self._boot_id, os.fstat(self._fd).st_ino):
                self._noted.check(self.read, told)
        else:
            self._start_afresh(algorithm)
        with self._telling(f"reserve {format_size(version.size)} for"):
            allocate(self._fd, 0, version.size)
        with self._telling("write the journal of"):
            return self._noted.begin(self._header(algorithm), joins=joins)

    def algorithm_left(self, version: Version) -> Algorithm | None:
        """Give the algorithm of the pieces that an earlier run has left of this version; None if there are none."""
        header = self._noted.earlier.header
        return cast("Algorithm", header.algorithm) if header and header.same_version(version) else None

    def write(self, chunks: list[bytes], offset: int) -> None:
        """
        Write chunks one behind the other.

        :raises LocalError: the run cannot go on.
        """
        try:
            pwritev_all(self._fd, chunks, offset)
        except OSError as error:
            raise self._error(error, "write") from error

    def note(self, piece: Written) -> None:
        """
        Note that a piece is written, in place of one with the same start, so that a later run has it.

        :raises ValueError: it overlaps another piece or is outside of the object.
        :raises LocalError: the journal cannot be written.
        """
        with self._telling("write the journal of"):
            self._noted.note(piece)

    def flush(self, start: int, stop: int) -> None:
        """Have bytes on their way to the disk before :meth:`commit` waits for them."""
        start_writeback(self._fd, start, stop - start)

    def read(self, size: int, offset: int) -> bytes:
        """Read back what was written; less at the end."""
        with self._telling("read"):
            return os.pread(self._fd, size, offset)

    def commit(self, level: str) -> str:
        """
        Let the file appear, for good: it and its name are on disk when this returns. Gives :attr:`path`.

        :param level: how it was verified, for a run that finds this one killed at the very end.
        :raises IntegrityError: the pieces noted are not the whole object.
        :raises KeyRefused: a file, or a directory, came there meanwhile, and must not be replaced.
        :raises LocalError: it could not be brought to the disk; or not be renamed, and can be by a later run.
        """
        self._check_whole()
        with self._telling("set the time of"):
            if self._version.modified:
                mtime = Matching().mtime_ns(_entry(self._version))
                os.utime(self._fd, ns=(mtime, mtime))
        self._bring_to_disk()
        with self._telling("write the journal of"):
            self._journal.append(done_line(level, os.fstat(self._fd).st_mtime_ns))
        try:
            self._place.publish(replaces=self._if_exists != "fail")
        except OSError as error:
            refused = key_refused(error, self._version.uri, self.path)
            raise refused or self._error(error, "give its name to") from error
        self._published = True
        with self._telling("bring to the disk the name of"):
            self._place.sync()
        self._close(remove=True)
        return self.path

    def keep(self) -> None:
        """
        End here, so that a later run goes on. Does nothing after the end.

        Nothing is left where nothing was noted yet, and where the file is the object already.
        """
        worth = self._noted.worth or self._noted.earlier.done
        self._close(remove=self._is_same or not worth)

    def discard(self) -> None:
        """Remove what was written; the old file stays. Does nothing after the end."""
        self._close(remove=True)

    @property
    def left(self) -> str:
        """One clause for errors: what lies there for a later run, and how to be rid of it; "" if nothing."""
        if self._removed or self._published or not self._noted.worth:
            return ""
        temp, journal = self._place.beside(self._place.temp), self._place.beside(self._place.journal)
        kept = format_size(self._noted.worth)
        return f"{kept} are kept in {temp} for the next run; remove it and {journal} to begin anew"

    def _was_finished(self, version: Version, status: os.stat_result) -> bool:
        """Tell whether the file is what an earlier run of this version made it, which was then killed."""
        earlier, place = self._noted.earlier, self._place
        if not (self._resume and earlier.done and earlier.header and earlier.header.same_version(version)):
            return False
        if (status.st_size, status.st_mtime_ns) != (version.size, earlier.mtime_ns):
            return False
        temp = place.look(place.temp)
        return temp is None or os.path.samestat(temp, status)

    def _reopen(self) -> bool:
        """Open what an earlier run left; False: it cannot be what that run wrote."""
        with self._telling("open what is left of"):
            try:
                self._fd = self._place.open(self._place.temp)
            except FileNotFoundError:
                return False
            # With a second name it may be somebody's file, which would change with what is written here.
            return os.fstat(self._fd).st_nlink == 1

    def _start_afresh(self, algorithm: str) -> None:
        self._close_file()
        with self._telling("make room for"):
            # Before anything else: killed below, this run must not leave the old journal beside a new file.
            self._noted.forget(self._version.size, algorithm)
            self._place.clear(self._place.temp)
            self._fd = self._place.open(self._place.temp, _NEW)

    def _header(self, algorithm: str) -> Header:
        version = self._version
        return Header(
            uri=version.uri,
            etag=version.etag,
            size=version.size,
            algorithm=algorithm,
            boot_id=self._boot_id,
            temp=self._place.temp,
            inode=os.fstat(self._fd).st_ino,
        )

    def _check_whole(self) -> None:
        place, version = self._place, self._version
        if not self._noted.whole:
            raise IntegrityError(f"only {self._noted.total} of {version.size} bytes of {version.uri} are written")
        with self._telling("look at"):
            written, named = os.fstat(self._fd), place.look(place.temp)
        if named is None or not os.path.samestat(written, named) or written.st_size != version.size:
            temp = place.beside(place.temp)
            raise LocalError(f"{temp} was removed or changed while it was written", op="local", target=temp)

    def _bring_to_disk(self) -> None:
        try:
            self._sync(self._fd)
        except OSError as error:
            # The kernel tells once that it could not write, and has then forgotten what: nothing of it can be trusted.
            told = self._error(error, "bring to the disk")
            self.discard()
            raise type(told)(f"{told.message}; what was written is removed", op="local", target=told.target) from error

    def _close(self, *, remove: bool) -> None:
        if self._closed:
            return
        self._closed = True
        try:
            if remove:
                self._removed = True
                with suppress(OSError, LocalError):
                    self._place.clear(self._place.temp)
            with suppress(OSError):
                self._journal.close(remove=remove)
        finally:
            self._close_file()
            self._place.close()

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            with suppress(OSError):
                os.close(fd)

    @contextmanager
    def _telling(self, doing: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._error(error, doing) from error

    def _error(self, error: OSError, doing: str) -> S3StreamError:
        return local_error(error, self._place.folder, f"{doing} {self._place.name!a}")


def _entry(version: Version) -> ObjectEntry:
    return ObjectEntry(version.uri, version.size, version.etag, version.modified)
