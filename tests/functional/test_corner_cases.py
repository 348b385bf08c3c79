"""Faults that come in twos, at the wrong moment, or from where nobody looks; each of them was handled wrongly once."""

from __future__ import annotations

import logging
import socket
import ssl
import threading
import time
import traceback
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import requests
from botocore.exceptions import ClientError

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.events import Noted, Progressed, Started
from airflow_s3stream.engine.httperrors import translated
from airflow_s3stream.engine.httpsource import _new_session
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    ConfigError,
    S3StreamError,
    SourceChanged,
    SourceDenied,
    SourceMisbehaved,
    SourceStalled,
    SourceUnavailable,
    Stopped,
)
from tests.support import faults, s3fault
from tests.support.content import Content
from tests.support.faults import Fault
from tests.support.origin import Origin, serving
from tests.support.resource import Redirect, Resource, http_date
from tests.support.s3fault import S3Fault, S3FaultProxy
from tests.support.transfers import EAGER, Recorder, quick, transfer
from tests.support.waiting import wait_for

if TYPE_CHECKING:
    from tests.support.stores import Store
    from tests.support.tls import Authority

SIZE = 12 * MiB
SMALL = 100_000
BROKEN = faults.close_after(6 * MiB).once


class TestSecrets:
    """Nothing of a URL's query or user info, and no credential, goes where it should not."""

    def test_a_traceback_names_no_secret(self, rclone: Store) -> None:
        """The HTTP libraries quote the whole URL; tracebacks print what they say."""
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://ann:hunter2@127.0.0.1:{unused.getsockname()[1]}/x?sig=hunter3"
            with pytest.raises(SourceUnavailable) as caught:
                transfer(url, rclone, retry=replace(EAGER, attempts=1))
        assert "hunter" not in "".join(traceback.format_exception(caught.value))

    def test_the_librarys_own_log_names_no_secret(self, rclone: Store, caplog: pytest.LogCaptureFixture) -> None:
        """urllib3 warns of a malformed header with the whole URL."""

        def spoil(_request: object, reply: object) -> None:
            reply.headers.insert(0, ("bad header no colon\r\nX", "y"))  # type: ignore[attr-defined]

        with serving(SMALL, Fault("malformed", spoil)) as origin, caplog.at_level(logging.DEBUG):
            with pytest.raises(S3StreamError):
                transfer(origin.url + "?sig=hunter3", rclone)
        assert any("Failed to parse headers" in record.getMessage() for record in caplog.records)
        assert not [record for record in caplog.records if "hunter3" in record.getMessage()]

    def test_a_client_certificate_is_not_shown_to_a_stranger(self, rclone: Store, authority: Authority) -> None:
        """The host that the source redirects to learns nothing of it."""
        shown: dict[str, set[bool]] = {"own": set(), "stranger": set()}

        class Asking(Origin):
            name = "own"

            def converse(self, sock: socket.socket, number: int) -> None:
                shown[self.name].add(bool(sock.getpeercert()))  # type: ignore[attr-defined]
                super().converse(sock, number)

        def asks() -> ssl.SSLContext:
            context = authority.server()
            context.verify_mode = ssl.CERT_OPTIONAL
            context.load_verify_locations(str(authority.bundle))
            return context

        own, stranger = Asking(Resource(SIZE), tls=asks()), Asking(Resource(SIZE), tls=asks())
        stranger.name = "stranger"
        session = _new_session(str(authority.bundle))
        session.cert = str(sorted(authority._folder.glob("server-*.pem"))[-1])
        with own, stranger, session:
            own.routes["/moved"] = Redirect(stranger.url_of("/object.bin", "localhost"))
            transfer(own.url_of("/moved"), rclone, session=session)
        assert shown == {"own": {True}, "stranger": {False}}

    def test_a_redirect_through_a_stranger_brings_no_credentials_back(self, rclone: Store) -> None:
        """Once another host has had a say in where we are, ours are kept."""
        with serving(SIZE) as own, serving(1) as stranger:
            own.routes["/start"] = Redirect(stranger.url_of("/bounce"), 302)
            stranger.routes["/bounce"] = Redirect(own.url_of("/object.bin"), 302)
            transfer(own.url_of("/start"), rclone, headers={"Authorization": "Bearer S"})
            sent = [(e.request.target, e.header("Authorization")) for e in own.exchanges]
        assert sent[0] == ("/start", "Bearer S")
        assert {authorization for _, authorization in sent[1:]} == {None}


