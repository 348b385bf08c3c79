"""The rigs that readers are tried with: honest where they should be, caught lying where they lie.

A rig that finds nothing in anyone is broken, so each lie is first told to boto3 as most people use it, and the
test states the wrong outcome that it reports as success.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import subprocess
import sys
import threading
import urllib.parse
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import Credentials as BotoCredentials
from botocore.exceptions import BotoCoreError, ClientError

from airflow_s3stream.config import MiB
from tests.support import faults, readlies, servers
from tests.support.hostile import HOSTILE_KEYS
from tests.support.objects import stored
from tests.support.readstore import BUCKET, KEYS, ReadStore, serving_objects
from tests.support.signatures import Credentials

FIVE = TransferConfig(multipart_threshold=5 * MiB, multipart_chunksize=5 * MiB, max_concurrency=2)
SMALL, LARGE = 10_000, 24 * MiB
LIES = readlies.whole_lies(SMALL)
RANGE_LIES = readlies.range_lies(7 * MiB)


def client_of(store: ReadStore, credentials: Credentials = KEYS) -> Any:
    return servers.SESSION.client(
        "s3", endpoint_url=store.endpoint_url, region_name=credentials.region,
        aws_access_key_id=credentials.access_key, aws_secret_access_key=credentials.secret_key,
        aws_session_token=credentials.token,
        config=Config(retries={"total_max_attempts": 1}, s3={"addressing_style": "path"}),
    )  # fmt: skip


def read(client: Any, key: str, **about: Any) -> bytes:
    # Not `with`: entering a StreamingBody gives the bare stream, which checks nothing.
    with contextlib.closing(client.get_object(Bucket=BUCKET, Key=key, **about)["Body"]) as body:
        return bytes(body.read())


class TestListing:
    """What boto3's paginator makes of it is what is in the bucket."""

    @pytest.mark.parametrize("page", [1, 2, 3, 7, 1000])
    def test_every_key_comes_once_and_in_order(self, store: ReadStore, page: int) -> None:
        for key in HOSTILE_KEYS:
            store.put(key, 10)
        pages = (
            client_of(store)
            .get_paginator("list_objects_v2")
            .paginate(Bucket=BUCKET, PaginationConfig={"PageSize": page})
        )
        listed = [entry for answer in pages for entry in answer.get("Contents", [])]
        assert [entry["Key"] for entry in listed] == sorted(HOSTILE_KEYS, key=lambda key: key.encode())
        assert {entry["Size"] for entry in listed} == {10}
        assert all(entry["ETag"] == store.objects[entry["Key"]].etag for entry in listed)
        assert all(entry["LastModified"].timestamp() == 1_750_000_000 for entry in listed)

    @pytest.mark.parametrize("page", [1, 2, 1000])
    def test_a_delimiter_folds_what_lies_below(self, store: ReadStore, page: int) -> None:
        for key in ("a", "b/1", "b/2", "b/c/3", "d", "e/4", "f"):
            store.put(key, 1)
        pages = list(client_of(store).get_paginator("list_objects_v2").paginate(
            Bucket=BUCKET, Delimiter="/", PaginationConfig={"PageSize": page}
        ))  # fmt: skip
        assert [entry["Key"] for answer in pages for entry in answer.get("Contents", [])] == ["a", "d", "f"]
        assert [one["Prefix"] for answer in pages for one in answer.get("CommonPrefixes", [])] == ["b/", "e/"]

    def test_start_after_and_prefix_bound_it(self, store: ReadStore) -> None:
        for number in range(10):
            store.put(f"p/{number}", 1)
        store.put("q", 1)
        answer = client_of(store).list_objects_v2(Bucket=BUCKET, Prefix="p/", StartAfter="p/6")
        assert [entry["Key"] for entry in answer["Contents"]] == ["p/7", "p/8", "p/9"]
        store.obeys_start_after = False
        answer = client_of(store).list_objects_v2(Bucket=BUCKET, Prefix="p/", StartAfter="p/6")
        assert len(answer["Contents"]) == 10

    def test_what_it_lists_may_be_out_of_date(self, store: ReadStore) -> None:
        """The listing shows the version before, and the GET pinned to it is refused."""
        old = store.put("a", 10)
        store.put("b", 10)
        store.overwrite_behind_the_listing("a")
        store.remove_behind_the_listing("b")
        client = client_of(store)
        listed = {entry["Key"]: entry["ETag"] for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]}
        assert listed["a"] == old.etag
        assert set(listed) == {"a", "b"}
        with pytest.raises(ClientError, match="PreconditionFailed"):
            read(client, "a", IfMatch=listed["a"])
        with pytest.raises(ClientError, match="NoSuchKey"):
            read(client, "b")


