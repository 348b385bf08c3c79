"""Ends of a copy that come in an awkward moment: nothing waits in vain, is read after them, or is forgotten."""

from __future__ import annotations

import http.client
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests

from airflow_s3stream.config import CopyOptions, MiB
from airflow_s3stream.engine.beginning import Beginning
from airflow_s3stream.engine.handover import Handover
from airflow_s3stream.engine.httpbody import HttpBody
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.relay import Ahead
from airflow_s3stream.engine.run import Chances, Run
from airflow_s3stream.engine.spool import Spool
from airflow_s3stream.engine.stop import StopFlag, run_detached
from airflow_s3stream.engine.stream import SourceStream
from airflow_s3stream.exceptions import SinkUnavailable, SourceUnavailable, Stopped
from airflow_s3stream.plan.parts import make_plan
from tests.support.waiting import SOON


class TimeIsUp(BaseException):
    """As Airflow's execution_timeout: no Exception, and raised once."""


def a_run(**chances: Any) -> Run:
    return Run(CopyOptions(), StopFlag(), None, Chances(draw=lambda: 0.5, **chances))


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    yield
    assert MEMORY.held == 0


def test_whatever_opening_a_range_ahead_raises_reaches_the_worker() -> None:
    """No error of this package, as where no thread is to be had: the worker waits for it or for a body."""
    run = a_run()

    def open_range(span: object) -> None:
        raise RuntimeError("can't start new thread")

    ahead = Ahead(SimpleNamespace(run=run, take=lambda: (SimpleNamespace(span=None), None), open=open_range))  # type: ignore[arg-type]
    ahead.next()
    threading.Timer(SOON, run.limits.abandon).start()  # else it would wait for ever
    with pytest.raises(RuntimeError, match="can't start"):
        ahead.body()


class TestSpool:
    def spool(self, run: Run) -> Spool:
        return Spool(run, None, None, make_plan(CopyOptions(), 100 * MiB, ranges=False))  # type: ignore[arg-type]

    def test_a_first_buffer_is_had_although_others_hold_all_memory(self) -> None:
        """They may wait for this copy's end: one who copies something for each object that is read ahead."""
        run = a_run()
        MEMORY.try_reserve(run.options.max_memory, run.options.max_memory)
        threading.Timer(SOON, run.limits.abandon).start()
        try:
            spool = self.spool(run)
            spool._release(spool._reserve(8 * MiB))
        finally:
            MEMORY.release(run.options.max_memory)

    def test_a_second_one_has_to_fit(self) -> None:
        run = a_run()
        spool = self.spool(run)
        first = spool._reserve(run.options.max_memory)
        threading.Timer(0.2, run.limits.abandon).start()
        with pytest.raises(Stopped):
            spool._reserve(8 * MiB)
        spool._release(first)

    def test_what_a_late_reader_brings_is_given_back(self) -> None:
        """It was inside a read when the spool was closed, and nobody takes buffers any more."""
        spool = self.spool(a_run())
        late = spool._reserve(8 * MiB)
        late.filled = 8 * MiB
        spool.close()
        spool._pass_on(2, late)
        with pytest.raises(Stopped):
            spool.read_first(alone=False)


class Failing:
    """A store that answers nothing."""

    name = "s3://bucket/key"

    def __init__(self) -> None:
        self.asked: list[str] = []

    def begin(self, headers: object) -> Any:
        self.asked.append("begin")
        raise SinkUnavailable("no answer")

    def list_uploads(self) -> Any:
        self.asked.append("list")
        raise SinkUnavailable("no answer")


def test_what_a_signal_raises_while_an_upload_is_begun_is_not_kept_waiting() -> None:
    """By a look for uploads that a failing store may have begun; the next try looks."""
    sink = Failing()

    def sleep(seconds: float) -> None:
        raise TimeIsUp

    run = a_run(sleep=sleep)
    beginning = Beginning(
        run, sink, None, Handover(run, sink, None), SimpleNamespace(marker="m"), None, lambda marker: None  # type: ignore[arg-type,return-value]
    )  # fmt: skip
    with pytest.raises(TimeIsUp):
        beginning.begin()
    assert sink.asked == ["begin"]
    assert beginning.unknown


