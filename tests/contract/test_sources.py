"""What every Source does, whichever it is."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any, Protocol

import pytest

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.protocols import Body, Source
from airflow_s3stream.exceptions import SourceChanged, SourceStalled, SourceTruncated, Stopped
from airflow_s3stream.plan.ranges import ByteRange
from tests.support import faults
from tests.support.content import Content
from tests.support.memory import MemorySource
from tests.support.origin import Origin
from tests.support.resource import Resource
from tests.support.sources import http_source
from tests.support.tls import Authority
from tests.support.waiting import SOON

SIZE = 3_000_000

Made = tuple[Source, Callable[[], None]]


class Make(Protocol):
    """Makes a source of ``Content(size)``, and what rewrites it."""

    def __call__(self, size: int, *, stall_after: int | None = None) -> Made: ...


@pytest.fixture(params=["http", "https", "memory"])
def make(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Make]:
    """Every Source, with what it needs around it."""
    with ExitStack() as stack:

        def over_http(size: int, *, stall_after: int | None = None) -> Made:
            struck = [] if stall_after is None else [faults.stall_after(stall_after)]
            tls = authority.server() if request.param == "https" else None
            origin = stack.enter_context(Origin(Resource(size), *struck, tls=tls))

            def rewrite() -> None:
                origin.resource = origin.resource.rewritten()

            timeouts = Timeouts(connect=2, read=20)
            return http_source(origin.url, verify=str(authority.bundle), timeouts=timeouts), rewrite

        def in_memory(size: int, *, stall_after: int | None = None) -> Made:
            source = MemorySource(Content(size), stall_after)
            return source, source.rewrite

        yield in_memory if request.param == "memory" else over_http


def read_all(body: Body, step: int = 100_000) -> bytes:
    read, view = bytearray(), memoryview(bytearray(step))
    while got := body.readinto(view):
        read += view[:got]
    body.close()
    return bytes(read)


def test_probe_tells_the_size_and_carries_the_bytes(make: Make) -> None:
    """One answer teaches what there is and is not thrown away."""
    source, _ = make(SIZE)
    probe, body = source.probe()
    assert (probe.size, probe.accepts_ranges, probe.relayable) == (SIZE, True, True)
    assert probe.whole
    assert read_all(body) == Content(SIZE).bytes()


def test_probe_of_nothing_is_an_answer(make: Make) -> None:
    """An empty source has a size, 0, and a body that ends at once."""
    source, _ = make(0)
    probe, body = source.probe()
    assert probe.size == 0
    assert not probe.relayable
    assert read_all(body) == b""


def test_whole_is_opened_again(make: Make) -> None:
    """For a stream that has to start over."""
    source, _ = make(SIZE)
    first, body = source.probe()
    body.close()
    again, body = source.open_whole()
    assert (again.size, again.validator) == (first.size, first.validator)
    assert read_all(body) == Content(SIZE).bytes()


@pytest.mark.parametrize(
    ("start", "stop"), [(0, 1), (0, SIZE), (SIZE - 1, SIZE), (1_000_000, 2_000_001), (5, SIZE - 5)]
)
def test_range_carries_exactly_its_bytes(make: Make, start: int, stop: int) -> None:
    """From where it was asked, and here to where it was asked."""
    source, _ = make(SIZE)
    probe, body = source.probe()
    body.close()
    carried, body = source.open_range(probe, ByteRange(start, stop))
    assert carried == ByteRange(start, stop)
    assert read_all(body) == Content(SIZE).bytes(start, stop)


def test_range_of_another_version_is_refused(make: Make) -> None:
    """No byte of it is handed out."""
    source, rewrite = make(SIZE)
    probe, body = source.probe()
    body.close()
    rewrite()
    with pytest.raises(SourceChanged) as caught:
        source.open_range(probe, ByteRange(0, 10))
    assert not caught.value.retryable


def test_open_bodies_do_not_disturb_each_other(make: Make) -> None:
    """Two ranges read in turns, and the probe's body beside them."""
    source, _ = make(SIZE)
    probe, whole = source.probe()
    bodies = [source.open_range(probe, ByteRange(start, start + 1000))[1] for start in (0, 1_500_000)]
    view = memoryview(bytearray(10))
    read: list[bytes] = [b"", b""]
    for _ in range(100):
        for number, body in enumerate(bodies):
            assert body.readinto(view) == 10
            read[number] += bytes(view)
    assert read == [Content(SIZE).bytes(0, 1000), Content(SIZE).bytes(1_500_000, 1_501_000)]
    for body in bodies:
        body.close()
    assert read_all(whole) == Content(SIZE).bytes()


