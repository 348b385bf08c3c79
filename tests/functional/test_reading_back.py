"""A large object is read back to be proved, which may take minutes, and ends when the run does."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.fetch import Fetch
from airflow_s3stream.engine.fetchrun import FetchRun
from airflow_s3stream.engine.large import LargeObject
from airflow_s3stream.engine.pace import MemoryBudget
from airflow_s3stream.engine.readobjects import MemoryDestination
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import Stopped
from airflow_s3stream.plan.download import ReadOptions
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support.downloads import client_of
from tests.support.readstore import BUCKET, ReadStore
from tests.support.waiting import SOON, wait_for


class Endless:
    """A file that nobody has read to its end yet."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.ended = False

    def pread(self, size: int, offset: int) -> bytes:
        self.begun.set()
        return b"" if self.ended else b"x" * 1000

    def discard(self) -> None: ...


@pytest.fixture
def endless() -> Iterator[Endless]:
    file = Endless()
    yield file
    file.ended = True


def proving(store: ReadStore, file: Any, stop: StopFlag) -> Fetch:
    """Give what a finishing thread is reading a file back for."""
    with contextlib.closing(client_of(store)) as client:
        run = FetchRun(client, BUCKET, "s3://lake/", ReadOptions(on_error="continue"), stop=stop)
    run.readers.close()
    fetch = Fetch(run, MemoryDestination(None, keeps_errors=True), memory=MemoryBudget())
    large = LargeObject(fetch, ObjectEntry("large", MiB), 0, 0)
    large.begin({"content-length": str(MiB), "etag": f'"{"0" * 32}"'})
    large.body = file
    fetch.dispatcher.add(large)
    fetch.dispatcher.turn()
    assert file.begun.wait(SOON)
    return fetch


def test_the_end_does_not_wait_until_all_is_read(store: ReadStore, endless: Endless) -> None:
    """Whatever ended the run."""
    fetch = proving(store, endless, StopFlag())
    closer = threading.Thread(target=fetch.close, daemon=True)
    closer.start()
    closer.join(SOON)
    assert not closer.is_alive()


def test_a_stop_ends_it_and_the_object_has_not_failed(store: ReadStore, endless: Endless) -> None:
    """It is the run that ends, also where a failed object does not end it."""
    stop = StopFlag()
    fetch = proving(store, endless, stop)
    raised: list[Stopped] = []

    def turned() -> bool:
        try:
            fetch.dispatcher.turn()
        except Stopped as error:
            raised.append(error)
        return not fetch.dispatcher.pending

    stop.request("SIGTERM")
    wait_for(turned, SOON)
    assert raised
    assert fetch.tally.failed == 0
    fetch.close()
