"""Faults of the table in docs/faults.md that belong to no other file: each once, with what has to come of it."""

from __future__ import annotations

import datetime
import re
import shutil
import signal
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.credentials import RefreshableCredentials
from botocore.exceptions import ConnectTimeoutError
from botocore.session import get_session

from airflow_s3stream.config import CopyOptions, MiB, Timeouts
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.events import Retried
from airflow_s3stream.engine.protocols import ObjectHeaders
from airflow_s3stream.engine.s3client import transfer_config
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.exceptions import IntegrityError, SinkConflict, SourceError, SourceMisbehaved, SourceUnavailable
from tests.support import faults, s3fault
from tests.support.commands import COMMAND, in_a_process
from tests.support.content import Content
from tests.support.faults import Fault
from tests.support.memory import ContentPart
from tests.support.origin import Exchange, Origin, serving
from tests.support.readstore import ReadStore
from tests.support.resource import Reply, Request, Resource
from tests.support.s3fault import Call, S3Fault, S3FaultProxy
from tests.support.sources import LOOPBACK, http_source
from tests.support.transfers import EAGER, PART, QUICK, Recorder, quick, transfer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.s3calls import Answer
    from tests.support.stores import Store
    from tests.support.tls import Authority

SIZE = 12 * MiB  # three parts
OLD = b"old"


class TestSource:
    @pytest.mark.parametrize("about", [{}, {"ranges": False}], ids=["relay", "stream"])
    def test_a_source_that_refuses_head_is_not_asked_for_one(self, rclone: Store, about: dict[str, Any]) -> None:
        """What is known of a source is what its answers to GET say."""
        refused = faults.status(405).where(lambda request: request.method != "GET")
        with serving(SIZE, refused, **about) as origin:
            transfer(origin.url, rclone)
            rclone.assert_holds("key", origin.resource.content)
            assert {exchange.request.method for exchange in origin.exchanges} == {"GET"}

    def test_a_header_without_end_is_refused(self, rclone: Store) -> None:
        """One line of a megabyte is not read to its end."""

        def spoil(_request: object, reply: Any) -> None:
            reply.headers.append(("X-Long", "x" * 1_000_000))

        rclone.put("key", OLD)
        with serving(SIZE, Fault("long header", spoil)) as origin, pytest.raises(SourceMisbehaved, match="headers"):
            transfer(origin.url, rclone, timeouts=quick(read=20, stall=20))
        assert rclone.get("key") == OLD

    def test_a_server_of_old_tls_is_not_talked_to(self, rclone: Store, authority: Authority) -> None:
        """Its certificate is right, and it knows TLS 1.1 at most."""
        old = authority.server()
        old.set_ciphers("ALL:@SECLEVEL=0")
        try:
            with pytest.warns(DeprecationWarning):
                old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
        except ValueError:
            pytest.skip("this OpenSSL cannot serve it either")
        rclone.put("key", OLD)
        with serving(SIZE, tls=old) as origin, pytest.raises(SourceUnavailable, match="TLS"):
            transfer(origin.url, rclone, verify=str(authority.bundle))
        assert rclone.get("key") == OLD
        assert origin.exchanges == []

    def test_a_range_of_chunks_that_goes_on_behind_its_end_is_refused(self, rclone: Store) -> None:
        """Its Content-Range is as asked, and the chunks that come are more than that."""

        def spoil(_request: object, reply: Any) -> None:
            reply.stop += 1000

        rclone.put("key", OLD)
        second = Fault("more chunks", spoil).where(lambda r: r.range is not None and r.range[0] == PART)
        with serving(SIZE, second, framing="chunked") as origin, pytest.raises(SourceMisbehaved, match="longer"):
            transfer(origin.url, rclone)
        assert rclone.get("key") == OLD
        assert rclone.uploads() == []

    @pytest.mark.parametrize("about", [{}, {"ranges": False}], ids=["relay", "stream"])
    def test_tls_that_ends_without_a_word_is_a_break(
        self, rclone: Store, authority: Authority, about: dict[str, Any]
    ) -> None:
        """No close_notify: somebody may have cut the connection, so the rest is asked for."""
        cut = faults.close_after(30_000).once()
        with Torn(Resource(SIZE, **about), cut, tls=authority.server()) as origin:
            result = transfer(origin.url, rclone, verify=str(authority.bundle))
            rclone.assert_holds("key", origin.resource.content)
        assert (result.retries, origin.torn) == (1, 1)

    @pytest.mark.parametrize("promise", [{}, {"expected_size": SIZE}], ids=["nothing promised", "size promised"])
    def test_tls_that_ends_without_a_word_is_no_end_of_a_body(
        self, rclone: Store, authority: Authority, promise: dict[str, Any]
    ) -> None:
        """Where closing is all that marks the end."""
        rclone.put("key", OLD)
        cut, about = faults.close_after(6 * MiB), Resource(SIZE, ranges=False, framing="close")
        with Torn(about, cut, tls=authority.server()) as origin, pytest.raises(SourceError):
            transfer(origin.url, rclone, verify=str(authority.bundle), **promise)
        assert rclone.get("key") == OLD
        assert rclone.uploads() == []


