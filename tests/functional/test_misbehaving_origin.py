"""Sources that break, lie, change and refuse: the right bytes, or the right error and nothing published.

An old object lies at the key throughout, so "nothing published" means that it is still there. rclone is the
store: it is the fastest, and what the source does is no concern of the store.
"""

from __future__ import annotations

import hashlib
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from typing import Any

import pytest
import requests

from airflow_s3stream.config import MiB, RetryPolicy
from airflow_s3stream.engine.events import Progressed, Retried, Started
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    IntegrityError,
    S3StreamError,
    SourceChanged,
    SourceDenied,
    SourceError,
    SourceMisbehaved,
    SourceMissing,
    SourceRefused,
    SourceStalled,
    SourceThrottled,
    SourceTruncated,
    SourceUnavailable,
    Stopped,
)
from tests.support import faults
from tests.support.faults import Fault
from tests.support.origin import Origin, serving
from tests.support.resource import Redirect, Request, http_date
from tests.support.stores import Store
from tests.support.tls import Authority
from tests.support.transfers import EAGER, PART, QUICK, STEADY, Recorder, quick, transfer
from tests.support.waiting import SOON

SIZE = 12 * MiB  # two full parts and a piece
SMALL = 100_000  # one PutObject
FRACTION = 30_000  # bytes of a part after which things happen

RELAY: dict[str, Any] = {}
STREAM: dict[str, Any] = {"ranges": False}
CHUNKED: dict[str, Any] = {"ranges": False, "framing": "chunked"}
MODES = pytest.mark.parametrize("about", [RELAY, STREAM, CHUNKED], ids=["relay", "stream", "chunked"])
SIZES = pytest.mark.parametrize("size", [SMALL, SIZE], ids=["put", "parts"])


def second_part(request: Request) -> bool:
    """Whether this asks for the second part, wherever in it the range begins."""
    return request.range is not None and PART <= request.range[0] < 2 * PART


@pytest.fixture
def store(rclone: Store) -> Store:
    rclone.put("key", b"old")
    return rclone


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    """Fail if a worker of the transfer is still alive a moment after it ended."""
    yield
    deadline = time.monotonic() + SOON
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("s3stream")]:
        assert time.monotonic() < deadline, left
        time.sleep(0.02)


def assert_copied(origin: Origin, store: Store, **options: Any) -> Any:
    result = transfer(origin.url, store, **options)
    assert result.status == "copied"
    store.assert_holds("key", origin.resource.content)
    return result


def assert_refused(url: str, store: Store, error: type[S3StreamError], **options: Any) -> S3StreamError:
    with pytest.raises(error) as caught:
        transfer(url, store, **options)
    assert type(caught.value) is error
    assert store.get("key") == b"old"
    assert store.uploads() == []
    return caught.value


