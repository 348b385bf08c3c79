"""Spool: one reader fills part buffers, uploaders empty them, all under one byte budget."""

from __future__ import annotations

import hashlib
import threading
from contextlib import suppress
from dataclasses import dataclass
from queue import Empty
from typing import TYPE_CHECKING

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.checksums import crc64nvme
from airflow_s3stream.engine.mailbox import Mailbox
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.retrying import Tries
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import LimitExceeded, S3StreamError, Stopped

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.engine.protocols import CompletedPart, Sink, Upload
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.engine.stream import SourceStream
    from airflow_s3stream.plan.parts import TransferPlan

_PIECE = MiB  # bytes handed to the network at a time


@dataclass(slots=True, eq=False)
class Buffer:
    """Memory for one part, reserved from the process's budget."""

    memory: bytearray
    filled: int = 0

    @property
    def content(self) -> memoryview:
        """The bytes read into it."""
        return memoryview(self.memory)[: self.filled]


class BufferedPart:
    """A part held in memory, as a :class:`~airflow_s3stream.engine.protocols.PartBody`. Can be sent again."""

    def __init__(self, run: Run, content: memoryview, *, want_md5: bool) -> None:
        self._run = run
        self._content = content
        self._crc = crc64nvme(content)
        self._md5 = hashlib.md5(content, usedforsecurity=False).digest() if want_md5 else None

    @property
    def size(self) -> int:
        """Bytes of the part."""
        return len(self._content)

    @property
    def crc(self) -> int:
        """The CRC-64/NVME."""
        return self._crc

    @property
    def md5(self) -> bytes | None:
        """The MD5, where it is wanted."""
        return self._md5

    def pieces(self) -> Iterator[memoryview]:
        """Slice the memory."""
        for start in range(0, self.size, _PIECE):
            self._run.limits.check()
            yield self._content[start : start + _PIECE]

    def sent(self) -> None:
        """Nothing waits for this."""


class Spool:
    """Moves one stream into parts with one reader and N uploaders."""

    def __init__(self, run: Run, stream: SourceStream, sink: Sink, plan: TransferPlan) -> None:
        self._run = run
        self._stream = stream
        self._sink = sink
        self._plan = plan
        self._full: Mailbox[tuple[int, Buffer] | None] = Mailbox()
        self._first: Buffer | None = None
        self.ended = False
        self._lock = threading.Lock()
        self._held = 0
        self._closed = False
        self._completed: dict[int, CompletedPart] = {}

    def read_first(self, *, alone: bool) -> None:
        """
        Read the first part; ``ended`` tells whether it is the whole source.

        :param alone: it must be.
        """
        first = self._reserve(self._plan.size_of(1))
        with self._lock:
            closed = self._closed
            self._first = None if closed else first
        if closed:
            self._release(first)
            raise Stopped("the transfer was given up")
        self._fill(first)
        self.ended = alone or first.filled < len(first.memory)
        if self.ended:
            self._stream.finish()

    def take_first(self) -> bytearray:
        """Give the bytes of the first part, when they are all."""
        content = bytearray(self._first.content) if self._first else bytearray()
        self.close()
        return content

    def move(self, upload: Upload, *, want_md5: bool) -> list[CompletedPart]:
        """Move all parts, the first one read already; return them in order."""
        self._upload = upload
        self._want_md5 = want_md5
        self._run.crew([self._read, *[self._send] * self._plan.connections])
        return [self._completed[number] for number in sorted(self._completed)]

    def close(self) -> None:
        """Give back the buffers that nobody took. A reader that lives on gets no more."""
        with self._lock:
            self._closed = True
            first, self._first = self._first, None
        if first is not None:
            self._release(first)
        with suppress(Empty):
            while True:
                item = self._full.get_nowait()
                if item is not None:
                    self._release(item[1])

    def _release(self, buffer: Buffer) -> None:
        """Give a buffer back to the budget."""
        self._give_back(len(buffer.memory))
        buffer.memory = bytearray()
        buffer.filled = 0

    def _reserve(self, size: int) -> Buffer:
        MEMORY.reserve(size, self._run.options.max_memory, self._run.limits, lambda: self._held)
        with self._lock:
            self._held += size
        try:
            return Buffer(bytearray(size))
        except MemoryError:
            self._give_back(size)
            raise

    def _give_back(self, size: int) -> None:
        with self._lock:
            self._held -= size
        MEMORY.release(size)

    def _fill(self, buffer: Buffer) -> None:
        wanted = len(buffer.memory)
        if self._plan.size is not None:
            wanted = min(wanted, self._plan.size - self._stream.position)
        buffer.filled = self._stream.readinto(memoryview(buffer.memory)[:wanted])

    def _read(self) -> None:
        """Fill buffers until the source ends. Runs on the reader's thread."""
        with self._lock:
            first, self._first = self._first or Buffer(bytearray()), None
        try:
            number, filled = 1, self._pass_on(1, first)
            while filled and self._stream.position != self._plan.size:
                number += 1
                self._check_number(number)
                buffer = self._reserve(self._plan.size_of(number))
                try:
                    self._fill(buffer)
                except BaseException:
                    self._release(buffer)
                    raise
                filled = self._pass_on(number, buffer)
            self._stream.finish()
        finally:
            self._stream.close()
        for _ in range(self._plan.connections):
            self._full.put(None)

    def _pass_on(self, number: int, buffer: Buffer) -> bool:
        """Hand a buffer to the uploaders; tell whether it was full, so that more may follow."""
        full = buffer.filled == len(buffer.memory)
        with self._lock:
            taken = bool(buffer.filled) and not self._closed
            if taken:
                self._full.put((number, buffer))
        if not taken:
            self._release(buffer)  # the source ended right behind the part before, or nobody takes any more
        return full

    def _check_number(self, number: int) -> None:
        if number > self._plan.limits.max_parts:
            raise LimitExceeded(
                f"the source is longer than {self._stream.position} bytes, all that {number - 1} parts can hold "
                f"under max_memory={self._run.options.max_memory}; give more memory or a larger part_size"
            )

    def _send(self) -> None:
        """Upload full buffers until the reader says that there are no more. Runs on each uploader's thread."""
        while True:
            item = self._next()
            if item is None:
                return
            number, buffer = item
            try:
                self._run.limiter.acquire()
                try:
                    self._store(number, buffer)
                finally:
                    self._run.limiter.release()
            finally:
                self._release(buffer)

    def _next(self) -> tuple[int, Buffer] | None:
        while True:
            try:
                return self._full.get(timeout=POLL)
            except Empty:
                self._run.limits.check()

    def _store(self, number: int, buffer: Buffer) -> None:
        part = BufferedPart(self._run, buffer.content, want_md5=self._want_md5)
        tries = Tries(self._run.retrier, f"part {number}")
        while True:
            try:
                completed = self._sink.put_part(self._upload, number, part, ask_first=tries.failed)
                break
            except S3StreamError as error:
                tries.again(error)
        with self._lock:
            self._completed[number] = completed
        self._run.stored(completed)
