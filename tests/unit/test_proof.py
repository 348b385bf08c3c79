"""What is believed about a body."""

from __future__ import annotations

import base64
import hashlib
import zlib

import pytest

from airflow_s3stream.engine.proof import dated, prove_whole
from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
    SourceChanged,
    SourceMisbehaved,
    SourceTruncated,
)
from airflow_s3stream.plan.objects import ObjectEntry

BODY = b"the quick brown fox"
MD5 = hashlib.md5(BODY, usedforsecurity=False).hexdigest()
ONE_PART = hashlib.md5(bytes.fromhex(MD5), usedforsecurity=False).hexdigest() + "-1"
CRC32 = base64.b64encode(zlib.crc32(BODY).to_bytes(4, "big")).decode()
LENGTH = {"content-length": str(len(BODY))}


def entry(etag: str = MD5, size: int | None = len(BODY)) -> ObjectEntry:
    return ObjectEntry("k", size, etag)


def prove(headers: dict[str, str], body: bytes = BODY, of: ObjectEntry | None = None, *, strict: bool = False) -> str:
    return prove_whole(of or entry(), headers, body, strict=strict)[0]


@pytest.mark.parametrize(
    ("headers", "of", "level"),
    [
        ({"etag": f'"{MD5}"'}, entry(), "md5-etag"),
        ({"etag": f'"{ONE_PART}"'}, entry(ONE_PART), "md5-etag"),
        ({"etag": '"x"', "x-amz-checksum-crc32": CRC32}, entry("x"), "crc32"),
        ({"etag": f'"{MD5}"', "x-amz-checksum-crc32": CRC32}, entry(), "crc32"),
        ({"etag": '"x"', "x-amz-checksum-crc32": CRC32 + "-2"}, entry("x"), "size"),
        ({"etag": '"x"', "x-amz-checksum-crc32": CRC32, "x-amz-checksum-type": "COMPOSITE"}, entry("x"), "size"),
        ({"etag": '"' + "0" * 32 + '"', "x-amz-server-side-encryption": "aws:kms"}, entry("0" * 32), "size"),
        ({"etag": '"' + "0" * 32 + '-7"'}, entry("0" * 32 + "-7"), "size"),
        ({"etag": f'"{MD5}"'}, ObjectEntry("k"), "md5-etag"),
        ({"etag": '"x"', **LENGTH}, ObjectEntry("k"), "size"),
        ({}, entry(), "md5-etag"),
    ],
)
def test_the_strongest_proof_is_named(headers: dict[str, str], of: ObjectEntry, level: str) -> None:
    """A checksum of the whole, else the MD5 that the ETag is, else the size."""
    assert prove(headers, of=of) == level


@pytest.mark.parametrize(
    ("headers", "body", "of", "kind"),
    [
        ({"etag": f'"{MD5}"'}, b"the quick brown fix", entry(), IntegrityError),
        ({"etag": f'"{ONE_PART}"'}, b"the quick brown fix", entry(ONE_PART), IntegrityError),
        ({"etag": '"x"', "x-amz-checksum-crc32": CRC32}, b"the quick brown fix", entry("x"), IntegrityError),
        ({"etag": f'"{MD5}"', "x-amz-checksum-crc32": "AAAAAA=="}, BODY, entry(), IntegrityError),
        ({"etag": '"x"'}, BODY[:-1], entry("x"), SourceTruncated),
        ({"etag": '"x"'}, BODY + b"!", entry("x"), SourceMisbehaved),
        ({"etag": '"y"'}, BODY, entry("x"), SourceChanged),
        ({"etag": '"x"'}, BODY, ObjectEntry("k"), SourceMisbehaved),
        ({}, BODY, entry("x"), SourceMisbehaved),
        (LENGTH, BODY, ObjectEntry("k"), SourceMisbehaved),
        ({}, b"the quick brown fix", entry(), IntegrityError),
        ({"etag": '"x"', "x-amz-checksum-crc32": "not base64!"}, BODY, entry("x"), SourceMisbehaved),
    ],
)
def test_a_wrong_body_is_refused(
    headers: dict[str, str], body: bytes, of: ObjectEntry, kind: type[S3StreamError]
) -> None:
    """Each lie by its own name."""
    with pytest.raises(kind):
        prove(headers, body, of)


def test_a_new_version_is_taken_where_it_can_be_proved() -> None:
    """An object that was replaced after it was listed is fetched as it is now."""
    new = b"another text"
    md5 = hashlib.md5(new, usedforsecurity=False).hexdigest()
    assert prove_whole(entry(), {"etag": f'"{md5}"'}, new, strict=False) == ("md5-etag", md5)


def test_strictness_refuses_what_has_only_a_size() -> None:
    """Nothing is promised by it."""
    with pytest.raises(IntegrityError, match="strict=True"):
        prove({"etag": '"x"'}, of=entry("x"), strict=True)
    assert prove({"etag": f'"{MD5}"'}, strict=True) == "md5-etag"


def test_a_key_from_a_list_learns_its_time_from_the_answer() -> None:
    """The file's time is the object's, wherever the key came from."""
    headers = {"last-modified": "Sun, 01 Mar 2026 12:00:00 GMT"}
    assert dated(ObjectEntry("k"), headers).modified == 1772366400.0
    assert dated(ObjectEntry("k", modified=5.0), headers).modified == 5.0
    assert dated(ObjectEntry("k"), {"last-modified": "yesterday"}).modified == 0.0
