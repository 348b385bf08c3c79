"""What the worker processes share: uploads, objects and counters. One owner, asked over pipes."""

from __future__ import annotations

import itertools
import threading
from ctypes import c_int64
from dataclasses import dataclass, field
from datetime import UTC, datetime
from multiprocessing import Value
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from multiprocessing.connection import Connection as Pipe


@dataclass(frozen=True, slots=True)
class Part:
    """One stored part, or a whole object."""

    size: int
    etag: str
    crc64nvme: int | None = None
    checksum: str = ""
    """The x-amz-checksum-crc64nvme the client sent, echoed as S3 does, unproved."""
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Upload:
    key: str
    headers: Mapping[str, str]
    began: str
    """As S3 shows it."""
    parts: dict[int, Part] = field(default_factory=dict)


class Counter:
    """
    A number that all processes add to, right at any moment: who kills a client must know how far it has come.

    Must be made before the worker processes are forked.
    """

    def __init__(self) -> None:
        self._value: Any = Value(c_int64, 0)

    def add(self, count: int) -> None:
        with self._value.get_lock():
            self._value.value += count

    def take(self) -> int:
        return int(self._value.value)

    def reset(self) -> None:
        self._value.value = 0


class State:
    """Every public method is one question that a worker may ask."""

    def __init__(self, sent: Counter) -> None:
        self._sent = sent
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._uploads: dict[str, Upload] = {}
        self._objects: dict[str, Part] = {}
        self._counts: dict[str, int] = {}
        self._in_flight: dict[str, int] = {}
        self.reset()

    def reset(self) -> None:
        with self._lock:
            names = ("Get", "Put", "Post", "List", "Head", "Delete", "BytesIn", "MaxInFlight")
            self._counts = dict.fromkeys((*names, "MaxGets", "MaxPuts"), 0)
            self._sent.reset()

    def stats(self) -> dict[str, int]:
        with self._lock:
            in_flight = sum(self._in_flight.values())
            more = {"BytesOut": self._sent.take(), "InFlight": in_flight, "OpenUploads": len(self._uploads)}
            return {**self._counts, **more}

    def begin(self, method: str) -> None:
        """Note that a request began."""
        with self._lock:
            name = method.capitalize()
            self._counts[name] = self._counts.get(name, 0) + 1
            self._in_flight[name] = self._in_flight.get(name, 0) + 1
            for most, now in (
                ("MaxInFlight", sum(self._in_flight.values())),
                ("MaxGets", self._in_flight.get("Get", 0)),
                ("MaxPuts", self._in_flight.get("Put", 0)),
            ):
                self._counts[most] = max(self._counts[most], now)

    def end(self, method: str, received: int) -> None:
        """Note that a request ended, and the bytes of content that came with it."""
        with self._lock:
            self._in_flight[method.capitalize()] -= 1
            self._counts["BytesIn"] += received

    def create(self, key: str, headers: Mapping[str, str]) -> str:
        with self._lock:
            upload_id = f"upload-{next(self._numbers)}"
            self._uploads[upload_id] = Upload(key, headers, datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z"))
            return upload_id

    def uploads(self, prefix: str) -> list[tuple[str, str, str]]:
        """Give id, key and beginning of the uploads under way."""
        with self._lock:
            return [(name, one.key, one.began) for name, one in self._uploads.items() if one.key.startswith(prefix)]

    def has_upload(self, upload_id: str) -> bool:
        with self._lock:
            return upload_id in self._uploads

    def put_part(self, upload_id: str, number: int, part: Part) -> bool:
        with self._lock:
            if upload := self._uploads.get(upload_id):
                upload.parts[number] = part
            return upload is not None

    def parts(self, upload_id: str) -> dict[int, Part] | None:
        with self._lock:
            upload = self._uploads.get(upload_id)
            return dict(sorted(upload.parts.items())) if upload else None

    def complete(self, upload_id: str, numbers: list[int], etag: str, checksum: str) -> str | None:
        """Make the object of the listed parts; give S3's error code if that cannot be."""
        with self._lock:
            upload = self._uploads.get(upload_id)
            if not upload:
                return "NoSuchUpload"
            if not numbers or any(number not in upload.parts for number in numbers):
                return "InvalidPart"
            if numbers != sorted(set(numbers)):
                return "InvalidPartOrder"
            parts = [upload.parts[number] for number in numbers]
            crc = _combined(parts)
            self._objects[upload.key] = Part(sum(p.size for p in parts), etag, crc, checksum, upload.headers)
            del self._uploads[upload_id]
            return None

    def abort(self, upload_id: str) -> bool:
        with self._lock:
            return self._uploads.pop(upload_id, None) is not None

    def put(self, key: str, made: Part) -> None:
        with self._lock:
            self._objects[key] = made

    def get(self, key: str) -> Part | None:
        with self._lock:
            return self._objects.get(key)

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def keys(self, prefix: str, after: str, most: int) -> list[tuple[str, Part]]:
        """Give one page of a listing, and one key more if there are more."""
        with self._lock:
            found = sorted(key for key in self._objects if key.startswith(prefix) and key > after)
            return [(key, self._objects[key]) for key in found[: most + 1]]


def _combined(parts: list[Part]) -> int | None:
    total: int | None = 0
    for part in parts:
        if total is None or part.crc64nvme is None:
            return None
        from awscrt import checksums

        total = checksums.combine_crc64nvme(total, part.crc64nvme, part.size)
    return total


class RemoteState:
    """A worker's end of the pipe to the State; its threads take turns."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()

    def ask(self, question: str, *arguments: Any) -> Any:
        with self._lock:
            self._pipe.send((question, arguments))
            return self._pipe.recv()


def serve(state: State, pipe: Pipe) -> None:
    """Answer one worker until it goes away."""
    while True:
        try:
            question, arguments = pipe.recv()
        except EOFError:
            return
        pipe.send(getattr(state, question)(*arguments))