class TestBreaks:
    """Connections that end early are opened anew where they broke, and nothing is lost or doubled."""

    @pytest.mark.parametrize(
        "fault",
        [
            faults.close_after(FRACTION).once(),
            faults.reset_after(FRACTION).once(),
            faults.close_after(0).once(),
            faults.stall_after(FRACTION).once(),
            faults.status(500).once(),
            faults.status(502).times(2),
        ],
        ids=lambda fault: fault.name,
    )
    @SIZES
    @MODES
    def test_what_breaks_once_is_mended(self, store: Store, fault: Fault, size: int, about: dict[str, Any]) -> None:
        """Even where the source has to be read again from its start, which is then compared."""
        with serving(size, fault, **about) as origin:
            result = assert_copied(origin, store, timeouts=QUICK if "stall" in fault.name else STEADY)
            assert origin.exchanges[0].faults == [fault.name]
        assert result.retries == (2 if "502" in fault.name else 1)

    @SIZES
    def test_length_that_was_a_lie_is_noticed(self, store: Store, size: int) -> None:
        """The first answer promises more than there is, the second does not: which is right cannot be known."""
        with serving(size, faults.longer_length(100).once(), **STREAM) as origin:
            assert_refused(origin.url, store, SourceChanged)

    @SIZES
    def test_length_that_contradicts_its_range_is_not_used(self, store: Store, size: int) -> None:
        """The probe is asked again without a range, and that answer is whole."""
        with serving(size, faults.longer_length(100).once()) as origin:
            assert_copied(origin, store)
            assert origin.ranges[:2] == [(0, None), None]

    def test_only_the_missing_bytes_of_a_part_are_asked_for_again(self, store: Store) -> None:
        """The other parts go on, and the broken one continues where it broke."""
        with serving(SIZE, faults.close_after(FRACTION).where(second_part).once()) as origin:
            assert_copied(origin, store)
            assert sorted(asked for asked in origin.ranges if asked) == [
                (0, None),
                (PART, 2 * PART - 1),
                (PART + FRACTION, 2 * PART - 1),
                (2 * PART, SIZE - 1),
            ]
            assert all(exchange.header("If-Match") == '"v1"' for exchange in origin.exchanges[1:])

    def test_source_that_breaks_every_two_mebibytes_is_copied(self, store: Store) -> None:
        """Breaks with progress between them cost nothing from the retry budget."""
        with serving(SIZE, faults.close_after(2 * MiB)) as origin:
            assert_copied(origin, store, retry=RetryPolicy(attempts=2, budget=1, base=0.01, cap=0.02))

    def test_stream_resumes_at_its_offset_where_ranges_allow(self, store: Store) -> None:
        """One stream, because MD5 must see the bytes in order; the rest is asked for, not all of it."""
        with serving(SIZE, faults.close_after(6 * MiB).once()) as origin:
            expected = f"md5:{origin.resource.content.digest('md5').hex()}"
            assert_copied(origin, store, expected_checksum=expected)
            assert [asked and asked[0] for asked in origin.ranges] == [0, 6 * MiB]

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (faults.close_after(FRACTION), SourceTruncated),
            (faults.stall_after(FRACTION), SourceStalled),
            (faults.reset_after(FRACTION), SourceUnavailable),
            (faults.status(500), SourceUnavailable),
        ],
        ids=lambda value: getattr(value, "name", value.__name__ if isinstance(value, type) else value),
    )
    @SIZES
    @pytest.mark.parametrize("about", [STREAM, CHUNKED], ids=["stream", "chunked"])
    def test_what_stays_broken_fails_and_says_how_often_it_was_tried(
        self, store: Store, fault: Fault, error: type[S3StreamError], size: int, about: dict[str, Any]
    ) -> None:
        """A short body is never published, and the error tells the attempts."""
        patience = RetryPolicy(attempts=3, budget=20, base=0.01, cap=0.02)
        timeouts = quick(read=0.4, stall=0.4)
        with serving(size, fault, **about) as origin, pytest.raises(SourceError) as caught:
            transfer(origin.url, store, retry=patience, timeouts=timeouts)
        # A stall is noticed by whichever of the two timeouts is looked at first.
        assert type(caught.value) is error or (error is SourceStalled and type(caught.value) is SourceUnavailable)
        assert len(caught.value.attempts) == 2
        assert caught.value.retryable
        assert store.get("key") == b"old"
        assert store.uploads() == []

    @SIZES
    def test_length_that_is_always_a_lie_fails(self, store: Store, size: int) -> None:
        """A hundred bytes are promised and never come."""
        with serving(size, faults.longer_length(100), **STREAM) as origin:
            assert_refused(origin.url, store, SourceTruncated)

    @pytest.mark.parametrize("count", [0, 1, FRACTION])
    def test_relayed_part_that_stays_broken_fails(self, store: Store, count: int) -> None:
        """A part whose ranges always end at the same byte gets nowhere."""

        def spoil(request: Request, reply: Any) -> None:
            reply.cut_after, reply.ending = max(0, PART + count - reply.start), "fin"

        with serving(SIZE, Fault("cut at one byte", spoil).where(second_part)) as origin:
            error = assert_refused(origin.url, store, SourceTruncated)
            assert error.retryable
            assert 3 <= sum(1 for exchange in origin.exchanges if exchange.faults) <= 5

    def test_reread_that_differs_is_noticed(self, store: Store) -> None:
        """A source without ranges breaks, and what it sends the second time is something else."""
        with serving(
            SIZE, faults.close_after(6 * MiB).once(), faults.rewritten().from_request(2), ranges=False, etag=None
        ) as origin:
            # The etag is rewritten too, so hide it: only the bytes can tell.
            origin.faults.append(faults.relabelled(None))
            assert_refused(origin.url, store, SourceChanged)


