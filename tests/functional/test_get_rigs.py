"""The rigs that downloads of one object are tried with: they tell what a real store tells, and lie where they should.

A rig that finds nothing in anyone is broken, so the lies are first told to boto3 as most people use it.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import threading
from pathlib import Path
from typing import Any

import pytest
import urllib3
from boto3.s3.transfer import TransferConfig
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials as BotoCredentials

from airflow_s3stream.config import KiB, MiB
from tests.support import readlies
from tests.support.content import Content, Quiet
from tests.support.objects import PartSizes, spans_of
from tests.support.readstore import BUCKET, KEYS, ReadStore, serving_objects
from tests.support.stores import Store

SIZE = 12 * MiB + 5
COMPOSITES = ("crc32", "crc32c", "sha1", "sha256")
EVERYTHING = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize"
FIVE = TransferConfig(multipart_threshold=5 * MiB, multipart_chunksize=5 * MiB, max_concurrency=2)


def ask(method: str, endpoint: str, path: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    """Send one signed request; return status, headers in lower case, and body."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = AWSRequest(method, endpoint + path, headers=named)
    S3SigV4Auth(BotoCredentials(KEYS.access_key, KEYS.secret_key), "s3", KEYS.region).add_auth(request)
    with urllib3.PoolManager() as pool:
        answer = pool.request(method, endpoint + path, headers=dict(request.headers.items()))
    return answer.status, {name.lower(): value for name, value in answer.headers.items()}, answer.data


def upload(store: Store, key: str, content: Content, part_size: PartSizes, algorithm: str | None, kind: str) -> None:
    """Store an object in parts."""
    about: dict[str, Any] = {"ChecksumAlgorithm": algorithm.upper()} if algorithm else {}
    created = store.client.create_multipart_upload(
        Bucket=store.bucket, Key=key, **about, **({"ChecksumType": kind} if algorithm else {})
    )
    parts = []
    for number, (start, stop) in enumerate(spans_of(content.size, part_size), 1):
        part = store.client.upload_part(
            Bucket=store.bucket, Key=key, UploadId=created["UploadId"], PartNumber=number,
            Body=content.bytes(start, stop), **about,
        )  # fmt: skip
        told = {name: part[name] for name in part if name.startswith("Checksum") and name != "ChecksumType"}
        parts.append({"PartNumber": number, "ETag": part["ETag"], **told})
    store.client.complete_multipart_upload(
        Bucket=store.bucket, Key=key, UploadId=created["UploadId"], MultipartUpload={"Parts": parts},
        **({"ChecksumType": kind} if algorithm else {}),
    )  # fmt: skip


class TestParts:
    """What is told of objects uploaded in parts is what the store that behaves like AWS tells of the same."""

    @pytest.mark.parametrize("part_size", [5 * MiB, (5 * MiB, 6 * MiB, SIZE - 11 * MiB)], ids=["even", "uneven"])
    @pytest.mark.parametrize(
        ("algorithm", "kind"),
        [
            *((algorithm, "COMPOSITE") for algorithm in COMPOSITES),
            *((algorithm, "FULL_OBJECT") for algorithm in ("crc32", "crc32c", "crc64nvme")),
        ],
    )
    def test_head_and_attributes_are_those_of_a_real_store(
        self, store: ReadStore, localstack: Store, algorithm: str, kind: str, part_size: PartSizes
    ) -> None:
        """Page by page too."""
        mine = store.put("key", SIZE, part_size=part_size, checksum=algorithm, composite=kind == "COMPOSITE")
        upload(localstack, "key", mine.content, part_size, algorithm, kind)
        theirs, ours = (localstack.endpoint_url, f"/{localstack.bucket}/key"), (store.endpoint_url, f"/{BUCKET}/key")
        told = [ask("HEAD", *where, x_amz_checksum_mode="ENABLED")[1] for where in (ours, theirs)]
        names = ("etag", "content-length", "x-amz-checksum-type", f"x-amz-checksum-{algorithm}")
        assert [told[0][name] for name in names] == [told[1][name] for name in names]
        for query, paging in (
            ("attributes", {}),
            ("attributes=", {"x_amz_max_parts": "2"}),
            ("attributes", {"x_amz_part_number_marker": "2"}),
        ):
            said = [
                ask("GET", where[0], f"{where[1]}?{query}", x_amz_object_attributes=EVERYTHING, **paging)
                for where in (ours, theirs)
            ]
            assert said[0][0] == said[1][0] == 200
            assert _xml(said[0][2]) == _xml(said[1][2])

    @pytest.mark.parametrize("algorithm", [None, "crc64nvme", "sha256"])
    def test_an_object_put_whole_has_no_parts(self, store: ReadStore, localstack: Store, algorithm: str | None) -> None:
        mine = store.put("key", 1000, checksum=algorithm)
        about = {"ChecksumAlgorithm": algorithm.upper()} if algorithm else {"ChecksumAlgorithm": "CRC32"}
        localstack.put("key", mine.content.bytes(), **about)
        said = [
            ask("GET", endpoint, f"/{bucket}/key?attributes", x_amz_object_attributes=EVERYTHING)[2]
            for endpoint, bucket in ((store.endpoint_url, BUCKET), (localstack.endpoint_url, localstack.bucket))
        ]
        assert b"ObjectParts" not in said[0] + said[1]
        if algorithm:
            assert _xml(said[0]) == _xml(said[1])

    def test_refusals_are_those_of_a_real_store(self, store: ReadStore, localstack: Store) -> None:
        """A key that is not there."""
        for where in ((store.endpoint_url, BUCKET), (localstack.endpoint_url, localstack.bucket)):
            status, _, body = ask("GET", where[0], f"/{where[1]}/none?attributes", x_amz_object_attributes="ETag")
            assert (status, b"<Code>NoSuchKey</Code>" in body) == (404, True)

    def test_botocore_reads_them(self, store: ReadStore) -> None:
        """A parser that owes nothing to ours."""
        mine = store.put("key", 10 * 100, part_size=100, checksum="sha256", composite=True)
        with contextlib.closing(store.client()) as client:
            told = client.get_object_attributes(Bucket=BUCKET, Key="key", ObjectAttributes=EVERYTHING.split(","))
        assert told["ObjectParts"]["TotalPartsCount"] == 10
        assert [part["Size"] for part in told["ObjectParts"]["Parts"]] == [100] * 10
        assert told["ETag"] == str(mine.etag).strip('"')
        assert [exchange.status for exchange in store.attributes] == [200]
        assert store.gets == []

    @pytest.mark.parametrize("name", readlies.attribute_lies())
    def test_every_lie_about_parts_changes_the_answer(self, store: ReadStore, name: str) -> None:
        store.put("key", 300, part_size=100, checksum="sha1", composite=True)

        def told() -> object:
            try:
                status, _, body = ask(
                    "GET", store.endpoint_url, f"/{BUCKET}/key?attributes", x_amz_object_attributes=EVERYTHING
                )
            except urllib3.exceptions.HTTPError:
                return None
            return status, body

        honest = told()
        store.faults = [readlies.attribute_lies()[name]]
        assert told() != honest


