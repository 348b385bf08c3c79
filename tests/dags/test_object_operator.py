"""One huge object as a task: what is templated, what ends it, and where the next try begins."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.exceptions import SourceUnavailable, Stopped
from tests.support import faults, readlies
from tests.support.readstore import BUCKET, ReadStore

KEY = "exports/huge.bin"
SIZE = 24 * MiB + 11


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch) -> Iterator[ReadStore]:
    """A store with the object, and a connection to it that alone has the credentials."""
    with ReadStore() as store:
        about = {
            "conn_type": "aws",
            "login": os.environ["AWS_ACCESS_KEY_ID"],
            "password": os.environ["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": store.endpoint_url, "region_name": "us-east-1"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(about))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        store.put(KEY, SIZE)
        yield store


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return tmp_path / "to" / "huge.bin"


def operator(to: Path | str, **settings: Any) -> Any:
    from airflow_s3stream.operators.s3_to_local import S3ObjectToLocalOperator

    settings = {
        "s3_key": f"s3://{BUCKET}/{KEY}", "connections": 4, "part_size": "2MiB", "aws_conn_id": "store", **settings,
    }  # fmt: skip
    return S3ObjectToLocalOperator(task_id="fetch", path=str(to), **settings)


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_xcom_is_the_result_as_json(store: ReadStore, to: Path) -> None:
    """And the file is the object, with nothing beside it."""
    value = operator(to).execute({})
    assert json.loads(json.dumps(value)) == value
    assert value.items() >= {
        "uri": f"s3://{BUCKET}/{KEY}", "path": str(to), "status": "downloaded", "size": SIZE, "fetched": SIZE,
        "resumed": 0, "etag": store.objects[KEY].etag.strip('"'), "part_size": 2 * MiB, "connections": 4,
        "warnings": [],
    }.items()  # fmt: skip
    assert to.read_bytes() == store.body(KEY)
    assert left_in(to.parent) == [to.name]


def test_every_field_that_differs_from_run_to_run_is_a_template(store: ReadStore, tmp_path: Path) -> None:
    """Rendered as Airflow does it, to text; empty text means that nothing was said."""
    made = operator(
        f"{tmp_path}/{{{{ ds }}}}/",
        s3_key="exports/{{ name }}", s3_bucket="{{ bucket }}", connections="{{ 2 + 1 }}", part_size="{{ part }}",
        if_exists="{{ 'skip_' ~ 'same' }}", resume="{{ True }}", strict="{{ False }}", aws_conn_id="{{ conn }}",
        region_name="{{ none_given }}", min_speed="{{ none_given }}", profile="{{ none_given }}",
        max_bandwidth="{{ none_given }}", deadline="{{ 60 }}", retry_attempts="{{ 3 }}", retry_budget="{{ 5 }}",
        connect_timeout="{{ 5 }}", read_timeout="{{ 5 }}", stall_timeout="{{ 5 }}", progress_interval="{{ 1 }}",
    )  # fmt: skip
    about = {"ds": "2024-01-01", "name": "huge.bin", "bucket": BUCKET, "part": "1MiB", "conn": "store"}
    made.render_template_fields({**about, "none_given": ""})
    value = made.execute({})
    assert (value["path"], value["connections"], value["part_size"]) == (f"{tmp_path}/2024-01-01/huge.bin", 3, MiB)
    assert Path(value["path"]).read_bytes() == store.body(KEY)


def test_nothing_is_checked_before_execute(to: Path) -> None:
    """Templates are not rendered yet when the operator is made."""
    made = operator(to, s3_key="{{ later }}", part_size="{{ later }}", connections="{{ later }}", if_exists="{{ x }}")
    assert made.s3_key == "{{ later }}"


@pytest.mark.parametrize(
    ("settings", "fault", "cause"),
    [
        ({"part_size": "tiny"}, None, "ConfigError"),
        ({"connections": "many"}, None, "ConfigError"),
        ({"if_exists": "never"}, None, "ConfigError"),
        ({"s3_key": "exports/huge.bin"}, None, "ConfigError"),
        ({"s3_key": "s3://lake/none"}, None, "SourceMissing"),
        ({"s3_key": "s3://elsewhere/key"}, None, "SourceMissing"),
        ({}, readlies.refuse(403, "AccessDenied"), "SourceDenied"),
        ({}, readlies.gets(readlies.refuse(403, "InvalidObjectState")), "SourceArchived"),
    ],
    ids=lambda value: str(getattr(value, "name", value)),
)
def test_what_no_retry_mends_fails_the_task_at_once(
    store: ReadStore, to: Path, settings: dict[str, Any], fault: Any, cause: str
) -> None:
    """AirflowFailException, with the typed error as its cause, and nothing on disk."""
    store.faults = [fault] if fault else []
    with pytest.raises(Exception) as caught:
        operator(to, **settings).execute({})
    assert type(caught.value).__name__ == "AirflowFailException"
    assert type(caught.value.__cause__).__name__ == cause
    assert not to.parent.exists() or left_in(to.parent) == []


def test_a_file_that_must_not_be_replaced_fails_the_task_at_once(store: ReadStore, to: Path) -> None:
    """Before a byte is fetched; the file stays as it was."""
    to.parent.mkdir()
    to.write_bytes(b"mine")
    with pytest.raises(Exception, match=r"huge\.bin") as caught:
        operator(to, if_exists="fail").execute({})
    assert type(caught.value).__name__ == "AirflowFailException"
    assert to.read_bytes() == b"mine"
    assert store.gets == []


def test_what_a_retry_may_mend_is_left_to_airflow(store: ReadStore, to: Path) -> None:
    """The typed error itself, so that the task's retries decide; the next try fetches only what is missing."""
    stop_at = 12 * MiB
    store.faults = [
        readlies.gets(readlies.refuse(500, "InternalError")).where(
            lambda request: request.range is not None and request.range[0] >= stop_at
        )
    ]
    with pytest.raises(SourceUnavailable) as caught:
        operator(to, connections=1, retry_attempts=2).execute({})
    assert "for the next run" in str(caught.value), "whoever reads the log learns what lies on the disk"
    assert not to.exists()
    store.faults = []
    value = operator(to).execute({})
    assert (value["resumed"], value["fetched"]) == (stop_at, SIZE - stop_at)
    assert to.read_bytes() == store.body(KEY)
    assert left_in(to.parent) == [to.name]


