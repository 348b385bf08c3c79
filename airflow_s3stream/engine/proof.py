"""What can be proved about a whole body: against the listing, its ETag, and the checksum the store keeps."""

from __future__ import annotations

import base64
import hashlib
import re
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import IntegrityError, S3StreamError, SourceChanged, SourceMisbehaved, SourceTruncated

if TYPE_CHECKING:
    from airflow_s3stream.plan.digests import Algorithm
    from airflow_s3stream.plan.objects import ObjectEntry

ALGORITHMS: tuple[Algorithm, ...] = ("crc64nvme", "crc32c", "crc32", "sha256", "sha1")
_MD5_ETAG = re.compile(r"[0-9a-f]{32}", re.ASCII)
_ONE_PART_ETAG = re.compile(r"([0-9a-f]{32})-1", re.ASCII)


def etag_of(headers: dict[str, str]) -> str:
    """Give the ETag without its quotes; "" if there is none."""
    return headers.get("etag", "").removeprefix("W/").strip('"')


def dated(entry: ObjectEntry, headers: dict[str, str]) -> ObjectEntry:
    """Give the entry with the answer's Last-Modified where it had none, as an entry from a list of keys."""
    text = headers.get("last-modified")
    if entry.modified or not text:
        return entry
    try:
        return entry._replace(modified=parsedate_to_datetime(text).timestamp())
    except (ValueError, OverflowError):
        return entry


def full_checksum(headers: dict[str, str]) -> tuple[Algorithm, bytes] | None:
    """Give the object's own checksum as the answer tells it; None if there is none, or one of parts (COMPOSITE)."""
    if headers.get("x-amz-checksum-type", "").upper() == "COMPOSITE":
        return None
    for algorithm in ALGORITHMS:
        text = headers.get(f"x-amz-checksum-{algorithm}")
        if text and "-" not in text:
            try:
                return algorithm, base64.b64decode(text, validate=True)
            except ValueError:
                raise SourceMisbehaved(f"x-amz-checksum-{algorithm}: {text[:80]!r} is not base64") from None
    return None


def etag_is_md5(etag: str, headers: dict[str, str]) -> bool:
    """
    Say whether the ETag must be the MD5 of the body.

    Amazon S3 API Reference, "Object": it is, for objects stored by one PUT, in plain or with SSE-S3; with SSE-KMS or
    SSE-C it looks like one and is none.
    """
    return bool(_MD5_ETAG.fullmatch(etag)) and not _own_encryption(headers)


def _own_encryption(headers: dict[str, str]) -> bool:
    return (
        headers.get("x-amz-server-side-encryption", "").startswith("aws:kms")
        or "x-amz-server-side-encryption-customer-algorithm" in headers
    )


def prove_whole(entry: ObjectEntry, headers: dict[str, str], body: bytes, *, strict: bool) -> tuple[str, str]:
    """
    Check a whole object against all that is known of it.

    :returns: what was proved (a checksum's name, ``md5-etag`` or ``size``), and the ETag of what was read.
    :raises SourceTruncated: the body is shorter than the version listed.
    :raises SourceChanged: another version than the listed one, of which nothing can be proved.
    :raises SourceMisbehaved: an answer that tells neither version nor length, as no answer of S3 is.
    :raises IntegrityError: the bytes are not those that the store promises; or, with ``strict``, nothing is promised.
    """
    etag = etag_of(headers)
    if not etag and not _MD5_ETAG.fullmatch(entry.etag):
        raise SourceMisbehaved("the answer has no ETag, so it need not be the object", retryable=True)
    etag = etag or entry.etag
    level = _by_checksum(headers, body)
    if _matches_md5(etag, headers, body):
        level = level or "md5-etag"
    changed = bool(entry.etag and etag and etag != entry.etag)
    if changed and not level:
        raise SourceChanged(f"the object was replaced since it was listed: its ETag was {entry.etag}, now {etag}")
    if entry.size is not None and len(body) != entry.size and not changed:
        raise _wrong_length(entry.size, len(body))
    if not level:
        check_strict(strict)
        framed = "content-length" in headers or "chunked" in headers.get("transfer-encoding", "").lower()
        if entry.size is None and not framed:
            raise SourceMisbehaved("the store did not say how long the body is, so its end proves nothing")
    return level or "size", etag


def check_strict(strict: bool, *because: str) -> None:
    """Refuse, where strictness was asked for, an object that has neither checksum nor MD5; say what is known of why."""
    if strict:
        why = "".join(f"; {reason}" for reason in because)
        raise IntegrityError(f"only the size can be proved, and strict=True wants a checksum or an MD5 ETag{why}")


def _wrong_length(listed: int, got: int) -> S3StreamError:
    said = f"the body has {got} bytes and the list said {listed}"
    return SourceTruncated(said) if got < listed else SourceMisbehaved(said, retryable=True)


def _by_checksum(headers: dict[str, str], body: bytes) -> str:
    promised = full_checksum(headers)
    if promised is None:
        return ""
    # Loaded late: awscrt is large, and a writing process most often has no use for it.
    from airflow_s3stream.engine.checksums import RunningDigest

    algorithm, value = promised
    digest = RunningDigest(algorithm)
    digest.update(body)
    if digest.digest() != value:
        raise IntegrityError(f"the body does not have the {algorithm} that the store keeps", retryable=True)
    return algorithm


def _matches_md5(etag: str, headers: dict[str, str], body: bytes) -> bool:
    one_part = _ONE_PART_ETAG.fullmatch(etag)
    if _own_encryption(headers) or not (one_part or _MD5_ETAG.fullmatch(etag)):
        return False
    digest = hashlib.md5(body, usedforsecurity=False)
    if one_part:  # the MD5 of all parts' MD5s, of which there is one
        digest = hashlib.md5(digest.digest(), usedforsecurity=False)
    if digest.hexdigest() != (one_part[1] if one_part else etag):
        raise IntegrityError("the body does not have the MD5 that its ETag is", retryable=True)
    return True