class TestSilence:
    def test_stall_is_noticed_in_time(self, store: Store) -> None:
        """A source that goes silent without closing costs one timeout per attempt, not for ever."""
        patience = RetryPolicy(attempts=2, budget=5, base=0.01, cap=0.02)
        began = time.monotonic()
        with serving(SIZE, faults.stall_after(FRACTION)) as origin, pytest.raises((SourceStalled, SourceUnavailable)):
            transfer(origin.url, store, retry=patience, timeouts=quick(read=0.5, stall=0.5))
        assert time.monotonic() - began < SOON
        assert store.get("key") == b"old"

    def test_drip_is_a_stall(self, store: Store) -> None:
        """A byte now and then keeps the read timeout from ever striking; the stall timeout strikes."""
        patience = RetryPolicy(attempts=2, budget=5, base=0.01, cap=0.02)
        began = time.monotonic()
        with serving(SIZE, faults.drip(10, 0.05), **STREAM) as origin:
            with pytest.raises(SourceStalled):
                transfer(origin.url, store, retry=patience, timeouts=quick(read=0.5, stall=0.5))
        assert time.monotonic() - began < SOON
        assert store.get("key") == b"old"
        assert store.uploads() == []

    def test_slow_but_steady_is_no_stall(self, store: Store) -> None:
        """A source slower than the buffer is large must not be taken for a dead one."""
        with serving(SMALL, faults.drip(10_000, 0.05)) as origin:
            assert_copied(origin, store, timeouts=quick(stall=0.9))

    def test_head_that_drips_ends_at_the_deadline(self, store: Store) -> None:
        """One header line at a time passes every read timeout."""
        began = time.monotonic()
        with serving(SMALL, faults.header_flood(60), faults.head_drip(0.2)) as origin:
            assert_refused(origin.url, store, DeadlineExceeded, timeouts=quick(deadline=1.5))
        assert time.monotonic() - began < SOON

    @MODES
    def test_deadline_ends_a_slow_transfer(self, store: Store, about: dict[str, Any]) -> None:
        """Whatever is under way is given up, and removed."""
        began = time.monotonic()
        with serving(SIZE, faults.drip(64 * 1024, 0.1), **about) as origin:
            assert_refused(origin.url, store, DeadlineExceeded, timeouts=quick(deadline=1.0))
        assert time.monotonic() - began < SOON

    @MODES
    def test_stop_is_heard_at_once(self, store: Store, about: dict[str, Any]) -> None:
        """While every worker waits for bytes that do not come."""
        stop, when = StopFlag(), [0.0]

        def ask() -> None:
            when[0] = time.monotonic()
            stop.request("the test says so")

        with serving(SIZE, faults.stall_after(FRACTION), **about) as origin:
            timer = threading.Timer(0.5, ask)
            timer.start()
            assert_refused(origin.url, store, Stopped, stop=stop, timeouts=quick(read=20, stall=20))
            took = time.monotonic() - when[0]
            timer.join()
        assert took < SOON


