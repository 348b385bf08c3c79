"""What once went wrong, and must not again: hangs, swallowed errors, lost results."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_s3stream.config import MiB, RetryPolicy
from airflow_s3stream.engine.address import Secrets, Transport
from airflow_s3stream.engine.events import Event, Retried
from airflow_s3stream.engine.fetchrun import FetchRun
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.run import Chances
from airflow_s3stream.exceptions import ConfigError, S3StreamError, SourceMisbehaved
from airflow_s3stream.plan.getting import GetOptions
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support import readlies
from tests.support.downloads import client_of, expected, fetch, files
from tests.support.faults import Fault, Request
from tests.support.reading import read_all
from tests.support.readstore import BUCKET, ReadStore
from tests.unit.test_retry import Clock

LARGE = 9 * MiB


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        yield store
    assert MEMORY.held == 0


def rows(directory: Path) -> dict[str, str]:
    lines = (directory / ".s3stream" / "results.jsonl").read_text().splitlines()
    return {row["key"]: row["status"] for row in map(json.loads, lines)}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("kind", [IndexError, KeyError, SystemExit])
def test_what_apply_raises_reaches_the_caller(store: ReadStore, kind: type[BaseException], ordered: bool) -> None:
    """An IndexError of the caller's own code is no end of the queue."""
    keys = store.fill(20)

    def apply(key: str, body: bytes) -> bytes:
        if key == keys[3]:
            raise kind("mine")
        return body

    with pytest.raises(kind, match="mine"):
        list(read_all(store, keys, apply=apply, ordered=ordered))


@pytest.mark.parametrize("connections", [1, 2, 3])
def test_large_objects_go_through_few_connections(store: ReadStore, tmp_path: Path, connections: int) -> None:
    """More of them than are open at once, and a small one behind."""
    keys = [f"p/{number}" for number in range(5)]
    for key in keys:
        store.put(key, LARGE)
    store.put("p/small", 10)
    result = fetch(store, tmp_path / "to", connections=connections)
    assert result.objects == 6
    assert files(tmp_path / "to") == expected(store, [*keys, "p/small"])


def test_large_objects_go_through_little_memory(store: ReadStore) -> None:
    """One after the other, where two do not fit."""
    keys = ["p/a", "p/b"]
    for key in keys:
        store.put(key, LARGE)
    entries = [ObjectEntry(key, LARGE) for key in keys]
    got = dict(read_all(store, entries, connections=1, max_memory=10 * MiB))
    assert {key: body == store.body(key) for key, body in got.items()} == {"p/a": True, "p/b": True}


@pytest.mark.parametrize("ordered", [True, False])
def test_one_read_inside_another(store: ReadStore, tmp_path: Path, ordered: bool) -> None:
    """The outer one holds all its memory and waits for the inner one to end."""
    keys = store.fill(300, size=20_000)
    count = 0
    for _ in read_all(store, keys, max_memory=MiB, connections=16):
        inner = read_all(store, keys[:5], max_memory=MiB, ordered=ordered)
        assert len(list(inner)) == 5
        count += 1
        if count == 3:
            assert fetch(store, tmp_path / "to", max_memory=MiB).objects == 300
            break
    assert count == 3


def test_a_part_is_not_the_whole(store: ReadStore) -> None:
    """A 206 that nobody asked for, of an object of which nothing else is known."""
    store.put("p/a", 1000, part_size=500)
    store.faults = [readlies.of("p/a", readlies.unasked_range())]
    with pytest.raises(SourceMisbehaved, match="a part"):
        list(read_all(store, ["p/a"]))


def test_a_hiccup_over_all_connections_is_survived(store: ReadStore, tmp_path: Path) -> None:
    """A fraction of a second of errors, while a hundred GETs are under way, with the default patience."""
    store.fill(600)
    began: list[float] = []

    def hiccup(request: Request) -> bool:
        if request.number > 100:
            began.append(time.monotonic())
        return bool(began) and time.monotonic() - began[0] < 0.3

    store.faults = [
        readlies.gets(readlies.slow(0.005)),
        readlies.gets(readlies.refuse(500, "InternalError")).where(hiccup),
    ]
    result = fetch(store, tmp_path / "to", connections=100, retry=RetryPolicy())
    assert result.objects == 600
    assert result.retries


def test_a_bucket_elsewhere_is_found_for_named_keys_too(store: ReadStore, tmp_path: Path) -> None:
    """All that was under way when the first was sent on is sent on as well."""
    from dataclasses import replace

    from tests.support.readstore import KEYS

    keys = store.fill(60)
    store.credentials = replace(KEYS, region="eu-central-1")
    store.faults = [readlies.wrong_region().where(lambda r: "/us-east-1/" in (r.header("Authorization") or ""))]
    result = fetch(store, tmp_path / "to", entries=[ObjectEntry(key) for key in keys], connections=32)
    assert result.objects == 60


def test_bandwidth_holds_where_sizes_are_not_known(store: ReadStore) -> None:
    """They are booked when they have come."""
    keys = store.fill(20, size=10_000)
    began = time.monotonic()
    assert len(list(read_all(store, keys, max_bandwidth=200_000, connections=4))) == 20
    assert time.monotonic() - began >= 0.6


