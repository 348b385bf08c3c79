"""Memory, connections, bandwidth."""

from __future__ import annotations

import threading
from collections import deque
from queue import SimpleQueue

import pytest

from airflow_s3stream.engine.pace import Bandwidth, ConnectionLimiter, MemoryBudget
from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.exceptions import Stopped
from tests.unit.test_retry import Clock


def limits(clock: Clock, stop: StopFlag | None = None) -> Limits:
    return Limits(stop or StopFlag(), None, clock=clock, sleep=clock.sleep)


def test_memory_is_held_back_until_it_is_free() -> None:
    """No more than the ceiling is held, what others hold included, once a transfer holds something."""
    budget, unlimited, others = MemoryBudget(), Limits(StopFlag(), None), 3
    assert budget.try_reserve(others, 10)
    own, most, full = deque[int](), 0, SimpleQueue[int]()

    def give_back() -> None:
        while size := full.get():
            own.popleft()
            budget.release(size)

    threads = [threading.Thread(target=give_back) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(500):
        budget.reserve(3, 10, unlimited, own.__len__)
        most = max(most, budget.held)
        own.append(3)
        full.put(3)
    for _ in threads:
        full.put(0)
    for thread in threads:
        thread.join()
    assert budget.held == others
    assert others + 3 <= most <= 10


@pytest.mark.parametrize("others", [0, 10])
def test_a_transfer_that_holds_nothing_gets_one_buffer(others: int) -> None:
    """However large: those that hold the rest may wait for its end."""
    budget = MemoryBudget()
    budget.try_reserve(others, 10)
    budget.reserve(50, 10, limits(Clock()), lambda: 0)
    assert budget.held == others + 50


def test_waiting_for_memory_ends_with_the_transfer() -> None:
    """A stop is noticed there too."""
    budget, stop = MemoryBudget(), StopFlag()
    budget.reserve(10, 10, limits(Clock()), lambda: 0)
    stop.request("enough")
    with pytest.raises(Stopped):
        budget.reserve(1, 10, limits(Clock(), stop), lambda: 10)


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
