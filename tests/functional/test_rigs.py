"""The rigs themselves: what they send is what they say, and a client that trusts too much is caught by them.

A rig that finds nothing in anyone is broken, so the naive clients here are boto3 and requests as most people
use them, and each test states the wrong outcome that they report as success.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import boto3
import pytest
import requests
from boto3.s3.transfer import TransferConfig
from botocore.exceptions import BotoCoreError, ClientError

from airflow_s3stream.config import MiB
from tests.support import faults, s3fault, servers
from tests.support.content import PERIOD, Content
from tests.support.faults import Fault
from tests.support.leash import Leashed
from tests.support.origin import Origin, serving
from tests.support.processes import OtherProcess
from tests.support.resource import Redirect, Resource, http_date
from tests.support.s3fault import S3Fault, S3FaultProxy
from tests.support.stores import Store
from tests.support.tls import Authority
from tests.support.waiting import SOON, wait_for

FIVE = TransferConfig(multipart_threshold=5 * MiB, multipart_chunksize=5 * MiB, max_concurrency=2)


def get(origin: Origin, method: str = "GET", **headers: str) -> tuple[http.client.HTTPResponse, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=10)
    try:
        connection.request(
            method, origin.PATH, headers={name.replace("_", "-"): text for name, text in headers.items()}
        )
        response = connection.getresponse()
        return response, response.read()
    finally:
        connection.close()


@pytest.fixture
def session() -> Iterator[requests.Session]:
    session = requests.Session()
    session.trust_env = False
    with session:
        yield session


class TestContent:
    @pytest.mark.parametrize("start, stop", [(0, 10), (PERIOD - 3, PERIOD + 3), (3 * PERIOD, 5 * PERIOD + 1), (7, 7)])
    def test_any_slice_is_the_same_as_that_slice_of_the_whole(self, start: int, stop: int) -> None:
        """A range can be checked without the bytes before it."""
        content = Content(6 * PERIOD)
        assert content.bytes(start, stop) == content.bytes()[start:stop]

    def test_parts_of_a_round_size_differ(self) -> None:
        """Two parts exchanged make another object."""
        content = Content(40 * MiB)
        parts = {hashlib.sha256(content.bytes(at, at + 5 * MiB)).digest() for at in range(0, 40 * MiB, 5 * MiB)}
        assert len(parts) == 8

    def test_a_terabyte_costs_nothing(self) -> None:
        """The last bytes of a huge body come at once."""
        size = 2**40
        assert len(Content(size).bytes(size - 10)) == 10


class TestHonestOrigin:
    def test_a_range_is_answered_with_206_and_its_bytes(self) -> None:
        """The plain case, on a connection that is kept."""
        with serving(1000) as origin:
            response, body = get(origin, Range="bytes=10-19")
            assert (response.status, response.headers["Content-Range"]) == (206, "bytes 10-19/1000")
            assert body == origin.resource.content.bytes(10, 20)
            assert [exchange.sent for exchange in origin.exchanges] == [10]

    @pytest.mark.parametrize(
        "headers, status",
        [
            ({"If_Match": '"v1"'}, 206),
            ({"If_Match": '"other"'}, 412),
            ({"If_Range": '"v1"'}, 206),
            ({"If_Range": '"other"'}, 200),
            ({"If_Range": http_date(3600)}, 200),
            ({}, 206),
        ],
    )
    def test_conditions_are_evaluated(self, headers: dict[str, str], status: int) -> None:
        """If-Match refuses, If-Range falls back to the whole body."""
        with serving(1000) as origin:
            assert get(origin, Range="bytes=0-9", **headers)[0].status == status

    def test_a_range_beyond_the_end_is_416(self) -> None:
        """The answer names the real size."""
        with serving(1000) as origin:
            response, _ = get(origin, Range="bytes=1000-")
            assert (response.status, response.headers["Content-Range"]) == (416, "bytes */1000")

    def test_a_chunked_body_arrives_whole(self) -> None:
        """Neither a length nor a range is promised, and the bytes are right."""
        with serving(300_000, framing="chunked", ranges=False) as origin:
            response, body = get(origin, Range="bytes=0-")
            assert response.headers["Content-Length"] is None
            assert body == origin.resource.content.bytes()

    def test_stopping_closes_connections_that_hang(self) -> None:
        """A stalled client does not keep the origin from stopping."""
        with serving(1000, faults.stall_after(10)) as origin:
            connection = http.client.HTTPConnection("127.0.0.1", origin.port, timeout=10)
            connection.request("GET", origin.PATH)
            connection.getresponse().read(10)
            began = time.monotonic()
        connection.close()
        assert time.monotonic() - began < SOON

    def test_tls_is_trusted_through_our_authority_only(self, authority: Authority, session: requests.Session) -> None:
        """A certificate that is expired or for another host is refused."""
        for server, trusted in [
            (authority.server(), True),
            (authority.server(expired=True), False),
            (authority.server(hosts=("example.invalid",)), False),
        ]:
            with serving(1000, tls=server) as origin:
                if trusted:
                    assert len(session.get(origin.url, verify=str(authority.bundle)).content) == 1000
                else:
                    with pytest.raises(requests.exceptions.SSLError):
                        session.get(origin.url, verify=str(authority.bundle))


class TestMisbehavingOrigin:
    def test_a_fault_strikes_the_requests_it_is_told_to(self) -> None:
        """The third request of four, and no other."""
        with serving(100, faults.status(500).on_request(3)) as origin:
            assert [get(origin)[0].status for _ in range(4)] == [200, 200, 500, 200]
            assert [exchange.faults for exchange in origin.exchanges] == [[], [], ["status 500"], []]

    def test_once_is_once(self) -> None:
        """The first request that qualifies, whichever number it has."""
        with serving(100, faults.status(500).where(lambda r: r.range is not None).once()) as origin:
            assert get(origin)[0].status == 200
            assert get(origin, Range="bytes=0-9")[0].status == 500
            assert get(origin, Range="bytes=0-9")[0].status == 206

    @pytest.mark.parametrize("fault", [faults.close_after(400), faults.longer_length(5), faults.reset_after(400)])
    def test_a_body_with_a_length_is_cut(self, fault: Fault) -> None:
        """A client that counts notices."""
        with (
            serving(1000, fault) as origin,
            pytest.raises((http.client.IncompleteRead, ConnectionResetError)),
        ):
            get(origin)

    def test_a_chunked_body_is_cut_inside_a_chunk(self) -> None:
        """A client that parses chunks notices."""
        with serving(1000, faults.close_after(400), framing="chunked") as origin:
            with pytest.raises(http.client.IncompleteRead):
                get(origin)

    def test_requests_takes_a_cut_body_without_a_length_for_a_whole_one(self, session: requests.Session) -> None:
        """Nothing marks the end of a body delimited by the close of the connection."""
        with serving(1000, faults.close_after(400), framing="close") as origin:
            assert len(session.get(origin.url).content) == 400

    def test_requests_drops_bytes_beyond_the_length(self, session: requests.Session) -> None:
        """The surplus is lost without a word."""
        with serving(1000, faults.shorter_length(50)) as origin:
            assert len(session.get(origin.url).content) == 1000

    def test_requests_reads_a_body_that_is_framed_twice(self, session: requests.Session) -> None:
        """Two readings of where it ends, and one is picked."""
        with serving(1000, faults.length_and_chunked()) as origin:
            assert len(session.get(origin.url).content) == 1000

    def test_requests_carries_a_secret_header_to_another_host(self, session: requests.Session) -> None:
        """Only Authorization and Cookie are dropped on the way."""
        with serving(10) as elsewhere, serving(10) as origin:
            origin.routes["/moved"] = Redirect(elsewhere.url_of(Origin.PATH, "localhost"))
            session.get(origin.url_of("/moved"), headers={"X-Api-Key": "canary"})
            assert elsewhere.exchanges[0].header("X-Api-Key") == "canary"

    @pytest.mark.parametrize(
        "fault",
        [
            faults.ignore_range().from_request(3),
            faults.rewritten(obey_if_match=False).from_request(4),
            faults.flip_bit(7 * MiB),
            faults.short_range(MiB).from_request(2),
            faults.other_bytes(PERIOD - 1).from_request(3),
        ],
        ids=lambda fault: fault.name,
    )
    def test_boto3_reports_success_for_a_wrong_file(self, fault: Fault, tmp_path: Path) -> None:
        """What s3transfer trusts, this origin can betray."""
        path = tmp_path / "object"
        self.download_with_boto3(path, fault)
        assert path.read_bytes() != Content(24 * MiB).bytes()

    def test_boto3_gets_the_right_file_from_an_honest_origin(self, tmp_path: Path) -> None:
        """The control: it is the faults that make the file wrong."""
        path = tmp_path / "object"
        self.download_with_boto3(path)
        assert path.read_bytes() == Content(24 * MiB).bytes()

    def download_with_boto3(self, path: Path, *origin_faults: Fault) -> None:
        with Origin(Resource(1), *origin_faults, routes={"/bucket/key": Resource(24 * MiB)}) as origin:
            client = servers.plain_client(f"http://127.0.0.1:{origin.port}")
            try:
                client.download_file("bucket", "key", str(path), Config=FIVE)
            finally:
                client.close()


def upload_with_boto3(store: Store, proxy: S3FaultProxy, content: Content) -> None:
    """Upload as a script would: boto3 with its own retries."""
    client = boto3.client("s3", endpoint_url=proxy.endpoint_url)
    try:
        client.upload_fileobj(io.BytesIO(content.bytes()), store.bucket, "key", Config=FIVE)
    finally:
        client.close()


class TestS3FaultProxy:
    content = Content(12 * MiB)

    def test_what_passes_through_is_unchanged(self, s3_store: Store) -> None:
        """Signatures, trailers and every byte survive, on every store."""
        with S3FaultProxy(s3_store.endpoint_url) as proxy:
            upload_with_boto3(s3_store, proxy, self.content)
            assert sorted(proxy.parts()) == [1, 2, 3]
            assert proxy.operations[0] == "CreateMultipartUpload"
            assert proxy.operations[-1] == "CompleteMultipartUpload"
        s3_store.assert_holds("key", self.content)

    @pytest.mark.parametrize(
        "fault, expected",
        [
            (s3fault.refuse("UploadPart", 503, "SlowDown"), True),
            (s3fault.drop_request("UploadPart", 1000), True),
            (s3fault.drop_request("UploadPart", 1000, reset=True), True),
            (s3fault.refuse("UploadPart", 403, "AccessDenied").on_part(2), False),
            (s3fault.error_in_200("CompleteMultipartUpload").always(), False),
        ],
        ids=lambda value: getattr(value, "name", value),
    )
    def test_what_the_store_never_sees(self, rclone: Store, fault: S3Fault, expected: bool) -> None:
        """boto3 mends what can be mended, and reports and aborts what cannot."""
        with S3FaultProxy(rclone.endpoint_url, fault) as proxy:
            try:
                upload_with_boto3(rclone, proxy, self.content)
                succeeded = True
            except (BotoCoreError, ClientError):
                succeeded = False
            assert any(call.fault == fault.name for call in proxy.calls)
        assert succeeded == expected
        if succeeded:
            rclone.assert_holds("key", self.content)
        else:
            rclone.assert_clean()

    def test_boto3_reports_failure_when_the_answer_to_complete_is_lost(self, rclone: Store) -> None:
        """The store has the whole object, and the upload is said to have failed."""
        with S3FaultProxy(rclone.endpoint_url, s3fault.lose_answer("CompleteMultipartUpload")) as proxy:
            with pytest.raises(ClientError, match="NoSuchUpload"):
                upload_with_boto3(rclone, proxy, self.content)
            assert proxy.operations.count("CompleteMultipartUpload") == 2
        rclone.assert_holds("key", self.content)

    def test_a_flipped_bit_is_stored_by_a_store_that_checks_nothing(self, rclone: Store) -> None:
        """boto3 sends a checksum, rclone ignores it, and the object is wrong."""
        with S3FaultProxy(rclone.endpoint_url, s3fault.flip_bit("UploadPart")) as proxy:
            upload_with_boto3(rclone, proxy, self.content)
        assert rclone.sha256("key") != self.content.sha256()

    def test_a_flipped_bit_is_refused_by_a_store_that_checks(self, localstack: Store) -> None:
        """The same on LocalStack is BadDigest, and nothing is stored."""
        with S3FaultProxy(localstack.endpoint_url, s3fault.flip_bit("UploadPart").always()) as proxy:
            with pytest.raises(ClientError, match=r"BadDigest|InvalidRequest|Checksum"):
                upload_with_boto3(localstack, proxy, self.content)
        localstack.assert_clean()

    def test_a_cut_answer_has_its_head_and_not_its_end(self, rclone: Store) -> None:
        """The client is told 200 and then cut off."""
        with S3FaultProxy(rclone.endpoint_url, s3fault.cut_answer("CreateMultipartUpload", 20)) as proxy:
            upload_with_boto3(rclone, proxy, self.content)
            assert proxy.operations[:2] == ["CreateMultipartUpload", "CreateMultipartUpload"]
        assert len(rclone.uploads()) == 1, "the first upload is an orphan that boto3 never knew of"


class TestServers:
    def test_a_killed_test_run_leaves_no_server_behind(self, tmp_path: Path) -> None:
        """The leash ends the server when its parent is gone, even by SIGKILL."""
        script = (
            "import sys, time\nfrom pathlib import Path\nfrom tests.support.servers import Rclone\n"
            "server = Rclone(Path(sys.argv[1])).__enter__()\nprint(server.port, flush=True)\ntime.sleep(60)\n"
        )
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=servers.REPOSITORY) as parent:
            assert parent.stdout
            port = int(parent.stdout.readline())
            assert _listens(port)
            os.kill(parent.pid, signal.SIGKILL)
        deadline = time.monotonic() + 5
        while _listens(port):
            assert time.monotonic() < deadline, "the server outlived its parent"
            time.sleep(0.05)

    def test_a_process_in_a_group_of_its_own_ends_with_the_server(self, tmp_path: Path) -> None:
        """Airflow puts each task into its own process group, which the end of the server's group does not reach."""
        script = "import os, time\nif not os.fork(): os.setpgid(0, 0)\nprint(os.getpid(), flush=True)\ntime.sleep(60)\n"
        leashed = Leashed([sys.executable, "-c", script], tmp_path / "log", os.environ)
        with ExitStack() as stack:
            stack.callback(leashed.stop)
            wait_for(lambda: len((tmp_path / "log").read_text().split()) == 2)
            started = [OtherProcess(int(pid)) for pid in (tmp_path / "log").read_text().split()]
        for process in started:
            with process:
                assert process.wait(5) is not None

    def test_an_upload_that_is_left_is_seen(self, s3_store: Store) -> None:
        """The question every test asks at its end has an answer that can fail it."""
        assert s3_store.uploads() == []
        answer = s3_store.client.create_multipart_upload(Bucket=s3_store.bucket, Key="key")
        assert s3_store.uploads() == [answer["UploadId"]]


def _listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.connect()
        return True
    except OSError:
        return False
    finally:
        connection.close()
