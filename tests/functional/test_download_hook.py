"""Many objects through the hook and the operator, over an Airflow connection, against real servers."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.exceptions import ConfigError, SourceMissing, Stopped
from tests.support import faults, readlies
from tests.support.downloads import expected, files, litter, rows
from tests.support.readstore import BUCKET, ReadStore
from tests.support.stores import Store
from tests.support.waiting import SOON

pytestmark = pytest.mark.airflow


@pytest.fixture
def connection(monkeypatch: pytest.MonkeyPatch, store: ReadStore) -> None:
    connect(monkeypatch, store.endpoint_url)


def connect(monkeypatch: pytest.MonkeyPatch, endpoint_url: str) -> None:
    """Make an AWS connection, and see to it that nothing comes from boto3's own chain."""
    about = {
        "conn_type": "aws",
        "login": os.environ["AWS_ACCESS_KEY_ID"],
        "password": os.environ["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": endpoint_url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(about))
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")


def hook(**settings: Any) -> Any:
    from airflow_s3stream.hooks.s3stream import S3StreamHook

    return S3StreamHook("store", **settings)


def operator(to: Path, **settings: Any) -> Any:
    from airflow_s3stream.operators.s3_to_local import S3PrefixToLocalOperator

    settings = {"s3_prefix": f"s3://{BUCKET}/p/", "connections": 8, **settings}
    return S3PrefixToLocalOperator(task_id="fetch", directory=str(to), aws_conn_id="store", **settings)


@pytest.mark.usefixtures("connection")
class TestHook:
    def test_a_prefix_is_downloaded_with_the_connections_credentials(self, store: ReadStore, to: Path) -> None:
        """By a store that checks signatures; named as a URI or in two parts."""
        keys = store.fill(100)
        for place, where in ((to / "1", (f"s3://{BUCKET}/p/",)), (to / "2", ("p/",))):
            result = hook().download_prefix(*where, place, *([BUCKET] if len(where[0]) < 5 else []))
            assert (result.objects, result.failed) == (100, 0)
            assert files(place) == expected(store, keys)

    def test_what_to_fetch_may_be_given_as_users_type_it(self, store: ReadStore, to: Path) -> None:
        """Globs as one text or several, sizes as text, times as text."""
        for name, size in (("a.csv", 10), ("b.json", 5000), ("c.csv", 5000)):
            store.put(f"p/{name}", size, modified_at=1_700_000_000.0)
        fetch = hook().download_prefix
        assert fetch(f"s3://{BUCKET}/p/", to / "1", include="*.csv").objects == 2
        assert fetch(f"s3://{BUCKET}/p/", to / "2", include=["*.csv", "*.json"], min_bytes="1KiB").objects == 2
        assert fetch(f"s3://{BUCKET}/p/", to / "3", modified_after="2024-01-01").objects == 0
        assert fetch(f"s3://{BUCKET}/p/", to / "4", keys=["p/a.csv", f"s3://{BUCKET}/p/c.csv"]).objects == 2

    def test_one_way_to_name_keys_and_one_bucket(self, store: ReadStore, to: Path) -> None:
        """Whatever contradicts itself is said before anything is asked."""
        fetch = hook().download_prefix
        for wrong in (
            {"keys": ["a"], "manifest": "/x"},
            {"keys": "p/one-text"},
            {"keys": ["s3://other/p/a"]},
            {"nonsense": 1},
            {"connections": "many"},
        ):
            with pytest.raises(ConfigError):
                fetch(f"s3://{BUCKET}/p/", to, **wrong)
        assert store.exchanges == []

    def test_objects_are_read_in_order(self, store: ReadStore) -> None:
        """Keys or URIs; with a function applied."""
        keys = store.fill(50)[::-1]
        got = list(hook().read_objects(keys, BUCKET))
        assert [key for key, _ in got] == keys
        assert all(body == store.body(key) for key, body in got)
        uris = [f"s3://{BUCKET}/{key}" for key in keys]
        assert list(hook().read_objects(uris, apply=lambda key, body: len(body))) == [
            (key, store.objects[key].size) for key in keys
        ]
        with pytest.raises(SourceMissing, match="p/none"):
            list(hook().read_objects(["p/none"], BUCKET))

    def test_what_was_listed_can_be_read(self, store: ReadStore) -> None:
        """Every key once, in order when one lister is enough, and its size and ETag held against the answer."""
        keys = store.fill(2300, 50)
        assert sorted(entry.key for entry in hook().list_objects(f"s3://{BUCKET}/p/")) == keys
        assert [entry.key for entry in hook().list_objects("p/", BUCKET, listers=1)] == keys
        some = hook().list_objects("p/", BUCKET, start_after=keys[999], last_key=keys[1049])
        got = dict(hook().read_objects(some, BUCKET, ordered=False))
        assert got == {key: store.body(key) for key in keys[1000:1050]}

    def test_a_prefix_is_split_without_gap_or_overlap(self, store: ReadStore, to: Path) -> None:
        """Ranges for mapped tasks, which together fetch every key once."""
        keys = store.fill(3000, 20)
        pieces = hook().split_prefix(f"s3://{BUCKET}/p/", pieces=4)
        assert json.loads(json.dumps(pieces)) == pieces
        assert 2 <= len(pieces) <= 8
        store.exchanges.clear()
        counts = [
            hook().download_prefix(f"s3://{BUCKET}/p/", to / str(number), **piece).objects
            for number, piece in enumerate(pieces)
        ]
        assert sum(counts) == 3000
        assert max(counts) < 2000
        assert store.gets_per_key == dict.fromkeys(keys, 1)

    def test_stop_ends_a_download_from_another_thread(self, store: ReadStore, to: Path) -> None:
        busy = hook()
        store.fill(500)
        store.faults = [readlies.gets(faults.stall_after(10))]
        timer = threading.Timer(0.5, busy.stop, ["enough"])
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped, match="enough"):
            busy.download_prefix(f"s3://{BUCKET}/p/", to)
        assert time.monotonic() - began < SOON
        timer.join()
        assert litter(to) == []


