"""An Airflow of the demo's own: its home, its database, its connections; nothing of the user's."""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import os
import shutil
import sqlite3
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from demo.processes import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_FOREIGN = ("AIRFLOW_", "AIRFLOW__", "AWS_", "RCLONE_")
_TRUST = ("AWS_CA_BUNDLE",)


def clean_environment() -> dict[str, str]:
    """
    Return the environment without anything that could lead a child elsewhere.

    The user's own Airflow database, AWS profile or proxy must neither be read nor written by a demo.
    """
    env = {name: value for name, value in os.environ.items() if name in _TRUST or not name.startswith(_FOREIGN)}
    return {**env, "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"}


@dataclass(frozen=True)
class AirflowHome:
    """
    :param home: the AIRFLOW_HOME.
    :param dags: the folder with the DAGs.
    :param logs: where the output of each command goes.
    :param settings: ``AIRFLOW_CONN_...`` and ``AIRFLOW_VAR_...``: they need no database and no user interface.
    """

    home: Path
    dags: Path
    logs: Path
    settings: Mapping[str, str]

    def prepare(self, pool: str, slots: int) -> None:
        """
        Bring about a new database with the pool that the DAG's tasks ask for.

        Making it takes Airflow longer than a copy takes, so it is kept, unused, for the next time.
        """
        unused = self.home / f"unused-{importlib.metadata.version('apache-airflow')}.db"
        if not unused.exists():
            shutil.rmtree(self.home, ignore_errors=True)
            self._airflow("migrate", "db", "migrate")
            self._airflow("pools", "pools", "set", pool, str(slots), "made by the demo")
            partial = unused.with_suffix(".partial")
            with self._database() as made, contextlib.closing(sqlite3.connect(partial)) as kept:
                made.backup(kept)
            partial.rename(unused)
            return
        for left_over in self.home.glob("airflow.db*"):
            left_over.unlink()
        shutil.copy(unused, self.home / "airflow.db")

    def test_dag(self, dag_id: str, day: str) -> Path:
        """
        Run one DAG run to its end, without a scheduler; return its log.

        A task that fails and has retries left would wait for minutes. Nothing here passes by waiting, so that
        counts as failed.
        """

        def hopeless() -> str:
            rows = self._query("select task_id from task_instance where state = 'up_for_retry'")
            return f"the task {rows[0][0]!r} failed" if rows else ""

        return self._airflow(f"{dag_id}-{day}", "dags", "test", dag_id, day, hopeless=hopeless)

    def xcom(self, dag_id: str, day: str, task_id: str) -> Any:
        """Return what a task of the run returned, None if nothing."""
        rows = self._query(
            "select xcom.value from xcom join dag_run on dag_run.id = xcom.dag_run_id where dag_run.dag_id = ?"
            " and date(dag_run.logical_date) = ? and xcom.task_id = ? and xcom.key = 'return_value'",
            dag_id, day, task_id,
        )  # fmt: skip
        value = rows[0][0] if rows else None
        # JSON, as text in a column of JSON: two layers of it.
        while isinstance(value, str):
            value = json.loads(value)
        return value

    def state(self, dag_id: str, day: str) -> str | None:
        """Return the state of the run: ``success``, ``failed``, ...; None if there is none."""
        rows = self._query("select state from dag_run where dag_id = ? and date(logical_date) = ?", dag_id, day)
        return str(rows[0][0]) if rows else None

    def _query(self, query: str, *values: str) -> list[tuple[Any, ...]]:
        with self._database() as database:
            return database.execute(query, values).fetchall()

    def _database(self) -> contextlib.closing[sqlite3.Connection]:
        return contextlib.closing(sqlite3.connect(f"file:{self.home / 'airflow.db'}?mode=ro", uri=True, timeout=30))

    def _airflow(self, log_name: str, *arguments: str, hopeless: Callable[[], str] = lambda: "") -> Path:
        log = self.logs / f"{log_name}.log"
        command = [str(Path(sys.executable).with_name("airflow")), *arguments]
        run(command, log=log, env=self.environment(), timeout=300, hopeless=hopeless)
        return log

    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            "AIRFLOW_HOME": str(self.home),
            "AIRFLOW__CORE__DAGS_FOLDER": str(self.dags),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{self.home / 'airflow.db'}",
            **self.settings,
        }
