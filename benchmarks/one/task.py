"""What a tool is asked to do with one huge object, how it is told, and whether it has done it."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from benchmarks.many.task import last_json
from benchmarks.peers import MiB, environ
from benchmarks.server import content

if TYPE_CHECKING:
    from collections.abc import Sequence

BUCKET = "bench"
READ = MiB
"""Bytes that the reader of a stream takes at a time."""
What = Literal["file", "stream"]
"""``file``: have the object as one file. ``stream``: have its bytes in order, ``READ`` at a time, and drop them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One run of one tool."""

    what: What
    base: str
    """Of the S3 endpoint."""
    size: int
    connections: int
    home: Path
    """An empty folder, so that no tool reads the user's own settings."""
    folder: Path
    """Where the file goes, and nothing else is."""
    ca: Path | None = None
    part_size: int | None = None
    max_memory: int | None = None
    digest: bool = False
    """A stream's CRC64NVME is taken, to prove the bytes, at the price of speed."""

    @property
    def key(self) -> str:
        return f"big/{self.size}"

    @property
    def source(self) -> str:
        return f"s3://{BUCKET}/{self.key}"

    @property
    def path(self) -> Path:
        return self.folder / "object"

    def environ(self) -> dict[str, str]:
        """Give what every tool finds in its environment."""
        return {
            **environ(self.home, self.ca),
            "BENCH_WHAT": self.what,
            "BENCH_ENDPOINT": self.base,
            "BENCH_KEY": self.key,
            "BENCH_SIZE": str(self.size),
            "BENCH_CONNECTIONS": str(self.connections),
            "BENCH_PATH": str(self.path),
            "BENCH_CA": str(self.ca or ""),
            "BENCH_PART_SIZE": str(self.part_size or ""),
            "BENCH_MAX_MEMORY": str(self.max_memory or ""),
            "BENCH_DIGEST": "1" if self.digest else "",
        }


class Asked:
    """The task again, inside the process of a tool that is written in Python."""

    def __init__(self) -> None:
        told = os.environ
        self.what = told["BENCH_WHAT"]
        self.endpoint = told["BENCH_ENDPOINT"]
        self.key = told["BENCH_KEY"]
        self.size = int(told["BENCH_SIZE"])
        self.connections = int(told["BENCH_CONNECTIONS"])
        self.path = told["BENCH_PATH"]
        self.ca = told["BENCH_CA"] or None
        self.part_size = int(told["BENCH_PART_SIZE"] or 0) or None
        self.max_memory = int(told["BENCH_MAX_MEMORY"] or 0) or None
        self._digest = bool(told["BENCH_DIGEST"])
        self._bytes = self._crc = 0
        self._began = 0.0

    def begin(self) -> None:
        """Start the tool's own clock: all is loaded, nothing is asked yet."""
        self._began = time.perf_counter()

    def drop(self, piece: bytes) -> None:
        """Take the next piece of a stream."""
        self._bytes += len(piece)
        if self._digest:
            from awscrt import checksums

            self._crc = checksums.crc64nvme(piece, self._crc)

    def tell(self, **more: Any) -> None:
        """Print what was done as the last line."""
        seconds = time.perf_counter() - self._began
        dropped = {"bytes": self._bytes, **({"crc": self._crc} if self._digest else {})}
        print(json.dumps({**(dropped if self.what == "stream" else {}), "seconds": seconds, **more}))


def python(module: str, *arguments: str) -> Sequence[str]:
    """Give the command of a tool that is a module of this package."""
    return [sys.executable, "-m", f"benchmarks.one.peers.{module}", *arguments]


def piped(task: Task, command: Sequence[str]) -> Sequence[str]:
    """Give a pipeline from a tool that writes a stream into a reader that counts it."""
    reader = [sys.executable, "-m", "benchmarks.one.sink"] if task.digest else ["wc", "-c"]
    return ["bash", "-c", 'set -o pipefail; reader=$1; shift; "$@" | $reader', "bash", " ".join(reader), *command]


def counted(text: str) -> dict[str, Any]:
    """Read what the end of a pipeline printed: a number, or JSON."""
    told = text.split()
    return {"bytes": int(told[-1])} if told and told[-1].isdigit() else last_json(text)


def crc64nvme(stream: IO[bytes]) -> int:
    """Take the checksum of all that a stream has."""
    from awscrt import checksums

    crc = 0
    while piece := stream.read(READ):
        crc = checksums.crc64nvme(piece, crc)
    return int(crc)


def wrong_file(path: Path, size: int) -> str:
    """Compare a file with the object, byte by byte; empty if it is the same."""
    if not path.is_file():
        return "there is no file"
    if path.stat().st_size != size:
        return f"the file has {path.stat().st_size} bytes instead of {size}"
    wrong, first = wrong_bytes(path)
    return f"{wrong} bytes are wrong, the first at {first}" if wrong else ""


def wrong_bytes(path: Path) -> tuple[int, int]:
    """Count the bytes of a file that are not the object's, and tell where the first is."""
    wrong, first, offset = 0, -1, 0
    with path.open("rb", buffering=0) as file:
        while piece := file.read(content.SLICE):
            right = bytes(content.at(offset, len(piece)))  # Bytes are compared at once, a memoryview one by one.
            if piece != right:
                places = [at for at, (a, b) in enumerate(zip(piece, right, strict=True)) if a != b]
                wrong += len(places)
                first = first if first >= 0 else offset + places[0]
            offset += len(piece)
    return wrong, first


def wrong_run(task: Task, learnt: dict[str, Any]) -> str:
    """Tell what a run that says it is done has not done, as far as a look tells; empty if it has."""
    if task.what == "stream":
        read = learnt.get("bytes")
        return "" if read == task.size else f"read {read} bytes of {task.size}"
    found = {path.name: path.stat().st_size for path in task.folder.iterdir()}
    if found.get(task.path.name) != task.size:
        return f"the file has {found.get(task.path.name, 'no')} bytes instead of {task.size}"
    left = sorted(found.keys() - {task.path.name})
    return f"left {', '.join(left)} behind" if left else ""


def wrong_proof(task: Task, learnt: dict[str, Any]) -> str:
    """Tell what a run has wrong, to the last byte."""
    if why := wrong_run(task, learnt):
        return why
    if task.what == "file":
        return wrong_file(task.path, task.size)
    return "" if learnt.get("crc") == content.crc64nvme(task.size) else "read other bytes than the object has"
