"""
Runs DAGs in a process of its own: ``python -m tests.dags.worker``, a JSON request per line, a JSON answer each.

Airflow reads its home and opens its database when it is imported, which takes longer than a run. So one process
is kept for all runs, apart from pytest and its rules about warnings.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

# Answers go where stdout was. Whatever else prints, prints into the log.
_answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)

from airflow.dag_processing.bundles.manager import DagBundlesManager  # noqa: E402
from airflow.models.taskinstance import TaskInstance  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402
from sqlalchemy import select  # noqa: E402

try:
    from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
except ImportError:  # Airflow 3.1
    from airflow.models.dagbag import DagBag, sync_bag_to_db

DAGS = Path(__file__).resolve().parents[2] / "dags"


def main() -> None:
    bag = DagBag(str(DAGS))
    # Airflow 3.1 runs only what its database has heard of; later ones see to that themselves.
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(bag, "dags-folder", None)
    _answer({"dags": sorted(bag.dag_ids), "errors": bag.import_errors})
    for line in sys.stdin:
        try:
            _answer(_do(json.loads(line)))
        except Exception as error:  # noqa: BLE001  whatever it is, the test that asked is to see it
            _answer({"error": f"{type(error).__name__}: {error}"})


def _do(request: dict[str, Any]) -> dict[str, Any]:
    os.environ.update(request.pop("environment", {}))
    # Parsed again for each run, since a run's conf stays in the params of its DAG.
    dag = DagBag(str(DAGS)).dags[request.pop("dag_id")]
    if "call" in request:
        return {"returned": dag.get_task(request["call"]).python_callable(*request["arguments"])}
    if "function" in request:
        found = dag.tasks[0].python_callable.__globals__[request["function"]]
        return {"returned": found(*request["arguments"])}
    for name in ("run_after", "logical_date"):
        if request.get(name):
            request[name] = datetime.fromisoformat(request[name])
    run = dag.test(**request)
    return _outcome(dag.dag_id, run.run_id, str(run.state))


def _outcome(dag_id: str, run_id: str, state: str) -> dict[str, Any]:
    """Tell how the run and its tasks ended, and what they returned; a mapped task by index: ``copy[0]``."""

    def name(row: Any) -> str:
        return str(row.task_id) if row.map_index < 0 else f"{row.task_id}[{row.map_index}]"

    with create_session() as session:
        tasks = session.scalars(
            select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.run_id == run_id)
        )
        returned = session.scalars(
            select(XComModel).where(
                XComModel.dag_id == dag_id, XComModel.run_id == run_id, XComModel.key == "return_value"
            )
        )
        return {
            "state": state,
            "tasks": {name(task): str(task.state) for task in tasks},
            "returned": {name(xcom): XComModel.deserialize_value(xcom) for xcom in returned},
        }


def _answer(answer: dict[str, Any]) -> None:
    _answers.write(json.dumps(answer, default=str) + "\n")
    _answers.flush()


if __name__ == "__main__":
    main()