class TestSameSource:
    """Which source an object was made from, and whether it is still the same."""

    def test_another_url_with_the_same_etag_is_another_source(self, rclone: Store) -> None:
        """skip_unchanged compares the URL too; nginx makes ETags of time and size alone."""
        with serving(SIZE) as first, serving(SIZE, seed=2) as second:
            transfer(first.url, rclone)
            assert transfer(second.url, rclone, if_exists="skip_unchanged").status == "copied"
        assert rclone.sha256("key") == Content(SIZE, 2).sha256()

    def test_another_query_is_another_source_and_another_signature_is_not(self, rclone: Store) -> None:
        """Although both are shown as the same redacted URL."""
        with serving(SIZE) as origin:
            transfer(f"{origin.url}?day=1&X-Amz-Signature=a", rclone)
            again = transfer(f"{origin.url}?day=1&X-Amz-Signature=b", rclone, if_exists="skip_unchanged")
            other = transfer(f"{origin.url}?day=2&X-Amz-Signature=b", rclone, if_exists="skip_unchanged")
        assert (again.status, other.status) == ("skipped", "copied")

    def test_a_date_that_grows_strong_meanwhile_is_the_same_date(self, rclone: Store) -> None:
        """59 seconds old when probed, and over a minute when the stream is mended."""
        modified = http_date(59)
        with serving(SIZE, BROKEN(), etag=None, modified=modified, ranges=False) as origin:
            transfer(origin.url, rclone, retry=replace(EAGER, base=3.0, cap=4.0))
            rclone.assert_holds("key", origin.resource.content)

    def test_a_length_that_becomes_known_is_no_change(self, rclone: Store) -> None:
        """Chunked at first, with a Content-Length the second time."""
        known = Fault("length", version=lambda resource: replace(resource, framing="length")).from_request(2)
        with serving(SIZE, BROKEN(), known, framing="chunked", ranges=False, etag=None) as origin:
            transfer(origin.url, rclone)
            rclone.assert_holds("key", origin.resource.content)

    def test_an_encoded_source_is_mended_at_the_next_byte(self, rclone: Store) -> None:
        """Its ranges are of the encoded bytes, which are what is stored."""
        with serving(SIZE, BROKEN(), encoding="gzip") as origin:
            transfer(origin.url, rclone)
            assert origin.statuses == [206, 206]
            assert rclone.sha256("key") == Content(SIZE).sha256()

    def test_a_source_that_shrank_has_changed(self, rclone: Store) -> None:
        """416 to a range that was there."""
        shrunk = Fault("short", version=lambda r: replace(r, size=6 * MiB, obeys_if_match=False)).from_request(2)
        with serving(SIZE, shrunk) as origin, pytest.raises(SourceChanged):
            transfer(origin.url, rclone)

    def test_a_date_without_a_zone_is_read_as_utc(self, rclone: Store) -> None:
        """Nothing crashes on it."""
        with serving(SIZE, etag=None, modified="Mon, 01 Jan 2024 00:00:00") as origin:
            assert transfer(origin.url, rclone).parts == 3


class TestRedirects:
    """Where they lead, and when they expire."""

    def test_a_target_that_expires_is_resolved_anew_whatever_it_answers(self, rclone: Store) -> None:
        """S3 says 400 to an expired session token."""
        expired = faults.status(400, b"expired").where(lambda r: r.path == Origin.PATH).on_request(3)
        with serving(SIZE, expired) as origin:
            origin.routes["/moved"] = Redirect(Origin.PATH, 307)
            transfer(origin.url_of("/moved"), rclone)
            rclone.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("target", ["http://[::1/x", "http://127.0.0.1:99999/x"])
    def test_a_target_that_is_no_url_is_the_sources_fault(self, rclone: Store, target: str) -> None:
        """A typed error, not a crash."""
        with serving(SIZE) as origin:
            origin.routes["/moved"] = Redirect(target, 302)
            with pytest.raises((SourceMisbehaved, ConfigError)):
                transfer(origin.url_of("/moved"), rclone)

    def test_a_target_in_utf8_is_followed(self, rclone: Store) -> None:
        """Servers write such names as they are, although headers are Latin-1."""

        class Plain(Origin):
            def _send_head(self, sock: socket.socket, reply: object) -> None:
                if reply.status == 302:  # type: ignore[attr-defined]
                    head = "HTTP/1.1 302 Found\r\nLocation: /\u00fc.bin\r\nContent-Length: 0\r\n\r\n"
                    sock.sendall(head.encode())
                    return
                super()._send_head(sock, reply)  # type: ignore[arg-type]

        with Plain(Resource(SIZE)) as origin:
            origin.routes |= {"/moved": Redirect("/x", 302), "/%C3%BC.bin": Resource(SIZE)}
            assert transfer(origin.url_of("/moved"), rclone).bytes == SIZE


