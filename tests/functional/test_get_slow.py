"""Connections that are slow, stall or break, and a store that asks for less: the object comes, nothing multiplies."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB, RetryPolicy, Timeouts
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    S3StreamError,
    SourceDenied,
    SourceStalled,
    SourceThrottled,
    SourceTruncated,
    SourceUnavailable,
)
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.downloads import EAGER, PATIENT
from tests.support.getting import ENDLESS, PART, get, hurried, opened, place, ranges, sent, siblings
from tests.support.origin import Exchange
from tests.support.readstore import KEYS, ReadStore
from tests.support.waiting import SOON

SIZE = 40 * PART + 77


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("big", SIZE)
        yield store


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return place(tmp_path)


def starting_inside(store: ReadStore, start: int, stop: int) -> list[Exchange]:
    """Return the GETs of ranges that begin after ``start`` and before ``stop``."""
    return [one for one in store.gets if one.range is not None and start < one.range[0] < stop]


class TestSlow:
    """The others go on meanwhile, and are what is compared with."""

    def slow(self, at: int) -> faults.Fault:
        """Let the connection that asks for the range from ``at`` be a fiftieth as fast as the others."""
        return readlies.starting(at, faults.drip(256, 0.01))

    @pytest.mark.parametrize("through", ["file", "stream"])
    def test_a_slow_connection_is_dropped_and_its_range_goes_on_over_another(
        self, store: ReadStore, to: Path, through: str
    ) -> None:
        """At the byte where it was dropped; the way is slow, not the range."""
        store.put("big", 120 * PART)
        store.faults = [readlies.gets(faults.drip(8192, 0.002)), readlies.sticky(self.slow(5 * PART))]
        if through == "file":
            result = get(store, to, timeouts=ENDLESS, chances=hurried())
            assert Quiet(to.read_bytes()) == store.body("big")
            assert result.slow_dropped >= 1
        else:
            with opened(store, timeouts=ENDLESS, chances=hurried()) as stream:
                assert Quiet(stream.read()) == store.body("big")
        (first,) = [one for one in store.gets if one.range and one.range[0] == 5 * PART]
        after = [one for one in starting_inside(store, 5 * PART, 6 * PART) if one.connection != first.connection]
        assert after, "it was never asked for over another connection"
        assert after[0].range is not None
        assert after[0].range[0] <= 5 * PART + first.sent, "bytes were skipped"
        assert after[0].range[1] == 6 * PART - 1

    def test_a_connection_that_stalls_is_dropped_before_its_timeout(self, store: ReadStore, to: Path) -> None:
        """Others are fast, so one that gives nothing is worth no minute's wait."""
        store.put("big", 120 * PART)
        store.faults = [
            readlies.gets(faults.drip(8192, 0.002)),
            readlies.starting(5 * PART, faults.stall_after(1000)),
            readlies.starting(9 * PART, readlies.hold(-1, threading.Event())).once(),
        ]
        began = time.monotonic()
        result = get(store, to, timeouts=ENDLESS, chances=hurried())
        assert time.monotonic() - began < 50
        assert Quiet(to.read_bytes()) == store.body("big")
        assert (result.slow_dropped >= 2, result.retries) == (True, 0)
        assert {one.range[0] for one in starting_inside(store, 5 * PART, 6 * PART) if one.range} == {5 * PART + 1000}
        assert len([one for one in store.gets if one.range and one.range[0] == 9 * PART]) == 2

    @pytest.mark.parametrize("how", ["slow", "stalls", "never begins"])
    @pytest.mark.parametrize("through", ["file", "stream"])
    def test_the_last_one_is_not_waited_for(self, store: ReadStore, to: Path, how: str, through: str) -> None:
        """When all the others have ended, it is compared with what they were."""
        fault = {
            "slow": self.slow(39 * PART),
            "stalls": readlies.starting(39 * PART, faults.stall_after(1000)),
            "never begins": readlies.starting(39 * PART, readlies.hold(-1, threading.Event())).once(),
        }[how]
        store.faults = [readlies.gets(faults.drip(16_384, 0.002)), readlies.sticky(fault) if how == "slow" else fault]
        began = time.monotonic()
        if through == "file":
            get(store, to, timeouts=ENDLESS, chances=hurried())
            assert Quiet(to.read_bytes()) == store.body("big")
        else:
            with opened(store, timeouts=ENDLESS, chances=hurried()) as stream:
                assert Quiet(stream.read()) == store.body("big")
        assert time.monotonic() - began < 50
        again = [one for one in store.gets if one.range and 39 * PART <= one.range[0] < 40 * PART]
        assert len({one.connection for one in again}) >= 2

    def test_where_all_are_slow_none_is_dropped(self, store: ReadStore, to: Path) -> None:
        """For none is slower than the line is."""
        store.put("big", 8 * PART)
        store.faults = [readlies.gets(faults.drip(2048, 0.01))]
        result = get(store, to, timeouts=ENDLESS, chances=hurried(50))
        assert Quiet(to.read_bytes()) == store.body("big")
        assert result.slow_dropped == 0
        assert sorted(ranges(store.gets)) == [(at, at + PART) for at in range(0, 8 * PART, PART)]

    def test_where_all_become_slow_none_is_dropped(self, store: ReadStore, to: Path) -> None:
        """Somebody else uses the line: what was fast once says nothing of now."""
        store.put("big", 28 * PART)
        store.faults = [readlies.inside(20 * PART, 28 * PART, faults.drip(2048, 0.01))]
        result = get(store, to, timeouts=ENDLESS, chances=hurried(50))
        assert Quiet(to.read_bytes()) == store.body("big")
        assert result.slow_dropped <= 4, "each may be tried elsewhere once, to see whether it is the connection"

    def test_a_least_speed_drops_what_is_below_it(self, store: ReadStore, to: Path) -> None:
        """Although all are; but not for ever, for then it is not the connections."""
        store.put("big", 4 * PART)
        store.faults = [readlies.gets(faults.drip(512, 0.01))]
        result = get(store, to, min_speed=10 * MiB, timeouts=ENDLESS, chances=hurried(50))
        assert Quiet(to.read_bytes()) == store.body("big")
        assert 4 <= result.slow_dropped <= 40

    def test_one_slow_connection_of_few_bytes_does_not_hold_the_whole(self, store: ReadStore, to: Path) -> None:
        """A range of which half is left is divided: an idle connection takes the other half."""
        part = 4 * MiB
        store.put("big", 4 * part, etag='"opaque"')
        event = threading.Event()
        store.faults = [
            readlies.starting(3 * part, readlies.hold(300_000, event)),
            readlies.inside(3 * part + 400_000, 4 * part, readlies.call(event.set)),
        ]
        get(store, to, part_size=part, timeouts=ENDLESS)
        assert Quiet(to.read_bytes()) == store.body("big")
        assert starting_inside(store, 3 * part + 400_000, 4 * part), "nobody took a part of what was left"

    @pytest.mark.parametrize(
        "about", [{"checksum": "crc64nvme"}, {"checksum": "crc32c", "composite": True}, {}], ids=str
    )
    def test_halves_and_drops_leave_right_bytes(self, store: ReadStore, to: Path, about: dict[str, Any]) -> None:
        """Every range drips at a speed of its own, on a line that is cut, with a clock that makes much of it."""
        size = 12 * MiB + 17
        store.put("big", size, part_size=1_000_000, **about)
        speeds = {0: (64_000, 0.002), 1: (20_000, 0.005), 2: (300_000, 0.001)}
        store.faults = [
            readlies.gets(faults.drip(*speed)).where(
                lambda request, kind=kind: request.connection % 3 == kind  # type: ignore[misc]
            )
            for kind, speed in speeds.items()
        ]
        for _ in range(3):
            get(store, to, part_size=2 * MiB, connections=5, timeouts=ENDLESS, chances=hurried(30))
            assert Quiet(to.read_bytes()) == store.body("big")
            assert siblings(to) == []

    def test_through_boto3_halves_and_drops_leave_right_bytes_too(self, store: ReadStore, to: Path) -> None:
        """Its threads cannot be stopped in a read, so what a dropped one still brings must go nowhere."""
        key = "up/../big"
        store.put(key, 6 * MiB + 17, checksum="crc64nvme", part_size=1_000_000)
        store.faults = [
            readlies.gets(faults.drip(16_000, 0.004)).where(lambda request: request.connection % 2 == 0),
            readlies.gets(faults.drip(100_000, 0.002)),
        ]
        for _ in range(3):
            get(store, to, key, part_size=2 * MiB, connections=5, timeouts=ENDLESS, chances=hurried(30))
            assert Quiet(to.read_bytes()) == store.body(key)


