"""The monthly DAG, run against an origin and S3 servers."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.origin import Origin
from tests.dags.conftest import Airflow
from tests.support.stores import Store

MiB = 1024 * 1024
DAG = "ingest_trip_data"


class Months:
    """A folder of months, served by an origin."""

    def __init__(self, folder: Path, url: str) -> None:
        self._folder = folder
        self.url = url

    def publish(self, month: str, size: int = 12 * MiB, magic: bytes = b"PAR1") -> bytes:
        body = magic + random.Random(month).randbytes(size) + magic
        path = self._folder / f"yellow_tripdata_{month}.parquet"
        path.write_bytes(body)
        # Second-granular dates would make two versions of one test look alike.
        os.utime(path, (1_700_000_000 + size, 1_700_000_000 + size))
        return body

    def variables(self, store: Store, **more: str) -> dict[str, str]:
        return {
            "trip_data_bucket": store.bucket,
            "trip_data_source": self.url,
            "trip_data_allow_private": "127.0.0.0/8",
            "trip_data_verification": "crc64nvme",
            **more,
        }


@pytest.fixture
def months(tmp_path: Path) -> Iterator[Months]:
    with Origin(tmp_path) as origin:
        yield Months(tmp_path, origin.url)


def key(month: str) -> str:
    return f"yellow/year={month[:4]}/month={month[5:]}/yellow_tripdata_{month}.parquet"


def test_the_logical_date_names_the_month(airflow: Airflow, moto: Store, months: Months) -> None:
    """A run copies the month of its logical date to a key partitioned by year and month, and the gate opens."""
    body = months.publish("2024-01")
    run = airflow.run(DAG, moto, variables=months.variables(moto), logical_date="2024-01-01T00:00:00+00:00")
    assert run.state == "success", run.log
    assert run.tasks == {"published": "success", "copy": "success", "check": "success"}
    assert run.returned["copy"]["verification"] == "crc64nvme"
    assert run.returned["copy"]["parts"] > 1
    assert moto.get(key("2024-01")) == body
    assert moto.head(key("2024-01"))["ContentType"] == "application/vnd.apache.parquet"


def test_a_repeated_run_copies_only_what_changed(airflow: Airflow, moto: Store, months: Months) -> None:
    """Run again, a month is skipped; once the site has corrected it, it is copied."""
    months.publish("2024-02")
    about = {"variables": months.variables(moto), "logical_date": "2024-02-01T00:00:00+00:00"}
    statuses = [airflow.run(DAG, moto, **about).returned["copy"]["status"] for _ in range(2)]
    corrected = months.publish("2024-02", 13 * MiB)
    last = airflow.run(DAG, moto, **about)
    assert [*statuses, last.returned["copy"]["status"]] == ["copied", "skipped", "copied"]
    assert last.state == "success", last.log
    assert moto.get(key("2024-02")) == corrected


def test_a_run_without_logical_date_takes_the_month_it_was_due(airflow: Airflow, moto: Store, months: Months) -> None:
    """Triggered by an asset a run has no logical date; its month is that of run_after."""
    months.publish("2024-03")
    run = airflow.run(
        DAG, moto, variables=months.variables(moto), logical_date=None, run_after="2024-03-05T00:00:00+00:00"
    )
    assert run.state == "success", run.log
    assert moto.keys() == [key("2024-03")]


def test_the_parameter_month_wins(airflow: Airflow, moto: Store, months: Months) -> None:
    """Triggered by hand with a month, a run copies that one."""
    months.publish("2023-12")
    run = airflow.run(
        DAG, moto, variables=months.variables(moto), logical_date="2024-04-01T00:00:00+00:00",
        run_conf={"month": "2023-12"},
    )  # fmt: skip
    assert run.state == "success", run.log
    assert moto.keys() == [key("2023-12")]


def test_a_run_waits_for_a_month_that_is_not_published(airflow: Airflow, months: Months) -> None:
    """Missing is no failure: the sensor looks again later."""
    months.publish("2024-08")
    seen = [airflow.call(DAG, "published", f"{months.url}/yellow_tripdata_2024-{n}.parquet") for n in ("08", "09")]
    assert seen == [True, False]


def test_the_gate_asks_for_the_proof_it_was_told_to(airflow: Airflow, rclone: Store, months: Months) -> None:
    """A store that can confirm no more than MD5s fails the run, unless those are declared to be enough."""
    months.publish("2024-05")
    about = {"logical_date": "2024-05-01T00:00:00+00:00"}
    refused = airflow.run(DAG, rclone, variables=months.variables(rclone), **about)
    assert refused.state == "failed"
    assert refused.tasks == {"published": "success", "copy": "success", "check": "failed"}
    assert "was verified by 'md5-etag'; the variable trip_data_verification asks for 'crc64nvme'" in refused.log

    lenient = months.variables(rclone, trip_data_verification="md5-etag", trip_data_prefix="again")
    accepted = airflow.run(DAG, rclone, variables=lenient, **about)
    assert accepted.state == "success", accepted.log


def test_the_gate_refuses_what_is_not_parquet(airflow: Airflow, moto: Store, months: Months) -> None:
    """An error page that came with status 200 is no month, however well it was copied."""
    months.publish("2024-06", magic=b"<htm")
    run = airflow.run(DAG, moto, variables=months.variables(moto), logical_date="2024-06-01T00:00:00+00:00")
    assert run.tasks == {"published": "success", "copy": "success", "check": "failed"}
    assert "is not a Parquet file" in run.log


def test_a_month_that_is_too_small_is_never_stored(airflow: Airflow, moto: Store, months: Months) -> None:
    """The operator refuses it from the first answer and fails at once, with all its retries left."""
    months.publish("2024-07", 1000)
    run = airflow.run(DAG, moto, variables=months.variables(moto), logical_date="2024-07-01T00:00:00+00:00")
    assert run.tasks == {"published": "success", "copy": "failed", "check": "upstream_failed"}
    assert "below min_bytes" in run.log
    moto.assert_clean()
