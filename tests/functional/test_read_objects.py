"""Bodies in memory: in the order asked, ahead of whoever reads, within the memory allowed."""

from __future__ import annotations

import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from itertools import islice
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.listobjects import list_pages
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import S3StreamError, SourceMissing, SourceUnavailable, Stopped
from airflow_s3stream.plan.download import WHOLE, ReadOptions
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.downloads import PATIENT, client_of, entry_of
from tests.support.hostile import HOSTILE_KEYS
from tests.support.reading import read_all
from tests.support.readstore import BUCKET, ReadStore, key_of
from tests.support.stores import Store
from tests.support.waiting import SOON, wait_for


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    """Fail a test after which this process still counts bytes as held, or fewer than none."""
    yield
    held = MEMORY.held
    MEMORY.release(held)  # or every later test would pay for it
    assert held == 0


def check(store: ReadStore, got: list[tuple[str, Any]], keys: list[str]) -> None:
    assert [key for key, _ in got] == keys
    for key, body in got:
        assert Quiet(body) == store.body(key)


class TestOrder:
    @pytest.mark.parametrize("named_by", ["key", "entry"])
    def test_bodies_come_in_the_order_asked(self, store: ReadStore, named_by: str) -> None:
        """Although each takes a time of its own, and the list is in no order."""
        keys = store.fill(400, 500)[::-1]
        store.faults = [readlies.gets(readlies.slow(0.01)).where(lambda request: hash(request.path) % 5 == 0)]
        asked = keys if named_by == "key" else [entry_of(store.objects[key]) for key in keys]
        check(store, list(read_all(store, asked)), keys)
        assert store.gets_per_key == dict.fromkeys(keys, 1)
        assert store.listings == []

    def test_unordered_comes_as_it_arrives(self, store: ReadStore) -> None:
        """The first asked for is slow, and holds nobody up."""
        keys = store.fill(100, 500)
        store.faults = [readlies.of(keys[0], readlies.slow(0.5))]
        got = list(read_all(store, keys, ordered=False))
        check(store, sorted(got), keys)
        assert [key for key, _ in got].index(keys[0]) > 50

    def test_a_key_may_be_asked_for_more_than_once(self, store: ReadStore) -> None:
        """And is given as often."""
        keys = store.fill(3, 500)
        asked = [keys[0], keys[1], keys[0], keys[2], keys[0]]
        check(store, list(read_all(store, asked)), asked)

    @pytest.mark.parametrize("size", [0, 1, 64 * 1024, 64 * 1024 + 1, WHOLE, WHOLE + 1, 3 * WHOLE + 5])
    def test_any_size_known_or_not(self, store: ReadStore, size: int) -> None:
        """Nothing, small, or so large that it is read by ranges."""
        keys = [*store.fill(5, 100), "p/key", "p/zz"]
        store.put("p/key", size)
        store.put("p/zz", 10)
        check(store, list(read_all(store, keys)), keys)
        check(store, list(read_all(store, [entry_of(store.objects[key]) for key in keys])), keys)

    def test_every_key_is_read(self, store: ReadStore) -> None:
        """There is no path here that a key could fail to be."""
        keys = list(HOSTILE_KEYS)
        for key in keys:
            store.put(key, 50)
        check(store, list(read_all(store, keys)), keys)

    def test_nothing_asked_for_is_nothing(self, store: ReadStore) -> None:
        assert list(read_all(store, [])) == []
        assert store.exchanges == []

    def test_a_real_store_gives_the_same(self, s3_store: Store) -> None:
        bodies = {f"k/{number:03d} +%": os.urandom(number * 37) for number in range(60)}
        for key, body in bodies.items():
            s3_store.put(key, body)
        keys = sorted(bodies, reverse=True)
        assert dict(read_all(s3_store, keys)) == bodies
        assert [key for key, _ in read_all(s3_store, keys)] == keys