def test_the_try_after_a_kill_goes_on_where_it_was(store: ReadStore, to: Path) -> None:
    """On_kill ends execute long before anything that hangs is given up, and what was finished is not fetched again."""
    hangs = readlies.gets(faults.stall_after(1000)).where(
        lambda request: request.range is not None and request.range[0] >= 16 * MiB
    )
    store.faults = [hangs]
    running = operator(to)
    killed_at: list[float] = []

    def kill_when_it_hangs() -> None:
        ends = time.monotonic() + 30
        while sum((exchange.range or (0,))[0] >= 16 * MiB for exchange in store.gets) < 4 and time.monotonic() < ends:
            time.sleep(0.02)
        killed_at.append(time.monotonic())
        running.on_kill()

    thread = threading.Thread(target=kill_when_it_hangs)
    thread.start()
    with pytest.raises(Stopped, match="killed"):
        running.execute({})
    ended = time.monotonic()
    thread.join()
    assert ended - killed_at[0] < 10
    assert not to.exists()
    store.faults = []
    store.exchanges.clear()
    value = operator(to).execute({})
    assert value["resumed"] >= 8 * MiB
    assert value["resumed"] + value["fetched"] == SIZE
    assert to.read_bytes() == store.body(KEY)
    assert left_in(to.parent) == [to.name]


def test_resume_may_be_switched_off(store: ReadStore, to: Path) -> None:
    """Then a try begins with the first byte, whatever lies there."""
    store.faults = [
        readlies.gets(readlies.refuse(500, "InternalError")).where(
            lambda request: request.range is not None and request.range[0] >= 12 * MiB
        )
    ]
    with pytest.raises(SourceUnavailable):
        operator(to, connections=1, retry_attempts=1).execute({})
    store.faults = []
    assert operator(to, resume=False).execute({})["fetched"] == SIZE
    assert left_in(to.parent) == [to.name]


def profile(kind: str = "get") -> dict[str, Any]:
    return {"s3stream_profile": 1, "kind": kind, "connections": 3, "part_size": 3 * MiB}


@pytest.mark.parametrize("way", ["mapping", "file", "variable"])
def test_a_profile_says_what_the_author_does_not(
    store: ReadStore, to: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """However it is named; what the author says wins over it."""
    path = tmp_path / "profile.json"
    path.write_text(json.dumps(profile()))
    monkeypatch.setenv("AIRFLOW_VAR_DOWNLOADS", json.dumps(profile()))
    named = {"mapping": profile(), "file": str(path), "variable": "downloads"}[way]
    value = operator(to, profile=named, connections=None, part_size="").execute({})
    assert (value["connections"], value["part_size"]) == (3, 3 * MiB)
    value = operator(to, profile=named, connections="2", part_size=None).execute({})
    assert (value["connections"], value["part_size"]) == (2, 3 * MiB)


@pytest.mark.parametrize(
    ("named", "told"),
    [("nowhere", "Variable"), ("/nowhere.json", "nowhere"), (profile("copy"), "copies"), ({"a": 1}, "tune")],
    ids=["no variable", "no file", "of copies", "something else"],
)
def test_a_profile_that_is_none_fails_the_task_at_once(store: ReadStore, to: Path, named: Any, told: str) -> None:
    with pytest.raises(Exception, match=told) as caught:
        operator(to, profile=named).execute({})
    assert type(caught.value).__name__ == "AirflowFailException"
    assert store.exchanges == []


def test_a_kill_before_there_is_anything_to_stop_is_not_forgotten(store: ReadStore, to: Path) -> None:
    killed = operator(to)
    killed.on_kill()
    with pytest.raises(Stopped):
        killed.execute({})
    assert store.gets == []