class TestDoubt:
    """What the store may have done although nobody heard."""

    def test_a_stop_during_create_leaves_no_upload(self, rclone: Store) -> None:
        """The answer comes after the stop, and what it began is aborted."""
        held = S3Fault("slow", "CreateMultipartUpload", hold=1.2)
        with serving(SIZE) as origin, S3FaultProxy(rclone.endpoint_url, held) as proxy:
            stop = StopFlag()
            proxy.when_asked("CreateMultipartUpload", lambda: stop.request("enough"))
            with pytest.raises(Stopped):
                transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, stop=stop)
            wait_for(lambda: "AbortMultipartUpload" in proxy.operations)
        assert rclone.uploads() == []

    def test_an_upload_is_aborted_again_when_parts_were_still_under_way(self, rclone: Store) -> None:
        """A part that arrives after the abort may stay; so says S3's documentation."""
        stop, hang = StopFlag(), s3fault.hold_answer("UploadPart", 20).always()
        with serving(SIZE) as origin, S3FaultProxy(rclone.endpoint_url, hang) as proxy:

            def end() -> None:
                # All are at the store, and their senders wait for its word.
                wait_for(lambda: sum(call.received for call in proxy.of("UploadPart")) >= SIZE)
                stop.request("enough")

            threading.Thread(target=end).start()
            with pytest.raises(Stopped, match="was aborted"):
                transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, stop=stop)
            assert proxy.operations.count("AbortMultipartUpload") == 2

    def test_an_upload_that_may_be_left_is_told(self, rclone: Store) -> None:
        """The answer to Create was lost, and nobody may look for it."""
        heard = Recorder()
        lost = s3fault.lose_answer("CreateMultipartUpload")
        blind = s3fault.refuse("ListMultipartUploads", 403, "AccessDenied").always()
        with serving(SIZE) as origin, S3FaultProxy(rclone.endpoint_url, lost, blind) as proxy:
            transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, listener=heard)
        assert any("may be left, empty" in event.text for event in heard.of(Noted))

    def test_an_echo_after_a_lost_answer_proves_nothing(self, rclone: Store) -> None:
        """rclone keeps the checksum header of a PUT and shows it again, whatever bytes it holds."""
        both = replace(s3fault.flip_bit("PutObject", 60_000), cut_answer=-1)
        with serving(SMALL) as origin, S3FaultProxy(rclone.endpoint_url, both) as proxy:
            result = transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, retry=replace(EAGER, attempts=1))
        assert result.verification == "size"

    def test_a_published_object_that_cannot_be_looked_at_is_said_to_be_published(self, rclone: Store) -> None:
        """The person on call must not look for what is missing."""
        blind = s3fault.refuse("HeadObject", 500, "InternalError").on(2, None)
        with serving(SIZE) as origin, S3FaultProxy(rclone.endpoint_url, blind) as proxy:
            with pytest.raises(S3StreamError, match="The object is published, but could not be verified"):
                transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url)
            rclone.assert_holds("key", origin.resource.content)

    def test_any_refusal_after_a_lost_answer_is_looked_into(self, rclone: Store) -> None:
        """Some stores say InvalidPart to the repetition; the object is there, so it worked."""
        lost = s3fault.lose_answer("CompleteMultipartUpload")
        refused = s3fault.refuse("CompleteMultipartUpload", 400, "InvalidPart").on(2)
        with serving(SIZE) as origin, S3FaultProxy(rclone.endpoint_url, lost, refused) as proxy:
            assert transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url).status == "copied"
            rclone.assert_holds("key", origin.resource.content)

    def test_a_stop_during_publishing_does_not_deny_what_may_still_happen(self, rclone: Store) -> None:
        """The request is on its way to the store when the stop comes."""

        class Slow(S3FaultProxy):
            def _ask_store(self, body: object, call: object) -> object:
                if call.operation == "PutObject":  # type: ignore[attr-defined]
                    body = [b"".join(body)]  # type: ignore[call-overload]
                    time.sleep(1.5)
                return super()._ask_store(iter(body), call)  # type: ignore[call-overload, arg-type]

        with serving(SMALL) as origin, Slow(rclone.endpoint_url) as proxy:
            rclone.put("key", b"old")
            stop = StopFlag()
            proxy.when_asked("PutObject", lambda: stop.request("enough"))
            with pytest.raises(Stopped, match="may still be under way"):
                transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, stop=stop)

            def there() -> bool:
                with suppress(ClientError):  # rclone answers 500 while it replaces the file
                    return len(rclone.get("key")) == SMALL
                return False

            wait_for(there)

    def test_the_command_to_abort_can_be_pasted(self, rclone: Store) -> None:
        """Quoted, and for the store that was used."""
        faulty = [
            s3fault.refuse("AbortMultipartUpload", 403, "AccessDenied").always(),
            s3fault.refuse("UploadPart", 403, "AccessDenied").on_part(2),
        ]
        with serving(SIZE) as origin, S3FaultProxy(rclone.endpoint_url, *faulty) as proxy:
            with pytest.raises(S3StreamError) as caught:
                transfer(origin.url, rclone, key="it's", endpoint_url=proxy.endpoint_url)
            assert f"--endpoint-url {proxy.endpoint_url}" in str(caught.value)
        assert "--key 'it'\"'\"'s'" in str(caught.value)

    @pytest.mark.parametrize("operation", ["CompleteMultipartUpload", "PutObject"])
    def test_a_store_without_conditions_is_used_without(self, rclone: Store, operation: str) -> None:
        """501 to If-None-Match; the key was empty when we looked."""
        size = SIZE if operation == "CompleteMultipartUpload" else SMALL
        refused = s3fault.refuse(operation, 501, "NotImplemented")
        with serving(size) as origin, S3FaultProxy(rclone.endpoint_url, refused) as proxy:
            assert transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, if_exists="fail").status == "copied"
            rclone.assert_holds("key", origin.resource.content)

    def test_a_conflict_of_puts_is_tried_again(self, rclone: Store) -> None:
        """As S3's documentation says of 409 ConditionalRequestConflict."""
        busy = s3fault.refuse("PutObject", 409, "ConditionalRequestConflict")
        with serving(SMALL) as origin, S3FaultProxy(rclone.endpoint_url, busy) as proxy:
            result = transfer(origin.url, rclone, endpoint_url=proxy.endpoint_url, if_exists="fail")
        assert (result.status, result.retries) == ("copied", 1)


