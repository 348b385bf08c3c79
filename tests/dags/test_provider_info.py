"""What Airflow is told about this provider."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import inspect
import json
import pkgutil
from pathlib import Path

import jsonschema
from airflow.sdk import BaseOperator

from airflow_s3stream import __version__, operators
from airflow_s3stream.get_provider_info import get_provider_info

DISTRIBUTION = "airflow-s3stream"


def test_the_description_is_what_airflow_asks_for() -> None:
    """It is valid against the schema that Airflow itself checks with, and names nothing the schema does not know."""
    airflow = importlib.util.find_spec("airflow")
    assert airflow is not None
    assert airflow.origin is not None
    schema = json.loads(Path(airflow.origin).with_name("provider_info.schema.json").read_text())
    jsonschema.validate(get_provider_info(), {**schema, "additionalProperties": False})


def test_airflow_finds_it() -> None:
    """The installed package points Airflow to it, under the name that Airflow compares."""
    found = importlib.metadata.entry_points(group="apache_airflow_provider")
    ours = [entry for entry in found if entry.dist and entry.dist.name == DISTRIBUTION]
    assert [entry.load() for entry in ours] == [get_provider_info]
    assert get_provider_info()["package-name"] == DISTRIBUTION
    assert importlib.metadata.version(DISTRIBUTION) == __version__


def test_every_module_it_names_exists() -> None:
    """A module that was renamed must not stay in the list."""
    described = get_provider_info()
    modules = [name for kind in ("operators", "hooks") for each in described[kind] for name in each["python-modules"]]
    assert modules
    assert [name for name in modules if importlib.util.find_spec(name) is None] == []


def test_every_operator_is_named() -> None:
    """A module that holds an operator is in the list, so that Airflow's own pages show it."""
    found = set()
    for name in (f"{operators.__name__}.{module.name}" for module in pkgutil.iter_modules(operators.__path__)):
        classes = inspect.getmembers(importlib.import_module(name), inspect.isclass)
        if any(issubclass(kind, BaseOperator) and kind.__module__ == name for _, kind in classes):
            found.add(name)
    assert found
    assert found == {name for each in get_provider_info()["operators"] for name in each["python-modules"]}
