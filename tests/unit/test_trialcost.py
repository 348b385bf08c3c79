"""What a trial costs this process."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.trialcost import PeakMemory, Processors, Spent, available_cores


class TestPeakMemory:
    def test_it_is_what_was_held_at_once(self) -> None:
        memory = PeakMemory()
        memory.begin()
        held = bytearray(b"x") * (48 * MiB)
        del held
        peak = memory.peak()
        assert peak is not None
        assert 44 * MiB <= peak <= 80 * MiB

    def test_what_was_before_does_not_count(self) -> None:
        """Not even what threads have left to the C library."""
        memory = PeakMemory()

        def spend() -> None:
            for _ in range(4):
                del (bytearray(b"x") * MiB)[:]

        memory.begin()
        threads = [threading.Thread(target=spend) for _ in range(24)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        memory.begin()
        peak = memory.peak()
        assert peak is not None
        assert peak <= 16 * MiB

    def test_before_the_beginning_nothing_is_known(self) -> None:
        assert PeakMemory().peak() is None


class TestProcessors:
    @pytest.mark.skipif(not Path("/proc/thread-self/schedstat").exists(), reason="the kernel does not tell of waiting")
    def test_a_thread_that_computes_is_busy(self) -> None:
        """Also while others are in its way."""
        processors = Processors(alone=True)
        assert busy_while(processors, spin) >= 0.8

    def test_a_thread_that_waits_is_not(self) -> None:
        processors = Processors(alone=True)
        assert busy_while(processors, lambda: time.sleep(0.3)) <= 0.3

    def test_of_many_threads_what_counts_is_the_cores(self) -> None:
        processors = Processors(alone=False)
        since, now = Spent(0.0, 0.0, 0.0), Spent(0.5 * available_cores(), 0.0, 9.0)
        assert processors.busy(since, now, 1.0) == pytest.approx(0.5)
        assert processors.busy(since, Spent(1000.0, 0.0, 0.0), 1.0) == 1.0


@pytest.mark.parametrize(("text", "most"), [("50000 100000\n", 0.5), ("max 100000\n", 10_000), ("nonsense", 10_000)])
def test_a_container_may_have_part_of_a_core(tmp_path: Path, text: str, most: float) -> None:
    limit = tmp_path / "cpu.max"
    limit.write_text(text)
    assert 0 < available_cores(str(limit)) <= most
    assert available_cores(str(tmp_path / "none")) >= 1


def busy_while(processors: Processors, work: object) -> float:
    since, began = processors.read(), time.monotonic()
    work()  # type: ignore[operator]
    return processors.busy(since, processors.read(), time.monotonic() - began)


def spin() -> None:
    ends = time.monotonic() + 0.3
    while time.monotonic() < ends:
        pass
