"""Killed at any moment and run again: nothing finished is fetched again, nothing is left, every byte is right."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_s3stream.plan.download import WHOLE
from tests.support import faults, readlies
from tests.support.commands import COMMAND
from tests.support.content import Quiet
from tests.support.downloads import expected, files, litter, shards
from tests.support.readstore import ReadStore, key_of
from tests.support.waiting import SOON, wait_for


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.fill(600, 2000)
        store.put("p/large", 3 * WHOLE + 5)
        yield store


def start(store: ReadStore, to: Path, *options: str) -> subprocess.Popen[bytes]:
    command = [
        *COMMAND, "download", "s3://lake/p/", str(to), "--endpoint-url", store.endpoint_url,
        "--connections", "8", "--quiet", *options,
    ]  # fmt: skip
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def run(store: ReadStore, to: Path, *options: str) -> None:
    with start(store, to, *options) as process:
        out, _ = process.communicate(timeout=40)
    assert process.returncode == 0, out


def kill_at(store: ReadStore, to: Path, gets: int, number: int, *options: str) -> None:
    """Start a download, and send the signal when so many GETs have come."""
    process = start(store, to, *options)

    def strike() -> None:
        process.send_signal(number)

    store.faults = [readlies.gets(faults.drip(1000, 0.001)), readlies.nth(gets, readlies.gets(readlies.call(strike)))]
    process.communicate(timeout=40)
    assert process.returncode in (-number, 128 + number)
    store.faults = []


def finished(store: ReadStore, to: Path, prefix: str = "p/") -> set[str]:
    """Return the keys whose files are there and right; a file under its name that is wrong fails the test."""
    present = files(to) if to.exists() else {}
    whole = {prefix + name for name in present if not name.rpartition("/")[2].startswith(".s3stream-")}
    for key in whole:
        assert present[key.removeprefix(prefix)] == store.body(key), f"{key} was half written under its name"
    return whole


@pytest.mark.parametrize("seed", range(4))
def test_killed_and_run_again(store: ReadStore, tmp_path: Path, seed: int) -> None:
    """By SIGKILL, twice, at moments that the seed decides."""
    to, draw = tmp_path / "to", random.Random(seed)
    for _ in range(2):
        before = finished(store, to)
        kill_at(store, to, draw.randrange(1, 250), signal.SIGKILL)
        assert before <= finished(store, to)
    done = finished(store, to)
    store.exchanges.clear()
    run(store, to)
    fetched = {str(key_of(exchange.request)) for exchange in store.gets}
    assert not fetched & done, f"{len(fetched & done)} of {len(done)} finished files were fetched again"
    assert files(to) == expected(store, store.objects)
    assert litter(to) == []


def test_killed_amid_a_large_object(store: ReadStore, tmp_path: Path) -> None:
    """Nothing lies under its name, and what it took on disk is given back."""
    to = tmp_path / "to"
    process = start(store, to)
    store.faults = [readlies.of("p/large", faults.stall_after(1_000_000))]
    wait_for(lambda: store.ranges_of("p/large") and len(store.gets) >= 500)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (to / "large").exists()
    store.faults = []
    run(store, to)
    assert files(to) == expected(store, store.objects)
    assert litter(to) == []


def test_killed_while_it_writes_shards(store: ReadStore, tmp_path: Path) -> None:
    """The second run leaves every object in one shard, once."""
    to = tmp_path / "to"
    kill_at(store, to, 300, signal.SIGKILL, "--sink", "tar", "--shard-size", "1MiB")
    run(store, to, "--sink", "tar", "--shard-size", "1MiB")
    found = list(shards(to))
    assert {name: body for _, name, body in found} == expected(store, store.objects)
    assert len(found) == len(store.objects)
    assert litter(to) == []


def test_objects_that_changed_meanwhile_are_fetched_again(store: ReadStore, tmp_path: Path) -> None:
    """A finished file is only as good as the version it is of."""
    to = tmp_path / "to"
    kill_at(store, to, 300, signal.SIGKILL)
    done = sorted(finished(store, to))
    assert done
    changed = done[:: max(1, len(done) // 10)]
    for key in changed:
        store.overwrite(key)
    store.exchanges.clear()
    run(store, to)
    assert {str(key_of(exchange.request)) for exchange in store.gets} >= set(changed)
    assert files(to) == expected(store, store.objects)


def test_after_a_success_overwrite_means_overwrite(store: ReadStore, tmp_path: Path) -> None:
    """What a finished run wrote is fetched again when asked for again."""
    to = tmp_path / "to"
    run(store, to)
    store.exchanges.clear()
    run(store, to)
    assert len({key_of(exchange.request) for exchange in store.gets}) == len(store.objects)


def test_files_of_others_are_not_taken_for_ones_own(store: ReadStore, tmp_path: Path) -> None:
    """A file that was there before the killed run began is not "finished", and none of another's is removed."""
    to = tmp_path / "to"
    to.mkdir()
    (to / "000").mkdir()
    mine = to / "000" / "000000.bin"
    mine.write_bytes(Quiet(b"x" * store.objects["p/000/000000.bin"].size))
    os.utime(mine, (1_750_000_000, 1_750_000_000))
    (to / "notes.tmp").write_bytes(b"keep")
    kill_at(store, to, 5, signal.SIGKILL)
    run(store, to)
    (to / "notes.tmp").unlink()
    assert files(to) == expected(store, store.objects)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_at_once(store: ReadStore, tmp_path: Path, number: signal.Signals) -> None:
    """While everything hangs; no temporary file stays, and the next run goes on from there."""
    to = tmp_path / "to"
    store.faults = [readlies.gets(faults.stall_after(100)).where(lambda request: request.number > 200)]
    process = start(store, to)
    wait_for(lambda: len(store.gets) >= 205)
    began = time.monotonic()
    process.send_signal(number)
    out, _ = process.communicate(timeout=20)
    assert time.monotonic() - began < SOON
    assert process.returncode == 128 + number
    assert b"Traceback" not in out
    assert out.count(b"\n") == 1
    assert litter(to) == []
    done = finished(store, to)
    store.faults = []
    store.exchanges.clear()
    run(store, to)
    assert not {str(key_of(exchange.request)) for exchange in store.gets} & done
    assert files(to) == expected(store, store.objects)
