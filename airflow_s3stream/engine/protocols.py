"""The two ends of a transfer, as small protocols. Everything between them works with any pair."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.probe import Probe
    from airflow_s3stream.plan.ranges import ByteRange


class Body(Protocol):
    """An open stream of bytes."""

    def readinto(self, view: memoryview) -> int:
        """
        Fill ``view`` from its start; return how many bytes, 0 only at the proper end.

        :raises SourceTruncated: the stream ended before its promised end.
        :raises SourceError: it broke in another way.
        """

    def close(self) -> None:
        """Give the connection back if all was read, else drop it. Safe to call twice."""

    def interrupt(self, error: S3StreamError) -> None:
        """Wake a blocked ``readinto`` and make it, and all later ones, raise ``error``. Any thread may call it."""


class Source(Protocol):
    """Where bytes come from."""

    @property
    def name(self) -> str:
        """The redacted URL."""

    @property
    def identity(self) -> str:
        """What tells it from every other source, at any time: the URL without user info and signature. Not shown."""

    def probe(self) -> tuple[Probe, Body]:
        """Ask for all bytes as one open-ended range; return what was learnt and the open body."""

    def open_whole(self) -> tuple[Probe, Body]:
        """Ask again for all bytes, without a range and without a condition."""

    def open_range(self, probe: Probe, span: ByteRange) -> tuple[ByteRange, Body]:
        """
        Open the bytes of ``span`` of the version that ``probe`` saw.

        :returns: the range the body carries, which starts where asked and may end sooner.
        :raises SourceChanged: the source is another version now.
        :raises SourceMisbehaved: the answer is not the range asked for.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredObject:
    """An object as the store describes it; None where it did not say."""

    etag: str
    version_id: str | None = None
    size: int | None = None
    checksum: str | None = None
    """The full-object CRC-64/NVME in base64."""
    metadata: Mapping[str, str] | None = None
    conditional: bool = True
    """False: the store refused the condition of the request that published it, which was made without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A multipart upload under way."""

    upload_id: str
    checksums: bool
    """Whether the store said that it keeps a CRC-64/NVME, so parts carry theirs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletedPart:
    """A part the store has. ``md5`` is set only where it was computed."""

    number: int
    size: int
    etag: str
    crc: int
    md5: bytes | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPart:
    """A part as ListParts describes it. ``crc`` is the CRC-64/NVME, None where the store did not show one."""

    number: int
    size: int
    etag: str
    crc: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedUpload:
    """An upload under way as ListMultipartUploads describes it."""

    upload_id: str
    age: float
    """Seconds since it was begun, by the store's own clock."""
    checksums: bool
    """Whether it was begun with a full-object CRC-64/NVME, as this package begins all of its own."""


class PartBody(Protocol):
    """The bytes of one part on their way, read once from start to end."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def pieces(self) -> Iterator[memoryview]:
        """Yield the bytes in pieces; a piece is valid only until the next one is asked for."""

    def sent(self) -> None:
        """Note that all bytes are on their way; the store's answer is still to come."""

    @property
    def crc(self) -> int:
        """The CRC-64/NVME of all bytes, known once ``pieces`` has ended."""

    @property
    def md5(self) -> bytes | None:
        """The MD5 of all bytes where it is wanted, known once ``pieces`` has ended."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectHeaders:
    """What goes with the object when it is created."""

    content_type: str | None
    content_encoding: str | None
    metadata: Mapping[str, str]


class Sink(Protocol):
    """Where bytes go: one key. Each method is one attempt; retrying is the caller's."""

    @property
    def name(self) -> str:
        """``s3://bucket/key``."""

    def head(self) -> StoredObject | None:
        """Describe what is at the key; None when nothing is."""

    def put(self, body: bytes | bytearray, crc: int, headers: ObjectHeaders, *, replaces: str | None) -> StoredObject:
        """
        Store a small object in one request.

        :param replaces: what may be overwritten: the ETag of one object, "" for nothing at all, None for anything.
        :raises SinkConflict: something else is at the key, as far as the store checks that.
        """

    def begin(self, headers: ObjectHeaders) -> Upload:
        """Begin a multipart upload."""

    def put_part(self, upload: Upload, number: int, body: PartBody, *, ask_first: bool = False) -> CompletedPart:
        """
        Store one part; the same number again replaces it.

        :param ask_first: learn whether the store wants it before sending it.
        """

    def complete(
        self, upload: Upload, parts: list[CompletedPart], *, size: int, crc: int, replaces: str | None
    ) -> StoredObject:
        """Publish the object. An answer that is lost on the way raises SinkUnavailable although it may be done."""

    def list_parts(self, upload: Upload) -> list[ListedPart]:
        """
        Name all parts that the store has.

        :raises UploadVanished: the upload is gone.
        """

    def list_uploads(self) -> list[ListedUpload]:
        """Name the uploads under way to this key."""

    def elsewhere(self, name: str) -> Sink:
        """Give the sink of another ``s3://bucket/key`` of the same store."""

    def abort(self, upload: Upload) -> None:
        """Remove the upload and its parts; one that is gone already is fine."""

    def how_to_abort(self, upload: Upload) -> str:
        """Tell a person the command that removes the upload."""
