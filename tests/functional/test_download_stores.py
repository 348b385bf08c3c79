"""Downloads from real S3 servers: LocalStack, moto and rclone, each with its own idea of S3."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

from airflow_s3stream.config import MiB
from airflow_s3stream.plan.download import WHOLE
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support.content import Content, Quiet
from tests.support.downloads import fetch, files, litter, shards
from tests.support.hostile import PLAIN_KEYS
from tests.support.stores import Store
from tests.support.storetable import StoreTable

# What proves an object put whole, and one uploaded in parts. LocalStack keeps a checksum that nobody asked for, as S3
# does; rclone gives every object its MD5 for an ETag.
PROVED = {"localstack": ("crc64nvme", "crc64nvme"), "moto": ("md5-etag", "size"), "rclone": ("md5-etag", "md5-etag")}


def upload(store: Store, key: str, content: Content, part_size: int = 5 * MiB, **about: str) -> None:
    upload_id = store.client.create_multipart_upload(Bucket=store.bucket, Key=key, **about)["UploadId"]
    parts = []
    for number, at in enumerate(range(0, content.size, part_size), 1):
        part = store.client.upload_part(
            Bucket=store.bucket, Key=key, UploadId=upload_id, PartNumber=number,
            Body=content.bytes(at, min(at + part_size, content.size)),
            **({"ChecksumAlgorithm": about["ChecksumAlgorithm"]} if "ChecksumAlgorithm" in about else {}),
        )  # fmt: skip
        checksums = {name: part[name] for name in part if name.startswith("Checksum") and name != "ChecksumType"}
        parts.append({"PartNumber": number, "ETag": part["ETag"], **checksums})
    kind = {"ChecksumType": about["ChecksumType"]} if "ChecksumType" in about else {}
    store.client.complete_multipart_upload(
        Bucket=store.bucket, Key=key, UploadId=upload_id, MultipartUpload={"Parts": parts}, **kind
    )


def test_a_prefix_comes_whole(s3_store: Store, tmp_path: Path, store_table: StoreTable) -> None:
    """Small, empty and large objects, and one uploaded in parts."""
    bodies = {f"{number:03d}.bin": os.urandom(number * 11) for number in range(150)}
    large, parts = Content(2 * WHOLE + 5, seed=3), Content(WHOLE + 5 * MiB + 3, seed=4)
    for name, body in bodies.items():
        s3_store.put(f"p/{name}", body)
    s3_store.put("p/sub/large", large.bytes())
    upload(s3_store, "p/sub/parts", parts)
    s3_store.put("q/outside", b"x")
    to = tmp_path / "to"
    result = fetch(s3_store, to)
    found = files(to)
    assert found.pop("sub/large") == Quiet(large.bytes())
    assert found.pop("sub/parts") == Quiet(parts.bytes())
    assert found == bodies
    assert (result.objects, result.failed, result.retries, litter(to)) == (152, 0, 0, [])
    whole, of_parts = PROVED[s3_store.name]
    assert result.verification == Counter([whole] * 151 + [of_parts])
    proved = ", ".join(f"{count} by {level}" for level, count in sorted(result.verification.items()))
    store_table.note("Download of 152 objects, one of them uploaded in parts: verification", s3_store.name, proved)
    again = fetch(s3_store, to, if_exists="skip_same")
    assert (again.objects, again.skipped) == (0, 152)


def test_a_checksum_of_the_whole_proves_what_was_uploaded_in_parts(localstack: Store, tmp_path: Path) -> None:
    """The CRC64NVME that the store computed is joined here from those of the ranges."""
    content = Content(2 * WHOLE + 12_345, seed=5)
    upload(localstack, "p/key", content, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT")
    result = fetch(localstack, tmp_path / "to")
    assert files(tmp_path / "to") == {"key": Quiet(content.bytes())}
    assert result.verification == {"crc64nvme": 1}


def test_keys_that_are_hard_to_name(s3_store: Store, tmp_path: Path) -> None:
    """Listed, signed and written, on every store that keeps them itself."""
    bodies = {}
    for key in PLAIN_KEYS:
        body = key.encode()
        try:
            s3_store.put(f"p/{key}", body)
            if s3_store.get(f"p/{key}") == body:
                bodies[key] = body
        except Exception as error:  # noqa: BLE001 - whatever a store says of a key that it cannot keep
            print(s3_store.name, key, error)
    # moto takes a "?" for the query; rclone keeps objects as files, whose names it rewrites.
    assert len(bodies) >= len(PLAIN_KEYS) - 3
    listed = {entry["Key"].removeprefix("p/") for entry in _listed(s3_store)}
    result = fetch(s3_store, tmp_path / "to", on_error="continue")
    found = files(tmp_path / "to")
    assert {key: found.get(key) for key in bodies.keys() & listed} == {
        key: bodies[key] for key in bodies.keys() & listed
    }
    assert result.objects + result.failed + result.skipped == result.listed


def _listed(store: Store) -> list[dict[str, str]]:
    pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix="p/")
    return [entry for page in pages for entry in page.get("Contents", [])]


def test_a_listing_of_several_pages(rclone: Store, tmp_path: Path) -> None:
    """Every key once; on the store that takes a thousand PUTs in a few seconds."""
    for number in range(1100):
        rclone.put(f"p/{number % 7}/{number:05d}", b"%d" % number)
    result = fetch(rclone, tmp_path / "to", connections=32)
    assert files(tmp_path / "to") == {f"{n % 7}/{n:05d}": b"%d" % n for n in range(1100)}
    assert result.listed == 1100


def test_shards(s3_store: Store, tmp_path: Path) -> None:
    """The same objects as members of tar files."""
    bodies = {f"{number:03d}": os.urandom(30_000) for number in range(60)}
    for name, body in bodies.items():
        s3_store.put(f"p/{name}", body)
    result = fetch(s3_store, tmp_path / "to", sink="tar", shard_size=MiB)
    assert {name: bytes(body) for _, name, body in shards(tmp_path / "to")} == bodies
    assert result.shards >= 2


def test_named_keys_and_missing_ones(s3_store: Store, tmp_path: Path) -> None:
    """Each store has its own way to say that there is nothing."""
    s3_store.put("p/there", b"here")
    entries = [ObjectEntry("p/there"), ObjectEntry("p/not-there")]
    result = fetch(s3_store, tmp_path / "to", entries=entries, on_error="continue")
    assert (result.objects, result.failed) == (1, 1)
    assert files(tmp_path / "to") == {"there": b"here"}
