"""Memory, connections, bandwidth."""

from __future__ import annotations

import threading

import pytest

from airflow_s3stream.engine.pace import Bandwidth, ConnectionLimiter, MemoryBudget
from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.exceptions import Stopped
from tests.unit.test_retry import Clock


def limits(clock: Clock, stop: StopFlag | None = None) -> Limits:
    return Limits(stop or StopFlag(), None, clock=clock, sleep=clock.sleep)


def test_memory_is_held_back_until_it_is_free() -> None:
    """No more than the ceiling is ever held, by all transfers together."""
    budget, most, lock = MemoryBudget(), [0], threading.Lock()
    unlimited = Limits(StopFlag(), None)

    def work() -> None:
        for _ in range(200):
            budget.reserve(3, 10, unlimited)
            with lock:
                most[0] = max(most[0], budget.held)
            budget.release(3)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert budget.held == 0
    assert 3 <= most[0] <= 10


def test_a_first_buffer_larger_than_the_ceiling_is_granted() -> None:
    """Waiting for memory that nobody holds would never end."""
    budget = MemoryBudget()
    budget.reserve(50, 10, limits(Clock()))
    assert budget.held == 50


def test_waiting_for_memory_ends_with_the_transfer() -> None:
    """A stop is noticed there too."""
    budget, stop = MemoryBudget(), StopFlag()
    budget.reserve(10, 10, limits(Clock()))
    stop.request("enough")
    with pytest.raises(Stopped):
        budget.reserve(1, 10, limits(Clock(), stop))


def test_throttling_halves_once_for_a_burst_and_success_recovers() -> None:
    """16, 8 for a burst of refusals, 4 for a later one, then one more for every four parts, up to 16."""
    clock = Clock()
    limiter = ConnectionLimiter(16, limits(clock))
    for _ in range(5):
        limiter.throttled()
    assert (limiter.allowed, limiter.throttling) == (8, True)
    clock.sleep(3)
    limiter.throttled()
    assert limiter.allowed == 4
    for _ in range(4):
        limiter.succeeded()
    assert limiter.allowed == 5
    for _ in range(400):
        limiter.succeeded()
    assert (limiter.allowed, limiter.throttling) == (16, False)


def test_one_connection_is_always_left() -> None:
    """However often a side throttles."""
    clock = Clock()
    limiter = ConnectionLimiter(3, limits(clock))
    for _ in range(10):
        limiter.throttled()
        clock.sleep(10)
    assert limiter.allowed == 1
    limiter.acquire()
    limiter.release()


def test_bandwidth_is_shared_and_kept() -> None:
    """Ten pieces of 100 bytes at 500 bytes per second take two seconds."""
    clock = Clock()
    bandwidth = Bandwidth(500, limits(clock))
    for _ in range(10):
        bandwidth.take(100)
    assert clock.slept == pytest.approx(2.0)


def test_no_limit_waits_for_nothing() -> None:
    """None means unlimited."""
    clock = Clock()
    Bandwidth(None, limits(clock)).take(1 << 40)
    assert clock.slept == 0