class TestObjects:
    """The bytes are the key's own, and what is said of them is true."""

    def test_bodies_and_ranges_are_the_objects(self, store: ReadStore) -> None:
        store.put("a", SMALL)
        store.put("b", SMALL)
        client = client_of(store)
        assert read(client, "a") == store.body("a") != store.body("b")
        assert read(client, "a", Range="bytes=100-199") == store.body("a")[100:200]

    @pytest.mark.parametrize("algorithm", ["crc32", "crc32c", "crc64nvme", "sha1", "sha256"])
    def test_checksums_are_right_as_botocore_sees_it(self, store: ReadStore, algorithm: str) -> None:
        """And one that is not is noticed."""
        store.put("a", SMALL, checksum=algorithm)
        store.put("wrong", SMALL, checksum=algorithm, checksum_says="AAAAAAAAAAA=")
        client = client_of(store)
        assert read(client, "a") == store.body("a")
        answer = client.get_object(Bucket=BUCKET, Key="a", ChecksumMode="ENABLED")
        answer["Body"].close()
        assert answer[f"Checksum{algorithm.upper()}"]
        with pytest.raises(BotoCoreError):
            read(client, "wrong")

    def test_an_object_uploaded_in_parts_has_the_etag_that_a_store_gives_it(self, store: ReadStore, moto: Any) -> None:
        """The same parts, put into a store of others' making, get the same ETag."""
        mine = stored("key", 12 * MiB, part_size=5 * MiB)
        upload = moto.client.create_multipart_upload(Bucket=moto.bucket, Key="key")["UploadId"]
        parts = []
        for number, at in enumerate(range(0, 12 * MiB, 5 * MiB), 1):
            part = moto.client.upload_part(
                Bucket=moto.bucket, Key="key", UploadId=upload, PartNumber=number,
                Body=mine.content.bytes(at, min(at + 5 * MiB, 12 * MiB)),
            )  # fmt: skip
            parts.append({"PartNumber": number, "ETag": part["ETag"]})
        done = moto.client.complete_multipart_upload(
            Bucket=moto.bucket, Key="key", UploadId=upload, MultipartUpload={"Parts": parts}
        )
        assert done["ETag"] == mine.etag

    def test_an_archived_object_and_a_missing_bucket_are_errors(self, store: ReadStore) -> None:
        store.put("cold", 10, storage_class="GLACIER")
        with pytest.raises(ClientError, match="InvalidObjectState"):
            read(client_of(store), "cold")
        with pytest.raises(ClientError, match="NoSuchBucket"):
            client_of(store).list_objects_v2(Bucket="elsewhere")

    def test_it_counts(self, store: ReadStore) -> None:
        """Requests per key, ranges, and how many were under way at once."""
        store.put("a", SMALL)
        store.faults = [readlies.gets(readlies.slow(0.1))]
        client = client_of(store)
        threads = [threading.Thread(target=read, args=(client, "a")) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        read(client, "a", Range="bytes=5-9")
        assert store.gets_per_key == {"a": 5}
        assert store.ranges_of("a").count((5, 9)) == 1
        assert 2 <= store.peak_busy <= 4


class TestSignatures:
    """Those of honest clients are accepted, whatever the key; everything else is refused."""

    @pytest.mark.parametrize("token", [None, "session/token+with=all"])
    def test_boto3_is_accepted_for_every_key(self, store: ReadStore, token: str | None) -> None:
        store.credentials = replace(KEYS, token=token)
        client = client_of(store, store.credentials)
        for key in HOSTILE_KEYS:
            store.put(key, 20)
            assert read(client, key) == store.body(key), key

    def test_rclone_is_accepted(self, store: ReadStore) -> None:
        """A client of another family, that signs with code of its own."""
        for key in ("p/plain", "p/with space", "p/pl+us", "p/ä€😀", "p/a&b=c"):
            store.put(key, 20)
        rclone = Path(sys.executable).with_name("rclone")
        where = f":s3,provider=Other,endpoint='{store.endpoint_url}',env_auth=true,list_version=2:{BUCKET}/p"
        done = subprocess.run(
            [rclone, "lsf", "--format", "ps", where, "--config", ""],
            capture_output=True, text=True, check=False, timeout=30, env=dict(os.environ),
        )  # fmt: skip
        assert sorted(done.stdout.splitlines()) == sorted(f"{key.removeprefix('p/')};20" for key in store.objects), (
            done.stderr
        )
        copied = subprocess.run(
            [rclone, "cat", where, "--config", ""], capture_output=True, check=False, timeout=30, env=dict(os.environ)
        )
        assert len(copied.stdout) == 100, copied.stderr

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"secret_key": "wrong"}, "SignatureDoesNotMatch"),
            ({"access_key": "nobody"}, "InvalidAccessKeyId"),
            ({"region": "eu-central-1"}, "AuthorizationHeaderMalformed"),
            ({"token": "unknown"}, "InvalidToken"),
        ],
    )
    def test_wrong_credentials_are_refused(self, store: ReadStore, changes: dict[str, str], code: str) -> None:
        store.put("a", 20)
        with pytest.raises(ClientError, match=code):
            read(client_of(store, replace(KEYS, **changes)), "a")

    def test_credentials_expire(self, store: ReadStore) -> None:
        store.put("a", 20)
        old, store.credentials = client_of(store), replace(KEYS, access_key="next")
        store.expired = frozenset({KEYS.access_key})
        with pytest.raises(ClientError, match="ExpiredToken"):
            read(old, "a")

    @pytest.mark.parametrize("spoiled", ["path", "query", "header", "unsigned", "late", "none", "missing"])
    def test_what_was_signed_must_be_what_is_sent(self, store: ReadStore, spoiled: str) -> None:
        """A request as botocore signs it, and then changed."""
        for key in ("a", "b"):
            store.put(key, 20)
        request = AWSRequest("GET", f"{store.endpoint_url}/{BUCKET}/a?x=1", headers={"x-amz-checksum-mode": "ENABLED"})
        S3SigV4Auth(BotoCredentials(KEYS.access_key, KEYS.secret_key), "s3", KEYS.region).add_auth(request)
        url = urllib.parse.urlsplit(request.url)
        headers, target = dict(request.headers.items()), f"{url.path}?{url.query}"
        if spoiled == "path":
            target = target.replace("/a", "/b")
        elif spoiled == "query":
            target = target.replace("x=1", "x=2")
        elif spoiled == "header":
            headers["x-amz-checksum-mode"] = "disabled"
        elif spoiled == "unsigned":
            headers["x-amz-request-payer"] = "requester"
        elif spoiled == "late":
            headers["X-Amz-Date"] = "20200101T000000Z"
        elif spoiled == "missing":
            del headers["Authorization"]
        connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=10)
        connection.request("GET", target, headers=headers)
        assert (connection.getresponse().status == 200) == (spoiled == "none")
        connection.close()


