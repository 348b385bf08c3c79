"""The results of a run, one JSON object on a line for each key."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from airflow_s3stream.engine.localerrors import local_error
from airflow_s3stream.plan.keylist import parse_keys

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.plan.objects import ObjectEntry

Status = Literal["fetched", "same", "skipped", "refused", "failed"]
FAILED = frozenset({"refused", "failed"})
_LINES = 512  # written at a time: some 100 KiB


class ResultLog:
    """
    Writes results under a temporary name; :meth:`close` lets them appear, whole.

    A run that is killed leaves the log of the run before as it was. The temporary name is always the same, so the
    next run writes over what a killed one left. Safe for threads.

    :param path: the file, or its name in ``directory``.
    :param directory: a descriptor of the directory, which is then not looked up by name.
    """

    def __init__(self, path: str | Path, *, directory: int | None = None) -> None:
        folder, self._name = os.path.split(os.fspath(path))
        self.path = os.fspath(path)
        self._lock = threading.Lock()
        self._lines: list[str] = []
        self._temp = f".{self._name}.s3stream"
        self._fd = -1
        try:
            self._directory = (
                os.open(folder or ".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
                if directory is None
                else os.dup(directory)
            )
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._temp, flags, 0o666, dir_fd=self._directory)
        except OSError as error:
            if hasattr(self, "_directory"):
                os.close(self._directory)
            raise local_error(error, folder or ".", f"write the results {self._name!r}") from error

    def add(
        self,
        *,
        key: str,
        path: str = "",
        size: int | None = None,
        etag: str = "",
        verification: str = "",
        status: Status,
        error: str = "",
    ) -> None:
        """
        Note what became of a key.

        :raises DiskFull: there is no room for it.
        """
        number = "null" if size is None else size
        line = (
            f'{{"key": {_quoted(key)}, "path": {_quoted(path)}, "size": {number}, "etag": {_quoted(etag)}, '
            f'"verification": "{verification}", "status": "{status}", "error": {_quoted(error)}}}\n'
        )
        with self._lock:
            self._lines.append(line)
            if len(self._lines) >= _LINES:
                self._flush()

    def close(self) -> None:
        """Write the rest and let the file appear, on disk before it has its name."""
        try:
            with self._lock:
                self._flush()
            os.fsync(self._fd)
            self._close_file()
            os.rename(self._temp, self._name, src_dir_fd=self._directory, dst_dir_fd=self._directory)
        except OSError as error:
            self.discard()
            raise local_error(error, os.path.dirname(self.path) or ".", f"write the results {self._name!r}") from error
        except BaseException:
            self.discard()
            raise
        os.close(self._directory)

    def discard(self) -> None:
        """Remove what was written; the log of an earlier run stays."""
        with suppress(OSError):
            self._close_file()
        with suppress(OSError):
            os.unlink(self._temp, dir_fd=self._directory)
        os.close(self._directory)

    def _close_file(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _flush(self) -> None:
        rest = memoryview("".join(self._lines).encode())
        self._lines.clear()
        try:
            while rest:
                rest = rest[os.write(self._fd, rest) :]
        except OSError as error:
            raise local_error(error, os.path.dirname(self.path) or ".", f"write the results {self._name!r}") from error


def read_failed(path: str | Path) -> Iterator[ObjectEntry]:
    """
    Give the keys of an earlier run's results that were refused or failed.

    Only the keys: size and ETag may be what was wrong.

    :raises ConfigError: a line is not one of a result log.
    """
    with Path(path).open("rb") as file:
        yield from parse_keys(file, kind="jsonl", name=f"retry_failed={str(path)!r}", statuses=FAILED)
