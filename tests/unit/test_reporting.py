"""What a person reads while a transfer runs."""

from __future__ import annotations

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.events import Progressed
from airflow_s3stream.engine.reporting import describe, duration
from airflow_s3stream.engine.run import Meter
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


def test_durations() -> None:
    """In the two units that matter."""
    assert [duration(s) for s in (0.04, 59.94, 250, 7500)] == ["0.0 s", "59.9 s", "4 min 10 s", "2 h 5 min"]
