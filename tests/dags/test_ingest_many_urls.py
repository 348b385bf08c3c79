"""The mapped DAG, run against an origin and an S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from demo.origin import Origin
from tests.dags.conftest import Airflow
from tests.support.stores import Store

DAG = "ingest_many_urls"
LOOPBACK = {"ingest_allow_private": "127.0.0.0/8"}


@pytest.fixture
def origin(tmp_path: Path) -> Iterator[Origin]:
    for name in ("a.csv", "b.csv", "with space.csv"):
        (tmp_path / name).write_text(f"{name}\n" * 1000)
    with Origin(tmp_path) as origin:
        yield origin


def test_each_url_becomes_an_object(airflow: Airflow, moto: Store, origin: Origin) -> None:
    """One mapped task per URL; keys end as the URLs' paths do, unquoted and without the query."""
    urls = [f"{origin.url}/{name}" for name in ("a.csv", "b.csv?version=3", "with%20space.csv")]
    run = airflow.run(DAG, moto, variables=LOOPBACK, run_conf={"urls": urls, "destination": f"s3://{moto.bucket}/in/"})
    assert run.state == "success", run.log
    assert sorted(moto.keys()) == ["in/a.csv", "in/b.csv", "in/with space.csv"]
    assert moto.get("in/with space.csv") == b"with space.csv\n" * 1000
    assert run.returned["summarize"] == {"copied": 3, "skipped": 0, "bytes": 6000 + 6000 + 15000}


def test_one_missing_url_fails_the_run_and_not_the_others(airflow: Airflow, moto: Store, origin: Origin) -> None:
    """The others are copied all the same, and the summary names the one that was not."""
    urls = [f"{origin.url}/a.csv", f"{origin.url}/gone.csv", f"{origin.url}/b.csv"]
    run = airflow.run(DAG, moto, variables=LOOPBACK, run_conf={"urls": urls, "destination": f"s3://{moto.bucket}/in"})
    assert run.state == "failed"
    assert [run.tasks[f"copy[{index}]"] for index in range(3)] == ["success", "failed", "success"]
    assert sorted(moto.keys()) == ["in/a.csv", "in/b.csv"]
    assert f"1 of 3 were not copied: {origin.url}/gone.csv" in run.log


def test_two_urls_for_one_key_are_refused_before_anything_is_copied(
    airflow: Airflow, moto: Store, origin: Origin
) -> None:
    """Else the later copy would replace the earlier without a word."""
    urls = [f"{origin.url}/a.csv", f"{origin.url}/old/a.csv"]
    run = airflow.run(DAG, moto, variables=LOOPBACK, run_conf={"urls": urls, "destination": f"s3://{moto.bucket}/in"})
    assert run.tasks["plan"] == "failed"
    assert run.state == "failed"
    assert f"would both become s3://{moto.bucket}/in/a.csv" in run.log
    assert "since the task `plan` failed" in run.log
    assert moto.keys() == []


def test_what_is_not_public_is_refused_unless_the_variable_names_it(
    airflow: Airflow, moto: Store, origin: Origin
) -> None:
    """Whoever triggers the run names URLs, and nothing more; no retry is spent on it."""
    about = {"run_conf": {"urls": [f"{origin.url}/a.csv"], "destination": f"s3://{moto.bucket}/in"}}
    run = airflow.run(DAG, moto, variables={"ingest_allow_private": ""}, **about)
    assert run.tasks["copy[0]"] == "failed"
    assert "a loopback address (RFC 1122), and only public addresses may be read from unless allow_private" in run.log
    assert moto.keys() == []