def _xml(text: bytes) -> list[str]:
    """Return the elements of an answer without order, spaces or the name of the outermost."""
    return sorted(re.findall(r"<(?!\?|/?GetObjectAttributes)[^>]*>[^<]*", text.decode()))


class TestLies:
    """What boto3's download_file reports as done, and is wrong."""

    SIZE = 24 * MiB
    LIES = readlies.lies_about_ranges(7 * MiB, SIZE)
    NOTICED = frozenset({
        "Content-Range starts elsewhere", "Content-Range starts before", "Content-Range starts later",
        "Content-Range malformed", "longer than asked", "cut",
        # Believed, and the file comes right nonetheless: the length is known from the head, and nobody asks for an
        # ETag.
        "Content-Range of another size", "no ETag",
    })  # fmt: skip

    @pytest.mark.parametrize("name", sorted(LIES.keys() - NOTICED))
    def test_a_careless_client_believes_it(self, name: str, tmp_path: Path) -> None:
        """No exception, and other bytes than the object's."""
        with serving_objects({"big": self.SIZE}, readlies.of("big", self.LIES[name])) as store:
            with contextlib.closing(store.client()) as client:
                client.download_file(BUCKET, "big", str(tmp_path / "big"), Config=FIVE)
            assert Quiet((tmp_path / "big").read_bytes()) != store.body("big")


class TestTiming:
    """Answers that are slow, on cue."""

    def _begin(self, store: ReadStore, span: str) -> http.client.HTTPConnection:
        store.credentials = None
        connection = http.client.HTTPConnection("127.0.0.1", store.port, timeout=10)
        connection.request("GET", f"/{BUCKET}/big", headers={"Range": f"bytes={span}"})
        return connection

    @pytest.mark.parametrize("after", [-1, 0, 1000, 300_000])
    def test_an_answer_is_held_until_it_is_let_go(self, store: ReadStore, after: int) -> None:
        """So many bytes come before, and no more."""
        store.put("big", MiB)
        event = threading.Event()
        store.faults = [readlies.starting(0, readlies.hold(after, event))]
        store.credentials = None
        with socket.create_connection(("127.0.0.1", store.port)) as sock:
            sock.sendall(b"GET /%s/big HTTP/1.1\r\nRange: bytes=0-999999\r\n\r\n" % BUCKET.encode())
            sock.settimeout(0.3)
            got = bytearray()
            with pytest.raises(TimeoutError):
                while piece := sock.recv(65536):
                    got += piece
        head, _, body = bytes(got).partition(b"\r\n\r\n")
        assert bool(head) == (after >= 0)
        assert body == store.body("big")[: max(after, 0)]
        assert store.sent == max(after, 0)

    def test_what_is_held_is_whole_in_the_end(self, store: ReadStore) -> None:
        store.put("big", MiB)
        event = threading.Event()
        store.faults = [readlies.hold(100, event)]
        store.when_sent(100, lambda: threading.Timer(0.1, event.set).start())
        connection = self._begin(store, "5-999999")
        assert Quiet(connection.getresponse().read()) == store.body("big")[5:1_000_000]
        connection.close()

    def test_a_bad_way_stays_bad(self, store: ReadStore) -> None:
        """Whatever is asked for on the connection afterwards; others are not touched."""
        store.put("big", MiB)
        store.faults = [readlies.sticky(readlies.starting(500, readlies.refuse(503, "SlowDown")))]
        bad, good = self._begin(store, "500-599"), self._begin(store, "0-99")
        statuses = []
        for _ in range(2):
            for connection in (bad, good):
                answer = connection.getresponse()
                answer.read()
                statuses.append(answer.status)
                connection.request("GET", f"/{BUCKET}/big", headers={"Range": "bytes=0-99"})
        for connection in (bad, good):
            connection.close()
        assert statuses == [503, 206, 503, 206]

    def test_something_is_done_when_so_much_was_sent(self, store: ReadStore) -> None:
        """Once."""
        store.put("big", MiB)
        seen: list[int] = []
        store.when_sent(300_000, lambda: seen.append(store.sent))
        connection = self._begin(store, "0-1048575")
        connection.getresponse().read()
        connection.close()
        assert len(seen) == 1
        assert 300_000 <= seen[0] < 300_000 + 256 * KiB
