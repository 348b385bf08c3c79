"""What tests ask of a running Airflow through its public REST API (version 2), with the standard library alone."""

from __future__ import annotations

import http.client
import json
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import quote

PATIENCE = 180.0
"""Seconds for Airflow to get on; a few on two cores of one's own."""


class Unanswered(Exception):
    """The API server is not there yet, or did not answer with success; says what it said."""


@dataclass(frozen=True)
class Task:
    """One task of one run, as Airflow sees it."""

    state: str | None
    try_number: int
    max_tries: int
    pid: int | None
    """Of the task runner; stays known after its end."""

    @property
    def ended(self) -> bool:
        return self.state in ("success", "failed")


@dataclass(frozen=True)
class TaskAddress:
    """One task of one run of a DAG."""

    dag_id: str
    run_id: str
    task_id: str

    @property
    def path(self) -> str:
        return f"/dags/{self.dag_id}/dagRuns/{quote(self.run_id, safe='')}/taskInstances/{self.task_id}"


class AirflowClient:
    """A client of the API server on a loopback port, where everybody is an administrator."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.url = f"http://127.0.0.1:{port}"

    def healthy(self) -> bool:
        """Whether the API server answers, and every other component has lately told the database that it lives."""
        parts = self._ask("GET", "/monitor/health")
        return all(parts[name]["status"] == "healthy" for name in ("scheduler", "dag_processor", "triggerer"))

    def ready_for_tasks(self) -> bool:
        """Whether the part of the API server that tasks talk to answers; it is made at the first question to it."""
        return bool(self._ask("GET", "/execution/health", root=""))

    def dags(self) -> list[str]:
        """Return the ids of the DAGs that were read."""
        errors = self._ask("GET", "/importErrors")["import_errors"]
        assert not errors, errors[0]["stack_trace"]
        return [dag["dag_id"] for dag in self._ask("GET", "/dags")["dags"]]

    def trigger(self, dag_id: str, task_id: str, conf: dict[str, Any]) -> TaskAddress:
        """Begin a run; return the address of one of its tasks."""
        address = TaskAddress(dag_id, f"test-{uuid.uuid4()}", task_id)
        wanted = {"dag_run_id": address.run_id, "logical_date": None, "conf": conf}
        self._ask("POST", f"/dags/{dag_id}/dagRuns", wanted)
        return address

    def task(self, address: TaskAddress) -> Task:
        about = self._ask("GET", address.path)
        return Task(about["state"], about["try_number"], about["max_tries"], about["pid"])

    def wait(self, address: TaskAddress, until: Callable[[Task], bool], seconds: float = PATIENCE) -> Task:
        """Return the task once ``until`` accepts it."""
        deadline = time.monotonic() + seconds
        while not until(task := self.task(address)):
            assert time.monotonic() < deadline, f"waited {seconds:g} s, and the task is still {task}"
            time.sleep(0.2)  # each look costs the server more than a hundredth of a second
        return task

    def log(self, address: TaskAddress, try_number: int) -> str:
        """Return the log of one try, a line of text for each event, with the texts of its errors."""
        answer = self._ask("GET", f"{address.path}/logs/{try_number}?full_content=true")
        return "\n".join(_text(line) for line in answer["content"])

    def seconds_of(self, address: TaskAddress, try_number: int, text: str) -> float | None:
        """Return when the log of a try first said something, in seconds since the epoch; None if it never did."""
        answer = self._ask("GET", f"{address.path}/logs/{try_number}?full_content=true")
        for line in answer["content"]:
            if text in line["event"] and line.get("timestamp"):
                return datetime.fromisoformat(line["timestamp"]).timestamp()
        return None

    def returned(self, address: TaskAddress) -> Any:
        """Return the task's XCom."""
        return self._ask("GET", f"{address.path}/xcomEntries/return_value?deserialize=true")["value"]

    def stored(self, address: TaskAddress) -> dict[str, Any]:
        """Return what is in the task's state store (Airflow 3.3 and later)."""
        entries = self._ask("GET", f"{address.path}/state-store")["task_state_store"]
        return {entry["key"]: entry["value"] for entry in entries}

    def mark_failed(self, address: TaskAddress) -> None:
        """Do what the button "Mark failed" does."""
        self._ask("PATCH", address.path, {"new_state": "failed"})

    def clear(self, address: TaskAddress) -> None:
        """Do what the button "Clear" does: the task runs again in the same run."""
        wanted = {"dry_run": False, "dag_run_id": address.run_id, "task_ids": [address.task_id], "only_failed": False}
        self._ask("POST", f"/dags/{address.dag_id}/clearTaskInstances", wanted)

    def _ask(self, method: str, path: str, body: dict[str, Any] | None = None, root: str = "/api/v2") -> Any:
        deadline = time.monotonic() + PATIENCE
        while True:
            status, text = self._exchange(method, root + path, json.dumps(body) if body else None)
            if status < 300:
                return json.loads(text)
            # Two processes write to SQLite at once, and one of them is told to try again. Nothing was changed then.
            if status < 500 or "Database error" not in text or time.monotonic() > deadline:
                raise Unanswered(f"{method} {path}: {status} {text[:500]}")
            time.sleep(0.2)

    def _exchange(self, method: str, target: str, body: str | None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)
        headers = {"Accept": "application/json", "Content-Type": "application/json"}
        try:
            connection.request(method, target, body, headers)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{method} {target}: {error}") from error
        finally:
            connection.close()


def _text(line: Any) -> str:
    if isinstance(line, str):
        return line
    errors = [f"{error['exc_type']}: {error['exc_value']}" for error in line.get("error_detail") or ()]
    return "\n".join([f"{line.get('level', '')} {line.get('event', '')}".strip(), *errors])