class TestApply:
    def test_what_a_function_makes_of_a_body_is_given(self, store: ReadStore) -> None:
        """In order, computed off the thread that reads the network and off the caller's."""
        keys = store.fill(100, 500)
        threads = set()

        def measure(key: str, body: bytes) -> tuple[str, int]:
            threads.add(threading.current_thread())
            return key, len(body)

        got = list(read_all(store, keys, apply=measure))
        assert got == [(key, (key, store.objects[key].size)) for key in keys]
        assert threading.current_thread() not in threads

    def test_an_error_of_the_function_is_the_callers(self, store: ReadStore) -> None:
        """As it is; nothing is left running."""
        keys = store.fill(100, 500)

        def fail(key: str, body: bytes) -> None:
            raise ZeroDivisionError(key)

        with pytest.raises(ZeroDivisionError):
            list(read_all(store, keys, apply=fail))
        assert_nothing_runs()

    def test_none_is_a_value(self, store: ReadStore) -> None:
        keys = store.fill(10, 500)
        assert list(read_all(store, keys, apply=lambda key, body: None)) == [(key, None) for key in keys]


class TestErrors:
    def test_a_missing_key_ends_it(self, store: ReadStore) -> None:
        """By its name."""
        keys = store.fill(10, 500)
        with pytest.raises(SourceMissing, match="p/none"):
            list(read_all(store, [*keys, "p/none"]))
        assert_nothing_runs()

    @pytest.mark.parametrize("ordered", [True, False])
    def test_an_error_is_never_a_body(self, store: ReadStore, ordered: bool) -> None:
        """Unless asked for; whoever computes with what is given would compute with an exception."""
        keys = store.fill(50, 500)
        got = []
        with pytest.raises(SourceMissing, match="p/none"):
            for key, body in read_all(store, [*keys[:25], "p/none", *keys[25:]], ordered=ordered):
                got.append((key, body))
        assert all(type(body) is bytes for _, body in got)

    def test_or_takes_the_bodys_place(self, store: ReadStore) -> None:
        """With on_error="continue"; the others come in order."""
        keys = store.fill(10, 500)
        asked = [*keys[:5], "p/none", *keys[5:]]
        got = list(read_all(store, asked, on_error="continue"))
        assert [key for key, _ in got] == asked
        assert isinstance(got[5][1], SourceMissing)
        check(store, got[:5] + got[6:], keys)

    def test_a_failure_on_the_way_is_mended(self, store: ReadStore) -> None:
        keys = store.fill(200, 500)
        broken = [faults.close_after(10), faults.flip_bit(3), readlies.refuse(503, "SlowDown"), faults.reset_after(0)]
        store.faults = [
            readlies.gets(fault).where(lambda request, key=key: key_of(request) == key).once()
            for key, fault in zip(keys[::10], itertools.cycle(broken), strict=False)
        ]
        check(store, list(read_all(store, keys)), keys)
        assert len(store.gets) == len(keys) + len(store.faults)

    def test_a_store_that_is_down_is_an_error(self, store: ReadStore) -> None:
        store.fill(10)
        store.faults = [readlies.refuse(500, "InternalError")]
        with pytest.raises(SourceUnavailable):
            list(read_all(store, list(store.objects), on_error="continue"))
        assert_nothing_runs()


class TestEnding:
    def test_whoever_stops_iterating_ends_it(self, store: ReadStore) -> None:
        """At once, although GETs hang; nothing is left running."""
        keys = store.fill(500, 500)
        store.faults = [readlies.gets(faults.stall_after(10)).where(lambda request: request.number > 100)]
        reading = read_all(store, keys, timeouts=PATIENT)
        assert [key for key, _ in islice(reading, 20)] == keys[:20]
        began = time.monotonic()
        reading.close()
        assert time.monotonic() - began < SOON
        assert_nothing_runs()

    def test_a_stop_is_noticed_at_once(self, store: ReadStore) -> None:
        store.fill(50)
        store.faults = [readlies.gets(faults.stall_after(10))]
        stop = StopFlag()
        timer = threading.Timer(0.3, stop.request, ["enough"])
        timer.start()
        began = time.monotonic()
        with pytest.raises(Stopped, match="enough"):
            list(read_all(store, list(store.objects), stop=stop, timeouts=PATIENT))
        assert time.monotonic() - began < SOON
        timer.join()
        assert_nothing_runs()

    def test_a_slow_reader_is_waited_for(self, store: ReadStore) -> None:
        """No timeout runs while it is the caller who takes its time."""
        keys = store.fill(30, 200_000)
        got = []
        for number, pair in enumerate(read_all(store, keys, max_memory=MiB)):
            got.append(pair)
            if number == 3:
                time.sleep(1.6)  # longer than the timeouts here
        check(store, got, keys)