class TestLies:
    """What boto3 believes."""

    @pytest.mark.parametrize("name", LIES)
    def test_every_lie_changes_the_answer(self, name: str) -> None:
        """Whoever asks gets other bytes, another status or a broken connection."""
        with serving_objects({"a": SMALL}, readlies.of("a", LIES[name])) as store:
            store.credentials = None
            connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=10)
            connection.request("GET", f"/{BUCKET}/a")
            try:
                response = connection.getresponse()
                told = (response.status, response.getheader("ETag"), response.read())
            except (http.client.IncompleteRead, ConnectionError):
                told = None
            connection.close()
            assert store.gets[0].faults == [LIES[name].name]
            if name == "surplus":
                assert told == (200, store.objects["a"].etag, store.body("a")), "http.client drops what is too much"
            else:
                assert told != (200, store.objects["a"].etag, store.body("a"))

    @pytest.mark.parametrize(
        "name",
        [
            "shorter", "empty", "longer", "cut without a length", "chunked and short", "bit flipped",
            "another object's bytes", "another version, new ETag", "another version, old ETag", "206 unasked",
            "compressed", "error in 200, right size", "204",
        ],
    )  # fmt: skip
    def test_boto3_takes_a_wrong_body_for_the_object(self, name: str) -> None:
        """No exception, and other bytes than the object's."""
        with serving_objects({"a": SMALL}, readlies.of("a", LIES[name])) as store:
            assert read(client_of(store), "a", IfMatch=store.objects["a"].etag) != store.body("a")

    @pytest.mark.parametrize("name", [name for name in RANGE_LIES if name != "Content-Range starts elsewhere"])
    def test_boto3_reports_success_for_a_wrong_file(self, name: str, tmp_path: Path) -> None:
        """Five of the six lies of the survey."""
        with serving_objects({"big": LARGE}, readlies.of("big", RANGE_LIES[name])) as store:
            client_of(store).download_file(BUCKET, "big", str(tmp_path / "big"), Config=FIVE)
            assert (tmp_path / "big").read_bytes() != store.body("big")

    def test_boto3_gets_the_right_file_from_an_honest_store(self, tmp_path: Path) -> None:
        """The control: it is the lies that make the file wrong."""
        with serving_objects({"big": LARGE}) as store:
            client_of(store).download_file(BUCKET, "big", str(tmp_path / "big"), Config=FIVE)
            assert (tmp_path / "big").read_bytes() == store.body("big")
            assert len(store.gets) == 5

    def test_a_lie_strikes_once_where_it_is_told_to(self, store: ReadStore) -> None:
        store.put("a", SMALL)
        store.faults = [readlies.nth(2, readlies.of("a", faults.flip_bit(0)))]
        client = client_of(store)
        assert [read(client, "a") == store.body("a") for _ in range(3)] == [True, False, True]

    def test_errors_are_s3s(self, store: ReadStore) -> None:
        store.put("a", SMALL)
        for fault, code in ((readlies.refuse(503, "SlowDown"), "SlowDown"), (readlies.wrong_region(), "Permanent")):
            store.faults = [fault]
            with pytest.raises(ClientError, match=code):
                read(client_of(store), "a")
