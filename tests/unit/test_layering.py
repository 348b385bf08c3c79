"""The rooms import one way only, and what is expensive is loaded late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = "airflow_s3stream"
ROOT = Path(__file__).parents[2] / PACKAGE
LAYERS = (
    {"exceptions"},
    {"config"},
    {"plan"},
    {"engine"},
    {"hooks"},
    {"triggers"},
    {"operators", "cli", "terminal"},
)
RANK = {room: rank for rank, rooms in enumerate(LAYERS) for room in rooms}
LIBRARIES = {  # third-party packages a room may import; type stubs aside
    "engine": {"awscrt", "boto3", "botocore", "pycurl", "requests", "urllib3"},
    "hooks": {"airflow", "botocore", "requests"},
    "operators": {"airflow"},
    "cli": {"matplotlib", "rich"},
    "terminal": {"rich"},
}
FILES = [path for path in ROOT.rglob("*.py") if path.parent != ROOT or path.stem in RANK]


def imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: absolute imports only"
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_point_down(path: Path) -> None:
    """A room imports only itself, rooms below it, and its own third-party packages."""
    room = path.relative_to(ROOT).parts[0].removesuffix(".py")
    for name in imports(path):
        top, *rest = name.split(".")
        if top == PACKAGE:
            target = rest[0]
            same_floor = target == room or (room == "cli" and target == "terminal")
            assert target == "__version__" or same_floor or RANK[target] < RANK[room], f"{room} may not import {name}"
        else:
            allowed = top in sys.stdlib_module_names or top in LIBRARIES.get(room, set()) or top.startswith("mypy_")
            assert allowed, f"{room} may not import {name}"


def loaded_by(statement: str, *watched: str) -> set[str]:
    code = f"import sys; watched = {set(watched)!r}; {statement}; print(*sorted(watched & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.splitlines()[-1].split() if done.stdout.strip() else [])


@pytest.mark.airflow
@pytest.mark.timeout(300)  # importing Airflow takes a while on a busy machine
def test_a_dag_file_parses_without_the_client_libraries() -> None:
    """Importing the operator loads neither boto3, requests nor pycurl, for DAG files are parsed again and again."""
    heavy = {"awscrt", "boto3", "botocore", "pycurl", "requests"}
    # Some versions of Airflow load one of them by themselves; 3.3 none.
    before = f"from airflow.sdk import BaseOperator; before = {heavy} & set(sys.modules)"
    assert loaded_by(f"{before}; import airflow_s3stream.operators.url_to_s3; watched -= before", *heavy) == set()


def test_the_command_needs_no_airflow() -> None:
    """And tells bad usage before it loads boto3."""
    assert loaded_by("import airflow_s3stream.cli", "airflow", "boto3") == set()
    assert loaded_by("import airflow_s3stream.engine.copy, airflow_s3stream.engine.s3sink", "airflow") == set()