class Collecting(StopFlag):
    """Collects garbage, once, on the next network thread that asks whether to stop; the collector itself is off."""

    def __init__(self) -> None:
        super().__init__()
        self.due = threading.Event()
        self.on = ""

    @property
    def reason(self) -> str | None:
        if self.due.is_set() and threading.current_thread().name.startswith("s3stream"):
            self.collect()
        return super().reason

    def collect(self) -> None:
        self.due.clear()
        self.on = threading.current_thread().name
        gc.collect()


@pytest.fixture
def collecting() -> Iterator[Collecting]:
    gc.disable()
    yield Collecting()
    gc.enable()


class Cycle:
    """What only the garbage collector clears away."""

    def __init__(self, reading: Iterator[Any]) -> None:
        self.reading = reading
        self.own = self


class TestCollected:
    """Whoever forgets one half read has it ended by the garbage collector, on whichever thread that runs."""

    def test_on_the_thread_that_reads(self, store: ReadStore, collecting: Collecting) -> None:
        """Which cannot wait for its own end."""
        keys = store.fill(200, 500)
        store.faults = [readlies.gets(faults.stall_after(10)).where(lambda request: request.number > 100)]
        forgotten = Cycle(read_all(store, keys, stop=collecting, timeouts=PATIENT))
        assert next(forgotten.reading)[0] == keys[0]
        del forgotten
        collecting.due.set()
        assert_nothing_runs()
        assert collecting.on == "s3stream-read"
        assert MEMORY.held == 0

    def test_on_a_thread_that_makes_something_of_bodies(self, store: ReadStore, collecting: Collecting) -> None:
        """For which the one that reads waits."""
        keys = store.fill(20, 500)
        forgets = threading.Event()

        def collect(key: str, body: bytes) -> None:
            if key != keys[0] and forgets.wait(30) and not collecting.on:
                collecting.collect()

        store.faults = [readlies.gets(readlies.slow(0.1)).where(lambda request: key_of(request) != keys[0])]
        forgotten = Cycle(read_all(store, keys, ordered=False, apply=collect))
        next(forgotten.reading)
        del forgotten
        forgets.set()
        assert_nothing_runs()
        assert collecting.on.startswith("s3stream-finish")
        assert MEMORY.held == 0

    def test_a_listing(self, store: ReadStore, collecting: Collecting) -> None:
        """It has a thread of its own too."""
        store.fill(3000)
        store.faults = [readlies.listings(faults.stall_after(10)).where(lambda request: request.number > 1)]
        client, options = client_of(store, timeouts=PATIENT), ReadOptions(connections=1, timeouts=PATIENT)
        descriptors = len(os.listdir("/proc/self/fd"))
        forgotten = Cycle(list_pages(client, BUCKET, listers=1, options=options, stop=collecting))
        assert next(forgotten.reading)
        del forgotten
        collecting.due.set()
        assert_nothing_runs()
        assert collecting.on == "s3stream-list"
        wait_for(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 1)  # the store's end of the connection
        client.close()


def test_a_signal_while_it_ends_leaves_nothing_running(store: ReadStore) -> None:
    """What the handler raises, as Airflow's execution_timeout does, comes before what is to end has ended."""
    keys, hangs, go_on = store.fill(2, 500), threading.Event(), threading.Event()

    def hang(key: str, body: bytes) -> None:
        if key != keys[0]:
            hangs.set()
            go_on.wait(30)

    def handler(*_: object) -> None:
        raise TimeoutError("execution_timeout")

    store.faults = [readlies.of(keys[1], readlies.slow(0.1))]  # not in one batch with the first
    reading = read_all(store, keys, ordered=False, apply=hang)
    next(reading)
    assert hangs.wait(SOON)
    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.3)
    try:
        with pytest.raises(TimeoutError, match="execution_timeout"):
            reading.close()  # type: ignore[attr-defined]
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        go_on.set()
    assert_nothing_runs()
    assert MEMORY.held == 0


