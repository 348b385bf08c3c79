"""Tuning on real bytes, against servers on loopback: what is asked for, and what is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from airflow_s3stream.config import MiB, ObjectOptions, RetryPolicy, Timeouts
from airflow_s3stream.engine.events import Event
from airflow_s3stream.engine.run import Chances
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.engine.tune import tune_copy, tune_get
from airflow_s3stream.engine.tunecopy import CopyTrials
from airflow_s3stream.engine.tuneevents import Tried
from airflow_s3stream.engine.tuneplace import Place
from airflow_s3stream.exceptions import (
    ConfigError,
    S3StreamError,
    SinkDenied,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    SourceStalled,
    Stopped,
)
from airflow_s3stream.plan.tuneoptions import TuneOptions, TuneResult
from airflow_s3stream.plan.tuning import Setting
from tests.support import faults, readlies, s3fault
from tests.support.content import Content
from tests.support.memory import MemorySink, MemorySource, MemoryStore
from tests.support.origin import serving
from tests.support.readstore import ReadStore
from tests.support.s3fault import S3FaultProxy
from tests.support.sources import http_source
from tests.support.stores import Store
from tests.support.waiting import SOON

EAGER = RetryPolicy(attempts=3, budget=50, base=0.01, cap=0.02)
QUICK = Timeouts(connect=2, read=2, stall=2)


class Ticking:
    """
    Time that passes by being asked for: a trial ends after so much work, not after so many seconds.

    Nothing here depends on how fast the machine is, only on how often the engine looks.
    """

    def __init__(self, step: float) -> None:
        self._step = step
        self._now = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        with self._lock:
            self._now += self._step
            return self._now


def chances(step: float = 0.02) -> Chances:
    return Chances(clock=Ticking(step), sleep=lambda seconds: None, draw=lambda: 0.5)


def few(**options: Any) -> TuneOptions:
    known = {"connections": (1, 2, 4), "part_sizes": (MiB, 4 * MiB), "max_seconds": 3000.0, "timeouts": QUICK,
             "retry": EAGER}  # fmt: skip
    return TuneOptions(**{**known, **options})


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("big", 24 * MiB)
        yield store


@contextmanager
def client_of(endpoint_url: str) -> Iterator[Any]:
    client = new_client(endpoint_url=endpoint_url, region_name="us-east-1", timeouts=QUICK)
    try:
        yield client
    finally:
        client.close()


def get(store: ReadStore, key: str = "big", options: TuneOptions | None = None, **about: Any) -> TuneResult:
    about.setdefault("chances", chances())
    with client_of(store.endpoint_url) as client:
        return tune_get(client, "lake", key, options or few(), **about)


def no_thread_is_left() -> bool:
    ends = time.monotonic() + 10
    while time.monotonic() < ends:
        if not [thread for thread in threading.enumerate() if thread.name.startswith("s3stream")]:
            return True
        time.sleep(0.02)
    return False


class TestDownloads:
    def test_every_range_is_pinned_to_the_version_and_lies_within_it(self, store: ReadStore) -> None:
        result = get(store)
        grid = {Setting(count, part) for count in (1, 2, 4) for part in (MiB, 4 * MiB)}
        default = Setting(3, 8 * MiB)
        assert {sample.setting for sample in result.samples} <= grid | {default}
        assert result.recommended.setting in grid
        etag = store.objects["big"].etag
        assert len(store.gets) > 10
        for exchange in store.gets:
            assert exchange.header("If-Match") == etag
            assert exchange.status in (0, 206)  # 0: dropped before it was answered
            assert exchange.range is not None
            start, last = exchange.range
            assert last is not None
            assert 0 <= start <= last < 24 * MiB
            assert last - start < 8 * MiB
        assert result.size == 24 * MiB
        assert result.requests == len(store.gets)
        assert no_thread_is_left()

    def test_it_moves_through_the_object_and_begins_again_at_its_end(self, store: ReadStore) -> None:
        """So that no cache on the way serves the same bytes twice while there are others."""
        options = few(full_grid=True, max_bytes=512 * MiB)
        result = get(store, options=options, chances=chances(0.002))
        asked = [exchange.range for exchange in store.gets if exchange.range]
        assert result.bytes > 24 * MiB
        assert sum(start == 0 for start, _ in asked) >= 2
        covered = sorted({start for start, _ in asked})
        assert covered[-1] >= 20 * MiB
        assert any("was read" in warning and "times over" in warning for warning in result.warnings)

    def test_first_ranges_differ_in_length(self, store: ReadStore) -> None:
        """So that they do not all end together, and every moment shows as many of the waits between as any other."""
        options = few(connections=(2,), part_sizes=(4 * MiB,), full_grid=True)
        get(store, options=options)
        assert {(0, 2 * MiB - 1), (2 * MiB, 6 * MiB - 1)} <= set(store.ranges_of("big"))

    def test_bytes_are_limited(self, store: ReadStore) -> None:
        result = get(store, options=few(max_bytes=16 * MiB), chances=chances(0.0001))
        assert result.stopped_by == "max_bytes"
        assert result.bytes <= 16 * MiB + 4 * 512 * 1024

    def test_time_is_limited(self, store: ReadStore) -> None:
        store.faults.append(readlies.gets(faults.drip(20_000, 0.01)))
        result = get(store, options=few(max_seconds=3.0, full_grid=True), chances=chances(0.02))
        assert result.stopped_by == "max_seconds"  # six settings take a second each
        assert result.seconds < SOON

    def test_a_store_that_never_answers_is_left_in_time(self, store: ReadStore) -> None:
        store.faults.append(faults.stall_after(0))
        with pytest.raises(SourceStalled, match="0 bytes came in 2 s"):
            get(store, options=few(max_seconds=2.0, timeouts=Timeouts()), chances=chances(0.05))

    def test_an_object_that_is_replaced_ends_it(self, store: ReadStore) -> None:
        """Two versions need not be equally fast to read."""

        def replace(event: Event) -> None:
            if isinstance(event, Tried):
                store.overwrite("big")

        with pytest.raises(SourceChanged):
            get(store, listener=replace)
        assert no_thread_is_left()

    def test_a_stop_ends_it(self, store: ReadStore) -> None:
        stop = StopFlag()
        store.faults.append(readlies.gets(faults.drip(20_000, 0.01)))
        threading.Timer(0.3, stop.request, ("the task was killed",)).start()
        with pytest.raises(Stopped, match="the task was killed"):
            get(store, options=few(max_seconds=600.0), stop=stop, chances=None)
        assert no_thread_is_left()

    @pytest.mark.parametrize(
        ("key", "error"), [("none", SourceMissing), ("small", SourceRefused)], ids=["missing", "too small"]
    )
    def test_what_cannot_be_tuned_is_said_at_once(self, store: ReadStore, key: str, error: type[S3StreamError]) -> None:
        store.put("small", 5 * MiB)
        with pytest.raises(error):
            get(store, key, TuneOptions())
        assert store.gets == []

    def test_a_refusal_is_said_at_once(self, store: ReadStore) -> None:
        store.faults.append(readlies.gets(readlies.refuse(403, "AccessDenied")))
        with pytest.raises(SourceDenied):
            get(store)
        assert len(store.gets) <= 4

    def test_faults_that_pass_are_counted(self, store: ReadStore) -> None:
        store.faults.append(readlies.gets(faults.close_after(1000)).times(3))
        result = get(store, options=few(connections=(4,), part_sizes=(MiB,), full_grid=True))
        assert sum(sample.errors for sample in result.samples) == 3
        assert any("3 of" in warning and "requests failed" in warning for warning in result.warnings)

    def test_a_store_that_throttles_is_not_pressed(self, store: ReadStore) -> None:
        """It bears 4 connections at once; what 16 do is not measured to its end, and not recommended."""
        # Each answer takes so long that all requests of a setting are there at once, however slow this machine is; and
        # as answers take real time, so does the tune.
        store.faults += [readlies.gets(faults.at_most_at_once(4)), readlies.gets(readlies.slow(0.3))]
        options = few(connections=(2, 16), part_sizes=(MiB,), max_seconds=60.0)
        result = get(store, options=options, chances=None)
        by_count = {sample.connections: sample for sample in result.samples}
        assert by_count[16].throttled
        assert by_count[16].errors >= by_count[16].throttles >= 2
        assert result.connections == 2
        assert any("asked for less (SlowDown) at 16 connections" in warning for warning in result.warnings)

    def test_what_libcurl_cannot_ask_for_goes_through_boto3(self, store: ReadStore) -> None:
        store.put("a/../big", 24 * MiB)
        result = get(store, "a/../big", few(connections=(2,), part_sizes=(MiB, 2 * MiB)))
        assert any("read through boto3" in warning for warning in result.warnings)
        assert result.recommended.bytes > 0
        assert no_thread_is_left()


class Opened:
    """A sink in memory that remembers what was begun and ended, and whom it serves how fast."""

    def __init__(self, store: MemoryStore) -> None:
        self.sink = MemorySink(store, "key")
        self.begun: list[str] = []
        self.aborted: list[str] = []
        self.completed = 0
        self.numbers: list[int] = []
        self.fails: Callable[[int], Exception | None] = lambda number: None

    @property
    def name(self) -> str:
        return self.sink.name

    def head(self) -> Any:
        return self.sink.head()

    def put(self, *given: Any, **about: Any) -> Any:
        raise AssertionError("a tune stores no object")

    def begin(self, headers: Any) -> Any:
        upload = self.sink.begin(headers)
        self.begun.append(upload.upload_id)
        return upload

    def put_part(self, upload: Any, number: int, body: Any, *, ask_first: bool = False) -> Any:
        self.numbers.append(number)
        error = self.fails(number)
        if error:
            raise error
        return self.sink.put_part(upload, number, body, ask_first=ask_first)

    def complete(self, *given: Any, **about: Any) -> Any:
        raise AssertionError("a tune completes no upload")

    def abort(self, upload: Any) -> None:
        self.aborted.append(upload.upload_id)
        self.sink.abort(upload)

    def how_to_abort(self, upload: Any) -> str:
        return self.sink.how_to_abort(upload)


class TestCopies:
    @pytest.fixture
    def kept(self) -> MemoryStore:
        return MemoryStore()

    @pytest.fixture
    def sink(self, kept: MemoryStore) -> Opened:
        return Opened(kept)

    def copy(self, sink: Any, size: int = 64 * MiB, **about: Any) -> TuneResult:
        options = about.pop("options", None) or few(part_sizes=(5 * MiB, 8 * MiB))
        source = about.pop("source", None) or MemorySource(Content(size))
        return tune_copy(source, sink, "memory://", options, **{"chances": chances(), **about})

    def test_real_parts_go_into_one_upload_that_is_aborted(self, sink: Opened, kept: MemoryStore) -> None:
        result = self.copy(sink)
        assert (result.kind, result.uri, result.source) == ("copy", "memory://store/key", "memory://content")
        assert result.recommended.bytes > 0
        assert len(sink.begun) == 1
        assert set(sink.aborted) == set(sink.begun)
        assert (kept.uploads, kept.objects) == ({}, {})
        assert result.left == "Nothing was published. The multipart upload was aborted."
        assert result.requests >= 2 * len(sink.numbers) - 8
        assert no_thread_is_left()

    def test_what_was_at_the_key_stays(self, sink: Opened, kept: MemoryStore) -> None:
        from airflow_s3stream.engine.checksums import crc64nvme
        from airflow_s3stream.engine.protocols import ObjectHeaders

        headers = ObjectHeaders(content_type=None, content_encoding=None, metadata={})
        MemorySink(kept, "key").put(b"old", crc64nvme(b"old"), headers, replaces=None)
        self.copy(sink, options=few(connections=(2,), part_sizes=(5 * MiB,), full_grid=True))
        assert kept.objects["key"][0] == b"old"

    def test_a_stop_aborts_the_upload(self, sink: Opened, kept: MemoryStore) -> None:
        stop = StopFlag()

        def hear(event: Event) -> None:
            if isinstance(event, Tried):
                stop.request("Ctrl-C")

        with pytest.raises(Stopped, match=r"Ctrl-C\. Nothing was published\. The multipart upload was aborted\."):
            self.copy(sink, stop=stop, listener=hear)
        assert kept.uploads == {}
        assert no_thread_is_left()

    def test_a_refusal_aborts_the_upload(self, sink: Opened, kept: MemoryStore) -> None:
        sink.fails = lambda number: SinkDenied("no") if number > 6 else None
        with pytest.raises(SinkDenied, match=r"no\. Nothing was published\. The multipart upload was aborted\."):
            self.copy(sink)
        assert kept.uploads == {}

    def test_a_source_that_changes_aborts_the_upload(self, sink: Opened, kept: MemoryStore) -> None:
        source = MemorySource(Content(64 * MiB))

        def hear(event: Event) -> None:
            if isinstance(event, Tried):
                source.rewrite()

        with pytest.raises(SourceChanged, match="The multipart upload was aborted"):
            self.copy(sink, source=source, listener=hear)
        assert kept.uploads == {}

    def test_time_runs_out_and_the_upload_is_aborted(self, sink: Opened, kept: MemoryStore) -> None:
        source = MemorySource(Content(64 * MiB), stall_after=0)
        with pytest.raises(
            SourceStalled, match=r"0 bytes came in 2 s\. Nothing was published\. The multipart upload was"
        ):
            self.copy(sink, source=source, options=few(part_sizes=(5 * MiB,), max_seconds=2.0), chances=chances(0.1))
        assert len(sink.begun) == 1
        assert kept.uploads == {}
        assert no_thread_is_left()

    def test_bytes_run_out(self, sink: Opened) -> None:
        result = self.copy(sink, options=few(part_sizes=(5 * MiB, 8 * MiB), max_bytes=64 * MiB))
        assert result.stopped_by == "max_bytes"

    def test_a_source_without_ranges_is_nothing_to_tune(self, sink: Opened) -> None:
        """And no upload is begun for it."""
        with serving(24 * MiB, faults.ignore_range()) as origin:
            with pytest.raises(SourceRefused, match="one stream whatever the setting; there is nothing to tune"):
                self.copy(sink, source=http_source(origin.url, timeouts=QUICK))
        assert sink.begun == []

    def test_a_source_that_is_too_small_begins_no_upload(self, sink: Opened) -> None:
        with pytest.raises(SourceRefused, match="too few to tell"):
            self.copy(sink, 9 * MiB, options=TuneOptions())
        assert sink.begun == []

    def test_part_numbers_stay_within_what_s3_takes(self, sink: Opened) -> None:
        trials = CopyTrials(MemorySource(Content(64 * MiB)), sink, "memory://", Place(few(), chances=chances()))
        numbers = [trials.take(MiB).number for _ in range(10_001)]
        assert (numbers[0], numbers[9_999], numbers[10_000]) == (1, 10_000, 1)
        spans = [trials.take(48 * MiB).span for _ in range(4)]
        assert all(0 <= span.start < span.stop <= 64 * MiB for span in spans)

    def test_a_source_that_throttles_is_heard(self, sink: Opened) -> None:
        """It bears 5 requests at once, and says so with 429; its answers take time, and so does the tune."""
        crowded = faults.throttle(429).where(lambda request: request.concurrent > 5)
        with serving(64 * MiB, crowded, readlies.slow(0.3)) as origin:
            source = http_source(origin.url, timeouts=QUICK, connections=16)
            options = few(connections=(2, 16), part_sizes=(5 * MiB,), max_seconds=60.0)
            result = self.copy(sink, source=source, options=options, chances=None)
        by_count = {sample.connections: sample for sample in result.samples}
        assert by_count[16].throttled
        assert result.connections == 2


class TestStores:
    def test_nothing_is_left_on_a_real_store(self, s3_store: Store) -> None:
        s3_store.put("key", b"old")
        with serving(32 * MiB) as origin, client_of(s3_store.endpoint_url) as client:
            sink = S3Sink(client, s3_store.bucket, "key", options=ObjectOptions())
            source = http_source(origin.url, timeouts=QUICK, connections=4)
            options = few(connections=(2, 4), part_sizes=(5 * MiB,), full_grid=True, max_bytes=256 * MiB)
            result = tune_copy(source, sink, s3_store.endpoint_url, options, chances=chances(0.02))
        assert result.recommended.bytes > 0
        assert s3_store.uploads() == []
        assert s3_store.get("key") == b"old"

    def test_an_upload_that_cannot_be_aborted_is_named(self, rclone: Store) -> None:
        lost = s3fault.refuse("AbortMultipartUpload", 403, "AccessDenied").always()
        with S3FaultProxy(rclone.endpoint_url, lost) as proxy, serving(32 * MiB) as origin:
            with client_of(proxy.endpoint_url) as client:
                sink = S3Sink(client, rclone.bucket, "key", options=ObjectOptions())
                source = http_source(origin.url, timeouts=QUICK, connections=4)
                options = few(connections=(2,), part_sizes=(5 * MiB,), full_grid=True)
                result = tune_copy(source, sink, proxy.endpoint_url, options, chances=chances(0.02))
        assert "could not be aborted" in result.left
        assert "aws s3api abort-multipart-upload" in result.left


def test_a_grid_that_cannot_be_is_refused_before_anything_moves(store: ReadStore) -> None:
    with pytest.raises(ConfigError, match="connections="):
        get(store, options=few(connections=(0,)))
    assert store.gets == []
