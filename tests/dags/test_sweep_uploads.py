"""The sweeping DAG, run against a store with uploads left behind."""

from __future__ import annotations

from tests.dags.conftest import Airflow
from tests.support.stores import Store
from tests.support.uploads import leave, leave_as_others

DAG = "sweep_uploads"


def test_what_is_old_enough_and_ours_is_aborted(airflow: Airflow, moto: Store) -> None:
    """moto says of every upload that it was begun in 2010; below the prefix, and nothing of anybody else's."""
    ours, elsewhere = leave(moto, "in/a", parts=0), leave(moto, "out/a", parts=0)
    theirs = leave_as_others(moto, "in/b", parts=0)
    where = {"swept_prefix": f"s3://{moto.bucket}/in/"}
    dry = airflow.run(DAG, moto, variables=where, run_conf={"dry_run": True})
    assert dry.state == "success", dry.log
    assert (dry.returned["sweep"]["dry_run"], dry.returned["sweep"]["aborted"]) == (True, 1)
    assert sorted(moto.uploads()) == sorted([ours, elsewhere, theirs])
    run = airflow.run(DAG, moto, variables=where)
    assert run.state == "success", run.log
    assert [named["upload_id"] for named in run.returned["sweep"]["aborted_uploads"]] == [ours]
    assert sorted(moto.uploads()) == sorted([elsewhere, theirs])
    assert f"Aborted s3://{moto.bucket}/in/a, upload {ours}" in run.log


def test_the_default_spares_what_is_under_way(airflow: Airflow, localstack: Store) -> None:
    """An upload that was begun a moment ago."""
    left = leave(localstack, "in/a")
    run = airflow.run(DAG, localstack, variables={"swept_prefix": f"s3://{localstack.bucket}/"})
    assert run.state == "success", run.log
    assert run.returned["sweep"]["left_because"] == {"begun too recently": 1}
    assert localstack.uploads() == [left]