def test_an_object_that_grew_is_fetched_as_it_is_now(store: ReadStore, tmp_path: Path) -> None:
    """Also beyond what is accepted of an error's explanation."""
    store.put("p/a", 1000)
    listed = ObjectEntry("p/a", 1000, str(store.objects["p/a"].etag).strip('"'))
    store.put("p/a", 200_000)
    result = fetch(store, tmp_path / "to", entries=[listed])
    assert (result.objects, files(tmp_path / "to")) == (1, expected(store, ["p/a"]))


def test_names_are_used_as_they_come(store: ReadStore) -> None:
    """Who names the next only after having seen the last does not wait for ever."""
    keys = store.fill(5)
    seen = threading.Event()

    def names() -> Iterator[str]:
        for key in keys:
            yield key
            assert seen.wait(10)
            seen.clear()

    for _ in read_all(store, names()):
        seen.set()


def test_retrying_keeps_what_was_good(store: ReadStore, tmp_path: Path) -> None:
    """The manifest that is read is the one that is replaced, and still names every object."""
    keys = store.fill(6)
    lie = readlies.of(keys[2], readlies.refuse(403, "AccessDenied"))
    store.faults = [lie]
    first = fetch(store, tmp_path / "to", on_error="continue")
    assert (first.objects, first.failed) == (5, 1)
    retried = {"entries": [ObjectEntry(keys[2])], "retries": first.manifest}
    with pytest.raises(S3StreamError):
        fetch(store, tmp_path / "to", **retried)
    assert rows(tmp_path / "to") == {key: "failed" if key == keys[2] else "fetched" for key in keys}
    store.faults = []
    assert fetch(store, tmp_path / "to", **retried).objects == 1
    assert rows(tmp_path / "to") == dict.fromkeys(keys, "fetched")


def test_finished_shards_are_not_retried_into(store: ReadStore, tmp_path: Path) -> None:
    """They would be taken for another run's and removed."""
    with pytest.raises(ConfigError, match="retry_failed="):
        fetch(store, tmp_path / "to", sink="tar", entries=[], retries=str(tmp_path / "results.jsonl"))


def test_a_tar_run_that_fails_names_no_member_that_is_not_there(store: ReadStore, tmp_path: Path) -> None:
    """And another selection does not take its shards for its own."""
    import tarfile

    from airflow_s3stream.plan.selection import read_selection

    for number in range(4):
        store.put(f"p/{number}.csv", 1000)
        store.put(f"p/{number}.json", 1000)
    slow: Fault = readlies.of("p/3.csv", readlies.slow(0.3))
    store.faults = [slow, readlies.of("p/3.csv", readlies.refuse(403, "AccessDenied"))]
    with pytest.raises(S3StreamError):
        fetch(store, tmp_path / "to", sink="tar", selection=read_selection("*.csv"))
    named = {key.removeprefix("p/") for key, status in rows(tmp_path / "to").items() if status == "fetched"}
    assert named
    with tarfile.open(tmp_path / "to" / "shard-00000.tar") as shard:
        assert set(shard.getnames()) == named
    store.faults = []
    assert fetch(store, tmp_path / "to", sink="tar", selection=read_selection("*.json")).objects == 4
    (only,) = (tmp_path / "to").glob("shard-*.tar")
    with tarfile.open(only) as shard:
        assert set(shard.getnames()) == {f"{number}.json" for number in range(4)}


def test_secrets_are_not_shown() -> None:
    """Tools that log local variables see them everywhere."""
    assert "wJalr" not in repr(Secrets("AKIA", "wJalrXUtnFEMI", "token"))
    assert "canary" not in repr(Transport(verify=True, proxy="http://ann:canary@h:1"))


def test_some_retries_are_told_in_every_interval(store: ReadStore) -> None:
    """Of a transfer that takes hours too: those of the last minute are what the one on call looks for."""
    clock, told = Clock(), list[Event]()
    client = client_of(store)
    run = FetchRun(
        client, BUCKET, "s3://lake/p", GetOptions(progress_interval=10), listener=told.append,
        chances=Chances(clock=clock),
    )  # fmt: skip
    counts = []
    for _ in range(3):
        for _ in range(100):
            run.tell(Retried(what="GET p", reason="reset", pause=0.1))
        counts.append(len(told))
        clock.sleep(10)
    run.readers.close()
    client.close()
    assert 0 < counts[0] < 20
    assert counts == [counts[0], 2 * counts[0], 3 * counts[0]]


def test_keys_that_end_late_are_timed_to_their_end(store: ReadStore, tmp_path: Path) -> None:
    """Also where the last key came long before it was known to be the last."""
    key = store.fill(1)[0]

    def named() -> Iterator[ObjectEntry]:
        yield ObjectEntry(key, None, "", 0.0)
        time.sleep(0.3)

    result = fetch(store, tmp_path, entries=named())
    assert result.objects == 1
    assert 0.3 <= result.listing_seconds <= result.seconds
