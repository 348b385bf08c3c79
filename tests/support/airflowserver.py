"""A real Airflow on loopback: API server, scheduler with LocalExecutor, DAG processor and triggerer, on SQLite."""

from __future__ import annotations

import secrets
import sqlite3
import sys
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from demo.airflow_home import clean_environment
from tests.support import servers
from tests.support.airflowclient import AirflowClient, TaskAddress, Unanswered
from tests.support.leash import REPOSITORY, Leashed
from tests.support.servers import Running, free_port

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
_PATIENT = "60"
"""Seconds that Airflow's own calls may take on a busy machine; it gives them five, and fails the task."""


def aws_connection(endpoint_url: str) -> dict[str, str]:
    """Return the setting that makes the store at ``endpoint_url`` the default AWS connection."""
    return {
        "AIRFLOW_CONN_AWS_DEFAULT": f"aws://{servers.ACCESS_KEY}:{servers.SECRET_KEY}@/?region_name={servers.REGION}"
        f"&endpoint_url={quote(endpoint_url, safe='')}"
    }


class AirflowServer(Running):
    """
    Every process of a small Airflow, ready on entry and gone on exit, with all that their tasks started.

    :param folder: where it may write; the output of each component goes to a file there, which is where the lines of
        the task supervisors are.
    :param dags: the folder with the DAGs.
    :param settings: further environment: ``AIRFLOW_CONN_...``, ``AIRFLOW__SECTION__OPTION``.
    :param parallelism: tasks that may run at once.
    """

    start_seconds = 300.0
    """Half a minute on two cores of one's own."""
    look_every = 0.2

    def __init__(
        self, folder: Path, dags: Path, settings: Mapping[str, str] | None = None, *, parallelism: int = 4
    ) -> None:
        self.folder = folder
        self._dags = dags
        self._parallelism = parallelism
        self._settings = settings or {}
        self.client = AirflowClient(free_port())

    @property
    def database(self) -> Path:
        return self.folder / "airflow.db"

    def environment(self) -> dict[str, str]:
        """Return the environment of all components: nothing of the user's Airflow, and as quick as Airflow can be."""
        return {
            **clean_environment(),
            "PYTHONPATH": str(REPOSITORY),
            "AIRFLOW_HOME": str(self.folder),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self._dags),
            "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"{self.client.url}/execution/",
            "AIRFLOW__CORE__EXECUTOR": "LocalExecutor",
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__CORE__PARALLELISM": str(self._parallelism),
            "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "AIRFLOW__API__HOST": "127.0.0.1",
            "AIRFLOW__API__PORT": str(self.client.port),
            "AIRFLOW__API_AUTH__JWT_SECRET": secrets.token_hex(64),
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(self.folder / "bundles"),
            "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
            "AIRFLOW__DAG_PROCESSOR__PARSING_PROCESSES": "1",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.database}?timeout={_PATIENT}",
            "AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT": str(free_port()),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "AIRFLOW__SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "1",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRIES": "100",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MAX": "0.5",
            "AIRFLOW__WORKERS__EXECUTION_API_RETRY_WAIT_MIN": "0.05",
            "AIRFLOW__WORKERS__EXECUTION_API_TIMEOUT": _PATIENT,
            "AIRFLOW__WORKERS__MIN_HEARTBEAT_INTERVAL": "1",
            "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
            **self._settings,
        }

    def launch(self) -> Leashed:
        command = [sys.executable, "-m", "tests.support.airflowmain", str(self.folder), *COMPONENTS]
        return Leashed(command, self.folder / "main.log", self.environment())

    def complaint(self) -> str:
        ends = [f"{log.name}: {log.read_text(errors='replace')[-1500:]}" for log in self.folder.glob("*.log")]
        return "\n".join(["Airflow did not start; the ends of its logs:", *ends])

    def answers(self) -> bool:
        try:
            return self.client.healthy() and self.client.ready_for_tasks() and bool(self.client.dags())
        except Unanswered:
            return False

    def output(self, component: str) -> str:
        """Return what a component has printed so far; the scheduler's has the lines of the task supervisors."""
        return (self.folder / f"{component}.log").read_text(errors="replace")

    def forget_heartbeats(self, address: TaskAddress) -> None:
        """Make Airflow believe that it has not heard of a task for longer than it waits."""
        with closing(sqlite3.connect(self.database, timeout=30)) as database:
            long_ago = "2000-01-01 00:00:00.000000"
            changed = database.execute(
                "update task_instance set last_heartbeat_at = ? where dag_id = ? and run_id = ? and task_id = ?",
                (long_ago, address.dag_id, address.run_id, address.task_id),
            )
            assert changed.rowcount == 1
            database.commit()
