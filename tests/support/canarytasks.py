"""
Runs tasks of a finished run once more, each in a process of its own under Airflow's supervisor, which writes its log.

``python -m tests.support.canarytasks DAG TASK...`` in the environment of an Airflow. A scheduler does no more for them.
"""

from __future__ import annotations

import sys
from pathlib import Path

from airflow.executors import workloads
from airflow.models.taskinstance import TaskInstance
from airflow.sdk.execution_time import supervisor
from airflow.utils.session import create_session
from sqlalchemy import select

_supervise = getattr(supervisor, "supervise_task", None) or supervisor.supervise  # Airflow before 3.3


def main(file: str, dag_id: str, *task_ids: str) -> None:
    client = supervisor.InProcessTestSupervisor._api_client()
    for task_id in task_ids:
        with create_session() as session:
            row = session.scalars(
                select(TaskInstance).where(TaskInstance.dag_id == dag_id, TaskInstance.task_id == task_id)
            ).one()
            row.state, row.try_number, row.end_date = "queued", 1, None
            session.commit()
            bundle = workloads.BundleInfo(name="dags-folder", version=None)
            work = workloads.ExecuteTask.make(row, dag_rel_path=Path(file), bundle_info=bundle)
        _supervise(
            ti=work.ti, bundle_info=work.bundle_info, dag_rel_path=work.dag_rel_path, token="", client=client,
            log_path=work.log_path,
        )  # fmt: skip


if __name__ == "__main__":
    main(*sys.argv[1:])