class TestStalls:
    HASTY = Timeouts(connect=2, read=1, stall=1)

    def test_a_stall_ends_with_its_timeout_and_the_range_goes_on(self, store: ReadStore, to: Path) -> None:
        """From where it stalled; one connection, so there is nothing to be slower than."""
        store.faults = [readlies.starting(5 * PART, faults.stall_after(500))]
        result = get(store, to, connections=1, timeouts=self.HASTY)
        assert Quiet(to.read_bytes()) == store.body("big")
        assert (result.retries, sent(store)) == (1, SIZE)
        assert (5 * PART + 500, 6 * PART) in ranges(store.gets)

    def test_a_head_that_stalls_is_asked_for_again(self, store: ReadStore, to: Path) -> None:
        event = threading.Event()
        store.faults = [readlies.hold(-1, event).where(lambda request: request.method == "HEAD").once()]
        assert get(store, to, timeouts=self.HASTY).retries == 1

    def test_stalls_without_end_are_an_error(self, store: ReadStore, to: Path) -> None:
        store.faults = [readlies.inside(5 * PART, SIZE, faults.stall_after(0))]
        retry = RetryPolicy(attempts=2, base=0.01, cap=0.02)
        with pytest.raises(SourceStalled):
            get(store, to, timeouts=self.HASTY, retry=retry)
        assert siblings(to), "what came before is worth keeping"

    def test_a_deadline_ends_it_and_keeps(self, store: ReadStore, to: Path) -> None:
        store.faults = [readlies.inside(5 * PART, SIZE, faults.stall_after(0))]
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded) as caught:
            get(store, to, connections=1, timeouts=Timeouts(connect=2, read=15, stall=15, deadline=1.0))
        assert time.monotonic() - began < SOON
        assert any(name in str(caught.value) for name in siblings(to))