def test_the_hook_reads_from_a_real_store(s3_store: Store, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it: listed, split, read, downloaded."""
    bodies = {f"p/{number:02d}": os.urandom(number * 50) for number in range(1, 41)}
    for key, body in bodies.items():
        s3_store.put(key, body)
    connect(monkeypatch, s3_store.endpoint_url)
    where = f"s3://{s3_store.bucket}/p/"
    assert {entry.key: entry.size for entry in hook().list_objects(where)} == {k: len(v) for k, v in bodies.items()}
    assert dict(hook().read_objects(list(bodies), s3_store.bucket)) == bodies
    pieces = hook().split_prefix(where, pieces=3)
    assert sum(hook().download_prefix(where, to / str(n), **piece).objects for n, piece in enumerate(pieces)) == 40


@pytest.mark.usefixtures("connection")
class TestOperator:
    def test_the_xcom_is_the_result_as_json(self, store: ReadStore, to: Path) -> None:
        """The summary and the place of the manifest; never the keys."""
        keys = store.fill(300)
        value = operator(to).execute({})
        assert json.loads(json.dumps(value)) == value
        assert (value["objects"], value["status"]) == (300, "downloaded")
        assert len(rows(value["manifest"])) == 300
        assert keys[7] not in json.dumps(value)
        assert files(to) == expected(store, keys)

    def test_options_may_come_as_rendered_text(self, store: ReadStore, to: Path) -> None:
        """As templates leave them: numbers as text, nothing as empty text."""
        store.fill(5)
        value = operator(
            to, connections="4", max_memory="8MiB", deadline="", min_bytes="", max_bytes="10KiB", strict="True",
            fail_if_empty="false", start_after="", last_key="", modified_after="", results="", keys=None, manifest="",
            retry_failed="", include=[], shard_size="1MiB", max_bandwidth="", retry_attempts="3", s3_bucket="",
        ).execute({})  # fmt: skip
        assert value["objects"] == 5

    def test_nothing_is_checked_before_execute(self, to: Path) -> None:
        """Templates are not rendered yet when the operator is made."""
        made = operator(to, s3_prefix="{{ nothing }}", max_memory="{{ later }}", layout="{{ x }}")
        assert made.s3_prefix == "{{ nothing }}"
        assert {"s3_prefix", "directory", "keys", "include", "if_exists"} <= set(made.template_fields)

    @pytest.mark.parametrize(
        ("settings", "fault", "cause"),
        [
            ({"max_memory": "tiny"}, None, "ConfigError"),
            ({"s3_prefix": "s3://elsewhere/p/"}, None, "SourceMissing"),
            ({"s3_prefix": "s3://lake/none/", "fail_if_empty": True}, None, "SourceMissing"),
            ({}, readlies.listings(readlies.refuse(403, "AccessDenied")), "SourceDenied"),
            ({}, readlies.gets(readlies.refuse(403, "InvalidObjectState")), "SourceArchived"),
        ],
        ids=lambda value: str(getattr(value, "name", value)),
    )
    def test_what_no_retry_mends_fails_the_task_at_once(
        self, store: ReadStore, to: Path, settings: dict[str, Any], fault: Any, cause: str
    ) -> None:
        """AirflowFailException, with the typed error as its cause."""
        store.fill(5)
        store.faults = [fault] if fault else []
        with pytest.raises(Exception) as caught:
            operator(to, **settings).execute({})
        assert type(caught.value).__name__ == "AirflowFailException"
        assert type(caught.value.__cause__).__name__ == cause

    def test_failed_objects_fail_the_task_unless_it_is_to_go_on(self, store: ReadStore, to: Path) -> None:
        """Then the result says how many, and another task fetches just those."""
        keys = store.fill(20)
        store.faults = [readlies.of(keys[3], readlies.refuse(403, "AccessDenied"))]
        with pytest.raises(Exception, match=keys[3]):
            operator(to).execute({})
        value = operator(to, on_error="continue").execute({})
        assert (value["failed"], value["status"]) == (1, "incomplete")
        store.faults = []
        again = operator(to, retry_failed=value["manifest"]).execute({})
        assert (again["objects"], again["failed"]) == (1, 0)
        assert files(to) == expected(store, keys)

    def test_a_second_try_fetches_only_what_is_missing(self, store: ReadStore, to: Path) -> None:
        """As Airflow's retry of a task that failed."""
        keys = store.fill(200)
        # Late, so that others are finished by then.
        store.faults = [readlies.of(keys[150], readlies.refuse(500, "InternalError"))]
        with pytest.raises(Exception, match=keys[150]):
            operator(to, retry_attempts=2).execute({})
        done = {f"p/{name}" for name in files(to)}
        assert done
        store.faults = []
        store.exchanges.clear()
        value = operator(to).execute({})
        assert not store.gets_per_key.keys() & done
        assert files(to) == expected(store, keys)
        assert value["objects"] + value["skipped"] == 200

    def test_on_kill_makes_execute_raise(self, store: ReadStore, to: Path) -> None:
        """At once, with no temporary file left."""
        store.put("p/large", 40 * MiB)
        store.fill(100)
        store.faults = [readlies.gets(faults.stall_after(100))]
        running = operator(to)
        timer = threading.Timer(0.5, running.on_kill)
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped, match="killed"):
            running.execute({})
        assert time.monotonic() - began < SOON
        timer.join()
        assert litter(to) == []

    def test_a_kill_before_there_is_anything_to_stop_is_not_forgotten(self, store: ReadStore, to: Path) -> None:
        store.fill(5)
        killed = operator(to)
        killed.on_kill()
        with pytest.raises(Stopped):
            killed.execute({})
        assert store.gets == []
