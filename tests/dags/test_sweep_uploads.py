"""The sweeping DAG, run against a store with uploads left behind."""

from __future__ import annotations

import pytest

from tests.dags.conftest import Airflow
from tests.support.stores import Store
from tests.support.uploads import leave, leave_as_others


@pytest.mark.parametrize("dry_run", [False, True])
def test_what_is_old_enough_and_ours_is_aborted(airflow: Airflow, moto: Store, dry_run: bool) -> None:
    """moto says of every upload that it was begun in 2010; below the prefix, and nothing of anybody else's."""
    ours, elsewhere = leave(moto, "in/a", parts=0), leave(moto, "out/a", parts=0)
    theirs = leave_as_others(moto, "in/b", parts=0)
    where = {"swept_prefix": f"s3://{moto.bucket}/in/"}
    run = airflow.run("sweep_uploads", moto, variables=where, run_conf={"dry_run": dry_run})
    assert run.state == "success", run.log
    value = run.returned["sweep"]
    assert (value["dry_run"], value["found"], value["older_than"]) == (dry_run, 2, 172800.0)
    assert [named["upload_id"] for named in value["aborted_uploads"]] == [ours]
    assert f"{'Would abort' if dry_run else 'Aborted'} s3://{moto.bucket}/in/a, upload {ours}" in run.log
    assert set(moto.uploads()) == {elsewhere, theirs, *([ours] if dry_run else [])}