class TestPatience:
    """How long to wait, and for what."""

    def test_a_stream_waits_as_long_as_it_is_asked_to(self, rclone: Store) -> None:
        """No store's request hangs on it, unlike a relayed part's."""
        busy = faults.throttle(503, "6").on_request(2)
        policy = replace(EAGER, retry_after_cap=60.0)
        with serving(SIZE, BROKEN(), busy, ranges=False, etag=None) as origin:
            result = transfer(origin.url, rclone, retry=policy)
            rclone.assert_holds("key", origin.resource.content)
        assert result.seconds >= 6

    def test_headers_that_drip_for_ever_are_a_stall(self, rclone: Store) -> None:
        """Each byte comes in time, and the head never ends."""
        drip = [faults.head_drip(0.3).from_request(2), faults.header_flood(90).from_request(2)]
        with serving(SIZE, *drip) as origin, pytest.raises(SourceStalled, match="did not answer in"):
            transfer(
                origin.url, rclone, timeouts=quick(connect=1, stall=1, read=1, deadline=40),
                retry=replace(EAGER, attempts=2),
            )  # fmt: skip

    def test_a_slow_stream_is_no_stall(self, rclone: Store) -> None:
        """800 kB/s: a MiB takes longer than the stall timeout, a smaller read does not."""
        with serving(9 * MiB, faults.drip(16 * 1024, 0.02), etag=None) as origin:
            result = transfer(origin.url, rclone, timeouts=quick(stall=1.0, deadline=40))
        assert (result.retries, result.bytes) == (0, 9 * MiB)

    def test_the_width_that_throttling_halves_is_the_plans(self, rclone: Store) -> None:
        """Three parts are three connections, whatever the setting allows."""
        heard = Recorder()
        with serving(SIZE, faults.drip(256 * 1024, 0.02)) as origin:
            transfer(origin.url, rclone, listener=heard, connections=16, progress_interval=0.1)
        assert heard.of(Started)[0].plan.connections == 3
        assert {event.connections for event in heard.of(Progressed)} == {3}

    def test_a_proxy_that_wants_credentials_is_asked_once(self, rclone: Store) -> None:
        """407 to CONNECT."""
        asked = []

        def serve(listening: socket.socket) -> None:
            with listening.accept()[0] as sock:
                asked.append(sock.recv(9999))
                sock.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")

        with socket.create_server(("127.0.0.1", 0)) as listening, requests.Session() as session:
            thread = threading.Thread(target=serve, args=(listening,))
            thread.start()
            session.proxies = {"https": f"http://127.0.0.1:{listening.getsockname()[1]}"}
            with pytest.raises(SourceDenied, match="proxy wants credentials"):
                transfer("https://example.invalid/x", rclone, session=session)
            thread.join()
        assert len(asked) == 1