def test_what_is_raised_while_a_call_is_started_does_not_forget_it() -> None:
    """Starting a thread waits for it, so a signal may come there."""
    undone = threading.Event()
    start = threading.Thread.start

    def interrupted(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == "s3stream-call":
            raise TimeIsUp

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", interrupted)
        with pytest.raises(TimeIsUp):
            run_detached(lambda: "upload", lambda: None, lambda _: undone.set(), linger=10)
    assert undone.wait(SOON)


def test_workers_that_live_on_are_known_although_waiting_for_them_was_interrupted() -> None:
    """Their parts may arrive after an abort, which is then to be repeated."""
    run, go_on = a_run(), threading.Event()
    real = threading.Thread.join

    def join(thread: threading.Thread, timeout: float | None = None) -> None:
        if thread.name.startswith("s3stream-"):
            raise TimeIsUp
        real(thread, timeout)

    def fail() -> None:
        raise SourceUnavailable("broken")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "join", join)
        with pytest.raises(TimeIsUp):
            run.crew([lambda: go_on.wait(60) and None, fail])  # type: ignore[list-item]
    assert any(thread.is_alive() for thread in run.stragglers)
    go_on.set()


class Opened:
    """A body, and what was done with it."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.reads = self.closes = 0
        self.stream: SourceStream | None = None

    def readinto(self, view: memoryview) -> int:
        self.reads += 1
        if self.error:
            raise self.error
        return len(view)

    def close(self) -> None:
        self.closes += 1
        if self.stream:
            self.stream.close()

    def interrupt(self, error: Exception) -> None:
        """Too early or too late."""


class TestStream:
    PROBE: Any = SimpleNamespace(size=1000, accepts_ranges=True, validator="v", framing="length")

    def test_a_body_opened_while_the_transfer_ended_is_not_read(self) -> None:
        """Whoever ended it interrupted all bodies it knew; this one might stall for a minute."""
        run, late = a_run(), Opened()

        def open_range(probe: object, span: Any) -> tuple[Any, Opened]:
            run.limits.abandon()
            return span, late

        source: Any = SimpleNamespace(name="u", open_range=open_range)
        stream = SourceStream(run, source, self.PROBE, Opened(SourceUnavailable("broke")))
        with pytest.raises(Stopped):
            stream.readinto(memoryview(bytearray(1000)))
        stream.close()
        assert (late.reads, late.closes) == (0, 1)

    def test_it_may_be_closed_by_two_at_once(self) -> None:
        """The reader, and whoever ends the transfer."""
        body = Opened()
        body.stream = SourceStream(a_run(), None, self.PROBE, body)  # type: ignore[arg-type]
        body.stream.close()
        assert body.closes == 1


class Stalling:
    """A server that sends a few bytes of a large body and no more."""

    def __enter__(self) -> str:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()
        return f"http://127.0.0.1:{self._listening.getsockname()[1]}/"

    def _serve(self) -> None:
        sock, _ = self._listening.accept()
        with sock:
            sock.recv(9999)
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nabc")
            self._over.wait(60)

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self._listening.close()


@pytest.mark.parametrize("how", ["close", "interrupt", "interrupt, by a socket that cannot be shut down"])
def test_a_body_that_another_thread_reads_ends_at_once(how: str) -> None:
    """The reader has a lock that closing it needs; and a stream of unknown length must not seem to be whole."""
    with Stalling() as url, requests.get(url, stream=True, timeout=(5, 60)) as response:
        body = HttpBody(response, None, "close", url)
        if "cannot" in how:
            response.raw._sock_shutdown = None  # as that of TLS to a proxy and TLS through it
        outcome: list[object] = []
        reading = threading.Event()

        def read() -> None:
            try:
                reading.set()
                while got := body.readinto(memoryview(bytearray(65536))):
                    assert got == 3
                outcome.append("whole")
            except (Stopped, http.client.HTTPException) as error:
                outcome.append(error)

        reader = threading.Thread(target=read)
        reader.start()
        reading.wait()
        reader.join(0.3)  # it waits in a read by now, most likely
        end = threading.Thread(target=body.close if how == "close" else lambda: body.interrupt(Stopped("enough")))
        end.start()
        end.join(SOON)
        assert not end.is_alive()
        reader.join(SOON)
        assert isinstance(outcome[0], Stopped)
        body.close()