class TestMemory:
    def test_it_reads_ahead_and_no_further_than_it_may(self, store: ReadStore) -> None:
        """While the caller takes its time."""
        keys = store.fill(100, 100_000)
        entries = [entry_of(store.objects[key]) for key in keys]
        reading = read_all(store, entries, max_memory=2 * MiB)
        next(reading)
        time.sleep(0.4)
        ahead = len(store.gets)
        assert 10 <= ahead <= 22
        rest = list(reading)
        check(store, rest, keys[1:])

    @pytest.mark.parametrize("known", [True, False])
    def test_the_first_may_be_large_and_slow(self, store: ReadStore, known: bool) -> None:
        """What was read ahead does not take the room that the next one in order needs."""
        keys = ["p/0-large", *store.fill(300, 10_000)]
        store.put("p/0-large", 5 * MiB)
        store.faults = [readlies.of("p/0-large", readlies.slow(0.3))]
        asked = [entry_of(store.objects[key]) for key in keys] if known else keys
        check(store, list(read_all(store, asked, max_memory=MiB)), keys)

    @pytest.mark.parametrize("known", [True, False])
    def test_large_and_small_in_turns(self, store: ReadStore, known: bool) -> None:
        """In a memory that holds two of the large ones."""
        keys = []
        for number in range(8):
            keys += [f"p/{number}", f"p/{number}-large"]
            store.put(keys[-2], 1000)
            store.put(keys[-1], WHOLE + number)
        asked = [entry_of(store.objects[key]) for key in keys] if known else keys
        check(store, list(read_all(store, asked, max_memory=2 * WHOLE)), keys)

    def test_one_may_be_read_while_another_waits(self, store: ReadStore) -> None:
        """The first has read ahead all it may; the second does not starve."""
        keys = store.fill(60, 100_000)
        entries = [entry_of(store.objects[key]) for key in keys]
        outer = read_all(store, entries, max_memory=2 * MiB)
        first = next(outer)
        time.sleep(0.3)
        check(store, list(read_all(store, entries, max_memory=2 * MiB)), keys)
        check(store, [first, *outer], keys)

    def test_a_small_memory_is_not_a_slow_one(self, store: ReadStore) -> None:
        """Room that the caller makes is used at once, not at the next look at the clock."""
        keys = store.fill(600, 200_000)
        entries = [entry_of(store.objects[key]) for key in keys]
        began = time.monotonic()
        check(store, list(read_all(store, entries, max_memory=MiB)), keys)
        assert time.monotonic() - began < SOON

    def test_memory_stays_within_what_is_allowed(self, store: ReadStore) -> None:
        """300 MB through 16 MiB, in a process of its own, by a reader that keeps nothing."""
        one = store.put("p/one", MiB)
        # One body under many keys is enough here, and its ETag is computed once.
        store.objects = {f"p/{number}": one for number in range(300)}
        growth = _grown(store, count=300, max_memory=16 * MiB)
        assert growth < (16 + 32) * MiB

    def test_a_large_object_is_held_once(self, store: ReadStore) -> None:
        """Not a second time to prove or to hand it over."""
        store.put("p/0", 100 * MiB)
        assert _grown(store, count=1, max_memory=16 * MiB) < (100 + 48) * MiB


READ = """
import json, sys
from airflow_s3stream.engine.readobjects import read_objects
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.plan.download import ReadOptions
from airflow_s3stream.plan.objects import ObjectEntry

def memory(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

endpoint, count, max_memory = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
client = new_client(endpoint_url=endpoint)
idle = memory("VmRSS")
size = 0
entries = (ObjectEntry(f"p/{number}") for number in range(count))
for key, body in read_objects(client, "lake", entries, ReadOptions(connections=16, max_memory=max_memory)):
    size += len(body)
print(json.dumps({"growth": memory("VmHWM") - idle, "bytes": size}))
"""


def _grown(store: ReadStore, *, count: int, max_memory: int) -> int:
    done = subprocess.run(
        [sys.executable, "-c", READ, store.endpoint_url, str(count), str(max_memory)],
        capture_output=True, text=True, timeout=50, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["bytes"] == sum(store.objects[f"p/{number}"].size for number in range(count))
    return int(told["growth"])


def assert_nothing_runs() -> None:
    """Fail if a thread of the package is still there a moment later."""
    ends = time.monotonic() + SOON
    while left := [one.name for one in threading.enumerate() if one.name.startswith("s3stream")]:
        assert time.monotonic() < ends, left
        time.sleep(0.02)


def test_an_entry_that_is_wrong_is_an_error(store: ReadStore) -> None:
    """Another size than the manifest says."""
    store.put("p/a", 100, part_size=50)
    with pytest.raises(S3StreamError, match="p/a"):
        list(read_all(store, [ObjectEntry("p/a", 99)]))