@pytest.mark.parametrize("size", [SMALL, 40 * MiB], ids=["put", "parts"])
def test_an_endless_source_is_skipped_at_the_limit(rclone: Store, size: int) -> None:
    """Not at its end, which may never come."""
    with serving(size, ranges=False, framing="chunked") as origin:
        result = transfer(origin.url, rclone, max_bytes=size // 4, if_size_outside="skip")
        assert sum(exchange.sent for exchange in origin.exchanges) < size or size == SMALL
    assert (result.status, "longer than max_bytes" in result.reason) == ("skipped", True)
    rclone.assert_clean()


class TestInput:
    """Bad input is a typed error."""

    @pytest.mark.parametrize("value", ["\u2192secret", "a\nb-secret", "secret-of-a-file\n"])
    def test_headers_that_http_cannot_carry(self, rclone: Store, value: str) -> None:
        """Named, and not quoted."""
        with serving(SIZE) as origin, pytest.raises(ConfigError, match="headers") as caught:
            transfer(origin.url, rclone, headers={"X-Token": value})
        assert "secret" not in str(caught.value)

    def test_what_the_library_says_of_a_header_is_not_quoted(self) -> None:
        """Some versions of requests let a newline at the end pass, and http.client then quotes the value."""
        said = "Invalid header value b'canary'"
        with pytest.raises(ConfigError, match="headers") as caught, translated("GET", "https://h/x"):
            raise ValueError(said)
        assert "canary" not in "".join(traceback.format_exception(caught.value))

    def test_a_header_of_none_is_not_sent(self, rclone: Store) -> None:
        """As with requests."""
        with serving(SMALL) as origin:
            transfer(origin.url, rclone, headers={"X-Token": None})  # type: ignore[dict-item]
            assert origin.exchanges[0].header("X-Token") is None


@pytest.mark.parametrize("size", [SMALL, SIZE], ids=["put", "parts"])
@pytest.mark.parametrize(
    ("asked", "kept"),
    [
        ({"server_side_encryption": "AES256"}, {"ServerSideEncryption": "AES256"}),
        (
            {"server_side_encryption": "aws:kms", "kms_key_id": "alias/lake"},
            {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "alias/lake"},
        ),
    ],
    ids=["AES256", "KMS"],
)
def test_encryption_is_asked_for(moto: Store, size: int, asked: dict[str, str], kept: dict[str, str]) -> None:
    """Of the object, small or in parts, and kept by a store that knows it."""
    with serving(size) as origin:
        transfer(origin.url, moto, object=asked)
        moto.assert_holds("key", origin.resource.content)
    head = moto.head("key")
    assert {name: head.get(name) for name in kept} == kept