class TestThrottling:
    @pytest.mark.parametrize("code", [429, 503])
    @pytest.mark.parametrize("retry_after", [None, "0", "soon", "-1"])
    @SIZES
    def test_throttled_requests_are_repeated(self, store: Store, code: int, retry_after: str | None, size: int) -> None:
        """Whatever nonsense Retry-After holds."""
        with serving(size, faults.throttle(code, retry_after).times(2)) as origin:
            assert assert_copied(origin, store).retries == 2

    @pytest.mark.parametrize("fault", [faults.throttle(503, "1"), faults.throttle_until(429, 2)], ids=["s", "date"])
    def test_retry_after_is_waited_for(self, store: Store, fault: Fault) -> None:
        """In seconds, or as a date."""
        began = time.monotonic()
        with serving(SMALL, fault.once()) as origin:
            assert_copied(origin, store)
        assert 0.9 <= time.monotonic() - began < SOON

    def test_absurd_retry_after_is_capped(self, store: Store) -> None:
        """A source cannot put a task to sleep for thirty years."""
        patience = RetryPolicy(attempts=3, budget=5, base=0.01, retry_after_cap=0.3)
        began = time.monotonic()
        with serving(SMALL, faults.throttle(503, "1000000000").once()) as origin:
            assert_copied(origin, store, retry=patience)
        assert 0.3 <= time.monotonic() - began < SOON

    def test_part_throttled_midway_is_continued(self, store: Store) -> None:
        """Other parts are not given up for it."""
        with serving(SIZE, faults.throttle(503, "0").where(second_part).times(2)) as origin:
            assert_copied(origin, store)

    def test_source_that_serves_two_at_once_is_copied_with_fewer_connections(self, store: Store) -> None:
        """The width falls instead of the transfer."""
        heard = Recorder()
        patience = RetryPolicy(attempts=8, budget=200, base=0.2, cap=1.0)
        slow = faults.drip(256 * 1024, 0.01)
        with serving(40 * MiB, faults.at_most_at_once(2), slow) as origin:
            assert_copied(origin, store, connections=8, retry=patience, listener=heard, progress_interval=0.1)
        assert min(event.connections for event in heard.of(Progressed)) < 8
        assert any("503" in event.reason for event in heard.of(Retried))

    @SIZES
    def test_source_that_always_throttles_fails(self, store: Store, size: int) -> None:
        """With the class that lets a later try of the task have a chance."""
        with serving(size, faults.throttle(429)) as origin:
            error = assert_refused(origin.url, store, SourceThrottled)
            assert error.retryable
            assert len(origin.exchanges) == EAGER.attempts