def test_many_threads_open_ranges_at_once(make: Make) -> None:
    """As a relay's workers do."""
    source, _ = make(SIZE)
    probe, body = source.probe()
    body.close()
    spans = [ByteRange(start, start + 100_000) for start in range(0, SIZE, 100_000)]
    with ThreadPoolExecutor(8) as pool:
        read = list(pool.map(lambda span: read_all(source.open_range(probe, span)[1]), spans))
    assert b"".join(read) == Content(SIZE).bytes()


@pytest.mark.parametrize("step", [1, 4096, 10_000_000])
def test_buffer_of_any_size_is_filled_from_its_start(make: Make, step: int) -> None:
    """A buffer larger than what is left is filled in part, and the end is 0, again and again."""
    source, _ = make(5000)
    _, body = source.probe()
    buffer = memoryview(bytearray(step))
    read = b""
    while got := body.readinto(buffer):
        assert 0 < got <= step
        read += bytes(buffer[:got])
    assert read == Content(5000).bytes()
    assert body.readinto(buffer) == 0
    body.close()


def test_close_may_come_at_any_time_and_twice(make: Make) -> None:
    """Before the first byte, midway, and after the end."""
    source, _ = make(SIZE)
    for count in (0, 1000, SIZE):
        _, body = source.probe()
        left = count
        while left:
            left -= body.readinto(memoryview(bytearray(min(left, 100_000))))
        body.close()
        body.close()


def test_interrupt_wakes_a_reader_that_waits(make: Make) -> None:
    """With the very error given, now and at every later read."""
    source, _ = make(SIZE, stall_after=1000)
    _, body = source.probe()
    view = memoryview(bytearray(1000))
    read = 0
    while read < 1000:
        read += body.readinto(view[read:])
    stall = SourceStalled("the test says so")
    timer = threading.Timer(0.2, body.interrupt, [stall])
    timer.start()
    began = time.monotonic()
    with pytest.raises(SourceStalled) as caught:
        body.readinto(memoryview(bytearray(100_000)))
    assert caught.value is stall
    assert time.monotonic() - began < SOON
    with pytest.raises(SourceStalled):
        body.readinto(view)
    timer.join()
    body.close()


def test_interrupt_before_a_read_is_not_forgotten(make: Make) -> None:
    """The reader may be on its way."""
    source, _ = make(SIZE)
    _, body = source.probe()
    body.interrupt(Stopped("the test says so"))
    with pytest.raises(Stopped):
        body.readinto(memoryview(bytearray(10)))
    body.close()


def test_interrupt_after_the_end_does_no_harm(make: Make) -> None:
    """Whoever watches may be late."""
    source, _ = make(1000)
    _, body = source.probe()
    assert read_all(body) == Content(1000).bytes()
    body.interrupt(Stopped("the test says so"))
    body.close()


class TestHttp:
    """What only a connection can show."""

    def test_connection_of_a_body_that_was_read_is_used_again(self) -> None:
        """A new one costs a round trip, and three over TLS."""
        with Origin(Resource(SIZE)) as origin:
            source = http_source(origin.url)
            probe, body = source.probe()
            read_all(body)
            for start in range(0, SIZE, 1_000_000):
                read_all(source.open_range(probe, ByteRange(start, start + 1_000_000))[1])
            assert (len(origin.exchanges), origin.connections) == (4, 1)

    def test_connection_of_a_body_that_was_left_is_not(self) -> None:
        """Its remaining bytes must never be taken for the next answer."""
        with Origin(Resource(SIZE)) as origin:
            source = http_source(origin.url)
            probe, body = source.probe()
            body.readinto(memoryview(bytearray(1000)))
            body.close()
            assert read_all(source.open_range(probe, ByteRange(7, 1007))[1]) == Content(SIZE).bytes(7, 1007)
            assert origin.connections == 2

    @pytest.mark.parametrize("about", [{}, {"ranges": False}, {"ranges": False, "framing": "chunked"}], ids=str)
    def test_body_that_ends_early_says_so_itself(self, about: dict[str, Any]) -> None:
        """Whoever reads it need not count."""
        with Origin(Resource(SIZE, **about), faults.close_after(SIZE - 1)) as origin:
            _, body = http_source(origin.url).probe()
            with pytest.raises(SourceTruncated) as caught:
                read_all(body)
            assert caught.value.retryable
            body.close()

    def test_range_that_ends_early_says_so_itself(self) -> None:
        """The Content-Range has promised its length."""
        with Origin(Resource(SIZE), faults.close_after(99).from_request(2)) as origin:
            source = http_source(origin.url)
            probe, body = source.probe()
            body.close()
            _, body = source.open_range(probe, ByteRange(100, 200))
            with pytest.raises(SourceTruncated):
                read_all(body)
            body.close()

    def test_secrets_are_not_in_the_name(self) -> None:
        """The name goes into logs and metadata."""
        source = http_source("https://user:canary@127.0.0.1/path?sig=canary#canary")
        assert source.name == "https://127.0.0.1/path?sig=***"
