"""What a person reads while a transfer runs."""

from __future__ import annotations

from typing import Any

from airflow_s3stream.config import GiB, MiB
from airflow_s3stream.engine.events import ObjectFinished, ObjectProgressed, ObjectStarted, Progressed
from airflow_s3stream.engine.reporting import describe, duration
from airflow_s3stream.engine.run import Meter
from airflow_s3stream.plan.getting import GetResult
from tests.unit.test_retry import Clock


def test_progress_is_due_once_an_interval_and_counts_what_it_says() -> None:
    """Stored bytes only grow; what must be moved again is taken off those under way, and stays in the rate."""
    clock = Clock()
    meter = Meter(10, clock)
    meter.start(100 * MiB)
    meter.move(30 * MiB)
    assert meter.due(0, 16) is None
    clock.sleep(10)
    meter.store(20 * MiB)
    first = meter.due(1, 16)
    assert first is not None
    assert (first.stored, first.under_way, first.rate, first.seconds_left) == (20 * MiB, 10 * MiB, 3.0 * MiB, 70 / 3)
    assert meter.due(1, 16) is None
    meter.lose(10 * MiB)
    meter.move(5 * MiB)
    clock.sleep(10)
    second = meter.due(2, 8)
    assert second is not None
    assert (second.stored, second.under_way, second.rate, second.retries) == (20 * MiB, 5 * MiB, 0.5 * MiB, 2)


def test_progress_in_words() -> None:
    """With and without a known size, and before anything has moved."""
    known = Progressed(
        stored=512 * MiB, under_way=64 * MiB, size=1024 * MiB, rate=96.3e6, seconds_left=250, retries=4, connections=8
    )
    assert describe(known) == (
        "Stored 512.0 MiB of 1.0 GiB (50 %), 64.0 MiB under way, 96.3 MB/s, ETA 4 min 10 s, 4 retries, 8 connections"
    )
    unknown = Progressed(stored=0, under_way=0, size=None, rate=0, seconds_left=None, retries=0, connections=7)
    assert describe(unknown) == "Stored 0 B, 0.0 MB/s, 7 connections"


def test_one_object_in_words() -> None:
    """How much of how much, how fast, until when, what an earlier run did, what was proved."""
    started = ObjectStarted(
        uri="s3://b/k", path="/to/k", size=2 * GiB, etag="abc", resumed=512 * MiB, part_size=16 * MiB, connections=8,
        proof="crc64nvme",
    )  # fmt: skip
    assert describe(started) == (
        "Downloading s3://b/k to /to/k: 2.0 GiB (2147483648 bytes), ETag abc; 512.0 MiB of it (25 %) by an earlier "
        "run; 8 connections, ranges of 16.0 MiB; will be verified by crc64nvme"
    )
    afresh = ObjectStarted(
        uri="s3://b/k", path="/to/k", size=0, etag="abc", resumed=0, part_size=16 * MiB, connections=8, proof="size"
    )
    assert describe(afresh) == (
        "Downloading s3://b/k to /to/k: 0 B (0 bytes), ETag abc; 8 connections, ranges of 16.0 MiB; "
        "only its size can be verified, for the store keeps no checksum of it"
    )
    under_way = ObjectProgressed(
        stored=1536 * MiB, size=2 * GiB, resumed=512 * MiB, bytes_per_second=96.3e6, seconds_left=250, retries=4,
        connections=8,
    )  # fmt: skip
    assert describe(under_way) == (
        "Downloaded 1.5 GiB of 2.0 GiB (75 %), 96.3 MB/s, ETA 4 min 10 s, 4 retries, 8 connections; "
        "512.0 MiB of it by an earlier run"
    )
    stuck = ObjectProgressed(
        stored=0, size=2 * GiB, resumed=0, bytes_per_second=0.0, seconds_left=None, retries=0, connections=0
    )
    assert describe(stuck) == "Downloaded 0 B of 2.0 GiB (0 %), 0.0 MB/s, ETA unknown"


def made_result(**about: Any) -> GetResult:
    given: dict[str, Any] = {
        "uri": "s3://b/k", "path": "/to/k", "status": "downloaded", "size": 2 * GiB, "fetched": 2 * GiB, "resumed": 0,
        "seconds": 250.0, "bytes_per_second": 8.6e6, "etag": "abc", "verification": "crc64nvme", "connections": 8,
        "part_size": 16 * MiB, "requests": 129, "retries": 0, "slow_dropped": 0, "warnings": [],
    }  # fmt: skip
    return GetResult(**{**given, **about})


def test_the_result_of_one_object_in_words() -> None:
    """Also where little or nothing had to be fetched, and where it went to no file."""
    told = [
        describe(ObjectFinished(result=made_result(**about)))
        for about in (
            {},
            {"resumed": GiB, "retries": 3, "slow_dropped": 2},
            {"path": "-"},
            {"status": "unchanged"},
        )
    ]
    assert told == [
        "Downloaded s3://b/k to /to/k: 2.0 GiB (2147483648 bytes); 4 min 10 s, 8.6 MB/s; verified by crc64nvme",
        "Downloaded s3://b/k to /to/k: 2.0 GiB (2147483648 bytes); 1.0 GiB of it (50 %) by an earlier run; "
        "4 min 10 s, 8.6 MB/s, 3 retries, 2 slow connections replaced; verified by crc64nvme",
        "Downloaded s3://b/k to stdout: 2.0 GiB (2147483648 bytes); 4 min 10 s, 8.6 MB/s; verified by crc64nvme",
        "/to/k is s3://b/k already, 2.0 GiB; nothing was fetched",
    ]


def test_durations() -> None:
    """In the two units that matter."""
    assert [duration(s) for s in (0.04, 59.94, 250, 7500)] == ["0.0 s", "59.9 s", "4 min 10 s", "2 h 5 min"]
