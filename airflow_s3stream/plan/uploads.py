"""Multipart uploads left behind: what is known of one, which are this package's, what a sweep is told and tells."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import inf
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import RetryPolicy, Timeouts
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.values import age, read_values

if TYPE_CHECKING:
    from datetime import datetime, timedelta

DEFAULT_AGE = 2 * 24 * 3600.0
"""Seconds; what an abort leaves alone unless told otherwise, since a try that will be resumed looks just the same."""
NAMED = 100
"""Uploads that a result names of each kind; it counts all of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundUpload:
    """A multipart upload neither completed nor aborted, as the store lists it."""

    key: str
    upload_id: str
    begun: datetime
    asked: datetime
    """The store's own clock when it was listed."""
    storage_class: str = ""
    checksum: str = ""
    """Algorithm and type that it was begun with, such as ``CRC64NVME FULL_OBJECT``; empty: the store shows none."""
    parts: int | None = None
    """None where its parts were not asked for."""
    bytes: int | None = None
    """Of its parts."""
    unmarked_parts: int = 0
    """Parts without a CRC-64/NVME."""
    last_part: datetime | None = None
    """When the newest part came."""

    @property
    def age(self) -> float:
        """Seconds since it was begun."""
        # Clocks of stores tell whole seconds in one place and fractions in another.
        return max(0.0, (self.asked - self.begun).total_seconds())

    @property
    def idle(self) -> float:
        """Seconds since its newest part came; without parts, or where they were not asked for, since it was begun."""
        return max(0.0, (self.asked - max(self.begun, self.last_part or self.begun)).total_seconds())

    @property
    def missing_mark(self) -> str:
        """
        Why it is not taken for an upload of this package; empty if it bears every mark.

        Those are the only ones there are: S3 lists no metadata of an upload. This package begins uploads with a
        CRC-64/NVME of the whole object, and so each of their parts has one too. Others may do so.
        """
        if self.checksum != "CRC64NVME FULL_OBJECT":
            return f"begun with {self.checksum}" if self.checksum else "begun without a checksum"
        if self.unmarked_parts:
            return "has parts without CRC64NVME"
        return ""

    def to_json(self) -> dict[str, Any]:
        """Give what can be written as JSON; times as ISO 8601, UTC."""
        return {
            "key": self.key,
            "upload_id": self.upload_id,
            "begun": self.begun.isoformat(timespec="seconds"),
            "age": round(self.age),
            "storage_class": self.storage_class,
            "parts": self.parts,
            "bytes": self.bytes,
            "last_part": self.last_part.isoformat(timespec="seconds") if self.last_part else None,
            "missing_mark": self.missing_mark,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadOptions:
    """
    Which uploads are meant, and how they are dealt with.

    Memory is that of two pages of the list, 2,000 uploads, however many there are.
    """

    older_than: float = 0.0
    """Seconds since they were begun and, where their parts are looked at, since the newest part came."""
    only_own: bool = True
    """Only those that bear the marks of this package; see :attr:`FoundUpload.missing_mark`."""
    sizes: bool = False
    """Ask for the parts of each: a request for each upload, and one more for each further 1,000 parts."""
    dry_run: bool = False
    """Abort nothing; say what would be aborted."""
    connections: int = 16
    progress_interval: float = 10.0
    """Seconds between progress lines."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if isinstance(self.connections, bool) or not 1 <= self.connections <= 512:
            raise ConfigError(f"connections={self.connections!r} must be a whole number from 1 to 512")
        if not 0 <= self.older_than < inf:
            raise ConfigError(f"older_than={self.older_than!r} must be a number of seconds from 0 on")
        if not self.progress_interval > 0:
            raise ConfigError(f"progress_interval={self.progress_interval!r} must be a number of seconds above 0")

    def too_young(self, upload: FoundUpload) -> str:
        """Say why an upload is too young to be meant; empty if it is not."""
        if upload.age < self.older_than:
            return "begun too recently"
        if self.older_than and upload.parts and upload.last_part is None:
            return "the store does not tell when its parts came"
        return "a part came too recently" if upload.idle < self.older_than else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListResult:
    """What a listing of uploads found; JSON-ready through ``dataclasses.asdict``."""

    uri: str
    uploads: int
    """Those listed."""
    parts: int | None
    """None where the parts were not asked for."""
    bytes: int | None
    oldest: str | None
    """When the oldest of them was begun."""
    others: dict[str, int]
    """How many more there are below the prefix, by the reason why they were not listed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AbortResult:
    """What a sweep did; JSON-ready through ``dataclasses.asdict``. Of each kind the first hundred are named."""

    uri: str
    dry_run: bool
    """If so, ``aborted`` are those that would have been."""
    older_than: float
    only_own: bool
    found: int
    """Uploads below the prefix."""
    aborted: int
    parts: int
    """Of those aborted."""
    bytes: int
    vanished: int
    """Completed or aborted by somebody else meanwhile."""
    left: int
    left_because: dict[str, int]
    failed: int
    aborted_uploads: list[dict[str, Any]]
    left_uploads: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    """With the ``error``, its class ``kind``, and whether it is ``retryable``."""
    seconds: float
    retries: int


def read_upload_options(older_than: float | str | timedelta | None = None, **given: Any) -> UploadOptions:
    """
    Build :class:`UploadOptions` from what users type; ages as seconds, as text such as ``"2d"``, or as timedelta.

    :param older_than: None or empty text: any age.
    :raises ConfigError: an unknown option or a value that does not fit.
    """
    fields = UploadOptions.__dataclass_fields__
    read = read_values(given, fields, numbers=("connections",), flags=("only_own", "sizes", "dry_run"))
    return UploadOptions(older_than=0.0 if older_than in (None, "") else age(older_than, "older_than"), **read)


def read_abort_options(older_than: float | str | timedelta | None = None, **given: Any) -> UploadOptions:
    """Build :class:`UploadOptions` as :func:`read_upload_options` does, but two days old unless it is said."""
    return read_upload_options(DEFAULT_AGE if older_than in (None, "") else older_than, **given)