class TestLies:
    """Answers that contradict what was asked or learnt before; none of their bytes is published."""

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (faults.rewritten(), SourceChanged),
            (faults.rewritten(obey_if_match=False), SourceChanged),
            (faults.relabelled(None), SourceChanged),
            (faults.relabelled('W/"v1"'), SourceChanged),
            (faults.ignore_range(), SourceChanged),
            (faults.content_range("bytes {first}-{last}/99999999"), SourceChanged),
            (faults.wrong_start(1), SourceMisbehaved),
            (faults.longer_range(100), SourceMisbehaved),
            (faults.content_range(None), SourceMisbehaved),
            (faults.content_range("nonsense"), SourceMisbehaved),
            (faults.content_range("bytes {last}-{first}/{total}"), SourceMisbehaved),
            (faults.multipart_ranges(), SourceMisbehaved),
            (faults.lengths("7"), SourceMisbehaved),
            (faults.status(404), SourceMissing),
            (faults.status(403), SourceDenied),
        ],
        ids=lambda value: getattr(value, "name", value.__name__ if isinstance(value, type) else value),
    )
    def test_range_of_a_part_that_is_not_what_was_asked(
        self, store: Store, fault: Fault, error: type[S3StreamError]
    ) -> None:
        """From the third request on, when parts are already stored."""
        with serving(SIZE, fault.where(second_part)) as origin:
            refused = assert_refused(origin.url, store, error)
            assert not refused.retryable
            assert sum(1 for exchange in origin.exchanges if exchange.faults) <= 2, "it was asked again in vain"

    @pytest.mark.parametrize("count", [MiB, 2 * MiB + 1])
    def test_short_ranges_are_honest_and_the_rest_is_asked_for(self, store: Store, count: int) -> None:
        """RFC 9110 lets a server send less than asked; every byte of it is used."""
        with serving(SIZE, faults.short_range(count).from_request(2)) as origin:
            assert_copied(origin, store)

    def test_probe_that_shows_a_piece_of_a_small_source_is_asked_again(self, store: Store) -> None:
        """The total is known, the rest is not there, and one more request brings all of it."""
        with serving(SMALL, faults.short_range(1000)) as origin:
            assert_copied(origin, store)
            assert origin.ranges == [(0, None), None]

    def test_range_of_crumbs_fails(self, store: Store) -> None:
        """A server that sends a byte per request would need millions of them."""
        with serving(SIZE, faults.short_range(1).where(second_part)) as origin:
            assert_refused(origin.url, store, SourceTruncated)

    @pytest.mark.parametrize(
        "fault",
        [
            faults.content_range(None),
            faults.content_range("bytes {first}-{last}/*"),
            faults.content_range("nonsense"),
            faults.multipart_ranges(),
            faults.wrong_start(1),
        ],
        ids=lambda fault: fault.name,
    )
    @SIZES
    def test_probe_of_no_use_is_asked_again_without_a_range(self, store: Store, fault: Fault, size: int) -> None:
        """A server that cannot do ranges may still be able to send the whole."""
        with serving(size, fault) as origin:
            assert_copied(origin, store)

    def test_total_left_out_of_a_part_is_no_lie(self, store: Store) -> None:
        """``*`` says that the server does not know, and the probe does."""
        with serving(SIZE, faults.content_range("bytes {first}-{last}/*").from_request(2)) as origin:
            assert_copied(origin, store)

    @SIZES
    def test_range_ignored_by_the_probe_means_one_stream(self, store: Store, size: int) -> None:
        """The whole body is already coming, and is used."""
        with serving(size, faults.ignore_range()) as origin:
            assert_copied(origin, store)
            assert origin.statuses == [200]

    def test_recent_date_is_no_strong_validator(self, store: Store) -> None:
        """The source may have been written twice in one second (RFC 9110 section 8.8.2.2)."""
        with serving(SIZE, etag=None, modified=http_date(5)) as origin:
            assert_copied(origin, store)
            assert len(origin.exchanges) == 1

    @pytest.mark.parametrize(
        "about",
        [
            {"etag": 'W/"v1"'},
            {"etag": None},
            {"etag": None, "modified": http_date(3600), "dated": False},
            {"etag": 'W/"v1"', "modified": http_date(3600)},
            {"etag": None, "modified": "yesterday"},
        ],
        ids=["weak", "none", "date without a clock", "weak and old", "unreadable date"],
    )
    def test_without_a_strong_validator_there_are_no_parallel_ranges(self, store: Store, about: dict[str, Any]) -> None:
        """Two ranges might be of two versions, and nothing could tell."""
        heard = Recorder()
        with serving(SIZE, **about) as origin:
            assert_copied(origin, store, listener=heard)
            assert len(origin.exchanges) == 1
        assert "validator" in heard.of(Started)[0].note

    @SIZES
    @pytest.mark.parametrize(
        "fault",
        [
            faults.length_and_chunked(),
            faults.lengths("100", "200"),
            faults.lengths("-5"),
            faults.lengths("12x"),
            faults.lengths("99999999999999999999"),
        ],
        ids=lambda fault: fault.name,
    )
    @pytest.mark.parametrize("ranges", [True, False])
    def test_framing_with_two_readings_is_refused(self, store: Store, fault: Fault, size: int, ranges: bool) -> None:
        """One of the readings is wrong, and no client can know which."""
        with serving(size, fault, ranges=ranges) as origin:
            assert_refused(origin.url, store, SourceMisbehaved)

    def test_the_same_length_twice_is_one_length(self, store: Store) -> None:
        """RFC 9110 section 8.6 allows to take it as one."""
        with serving(SMALL, faults.lengths(str(SMALL), str(SMALL))) as origin:
            assert_copied(origin, store)

    def test_bytes_beyond_the_length_are_not_taken_for_the_next_answer(self, store: Store) -> None:
        """They belong to no answer; the connection is not used again."""
        with serving(SIZE, faults.shorter_length(50)) as origin:
            assert_copied(origin, store)

    def test_flood_of_headers_is_refused(self, store: Store) -> None:
        """No memory is spent on what no server needs to say."""
        with serving(SMALL, faults.header_flood(100_000)) as origin:
            assert_refused(origin.url, store, SourceMisbehaved)

    def test_what_is_not_http_is_refused(self, store: Store) -> None:
        """A port may belong to something else."""
        with socket.create_server(("127.0.0.1", 0)) as listening:
            port = listening.getsockname()[1]

            def speak() -> None:
                for _ in range(1):
                    sock, _ = listening.accept()
                    with sock:
                        sock.recv(4096)
                        sock.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n" * 10)

            thread = threading.Thread(target=speak)
            thread.start()
            assert_refused(f"http://127.0.0.1:{port}/x", store, SourceMisbehaved)
            thread.join()

    @SIZES
    @MODES
    @pytest.mark.parametrize("algorithm", ["sha256", "crc32"])
    def test_wrong_bit_is_caught_by_the_expected_checksum(
        self, store: Store, size: int, about: dict[str, Any], algorithm: str
    ) -> None:
        """Nothing else could know: every header is right."""
        with serving(size, faults.flip_bit(size - 10), **about) as origin:
            if algorithm == "crc32":
                value = zlib.crc32(origin.resource.content.bytes()).to_bytes(4, "big").hex()
            else:
                value = hashlib.sha256(origin.resource.content.bytes()).hexdigest()
            error = assert_refused(origin.url, store, IntegrityError, expected_checksum=f"{algorithm}:{value}")
        assert not error.retryable

    @MODES
    def test_wrong_bit_with_the_right_checksum_expected_elsewhere_is_none(
        self, store: Store, about: dict[str, Any]
    ) -> None:
        """The control: the same checksum accepts the same source without the wrong bit."""
        with serving(SIZE, **about) as origin:
            value = hashlib.sha256(origin.resource.content.bytes()).hexdigest()
            assert_copied(origin, store, expected_checksum=f"sha256:{value}")


