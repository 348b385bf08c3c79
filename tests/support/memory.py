"""A Source and a Sink without a network: what the protocols mean, in the fewest lines."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field

from airflow_s3stream.engine.checksums import combine, crc64nvme, crc64nvme_text
from airflow_s3stream.engine.protocols import (
    CompletedPart,
    ListedPart,
    ListedUpload,
    ObjectHeaders,
    PartBody,
    StoredObject,
    Upload,
)
from airflow_s3stream.exceptions import IntegrityError, S3StreamError, SinkConflict, SourceChanged, UploadVanished
from airflow_s3stream.plan.probe import Probe, Validator
from airflow_s3stream.plan.ranges import ByteRange
from tests.support.content import Content


class MemoryBody:
    """Some bytes of a content; with ``stall_after``, silent after so many of them until interrupted."""

    def __init__(self, content: Content, span: ByteRange, stall_after: int | None = None) -> None:
        self._content = content
        self._at, self._stop = span.start, span.stop
        self._silent_from = None if stall_after is None else span.start + stall_after
        self._interruption: S3StreamError | None = None
        self._interrupted = threading.Event()

    def readinto(self, view: memoryview) -> int:
        stop = self._stop if self._silent_from is None else min(self._stop, self._silent_from)
        if self._silent_from is not None and self._at >= stop:
            self._interrupted.wait(30)
        if self._interruption:
            raise self._interruption
        got = min(len(view), stop - self._at)
        filled = 0
        for piece in self._content.views(self._at, self._at + got):
            view[filled : filled + len(piece)] = piece
            filled += len(piece)
        self._at += got
        return got

    def close(self) -> None:
        pass

    def interrupt(self, error: S3StreamError) -> None:
        self._interruption = self._interruption or error
        self._interrupted.set()


class MemorySource:
    """A content with a version, which ``rewrite`` changes."""

    name = identity = "memory://content"

    def __init__(self, content: Content, stall_after: int | None = None) -> None:
        self._content = content
        self._stall_after = stall_after
        self._version = 1

    def rewrite(self) -> None:
        self._content = Content(self._content.size, self._content.seed + 1)
        self._version += 1

    def probe(self) -> tuple[Probe, MemoryBody]:
        etag = f'"v{self._version}"'
        size = self._content.size
        span = ByteRange(0, size)
        probe = Probe(
            size=size,
            span=span if size else None,
            accepts_ranges=bool(size),
            validator=Validator("etag", etag),
            etag=etag,
            last_modified=None,
            content_type="application/octet-stream",
            content_encoding=None,
            framing="length",
        )
        return probe, self._open(span)

    def open_whole(self) -> tuple[Probe, MemoryBody]:
        return self.probe()

    def open_range(self, probe: Probe, span: ByteRange) -> tuple[ByteRange, MemoryBody]:
        if probe.etag != f'"v{self._version}"':
            raise SourceChanged("the content was rewritten", op="range", target=self.name)
        return span, self._open(span)

    def _open(self, span: ByteRange) -> MemoryBody:
        return MemoryBody(self._content, span, self._stall_after)


@dataclass
class _Upload:
    headers: ObjectHeaders
    key: str
    parts: dict[int, bytes] = field(default_factory=dict)


@dataclass
class MemoryStore:
    """Objects and unfinished uploads by key and id."""

    objects: dict[str, tuple[bytes, StoredObject]] = field(default_factory=dict)
    uploads: dict[str, _Upload] = field(default_factory=dict)


class MemorySink:
    """One key of a store that checks everything S3 checks."""

    def __init__(self, store: MemoryStore, key: str) -> None:
        self._store = store
        self._key = key

    @property
    def name(self) -> str:
        return f"memory://store/{self._key}"

    def head(self) -> StoredObject | None:
        found = self._store.objects.get(self._key)
        return found[1] if found else None

    def put(self, body: bytes | bytearray, crc: int, headers: ObjectHeaders, *, replaces: str | None) -> StoredObject:
        return self._publish(bytes(body), crc, headers, replaces)

    def begin(self, headers: ObjectHeaders) -> Upload:
        upload_id = f"upload-{len(self._store.uploads) + 1}"
        self._store.uploads[upload_id] = _Upload(headers, self._key)
        return Upload(upload_id=upload_id, checksums=True)

    def put_part(self, upload: Upload, number: int, body: PartBody, *, ask_first: bool = False) -> CompletedPart:
        under_way = self._find(upload)
        content = b"".join(bytes(piece) for piece in body.pieces())
        body.sent()
        if len(content) != body.size or crc64nvme(content) != body.crc:
            raise IntegrityError("the part is not what it said it was", op="UploadPart", target=self.name)
        under_way.parts[number] = content
        etag = f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"'
        return CompletedPart(number=number, size=len(content), etag=etag, crc=body.crc, md5=body.md5)

    def complete(
        self, upload: Upload, parts: list[CompletedPart], *, size: int, crc: int, replaces: str | None
    ) -> StoredObject:
        under_way = self._find(upload)
        content = b"".join(under_way.parts[part.number] for part in parts)
        if len(content) != size or combine("crc64nvme", [(part.crc, part.size) for part in parts]) != crc:
            raise IntegrityError("the parts are not the object", op="CompleteMultipartUpload", target=self.name)
        stored = self._publish(content, crc, under_way.headers, replaces)
        del self._store.uploads[upload.upload_id]
        return stored

    def abort(self, upload: Upload) -> None:
        self._store.uploads.pop(upload.upload_id, None)

    def list_parts(self, upload: Upload) -> list[ListedPart]:
        return [
            ListedPart(
                number=number,
                size=len(content),
                etag=f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
                crc=crc64nvme(content),
            )
            for number, content in sorted(self._find(upload).parts.items())
        ]

    def list_uploads(self) -> list[ListedUpload]:
        found = [one for one, upload in self._store.uploads.items() if upload.key == self._key]
        return [ListedUpload(upload_id=one, age=0.0, checksums=True) for one in found]

    def elsewhere(self, name: str) -> MemorySink:
        return MemorySink(self._store, name.removeprefix("memory://store/"))

    def how_to_abort(self, upload: Upload) -> str:
        return f"forget {upload.upload_id} of {self.name}"

    def _find(self, upload: Upload) -> _Upload:
        if upload.upload_id not in self._store.uploads:
            raise UploadVanished("there is no such upload", op="UploadPart", target=self.name)
        return self._store.uploads[upload.upload_id]

    def _publish(self, content: bytes, crc: int, headers: ObjectHeaders, replaces: str | None) -> StoredObject:
        there = self._store.objects.get(self._key)
        if replaces is not None and replaces != (there[1].etag if there else ""):
            raise SinkConflict("something else is at the key", op="PutObject", target=self.name)
        if crc64nvme(content) != crc:
            raise IntegrityError("the checksum does not match", op="PutObject", target=self.name, retryable=True)
        stored = StoredObject(
            etag=f'"{hashlib.md5(content, usedforsecurity=False).hexdigest()}"',
            size=len(content),
            checksum=crc64nvme_text(crc),
            metadata=dict(headers.metadata),
        )
        self._store.objects[self._key] = (content, stored)
        return stored


class ContentPart:
    """Some bytes of a content as a part on its way, in pieces of ``step`` bytes, breaking off after ``breaks_at``."""

    md5 = None

    def __init__(
        self,
        content: Content,
        start: int,
        stop: int,
        *,
        step: int = 256 * 1024,
        breaks_at: int | None = None,
        error: Exception | None = None,
    ) -> None:
        self._content = content
        self._start, self._stop = start, stop
        self._step = step
        self._breaks_at = breaks_at
        self._error = error
        self.crc = 0
        self.given = 0
        self.sent_at: list[int] = []
        """How many bytes had been given whenever ``sent`` was called."""

    @property
    def size(self) -> int:
        return self._stop - self._start

    def pieces(self) -> Iterator[memoryview]:
        buffer = bytearray(self._step)
        for piece in self._content.views(self._start, self._stop, most=self._step):
            if self._breaks_at is not None and self.given >= self._breaks_at:
                assert self._error
                raise self._error
            # Each piece in the same memory, as a relay has it: whoever keeps one sees it change.
            view = memoryview(buffer)[: len(piece)]
            view[:] = piece
            self.crc = crc64nvme(view, self.crc)
            self.given += len(piece)
            yield view
            view[:] = bytes(len(view))

    def sent(self) -> None:
        self.sent_at.append(self.given)
