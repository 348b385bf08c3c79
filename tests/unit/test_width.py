"""How many GETs are under way."""

from __future__ import annotations

import resource

from airflow_s3stream.engine.width import Width, affordable
from tests.unit.test_retry import Clock


def spend(width: Width, clock: Clock, *, rate: float, idle: float, turns: int = 1) -> None:
    """Let time pass with ``rate`` answers a second, all connections busy, and a share of it waiting for answers."""
    for _ in range(turns):
        clock.now += 0.5
        width.answered(round(rate * 0.5))
        width.waited(0.5 * idle, width.allowed)


def test_it_grows_while_growing_pays_and_the_thread_has_time() -> None:
    """Far away, more connections are more objects; they are added until no more are allowed."""
    clock = Clock()
    width = Width(128, 512, clock)
    seen = [width.allowed]
    for _ in range(8):
        spend(width, clock, rate=width.allowed / 0.05, idle=0.7)
        seen.append(width.allowed)
    assert seen[:5] == [128, 192, 288, 432, 512]
    assert width.allowed == 512


def test_it_stops_growing_when_more_connections_bring_nothing() -> None:
    """A store that gives no more is not burdened with more."""
    clock = Clock()
    width = Width(128, 512, clock)
    spend(width, clock, rate=3000, idle=0.7, turns=10)
    assert width.allowed == 192


def test_a_busy_thread_is_not_given_more_to_do() -> None:
    """Where the processor is the limit, more connections only cost memory."""
    clock = Clock()
    width = Width(128, 512, clock)
    spend(width, clock, rate=9000, idle=0.05, turns=10)
    assert width.allowed == 128


def test_a_number_that_was_set_is_kept() -> None:
    """Who sets a number knows why."""
    clock = Clock()
    width = Width(32, 32, clock)
    spend(width, clock, rate=600, idle=0.9, turns=10)
    assert width.allowed == 32


def test_idle_connections_are_no_reason_for_more() -> None:
    """While there was too little to ask for, nothing is learnt."""
    clock = Clock()
    width = Width(128, 512, clock)
    for _ in range(5):
        clock.now += 0.5
        width.answered(100)
        width.waited(0.4, 3)
    assert width.allowed == 128


def test_throttling_halves_once_for_a_burst_and_recovers() -> None:
    """Additive increase, multiplicative decrease."""
    clock = Clock()
    width = Width(64, 64, clock)
    for _ in range(10):
        width.throttled(0)
    assert width.allowed == 32
    width.throttled(width.era)
    assert width.allowed == 16
    assert width.throttling
    width.answered(4 * 8)
    assert width.allowed == 24
    width.answered(10_000)
    assert width.allowed == 64
    assert not width.throttling


def test_the_last_connection_is_never_taken() -> None:
    """However often the store throttles."""
    clock = Clock()
    width = Width(4, 4, clock)
    for _ in range(10):
        width.throttled(width.era)
    assert width.allowed == 1


def test_the_limit_on_open_files_caps_it() -> None:
    """Each connection takes a descriptor, and the rest of the process needs some too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        assert 1 <= affordable(512) < 200
        assert affordable(8) == 8
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