class TestRetries:
    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (readlies.refuse(500, "InternalError"), SourceUnavailable),
            (readlies.refuse(503, "SlowDown"), SourceThrottled),
            (faults.close_after(0), SourceUnavailable),
            (faults.close_after(100), SourceTruncated),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_attempts_are_as_many_as_allowed_and_never_multiply(
        self, store: ReadStore, to: Path, fault: faults.Fault, kind: type[S3StreamError]
    ) -> None:
        """Of the one range that always fails; also through boto3, whose own retries would come on top."""
        for key in ("big", "up/../big"):
            store.put(key, 10 * PART)
            store.exchanges.clear()
            store.faults = [readlies.inside(5 * PART, 6 * PART, fault)]
            with pytest.raises((kind, SourceUnavailable, SourceTruncated)) as caught:
                get(store, to, key, connections=1)
            tries = [one for one in store.gets if one.range and 5 * PART <= one.range[0] < 6 * PART]
            assert len(tries) == EAGER.attempts, key
            assert len(caught.value.attempts) == EAGER.attempts - 1

    def test_a_head_is_tried_as_often_and_no_more(self, store: ReadStore, to: Path) -> None:
        store.faults = [readlies.refuse(500, "InternalError")]
        with pytest.raises(SourceUnavailable):
            get(store, to)
        assert len(store.exchanges) == EAGER.attempts

    def test_the_budget_is_of_all_together(self, store: ReadStore, to: Path) -> None:
        """A store that fails every other time uses it up, unless ranges come between, each of which gives one back."""
        store.faults = [replace(readlies.gets(readlies.refuse(500, "InternalError")), every=2)]
        assert get(store, to, connections=1, retry=replace(EAGER, budget=2)).retries >= 20
        to.unlink()
        store.exchanges.clear()
        store.faults = [readlies.gets(readlies.refuse(500, "InternalError"))]
        with pytest.raises(SourceUnavailable):
            get(store, to, connections=1, retry=replace(EAGER, attempts=50, budget=3))
        assert len(store.gets) == 4

    def test_a_range_that_moves_on_is_not_failing(self, store: ReadStore, to: Path) -> None:
        """A line that breaks after each few megabytes, more often than there are attempts."""
        store.put("big", 12 * MiB, etag='"opaque"')
        store.faults = [readlies.gets(faults.close_after(MiB + 5))]
        result = get(store, to, connections=1, part_size=12 * MiB, retry=replace(EAGER, budget=100))
        assert Quiet(to.read_bytes()) == store.body("big")
        assert result.retries == 11
        assert sent(store) == 12 * MiB
        store.faults = [readlies.gets(faults.close_after(5000))]
        with pytest.raises(S3StreamError):
            get(store, to, connections=1, part_size=12 * MiB)

    def test_throttling_narrows_and_the_object_comes(self, store: ReadStore, to: Path) -> None:
        """A store that takes two at once refuses the rest with 503, which is nobody's failure."""
        store.faults = [readlies.gets(faults.at_most_at_once(2)), readlies.gets(faults.drip(32_000, 0.001))]
        result = get(store, to, connections=12, timeouts=PATIENT)
        assert Quiet(to.read_bytes()) == store.body("big")
        assert result.retries > 0
        refused = Counter(one.status for one in store.gets)[503]
        assert refused < 60, "it hammered on"

    def test_retry_after_is_waited_for(self, store: ReadStore, to: Path) -> None:
        store.faults = [readlies.starting(5 * PART, readlies.refuse(503, "SlowDown", Retry_After="1")).once()]
        began = time.monotonic()
        get(store, to, connections=1)
        assert time.monotonic() - began >= 1

    @pytest.mark.parametrize("key", ["big", "up/../big"])
    def test_credentials_that_expire_on_the_way_are_renewed(self, store: ReadStore, to: Path, key: str) -> None:
        """As boto3 renews them; what had come stays."""
        store.put(key, SIZE)
        client: Any = new_client(endpoint_url=store.endpoint_url)
        credentials = client._request_signer._credentials

        def expire() -> None:
            store.expired = frozenset({KEYS.access_key})
            store.credentials = replace(KEYS, access_key="second", secret_key="second-secret", token="tok")
            credentials.access_key, credentials.secret_key, credentials.token = "second", "second-secret", "tok"

        store.when_sent(10 * PART, expire)
        try:
            get(store, to, key, client=client)
        finally:
            client.close()
        assert Quiet(to.read_bytes()) == store.body(key)
        assert sent(store) == SIZE

    def test_credentials_that_expire_for_good_are_an_error_that_keeps(self, store: ReadStore, to: Path) -> None:
        """So that the next run, with new ones, goes on."""

        def expire() -> None:
            store.expired = frozenset({KEYS.access_key})

        store.when_sent(10 * PART, expire)
        with pytest.raises(SourceDenied, match="ExpiredToken") as caught:
            get(store, to, connections=1)
        assert any(name in str(caught.value) for name in siblings(to))
        store.expired = frozenset()
        assert get(store, to).resumed >= 9 * PART
