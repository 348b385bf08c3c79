"""How many threads a download gets, and what becomes of an error on one of them."""

from __future__ import annotations

import os
import time

import pytest

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.address import Address, Keeper, Secrets, Transport
from airflow_s3stream.engine.curlcrew import CurlCrew, threads_for
from airflow_s3stream.engine.reader import Get

NOWHERE = Address(
    base="http://127.0.0.1:9", region="", service="", credentials=Keeper(Secrets), transport=Transport(verify=True)
)


@pytest.mark.parametrize(("connections", "threads"), [(1, 1), (7, 1), (8, 2), (16, 2), (512, 2)])
def test_a_thread_for_a_few_connections_and_a_core(connections: int, threads: int) -> None:
    cores = len(os.sched_getaffinity(0))
    assert threads_for(connections) == min(threads, cores)


def test_what_breaks_a_thread_is_raised_where_it_is_waited_for() -> None:
    """Not kept there, while the one who asked waits for ever."""

    class Odd(Get):
        @property
        def fields(self) -> tuple[str, ...]:  # type: ignore[override]
            raise SystemExit("odd")

        @fields.setter
        def fields(self, value: tuple[str, ...]) -> None: ...

    crew = CurlCrew(NOWHERE, connections=8, timeouts=Timeouts(), threads=2)
    try:
        crew.submit(Odd("key"))
        ends = time.monotonic() + 10
        with pytest.raises(SystemExit, match="odd"):
            while time.monotonic() < ends:
                crew.poll(0.1)
    finally:
        crew.close()
    crew.close()


def test_one_that_was_never_used_ends_too() -> None:
    crew = CurlCrew(NOWHERE, connections=8, timeouts=Timeouts(), threads=2)
    crew.wake()
    assert crew.poll(0) == []
    crew.close()
    crew.wake()
