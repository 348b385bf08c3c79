"""Copies and downloads with secrets as tasks of an Airflow that logs at DEBUG, and all that it stored of them."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from demo.airflow_home import AirflowHome
from demo.processes import DemoFailed, run
from tests.support import canaries, servers
from tests.support.canaries import Corpus
from tests.support.canaryruns import Given, copies
from tests.support.canaryservers import Rig, running

DAGS = Path(__file__).parent / "canarydag"
SUPERVISED = (
    "presigned_redirect", "user_info_cut", "headers_404", "connection_well", "user_info_store_refuses", "get_denied",
)  # fmt: skip
"""Those of its tasks that are run once more as a scheduler would have them run."""
_WAYS = ("well", "404", "cut", "refused", "store refuses", "malformed", "no tunnel")
_ONCE = ("presigned, redirect", "presigned, ftp", "headers, tls")
"""The copies that are tasks. Other ways to end say nothing here which they do not say without Airflow."""
_READER = """
from airflow.plugins_manager import AirflowPlugin
from airflow.sdk.lineage import HookLineageReader

class Canary(AirflowPlugin):
    name = "canary"
    hook_lineage_readers = [HookLineageReader]
"""
"""Without a reader, Airflow collects no lineage of hooks."""


def run_in_airflow(folder: Path, new_database: Callable[[Path], None]) -> Corpus:
    """
    Run the DAG once; return what came of it.

    :param new_database: puts a new database of Airflow at a path.
    """
    corpus = Corpus()
    files, logs = folder / "files", folder / "logs"
    for made in (files, logs, folder / "home" / "plugins"):
        made.mkdir(parents=True)
    (folder / "home" / "plugins" / "canary.py").write_text(_READER)
    with running(folder) as rig:
        (folder / "given.json").write_text(json.dumps(_given(rig)))
        home = AirflowHome(folder / "home", DAGS, logs, _settings(rig, folder, files))
        airflow = str(Path(sys.executable).with_name("airflow"))
        new_database(home.home / "airflow.db")
        with contextlib.suppress(DemoFailed):  # some of its tasks fail, so it does
            run([airflow, "dags", "test", "canary_copies", "2024-01-01"], log=logs / "run.log",
                env=home.environment(), timeout=240)  # fmt: skip
        again = [sys.executable, "-m", "tests.support.canarytasks", "canary_copies.py", "canary_copies", *SUPERVISED]
        run(again, log=logs / "supervised.log", env=home.environment(), timeout=240)
        rig.collect(corpus)
    _collect_logs(corpus, [logs / "run.log", *(folder / "home" / "logs").rglob("*.log")])
    with contextlib.closing(sqlite3.connect(folder / "home" / "airflow.db")) as database:
        _collect_tables(corpus, database)
    lineage = files / "lineage.txt"
    assert lineage.exists(), (logs / "run.log").read_text()[-3000:]
    corpus.add("lineage", "hooks", lineage.read_text())
    for path in files.rglob("*"):
        small = path.is_file() and path.stat().st_size < 100_000
        corpus.add("state and files", str(path), str(path) + (path.read_bytes().decode("latin-1") if small else ""))
    return corpus


def _given(rig: Rig) -> dict[str, dict[str, Any]]:
    """Return the copies by the names of their tasks."""
    found = {}
    for given in copies(rig):
        if given.name not in _ONCE and given.name.rpartition(", ")[2] not in _WAYS:
            continue
        if given.proxy and given.name.endswith(("refused", "malformed")):
            continue  # the environment, with its proxy, is the same for all tasks
        found[re.sub(r"\W+", "_", given.name)] = {
            "url": given.url, "headers": given.headers, "http_conn_id": _connection(given),
            "store": "store" if given.store == "store" else "refusing",
        }  # fmt: skip
    return found


def _connection(given: Given) -> str | None:
    if given.connection_proxy:
        return "proxied" if "malformed" not in given.name else "badly_proxied"
    if not given.login:
        return None
    return "tls_web" if given.url.startswith("https") else ("closed_web" if "refused" in given.name else "web")


def _settings(rig: Rig, folder: Path, files: Path) -> dict[str, str]:
    def store(endpoint_url: str, token: str = canaries.SESSION_TOKEN) -> str:
        extra = {"endpoint_url": endpoint_url, "region_name": servers.REGION, "aws_session_token": token}
        about = {"conn_type": "aws", "login": servers.ACCESS_KEY, "password": servers.SECRET_KEY, "extra": extra}
        return json.dumps(about)

    def web(host: str, port: int, schema: str = "http", **extra: Any) -> str:
        login: dict[str, Any] = {} if "proxies" in extra else {"login": "ann", "password": canaries.LOGIN_PASSWORD}
        extra = extra or {"X-Extra": canaries.EXTRA_HEADER}
        about = {"conn_type": "http", "host": host, "schema": schema, **login, "extra": extra}
        return json.dumps({**about, "port": port} if port else about)

    proxies = {"http": rig.proxy_url(), "https": rig.proxy_url()}
    bad = f"http://bob:{canaries.PROXY_PASSWORD}@h:port"
    return {
        "AIRFLOW_CONN_STORE": store(rig.store.endpoint_url),
        "AIRFLOW_CONN_REFUSING": store(rig.refusing.endpoint_url),
        "AIRFLOW_CONN_READS": store(rig.reads.endpoint_url),
        "AIRFLOW_CONN_STALE": store(rig.reads.endpoint_url, canaries.SESSION_TOKEN + "stale"),
        "AIRFLOW_CONN_NOWHERE": store(f"http://127.0.0.1:{rig.closed_port}"),
        "AIRFLOW_CONN_DISTANT": store("http://store.invalid"),
        "AIRFLOW_CONN_WEB": web("127.0.0.1", rig.origin.port),
        "AIRFLOW_CONN_CLOSED_WEB": web("127.0.0.1", rig.closed_port),
        "AIRFLOW_CONN_TLS_WEB": web("127.0.0.1", rig.tls_origin.port, "https"),
        "AIRFLOW_CONN_PROXIED": web("origin.invalid", 0, proxies=proxies),
        "AIRFLOW_CONN_BADLY_PROXIED": web("origin.invalid", 0, proxies={"http": bad, "https": bad}),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "DEBUG",
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(folder / "home" / "plugins"),
        "CANARIES": str(folder / "given.json"),
        "CANARY_FILES": str(files),
        "CANARY_PROXY": rig.proxy_url(),
        "HTTP_PROXY": rig.proxy_url(),
        "HTTPS_PROXY": rig.proxy_url(),
        "PYTHONPATH": str(servers.REPOSITORY),
    }


def _collect_logs(corpus: Corpus, paths: list[Path]) -> None:
    for path in paths:
        lines = path.read_text(errors="replace").splitlines()
        # `dags test` has no supervisor, and at DEBUG its stand-in logs the request to mask a secret, secret and all.
        text = "\n".join(line for line in lines if not ("Sending request" in line and "msg=MaskSecret(" in line))
        corpus.add("log at DEBUG", path.name, text)
        # A task's error and its causes are part of its log.
        corpus.add("traceback", path.name, text if "Traceback" in text or "exc_" in text else "")


def _collect_tables(corpus: Corpus, database: sqlite3.Connection) -> None:
    for place, query in (
        ("rendered fields", "select task_id, rendered_fields from rendered_task_instance_fields"),
        ("result", "select task_id, value from xcom"),
        ("state and files", "select task_id, value from task_state_store"),
    ):
        with contextlib.suppress(sqlite3.OperationalError):  # a table that this Airflow does not have
            for name, value in database.execute(query):
                corpus.add(place, f"{place} of {name}", str(value))
    for task, state in database.execute("select task_id, state from task_instance"):
        corpus.ended["well" if state == "success" else "badly"].append(f"{task}: {state}")
