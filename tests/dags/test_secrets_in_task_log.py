"""Twelve kinds of secret, nine places: tasks of a real Airflow at DEBUG, and all that it logs and stores of them."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from tests.support.canaries import KINDS, PLACES, Corpus
from tests.support.canaryairflow import SUPERVISED, run_in_airflow

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOT_HERE = ("output of the command",)

AIRFLOW = tuple(int(number) for number in version("apache-airflow-core").split(".")[:2])
pytestmark = [
    pytest.mark.timeout(600),
    pytest.mark.skipif(AIRFLOW < (3, 3), reason="its DAG asks for what Airflow 3.3 has; masking has tests of its own"),
]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory, new_airflow_database: Callable[[Path], None]) -> Corpus:
    """Run the DAG once."""
    folder: Path = tmp_path_factory.mktemp("canaries")
    return run_in_airflow(folder, new_airflow_database)


@pytest.mark.parametrize("place", [place for place in PLACES if place not in NOT_HERE])
@pytest.mark.parametrize("kind", KINDS)
def test_no_secret_of_this_kind_is_in_this_place(corpus: Corpus, kind: str, place: str) -> None:
    assert any(text for _, text in corpus.places[place]), "nothing was written there, so nothing is proved"
    assert corpus.leaks(kind, place) == []


def test_tasks_ended_well_and_badly_with_every_kind_in_use(corpus: Corpus) -> None:
    """What was never used could not have leaked."""
    assert corpus.unused() == []
    well, badly = (" ".join(corpus.ended[how]) for how in ("well", "badly"))
    for group in ("presigned", "user_info", "headers", "connection", "proxy", "function", "get", "download"):
        assert f"{group}_" in well, well
        assert f"{group}_" in badly, badly


def test_the_log_of_each_task_is_one_that_airflow_keeps(corpus: Corpus) -> None:
    """Written by the supervisor of a process of its own, as a scheduler has tasks run; at DEBUG, and of use."""
    logs = [text for run, text in corpus.places["log at DEBUG"] if run.startswith("attempt=")]
    assert len(logs) == len(SUPERVISED)
    assert all('"level":"debug"' in text for text in logs)
    whole = "\n".join(logs)
    for said in ("Copied 12.0 MiB", "the source answered 404", "Sending http request: ***"):
        assert said in whole


def test_rendered_fields_show_where_from_and_hide_the_rest(corpus: Corpus) -> None:
    """Whoever looks at them can still tell the host, the path and the names of the headers."""
    fields = {run.rpartition(" ")[2]: json.loads(text) for run, text in corpus.places["rendered fields"]}
    assert fields["headers_well"]["headers"] == {"Authorization": "***", "Cookie": "***", "X-Api-Key": "***"}
    assert fields["presigned_well"]["url"].endswith("/object.bin?***")
    assert fields["user_info_well"]["url"].startswith("http://***@127.0.0.1:")
    assert fields["mapped"]["url"].startswith("http://***@127.0.0.1:")
    assert fields["get_through_a_proxy"]["botocore_config"] == {"proxies": {"http": "***"}}
