"""The record of a run in ``ROOT/.s3stream``: its lock, when it began, and what a killed run left behind.

``lock`` is held (flock) while a run is at work, so two runs never mix. ``run.json`` stands there from a run's first
file until its success, so whoever finds it knows that a run did not end well, and which files are that run's.
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.localerrors import local_error
from airflow_s3stream.exceptions import DirectoryBusy, LocalDenied
from airflow_s3stream.plan.paths import STATE

if TYPE_CHECKING:
    from collections.abc import Callable

RUN = "run.json"
LOCK = "lock"
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
# A file system's clock ticks; what carries the tick of a sync may have been written just after it.
_TICK_NS = 20_000_000


def read_boot_id() -> str:
    """Give what tells one boot of this machine from the next, "" where nothing does."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


@dataclass(slots=True)
class Epoch:
    """A time during which files were written by runs of one request, without a reboot in between."""

    boot_id: str
    started_ns: int  # by the file system's clock
    synced_ns: int = 0  # everything older was on disk, by the same clock

    def covers(self, changed_ns: int, boot_id: str) -> bool:
        """Tell whether a file whose ctime this is was written then and outlived every power loss since."""
        if changed_ns < self.started_ns:
            return False
        return self.boot_id == boot_id != "" or changed_ns < self.synced_ns - _TICK_NS


@dataclass(slots=True)
class Record:
    """What ``run.json`` holds."""

    request_id: str
    epochs: list[Epoch] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)  # in the names of temporary files
    keys_since_ns: int = 0  # a file of this age counts even for a key of which no version is known
    ended: bool = False  # the last run came to its own end, with failures


class RunState:
    """
    The state folder, opened and locked.

    :param root: a descriptor of the root.
    :param name: the root as the user named it, for messages.
    :param request_id: equal for runs that ask for the same; only those go on where the last one ended.
    """

    def __init__(
        self, root: int, name: str, request_id: str, *, boot_id: Callable[[], str] = read_boot_id, token: str = ""
    ) -> None:
        self._name = name
        self._boot_id = boot_id()
        self.token = token or secrets.token_hex(4)
        self.fd = _open_state(root, name)
        try:
            self._lock = self._take_lock()
            try:
                self._left = self._read()
            except BaseException:
                os.close(self._lock)
                raise
        except BaseException:
            os.close(self.fd)
            raise
        resumed = self._left is not None and self._left.request_id == request_id
        self._record = Record(request_id)
        if self._left is not None and resumed:
            self._record = self._left
        self.resumed = resumed

    @property
    def litter(self) -> frozenset[str] | None:
        """Tokens in the names of temporary files that an earlier run may have left; None: any token."""
        if self._left is None:
            return frozenset()
        return frozenset(self._left.tokens) or None

    def begin(self) -> None:
        """Write the record, durably, before the first file."""
        now = self.now()
        epochs = self._record.epochs
        if not epochs or epochs[-1].boot_id != self._boot_id or not self._boot_id:
            epochs.append(Epoch(self._boot_id, now))
        if not self.resumed or self._record.ended:
            self._record.keys_since_ns = now
        self._record.ended = False
        self._record.tokens.append(self.token)
        self._write(durable=True)

    def covers(self, changed_ns: int) -> bool:
        """Tell whether a file with this ctime was finished by an earlier, unfinished run of the same request."""
        return any(epoch.covers(changed_ns, self._boot_id) for epoch in self._record.epochs)

    def covers_keys(self, changed_ns: int) -> bool:
        """
        Tell whether a file with this ctime is as new as it must be for a key of which no version is known.

        What a killed run wrote is. What one wrote that ended with failures is not: repeated every day with a key that
        is never there, a download would otherwise never look at the others again.
        """
        return changed_ns >= self._record.keys_since_ns

    def now(self) -> int:
        """Read the clock that stamps files: the file system's, which may be another machine's."""
        os.utime(self._lock)
        return os.fstat(self._lock).st_ctime_ns

    def synced(self, asked_ns: int) -> None:
        """Note that all that was finished before ``asked_ns`` is on disk."""
        self._record.epochs[-1].synced_ns = asked_ns
        self._write(durable=False)  # lost with the power, it costs fetching again and nothing else

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """Give back the lock; forget the run when it succeeded, else note whether it came to its own end."""
        try:
            if not complete and not interrupted and self._record.epochs:
                self._record.ended = True
                with suppress(OSError):  # on a full disk it stays what it was
                    self._write(durable=False)
            if complete:
                with suppress(FileNotFoundError):
                    os.unlink(RUN, dir_fd=self.fd)
        finally:
            os.close(self._lock)
            os.close(self.fd)

    def _take_lock(self) -> int:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        lock = os.open(LOCK, flags, 0o666, dir_fd=self.fd)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 40, 0).decode(errors="replace").strip()
            os.close(lock)
            raise DirectoryBusy(
                f"another run ({owner or 'process unknown'}) is writing to {self._name}; wait for its end, or give "
                "each run a directory of its own",
                op="local",
                target=self._name,
            ) from None
        except OSError as error:
            os.close(lock)
            raise local_error(error, self._name, f"lock {STATE}/{LOCK}") from error
        os.ftruncate(lock, 0)
        os.pwrite(lock, f"process {os.getpid()}\n".encode(), 0)
        return lock

    def _read(self) -> Record | None:
        try:
            fd = os.open(RUN, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
        except FileNotFoundError:
            return None
        with open(fd, encoding="utf-8", errors="replace") as file:
            return _parse(file.read())

    def _write(self, *, durable: bool) -> None:
        temp = f"{RUN}.tmp"  # one writer, which holds the lock
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(temp, flags, 0o666, dir_fd=self.fd), "w", encoding="utf-8") as file:
            json.dump(asdict(self._record), file)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.rename(temp, RUN, src_dir_fd=self.fd, dst_dir_fd=self.fd)
        if durable:
            os.fsync(self.fd)


def _open_state(root: int, name: str) -> int:
    with suppress(FileExistsError):
        os.mkdir(STATE, dir_fd=root)
    try:
        return os.open(STATE, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=root)
    except (NotADirectoryError, FileNotFoundError) as error:
        raise LocalDenied(
            f"{name}/{STATE} is not a directory but a file or a symbolic link, which is not followed; remove it",
            op="local",
            target=name,
        ) from error


def _parse(text: str) -> Record:
    """Read a record; one that cannot be read is an unfinished run of nobody, with nothing to go on from."""
    try:
        fields: dict[str, Any] = json.loads(text)
        epochs = [Epoch(str(e["boot_id"]), int(e["started_ns"]), int(e["synced_ns"])) for e in fields["epochs"]]
        tokens = [str(token) for token in fields["tokens"]]
        return Record(str(fields["request_id"]), epochs, tokens, int(fields["keys_since_ns"]), bool(fields["ended"]))
    except (ValueError, KeyError, TypeError):
        return Record("")