class Torn(Origin):
    """Ends TLS by closing the connection, without the close_notify that an honest peer sends."""

    torn = 0

    def _send(self, sock: socket.socket, request: Request, reply: Reply, exchange: Exchange) -> bool:
        if reply.ending != "fin":
            return super()._send(sock, request, reply, exchange)
        reply.ending = "keep"
        super()._send(sock, request, reply, exchange)
        self.torn += 1
        sock.shutdown(socket.SHUT_WR)  # of an SSLSocket: only what lies below TLS
        return False


class Renewed:
    """
    Credentials that boto3 has to renew before each request, and who gets to see which.

    :param fails: times that renewing fails once it was done.
    """

    def __init__(self, fails: int = 0) -> None:
        self.given = 0
        self._fails = fails

    def _renew(self) -> dict[str, str]:
        if self.given and self._fails:
            self._fails -= 1
            raise ConnectTimeoutError(endpoint_url="https://sts.example.invalid")
        self.given += 1
        # Within the quarter of an hour before the end boto3 asks for new ones.
        ends = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=1)
        return {
            "access_key": f"KEY{self.given}",
            "secret_key": "secret",
            "token": "token",
            "expiry_time": ends.isoformat(),
        }

    def copy(self, url: str, store: Store, endpoint_url: str, listener: Recorder) -> None:
        session = get_session()
        session._credentials = RefreshableCredentials.create_from_metadata(  # type: ignore[attr-defined]
            self._renew(), refresh_using=self._renew, method="assume-role"
        )
        config = transfer_config(None, connections=4, timeouts=Timeouts(connect=2, read=15))
        client: Any = session.create_client("s3", endpoint_url=endpoint_url, region_name="us-east-1", config=config)
        options = CopyOptions(part_size=PART, connections=1, timeouts=QUICK, retry=EAGER, policy=LOOPBACK)
        try:
            copy(http_source(url, policy=LOOPBACK), S3Sink(client, store.bucket, "key"), options, listener=listener)
        finally:
            client.close()


def key_of(call: Call) -> str:
    found = re.search(r"Credential=(\w+)/", call.head.get("Authorization"))
    return found[1] if found else ""


