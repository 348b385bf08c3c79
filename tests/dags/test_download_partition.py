"""The daily partition, aggregated in memory from an S3 server and written back to it."""

from __future__ import annotations

import json
import random
import statistics
from typing import Any

import pytest

from tests.dags.conftest import Airflow, DagRun
from tests.support.stores import Store

DAG = "download_partition"
OBJECTS = 120


def fill(store: Store, day: str, *, seed: int = 0, objects: int = OBJECTS, marker: bool = True) -> None:
    """Put a day of readings, several per object and each station in many objects."""
    draw = random.Random(f"{day} {seed}")
    for number in range(objects):
        readings = [
            {"station": f"station-{draw.randrange(7)}", "at": f"{day}T00:00:00Z", "celsius": draw.uniform(-20, 40)}
            for _ in range(draw.randrange(1, 6))
        ]
        body = "".join(json.dumps(reading) + "\n" for reading in readings)
        store.put(f"readings/date={day}/{number:04d}.jsonl", body.encode())
    if marker:
        store.put(f"readings/date={day}/_SUCCESS", b"")


def expected(store: Store, day: str) -> dict[str, dict[str, Any]]:
    """Aggregate the day again: with another client, another loop and another library."""
    celsius: dict[str, list[float]] = {}
    pages = store.client.get_paginator("list_objects_v2").paginate(Bucket=store.bucket, Prefix=f"readings/date={day}/")
    for entry in (entry for page in pages for entry in page["Contents"]):
        for line in store.get(entry["Key"]).splitlines():
            reading = json.loads(line)
            celsius.setdefault(reading["station"], []).append(reading["celsius"])
    return {
        station: {
            "readings": len(values), "mean": pytest.approx(statistics.fmean(values)),
            "least": min(values), "greatest": max(values),
        }
        for station, values in celsius.items()
    }  # fmt: skip


def outcome(store: Store, day: str) -> dict[str, dict[str, Any]]:
    lines = store.get(f"stations/date={day}/celsius.jsonl").splitlines()
    rows = [json.loads(line) for line in lines]
    return {row.pop("station"): row for row in rows}


def run(airflow: Airflow, store: Store, day: str | None, **about: Any) -> DagRun:
    date = f"{day}T00:00:00+00:00" if day else None
    return airflow.run(DAG, store, variables={"readings_bucket": store.bucket}, logical_date=date, **about)


def test_the_outcome_is_the_days_aggregate(airflow: Airflow, moto: Store) -> None:
    """Every reading of the day counts once, none of its neighbours' does, and the marker is no reading."""
    fill(moto, "2024-01-01")
    fill(moto, "2024-01-02", objects=3)
    done = run(airflow, moto, "2024-01-01")
    assert done.state == "success", done.log
    assert done.tasks == {"arrived": "success", "aggregate": "success"}
    assert outcome(moto, "2024-01-01") == expected(moto, "2024-01-01")
    told = done.returned["aggregate"]
    assert told["uri"] == f"s3://{moto.bucket}/stations/date=2024-01-01/celsius.jsonl"
    assert (told["objects"], told["stations"]) == (OBJECTS, 7)
    assert told["readings"] == sum(row["readings"] for row in outcome(moto, "2024-01-01").values())


def test_a_day_run_again_comes_to_the_same_bytes(airflow: Airflow, rclone: Store) -> None:
    """Bodies arrive in another order each time; the sums do not. What a corrected day says replaces what it said."""
    fill(rclone, "2024-02-01")
    key = "stations/date=2024-02-01/celsius.jsonl"
    bodies = []
    for _ in range(2):
        done = run(airflow, rclone, "2024-02-01")
        assert done.state == "success", done.log
        bodies.append(rclone.get(key))
    assert bodies[0] == bodies[1]

    fill(rclone, "2024-02-01", seed=1)
    assert run(airflow, rclone, "2024-02-01").state == "success"
    assert rclone.get(key) != bodies[0]
    assert outcome(rclone, "2024-02-01") == expected(rclone, "2024-02-01")


def test_each_day_of_a_backfill_has_an_outcome_of_its_own(airflow: Airflow, moto: Store) -> None:
    """A later run leaves the earlier one's outcome as it is."""
    days = ["2024-03-02", "2024-03-01"]
    for day in days:
        fill(moto, day, objects=20)
        done = run(airflow, moto, day)
        assert done.state == "success", done.log
    assert [outcome(moto, day) == expected(moto, day) for day in days] == [True, True]


@pytest.mark.parametrize(
    ("about", "day"),
    [
        ({"run_after": "2024-04-02T05:00:00+00:00"}, "2024-04-01"),
        ({"run_after": "2024-04-02T05:00:00+00:00", "run_conf": {"day": "2023-12-31"}}, "2023-12-31"),
    ],
    ids=["the day before it was due", "the parameter"],
)
def test_a_run_without_logical_date_has_a_day_too(
    airflow: Airflow, moto: Store, about: dict[str, Any], day: str
) -> None:
    """Triggered by hand, a run is about the last day that is over, or the one it is told."""
    fill(moto, day, objects=5)
    done = run(airflow, moto, None, **about)
    assert done.state == "success", done.log
    assert outcome(moto, day) == expected(moto, day)


def test_a_day_that_is_still_arriving_is_waited_for(airflow: Airflow, moto: Store) -> None:
    """Objects are not enough; the marker that is written last is."""
    source = f"s3://{moto.bucket}/readings/date=2024-05-01/"
    fill(moto, "2024-05-01", objects=2, marker=False)
    before = airflow.call(DAG, "arrived", source)
    fill(moto, "2024-05-01", objects=2)
    assert [before, airflow.call(DAG, "arrived", source)] == [False, True]


def test_a_day_without_readings_has_an_empty_outcome(airflow: Airflow, moto: Store) -> None:
    """The marker says that the day is whole; that it is empty is then a fact like any other."""
    fill(moto, "2024-06-01", objects=0)
    done = run(airflow, moto, "2024-06-01")
    assert done.state == "success", done.log
    assert moto.get("stations/date=2024-06-01/celsius.jsonl") == b""
    assert done.returned["aggregate"]["objects"] == 0


def test_what_is_not_a_reading_fails_the_day_at_once(airflow: Airflow, moto: Store) -> None:
    """The error names object and line, no retry is waited for, and no half outcome is written."""
    fill(moto, "2024-07-01", objects=10)
    moto.put("readings/date=2024-07-01/0005.jsonl", b'{"station": "a", "celsius": 1}\n{"station": "a"}\n')
    done = run(airflow, moto, "2024-07-01")
    assert done.tasks == {"arrived": "success", "aggregate": "failed"}
    assert "readings/date=2024-07-01/0005.jsonl, line 2 is not a reading" in done.log
    left = moto.keys()
    assert [key for key in left if key.startswith("stations/")] == []