class TestNoLength:
    @SIZES
    def test_body_delimited_by_the_close_is_refused(self, store: Store, size: int) -> None:
        """Its end looks like a break; the error says what to give."""
        with serving(size, ranges=False, framing="close") as origin:
            error = assert_refused(origin.url, store, SourceRefused)
        assert "expected_size" in str(error)

    @SIZES
    @pytest.mark.parametrize("promise", ["size", "sha256"])
    def test_body_delimited_by_the_close_is_taken_on_a_promise(self, store: Store, size: int, promise: str) -> None:
        """The promise tells its end."""
        with serving(size, ranges=False, framing="close") as origin:
            given = {"size": {"expected_size": size}}.get(
                promise, {"expected_checksum": f"sha256:{origin.resource.content.sha256()}"}
            )
            assert_copied(origin, store, **given)

    @SIZES
    @pytest.mark.parametrize("promise", ["size", "sha256"])
    def test_body_delimited_by_the_close_and_cut_breaks_the_promise(
        self, store: Store, size: int, promise: str
    ) -> None:
        """What requests takes for a whole body is not published."""
        with serving(size, faults.close_after(size - 10), ranges=False, framing="close") as origin:
            given = {"size": {"expected_size": size}}.get(
                promise, {"expected_checksum": f"sha256:{origin.resource.content.sha256()}"}
            )
            with pytest.raises((SourceTruncated, IntegrityError)):
                transfer(origin.url, store, **given)
        assert store.get("key") == b"old"
        assert store.uploads() == []

    def test_endless_body_ends_at_max_bytes(self, store: Store) -> None:
        """A terabyte is promised by nobody; the bound stops it early."""
        with serving(2**40, **CHUNKED) as origin:
            assert_refused(origin.url, store, SourceRefused, max_bytes=20 * MiB)
            assert origin.exchanges[0].sent < 60 * MiB

    @MODES
    def test_body_over_max_bytes_may_be_skipped_instead(self, store: Store, about: dict[str, Any]) -> None:
        """The result says so, the old object stays, and no upload is left."""
        with serving(SIZE, **about) as origin:
            result = transfer(origin.url, store, max_bytes=SIZE - 1, if_size_outside="skip")
        assert result.status == "skipped"
        assert str(SIZE - 1) in result.reason
        assert store.get("key") == b"old"
        assert store.uploads() == []

    @MODES
    def test_body_under_min_bytes_is_refused(self, store: Store, about: dict[str, Any]) -> None:
        """An error page where a file should be is usually short."""
        with serving(SMALL, **about) as origin:
            assert_refused(origin.url, store, SourceRefused, min_bytes=SMALL + 1)