class TestCredentials:
    def test_a_part_refused_for_expired_credentials_is_sent_with_new_ones(self, moto: Store) -> None:
        """A copy of hours outlives the session that it began with."""
        heard, renewed = Recorder(), Renewed()
        expired = s3fault.refuse("UploadPart", 400, "ExpiredToken").on_part(2)
        with serving(SIZE) as origin, S3FaultProxy(moto.endpoint_url, expired) as proxy:
            renewed.copy(origin.url, moto, proxy.endpoint_url, heard)
            moto.assert_holds("key", origin.resource.content)
        first, second = [key_of(call) for call in proxy.of("UploadPart") if call.part == 2]
        assert first != second
        assert "ExpiredToken" in heard.of(Retried)[0].reason

    def test_credentials_that_cannot_be_renewed_just_now_are_asked_for_again(self, moto: Store) -> None:
        """The role's own service is down for a moment; nothing of the copy is lost."""
        heard, renewed = Recorder(), Renewed(fails=2)
        with serving(SIZE) as origin, S3FaultProxy(moto.endpoint_url) as proxy:
            renewed.copy(origin.url, moto, proxy.endpoint_url, heard)
            moto.assert_holds("key", origin.resource.content)
        assert len(heard.of(Retried)) == 2


class Elsewhere(S3FaultProxy):
    """A store of another region, as long as requests are signed for the one that the client was given."""

    def _strikes(self, fault: S3Fault, call: Call) -> bool:
        return "/us-east-1/" in call.head.get("Authorization") and super()._strikes(fault, call)


class Slow(S3FaultProxy):
    """Gives the answer to Complete as S3 does when that takes long: a beginning, white space, and the rest."""

    def _tell(self, sock: socket.socket, call: Call, answer: Answer, fault: S3Fault) -> None:
        if call.operation != "CompleteMultipartUpload":
            super()._tell(sock, call, answer, fault)
            return
        beginning = re.match(rb"\s*(<\?xml[^>]*\?>)?", answer.body)
        assert beginning
        spaces, at = 8, beginning.end()
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(answer.body) + spaces}\r\n\r\n"
        sock.sendall(head.encode() + answer.body[:at])
        for _ in range(spaces):
            time.sleep(0.5)
            sock.sendall(b" ")
        sock.sendall(answer.body[at:])


class TestStore:
    def test_a_bucket_in_another_region_is_found(self, moto: Store) -> None:
        """The first answer says where it is; everything after it is signed for there."""
        away = s3fault.refuse("*", 301, "PermanentRedirect", x_amz_bucket_region="eu-central-1").always()
        with serving(SIZE) as origin, Elsewhere(moto.endpoint_url, away) as proxy:
            transfer(origin.url, moto, endpoint_url=proxy.endpoint_url)
            moto.assert_holds("key", origin.resource.content)
        assert [call.operation for call in proxy.calls if call.fault] == ["HeadObject"]

    def test_a_complete_that_takes_long_is_waited_for(self, localstack: Store) -> None:
        """White space now and then says that it is still at work, longer than any one read may take."""
        with serving(SIZE) as origin, Slow(localstack.endpoint_url) as proxy:
            result = transfer(
                origin.url, localstack, endpoint_url=proxy.endpoint_url, store_timeouts=Timeouts(connect=2, read=3)
            )
            localstack.assert_holds("key", origin.resource.content)
        assert (result.retries, proxy.operations.count("CompleteMultipartUpload")) == (0, 1)

    def test_all_pages_of_parts_are_read(self, localstack: Store) -> None:
        """S3 lists a thousand at most at once; here two, so that three are two pages."""
        config = transfer_config(None, connections=4, timeouts=Timeouts(connect=2, read=15))
        client: Any = get_session().create_client("s3", endpoint_url=localstack.endpoint_url, config=config)
        client.meta.events.register("provide-client-params.s3.ListParts", lambda params, **_: {**params, "MaxParts": 2})
        try:
            sink, content = S3Sink(client, localstack.bucket, "key"), Content(SIZE)
            upload = sink.begin(ObjectHeaders(content_type=None, content_encoding=None, metadata={}))
            sent = [
                sink.put_part(upload, number, ContentPart(content, (number - 1) * PART, min(number * PART, SIZE)))
                for number in (1, 2, 3)
            ]
            asked: list[object] = []
            client.meta.events.register("before-call.s3.ListParts", lambda **call: asked.append(call))
            found = sink.list_parts(upload)
            sink.abort(upload)
        finally:
            client.close()
        assert len(asked) == 2
        assert [(part.number, part.size, part.crc) for part in found] == [(p.number, p.size, p.crc) for p in sent]

    def test_a_conflict_at_complete_fails_the_copy_and_leaves_nothing(self, localstack: Store) -> None:
        """409: S3 wants a new upload for it, which is what the next try begins."""
        localstack.put("key", OLD)
        busy = s3fault.refuse("CompleteMultipartUpload", 409, "ConditionalRequestConflict")
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, busy) as proxy:
            with pytest.raises(SinkConflict, match="was aborted"):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url)
            assert localstack.get("key") == OLD
            assert localstack.uploads() == []
            assert transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url).status == "copied"

    def test_a_complete_that_is_refused_for_its_checksum_is_an_error(self, localstack: Store) -> None:
        """The copy ends with the upload aborted, and the old object stays."""
        localstack.put("key", OLD)
        wrong = s3fault.refuse("CompleteMultipartUpload", 400, "BadDigest").always()
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, wrong) as proxy:
            with pytest.raises(IntegrityError, match="was aborted"):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url)
            assert proxy.operations.count("AbortMultipartUpload") == 1
        assert localstack.get("key") == OLD
        assert localstack.uploads() == []


