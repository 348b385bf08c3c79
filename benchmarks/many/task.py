"""What a tool is asked to do with very many small objects, and how it is told."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import zlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from benchmarks.peers import environ
from benchmarks.server.keyspace import PREFIX, KeySpace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

BUCKET = "bench"
Key = TypeVar("Key")
_CHUNK = 1000
What = Literal["download", "read", "list"]
"""``download``: list the prefix, make a file of each object. ``read``: the keys are known, have each body in memory
once. ``list``: name every key."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of one tool."""

    what: What
    base: str
    """Of the S3 endpoint."""
    objects: int
    connections: int | None
    """None: whatever the tool chooses."""
    listers: int
    folders: bool
    home: Path
    """An empty folder, so that no tool reads the user's own settings."""
    directory: Path
    """Where files go."""
    digest: bool = False
    """Proves that the bytes are right, at the price of speed."""

    @property
    def source(self) -> str:
        return f"s3://{BUCKET}/{PREFIX}"

    def environ(self) -> dict[str, str]:
        """Give what every tool finds in its environment."""
        return {
            **environ(self.home),
            "BENCH_WHAT": self.what,
            "BENCH_ENDPOINT": self.base,
            "BENCH_OBJECTS": str(self.objects),
            "BENCH_CONNECTIONS": str(self.connections or ""),
            "BENCH_LISTERS": str(self.listers),
            "BENCH_FOLDERS": "1" if self.folders else "",
            "BENCH_DIRECTORY": str(self.directory),
            "BENCH_DIGEST": "1" if self.digest else "",
        }


class Asked:
    """The task again, inside the process of a tool that is written in Python; collects what it did."""

    def __init__(self) -> None:
        told = os.environ
        self.what = told["BENCH_WHAT"]
        self.endpoint = told["BENCH_ENDPOINT"]
        self.connections = int(told["BENCH_CONNECTIONS"] or 0) or None
        self.listers = int(told["BENCH_LISTERS"])
        self._count = int(told["BENCH_OBJECTS"])
        self._folders = bool(told["BENCH_FOLDERS"])
        self._directory = told["BENCH_DIRECTORY"]
        self._digest = bool(told["BENCH_DIGEST"])
        self._lock = threading.Lock()
        self._objects = self._bytes = self._sum = 0
        self._began = 0.0

    def begin(self) -> None:
        """Start the tool's own clock: all is loaded, nothing is asked yet."""
        self._began = time.perf_counter()

    def known_keys(self) -> Iterator[str]:
        """Give the keys of a ``read``, which nobody has to list; a million of them need no memory."""
        space = KeySpace(self._count, 1, folders=self._folders)
        for first in range(0, self._count, _CHUNK):
            yield from space[first : first + _CHUNK]

    def path(self, key: str) -> str:
        """Give the file that an object becomes."""
        return os.path.join(self._directory, key.removeprefix(PREFIX))

    def take(self, key: str, body: bytes) -> None:
        """Keep one object as the task wants it: as a file, or counted."""
        if self.what == "download":
            with open(self.path(key), "wb") as file:
                file.write(body)
        self.count(key, body)

    def count(self, key: str, body: bytes) -> None:
        """Count one object; from any thread."""
        mark = zlib.crc32(body, zlib.crc32(key.encode())) if self._digest else 0
        with self._lock:
            self._objects += 1
            self._bytes += len(body)
            self._sum += mark

    def tell(self, **more: Any) -> None:
        """Print what was done as the last line."""
        seconds = time.perf_counter() - self._began
        print(
            json.dumps({"objects": self._objects, "bytes": self._bytes, "seconds": seconds, "sum": self._sum, **more})
        )


def in_threads(fetch: Callable[[Key], object], keys: Iterator[Key], threads: int) -> None:
    """Call ``fetch`` for every key from a number of threads that take the next one as soon as they are free."""
    lock = threading.Lock()

    def work() -> None:
        while True:
            with lock:
                key = next(keys, None)
            if key is None:
                return
            fetch(key)

    with ThreadPoolExecutor(threads) as pool:
        for ended in [pool.submit(work) for _ in range(threads)]:
            ended.result()


def expected_sum(space: KeySpace, *, bodies: bool) -> int:
    """Give the ``sum`` of a tool that has had every key, with its body where ``bodies``, exactly once."""
    keys = enumerate(space[:])
    return sum(zlib.crc32(_body(space, number) if bodies else b"", zlib.crc32(key.encode())) for number, key in keys)


def _body(space: KeySpace, number: int) -> bytes:
    return space.bodies[number % len(space.bodies)]


def wrong_files(directory: Path, space: KeySpace) -> str:
    """Compare every file with the object it should be; empty if all are right and there are no others."""
    for number, key in enumerate(space[:]):
        path = directory / key.removeprefix(PREFIX)
        if not path.is_file() or path.read_bytes() != _body(space, number):
            return f"{key} is {'another' if path.exists() else 'no'} file"
    return wrong_count(directory, len(space), len(space) * space.size)


def wrong_count(directory: Path, objects: int, size: int) -> str:
    """Compare number and bytes of the files below a directory; what a tool keeps for itself starts with a dot."""
    files = found = 0
    todo = [os.fspath(directory)]
    while todo:
        with os.scandir(todo.pop()) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    todo.append(entry.path)
                else:
                    files += 1
                    found += entry.stat(follow_symlinks=False).st_size
    right = (files, found) == (objects, size)
    return "" if right else f"{files} files of {found} bytes instead of {objects} of {size}"


def last_json(text: str) -> dict[str, Any]:
    """Read the line of JSON that a tool printed last."""
    lines = text.strip().splitlines()
    try:
        told = json.loads(lines[-1]) if lines else {}
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}


def python(module: str) -> Sequence[str]:
    """Give the command of a tool that is a module of this package."""
    return [sys.executable, "-m", f"benchmarks.many.peers.{module}"]