class TestRefusals:
    @pytest.mark.parametrize(
        ("code", "error", "retryable"),
        [
            (400, SourceMisbehaved, False),
            (401, SourceDenied, False),
            (403, SourceDenied, False),
            (404, SourceMissing, False),
            (410, SourceMissing, False),
            (451, SourceMisbehaved, False),
            (500, SourceUnavailable, True),
            (504, SourceUnavailable, True),
        ],
    )
    def test_status_of_the_probe(self, store: Store, code: int, error: type[S3StreamError], retryable: bool) -> None:
        """What cannot change is asked once; what may pass is asked as often as the policy says."""
        with serving(SIZE, faults.status(code)) as origin:
            refused = assert_refused(origin.url, store, error)
            assert refused.retryable == retryable
            assert str(code) in str(refused)
            assert len(origin.exchanges) == (EAGER.attempts if retryable else 1)

    def test_nobody_listens(self, store: Store) -> None:
        """A refused connection may be a restart, so it is tried again before it is an error."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
        error = assert_refused(f"http://127.0.0.1:{port}/x", store, SourceUnavailable)
        assert error.retryable

    def test_secrets_of_the_url_are_in_no_error_and_no_event(self, store: Store) -> None:
        """Neither user info nor query values, however deep the cause."""
        heard = Recorder()
        with serving(SIZE, faults.close_after(0)) as origin:
            url = origin.url.replace("http://", "http://user:canary1@") + "?token=canary2"
            error = assert_refused(url, store, SourceTruncated, listener=heard)
        for text in (str(error), repr(error), repr(error.attempts), repr(heard.events), error.target):
            assert "canary" not in text


class TestTls:
    def test_https_source_is_relayed(self, store: Store, authority: Authority) -> None:
        """Trusted by the bundle that was given, whatever the environment says."""
        with serving(SIZE, tls=authority.server()) as origin:
            assert_copied(origin, store, verify=str(authority.bundle))

    @pytest.mark.parametrize("fault", [faults.close_after(FRACTION), faults.reset_after(FRACTION)], ids=["fin", "rst"])
    @MODES
    def test_encrypted_body_that_breaks_once_is_mended(
        self, store: Store, authority: Authority, fault: Fault, about: dict[str, Any]
    ) -> None:
        """Over TLS a break looks different, and is one all the same."""
        with serving(SIZE, fault.once(), tls=authority.server(), **about) as origin:
            assert_copied(origin, store, verify=str(authority.bundle))

    def test_encrypted_body_that_stalls_once_is_mended(self, store: Store, authority: Authority) -> None:
        """Waking a reader inside TLS must not leave half a record to be taken for bytes."""
        with serving(SIZE, faults.stall_after(FRACTION).once(), tls=authority.server()) as origin:
            assert_copied(origin, store, verify=str(authority.bundle), timeouts=quick(read=20, stall=0.5))

    @pytest.mark.parametrize("wrong", ["expired", "another host", "unknown authority"])
    def test_certificate_that_is_not_in_order(self, store: Store, authority: Authority, wrong: str) -> None:
        """Refused at once, without a fallback and without a second request."""
        server = authority.server(
            expired=wrong == "expired", hosts=("example.invalid",) if wrong == "another host" else ("127.0.0.1",)
        )
        verify: Any = True if wrong == "unknown authority" else str(authority.bundle)
        with serving(SIZE, tls=server) as origin:
            error = assert_refused(origin.url, store, SourceDenied, verify=verify)
            assert origin.connections == 1
        assert "certificate" in str(error)


SECRETS = {"X-Api-Key": "canary1", "Authorization": "Bearer canary2", "Cookie": "session=canary3"}


class TestRedirects:
    def test_redirect_within_the_host_keeps_the_headers(self, store: Store) -> None:
        """It is the same party."""
        with serving(SIZE) as origin:
            origin.routes["/moved"] = Redirect(Origin.PATH, 307)
            transfer(origin.url_of("/moved"), store, headers=SECRETS)
            store.assert_holds("key", origin.resource.content)
            assert all(exchange.header("X-Api-Key") == "canary1" for exchange in origin.exchanges)

    @pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
    def test_redirect_to_another_host_or_port_takes_no_secret_along(self, store: Store, host: str) -> None:
        """Not in the probe, not in any range, not from the session, and no Referer."""
        session = requests.Session()
        session.auth = ("user", "canary4")
        session.headers["X-Session"] = "canary5"
        session.cookies.set("c", "canary6")
        with session, serving(SIZE) as elsewhere, serving(1) as origin:
            origin.routes["/moved"] = Redirect(elsewhere.url_of(Origin.PATH, host))
            transfer(origin.url_of("/moved?sig=canary7"), store, headers=SECRETS, session=session)
            store.assert_holds("key", elsewhere.resource.content)
            assert len(elsewhere.exchanges) == 3
            for exchange in elsewhere.exchanges:
                assert "canary" not in repr(exchange.request)
                assert exchange.header("Accept-Encoding") == "identity"
            assert "canary1" in repr(origin.exchanges[0].request)
            assert "canary5" in repr(origin.exchanges[0].request)

    def test_redirect_is_followed_once_and_remembered(self, store: Store) -> None:
        """Every part going through it would double the requests."""
        with serving(SIZE) as elsewhere, serving(1) as origin:
            origin.routes["/moved"] = Redirect(elsewhere.url)
            transfer(origin.url_of("/moved"), store)
            assert len(origin.exchanges) == 1

    def test_remembered_redirect_that_expires_is_followed_anew(self, store: Store) -> None:
        """Presigned targets live for minutes, transfers for hours."""
        with serving(SIZE, faults.status(403).where(second_part).once()) as elsewhere, serving(1) as origin:
            origin.routes["/moved"] = Redirect(elsewhere.url)
            transfer(origin.url_of("/moved"), store)
            store.assert_holds("key", elsewhere.resource.content)
            # Other workers may pass through while the new target is being learnt.
            assert 2 <= len(origin.exchanges) <= 3

    def test_loop_is_refused(self, store: Store) -> None:
        """After five hops."""
        with serving(1) as origin:
            origin.routes["/a"] = Redirect("/b")
            origin.routes["/b"] = Redirect("/a")
            assert_refused(origin.url_of("/a"), store, SourceRefused)
            assert len(origin.exchanges) <= 6

    @pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data:,x", "gopher://127.0.0.1/"])
    def test_redirect_to_another_scheme_is_refused(self, store: Store, target: str) -> None:
        """Only http and https."""
        with serving(1) as origin:
            origin.routes["/moved"] = Redirect(target)
            assert_refused(origin.url_of("/moved"), store, SourceRefused)

    def test_redirect_from_https_to_http_is_refused(self, store: Store, authority: Authority) -> None:
        """What was to be encrypted stays encrypted; the plain origin hears nothing."""
        with serving(SIZE) as plain, serving(1, tls=authority.server()) as origin:
            origin.routes["/moved"] = Redirect(plain.url)
            assert_refused(origin.url_of("/moved"), store, SourceRefused, verify=str(authority.bundle))
            assert plain.exchanges == []

    def test_redirect_without_a_target_is_refused(self, store: Store) -> None:
        """A 302 that says nothing is no answer."""
        with serving(SIZE, faults.status(302)) as origin:
            assert_refused(origin.url, store, SourceMisbehaved)
