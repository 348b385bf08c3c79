"""Every DAG file imports clean and cheaply."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.dags.conftest import REPOSITORY, Airflow

FILES = sorted((REPOSITORY / "dags").glob("*.py"))
HEAVY = {"boto3", "botocore", "awscrt", "pyarrow", "pycurl", "requests"}
# Airflow is imported once, which takes most of the time; each file is run in a copy of that process.
_LOADED = """
import json, os, runpy, sys
from airflow.sdk import Asset, BaseOperator, Param, dag, task

print(json.dumps(list(sys.modules)), flush=True)
for path in sys.argv[1:]:
    child = os.fork()
    if not child:
        runpy.run_path(path)
        print(json.dumps(list(sys.modules)), flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        sys.exit(f"{path} cannot be imported")
"""


def test_every_file_holds_one_dag_of_its_name(airflow: Airflow) -> None:
    """Airflow finds exactly the DAGs that the files are named after, and no import error."""
    assert airflow.found["errors"] == {}
    assert airflow.found["dags"] == [file.stem for file in FILES]


def test_parsing_loads_no_client_library(tmp_path: Path) -> None:
    """
    The scheduler parses a DAG file every half minute; that must not load what only the worker needs.

    What Airflow's own imports load does not count; version 3.1 loads requests.
    """
    heavy = tmp_path / "heavy.py"
    heavy.write_text("import boto3")
    command = [sys.executable, "-W", "ignore", "-c", _LOADED, *map(str, FILES), str(heavy)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY)
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stdout.splitlines() if line.startswith("[")]
    by_airflow, *by_files = ({name for name in json.loads(line) if name in HEAVY} for line in lines)
    found = {path.stem: loaded - by_airflow for path, loaded in zip([*FILES, heavy], by_files, strict=True)}
    assert "boto3" in found.pop("heavy") | by_airflow, "the test sees nothing"
    assert found == {file.stem: set() for file in FILES}
