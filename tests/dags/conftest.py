"""A throw-away Airflow whose database is made once, and a process in it that runs DAGs."""

from __future__ import annotations

import json
import select
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from demo.airflow_home import AirflowHome
from tests.support import servers
from tests.support.stores import Store

PATIENCE = 200.0
REPOSITORY = Path(__file__).resolve().parents[2]


class Refused(Exception):
    """Airflow did not begin the run, or the function that was called raised; says what it said."""


@dataclass(frozen=True)
class DagRun:
    """How a run ended."""

    state: str
    tasks: dict[str, str]
    returned: dict[str, Any]
    log: str
    """What Airflow and the tasks wrote meanwhile."""


def connection(endpoint_url: str) -> dict[str, str]:
    """Return the environment that makes a store the AWS connection."""
    return {
        "AIRFLOW_CONN_AWS_DEFAULT": f"aws://{servers.ACCESS_KEY}:{servers.SECRET_KEY}@/?region_name={servers.REGION}"
        f"&endpoint_url={quote(endpoint_url, safe='')}"
    }


class Airflow:
    """Runs the DAGs of this repository to their ends."""

    def __init__(self, home: AirflowHome, folder: Path) -> None:
        self._log = folder / "worker.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.dags.worker"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, cwd=REPOSITORY, env=home.environment(),
            )  # fmt: skip
        self.found: dict[str, Any] = {}
        """The ids of the DAGs, and what went wrong while importing."""

    def __enter__(self) -> Airflow:
        try:
            self.found = self._read()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_error: object) -> None:
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.close()
        self._process.stdout.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def run(self, dag_id: str, store: Store, *, variables: dict[str, str] | None = None, **about: Any) -> DagRun:
        """
        Run a DAG with ``store`` as its AWS connection.

        :param about: ``logical_date``, ``run_after`` (ISO dates), ``run_conf``.
        """
        start = self._log.stat().st_size
        environment = {f"AIRFLOW_VAR_{name.upper()}": value for name, value in (variables or {}).items()}
        environment |= connection(store.endpoint_url)
        answer = self._ask({"dag_id": dag_id, "environment": environment, **about})
        with self._log.open("rb") as log:
            log.seek(start)
            return DagRun(**answer, log=log.read().decode(errors="replace"))

    def call(self, dag_id: str, task_id: str, *arguments: Any) -> Any:
        """Call the function of one task, outside any run."""
        return self._ask({"dag_id": dag_id, "call": task_id, "arguments": arguments})["returned"]

    def call_function(self, dag_id: str, name: str, *arguments: Any, endpoint_url: str) -> Any:
        """Call a function that the DAG's file defines, with the store at ``endpoint_url`` as its AWS connection."""
        request = {"dag_id": dag_id, "function": name, "arguments": arguments, "environment": connection(endpoint_url)}
        return self._ask(request)["returned"]

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin
        self._process.stdin.write(json.dumps(request).encode() + b"\n")
        self._process.stdin.flush()
        answer = self._read()
        if "error" in answer:
            raise Refused(answer["error"])
        return answer

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout
        # A task that is to be retried waits for minutes, and what it waits for stands in the log.
        answered, _, _ = select.select([self._process.stdout], [], [], PATIENCE)
        line = self._process.stdout.readline() if answered else b""
        assert line, f"no answer; the end of Airflow's log: {self._end_of_log()}"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _end_of_log(self) -> str:
        lines = self._log.read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if "No tasks to run" not in line][-100:])


@pytest.fixture(scope="session")
def airflow(
    tmp_path_factory: pytest.TempPathFactory, new_airflow_database: Callable[[Path], None]
) -> Iterator[Airflow]:
    folder = tmp_path_factory.mktemp("airflow")
    home = AirflowHome(folder / "home", REPOSITORY / "dags", folder / "logs", {})
    home.home.mkdir()
    new_airflow_database(home.home / "airflow.db")
    with ExitStack() as stack:
        yield stack.enter_context(Airflow(home, folder))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what is in this folder as Airflow-facing; the first to use Airflow waits for its database."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.airflow)
            if item.get_closest_marker("timeout") is None:
                item.add_marker(pytest.mark.timeout(600))
