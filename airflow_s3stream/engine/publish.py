"""The last step: make the object visible, settle what a lost answer left open, and prove what is stored."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from airflow_s3stream.engine.checksums import crc64nvme_text
from airflow_s3stream.engine.protocols import CompletedPart, Sink, StoredObject
from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
    SinkConflict,
    SinkDenied,
    SinkError,
    SinkRejected,
    UploadVanished,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.run import Run

MARKER = "s3stream-transfer-id"
LINGER = 0.6
"""Seconds that a stop waits for the answer to a request which begins or publishes something."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """What the object must be: computed from the bytes read, before it is published."""

    size: int
    crc: int
    etag: str | None
    """The ETag that MD5s make, where they were computed: of the object, or of its parts' MD5s with their number."""
    parts_proved: bool
    """Whether the store gave the MD5 of each part as its ETag."""
    marker: str
    """The random name of this transfer in the object's metadata."""


def composite_etag(parts: list[CompletedPart]) -> str | None:
    """Give the ETag of a multipart object: the MD5 of its parts' MD5s, a dash, their number. None without MD5s."""
    if not parts or any(part.md5 is None for part in parts):
        return None
    joined = b"".join(part.md5 or b"" for part in parts)
    return f"{hashlib.md5(joined, usedforsecurity=False).hexdigest()}-{len(parts)}"


def is_ours(found: StoredObject, content: Content) -> bool:
    """Whether an object at the key is the one this transfer made: our marker, the right size, no other checksum."""
    marked = (found.metadata or {}).get(MARKER) == content.marker
    return marked and found.size == content.size and found.checksum in (None, crc64nvme_text(content.crc))


def is_equal(found: StoredObject, content: Content) -> bool:
    """Whether an object is known to have the same bytes: the same size and checksum, or the same MD5 of them."""
    same = found.checksum == crc64nvme_text(content.crc) or (
        content.etag is not None and found.etag.strip('"') == content.etag and found.checksum is None
    )
    return same and found.size == content.size


class Publisher:
    """Publishes one object through a sink."""

    def __init__(self, run: Run, sink: Sink, content: Content) -> None:
        self._run = run
        self._sink = sink
        self._content = content

    def publish(
        self, request: Callable[[], StoredObject], *, mend: Callable[[SinkError], bool] = lambda _: False
    ) -> tuple[StoredObject, bool]:
        """
        Make the request that publishes, until it is known to have worked or to have failed.

        S3 may have done the work although the answer was lost, and then refuses the repetition (NoSuchUpload; 412
        where the key must be empty). So a failure is only believed after a look at the key: our marker, size and
        checksum there mean that it worked. Where another writer was faster, an object of the same bytes is as good.

        :param mend: corrects what ``request`` says after a refusal, once; False: it cannot.
        :returns: the object, and whether the store answered the request itself.
        """
        doubt = mended = False

        def attempt() -> tuple[StoredObject, bool]:
            nonlocal doubt, mended
            try:
                return self._run.limits.call(request, linger=LINGER), True
            except SinkRejected as refusal:
                said = refusal
                if mended or not self._run.call("comparing the parts", lambda: mend(said)):
                    raise
                mended = True
                return attempt()
            except SinkError as error:
                lost = isinstance(error, SinkConflict)
                found = self._find(equal=lost) if doubt or lost or isinstance(error, UploadVanished) else None
                doubt = doubt or error.retryable
                if found is None:
                    raise
                return found, False

        try:
            return self._run.retrier.call("publishing the object", attempt)
        except SinkError:
            found = self._find() if doubt else None
            if found is None:
                raise
            return found, False

    def _find(self, *, equal: bool = False) -> StoredObject | None:
        """Look whether the object at the key is the one this transfer made; ``equal``: or has the same bytes."""
        content = self._content
        try:
            found = self._run.call("looking at the key", self._sink.head)
        except SinkError:
            return None
        same = found is not None and (is_ours(found, content) or (equal and is_equal(found, content)))
        return found if same else None

    def verify(self, stored: StoredObject, *, keeps_checksums: bool) -> tuple[StoredObject, str]:
        """
        Find out what can be proved about the stored object.

        :param stored: the publishing request's answer.
        :param keeps_checksums: the store said, before it showed one, that it keeps checksums. A checksum from any
            other proves nothing: some stores keep the request's header and show it again.
        :returns: the object as now known, and the verification level of :class:`TransferResult`.
        :raises IntegrityError: the store holds something else.
        """
        ours = crc64nvme_text(self._content.crc)
        if keeps_checksums and stored.checksum == ours:
            return stored, "crc64nvme"
        try:
            found = self._run.call("verifying the object", self._sink.head)
        except SinkDenied:  # allowed to write but not to read: what the publishing answer said is all there is
            return stored, self._level(stored, keeps_checksums)
        if found is None:
            raise IntegrityError(
                "the store confirmed the object and does not have it", op="verify", target=self._sink.name
            )
        self._compare(found, keeps_checksums)
        version = found.version_id or stored.version_id
        return (
            StoredObject(
                etag=found.etag or stored.etag,
                version_id=version,
                size=found.size,
                checksum=found.checksum,
                metadata=found.metadata,
            ),
            self._level(found, keeps_checksums),
        )

    def _level(self, found: StoredObject, keeps_checksums: bool) -> str:
        content = self._content
        if keeps_checksums and found.checksum == crc64nvme_text(content.crc):
            return "crc64nvme"
        same_size = found.size == content.size
        if (content.etag and found.etag.strip('"') == content.etag) or (content.parts_proved and same_size):
            return "md5-etag"
        return "size" if same_size else "none"

    def _compare(self, found: StoredObject, keeps_checksums: bool) -> None:
        content, problem = self._content, None
        marker = (found.metadata or {}).get(MARKER, content.marker)
        # Of a store that keeps no checksums, one that it shows proves nothing.
        same = is_equal(found if keeps_checksums else replace(found, checksum=None), content)
        if marker != content.marker and not same:
            error: S3StreamError = SinkConflict("another writer replaced the object right after it was published")
            error.op, error.target = "verify", self._sink.name
            raise error
        if found.size is not None and found.size != content.size:
            problem = f"it has {found.size} bytes, {content.size} were read"
        elif found.checksum is not None and found.checksum != crc64nvme_text(content.crc):
            problem = f"its CRC64NVME is {found.checksum}, that of the bytes read {crc64nvme_text(content.crc)}"
        if problem:
            raise IntegrityError(
                f"the store holds a wrong object at the key, remove it: {problem}",
                op="verify",
                target=self._sink.name,
            )
