"""Every DAG file imports clean and cheaply."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.dags.conftest import REPOSITORY, Airflow

FILES = sorted((REPOSITORY / "dags").glob("*.py"))
HEAVY = ["boto3", "botocore", "awscrt", "pyarrow", "pycurl", "requests"]
_LOADED = "import json, runpy, sys; runpy.run_path(sys.argv[1]); print(json.dumps(list(sys.modules)))"


def test_every_file_holds_one_dag_of_its_name(airflow: Airflow) -> None:
    """Airflow finds exactly the DAGs that the files are named after, and no import error."""
    assert airflow.found["errors"] == {}
    assert airflow.found["dags"] == [file.stem for file in FILES]


@pytest.fixture(scope="module")
def loaded_by_airflow(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """What Airflow's own imports load; version 3.1 loads requests."""
    plain = tmp_path_factory.mktemp("plain") / "plain.py"
    plain.write_text("from airflow.sdk import Asset, BaseOperator, Param, dag, task\n")
    return _modules_after(plain)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_parsing_loads_no_client_library(file: Path, loaded_by_airflow: set[str]) -> None:
    """The scheduler parses a DAG file every half minute; that must not load what only the worker needs."""
    assert not _modules_after(file) & (set(HEAVY) - loaded_by_airflow)


def _modules_after(file: Path) -> set[str]:
    done = subprocess.run(
        [sys.executable, "-c", _LOADED, str(file)], capture_output=True, check=True, text=True, cwd=REPOSITORY
    )
    return set(json.loads(done.stdout.splitlines()[-1]))