def test_signals_during_the_abort_change_nothing(moto: Store) -> None:
    """Whoever is impatient presses Ctrl-C again, and a container's end sends SIGTERM on top."""
    silent = s3fault.hold_answer("AbortMultipartUpload", 1.0).always()
    with serving(40 * MiB, faults.stall_after(3 * MiB)) as origin, S3FaultProxy(moto.endpoint_url, silent) as proxy:
        process = subprocess.Popen(
            [*COMMAND, "copy", origin.url, f"s3://{moto.bucket}/key", "--endpoint-url", proxy.endpoint_url,
             "--part-size", "5MiB"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        try:
            wait_for(lambda: len(moto.uploads()) == 1 and len(origin.exchanges) >= 8)
            process.send_signal(signal.SIGTERM)
            wait_for(lambda: "AbortMultipartUpload" in proxy.operations)
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGINT):
                process.send_signal(number)
            _, errors = process.communicate(timeout=60)
        finally:
            process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert errors.count("The multipart upload was aborted.") == 1
    assert "Traceback" not in errors
    moto.assert_clean()


def tracing() -> bool:
    """Whether processes may be traced here; in some containers they may not."""
    found = shutil.which("strace")
    return bool(found) and in_a_process(["strace", "-o", "/dev/null", "true"]).code == 0


@pytest.mark.skipif(not tracing(), reason="needs strace, and to be allowed to use it")
@pytest.mark.parametrize("what", ["get", "download"])
def test_a_disk_that_fails_a_write_is_told(store: ReadStore, tmp_path: Path, what: str) -> None:
    """EIO, and what lay under the name before is still there."""
    store.put("p/big", 40 * MiB)
    (tmp_path / "to").mkdir()
    file = tmp_path / "to" / "big"
    file.write_bytes(OLD)
    source, place = {"get": ("s3://lake/p/big", file), "download": ("s3://lake/p/", file.parent)}[what]
    # What is written first are the names of this process, for those who find the directory locked.
    calls = "pwrite64,pwritev,pwritev2"
    fails = ["strace", "-f", "-o", "/dev/null", "-e", f"trace={calls}", "-e", f"inject={calls}:error=EIO:when=3+"]
    done = in_a_process([*fails, *COMMAND, what, source, str(place), "--endpoint-url", store.endpoint_url, "--quiet"])
    assert done.code == 1, done
    assert "the disk or its connection fails" in done.errors
    assert "Traceback" not in done.errors
    assert file.read_bytes() == OLD
