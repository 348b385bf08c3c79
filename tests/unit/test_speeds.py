"""Which connections are dropped for being slow, and whose range is divided."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from airflow_s3stream.plan.speeds import SHARE, WINDOW, Speeds

MB = 1_000_000


@dataclass(eq=False)
class Range:
    position: int
    stop: int
    rate: float = 0.0


class Link:
    """Ranges that move at their own rates, and a clock that goes with them."""

    def __init__(self, min_speed: int | None = None) -> None:
        self.now = 100.0
        self.speeds = Speeds(lambda: self.now, min_speed)
        self.ranges: list[Range] = []

    def add(self, rate: float, size: int = 1000 * MB, latency: float = 0.0) -> Range:
        one = Range(0, size, rate)
        self.ranges.append(one)
        self.speeds.asked(one)
        self.now += latency
        self.speeds.begun(one)
        return one

    def run(self, seconds: float, step: float = 0.25) -> list[Range]:
        dropped: list[Range] = []
        for _ in range(round(seconds / step)):
            self.now += step
            for one in self.ranges:
                one.position = min(int(one.position + one.rate * step), one.stop)
            for one in self.speeds.slow():
                assert isinstance(one, Range)
                dropped.append(one)
                self.speeds.moved(one)
                self.speeds.asked(one)
        return dropped


def test_one_far_slower_than_the_others_is_dropped() -> None:
    """After a window, not before."""
    link = Link()
    for _ in range(4):
        link.add(20 * MB)
    slow = link.add(SHARE * 20 * MB * 0.9)
    assert link.run(WINDOW - 0.5) == []
    assert link.run(1.5) == [slow]


def test_one_a_little_slower_is_kept() -> None:
    """However long."""
    link = Link()
    for _ in range(4):
        link.add(20 * MB)
    link.add(SHARE * 20 * MB * 1.2)
    assert link.run(6 * WINDOW) == []


def test_all_equally_slow_are_kept() -> None:
    """There is nothing better to be had."""
    link = Link()
    for _ in range(5):
        link.add(1000)
    assert link.run(6 * WINDOW) == []


def test_below_the_least_speed_all_are_dropped() -> None:
    """Where one was given."""
    link = Link(min_speed=50_000)
    slow = [link.add(20_000) for _ in range(3)]
    fast = link.add(60_000)
    dropped = link.run(WINDOW + 1)
    assert set(map(id, dropped)) == set(map(id, slow))
    assert fast not in dropped


def test_a_stalled_one_is_dropped() -> None:
    """Even before its first byte."""
    link = Link()
    for _ in range(3):
        link.add(MB)
    stalled = Range(0, MB)
    link.speeds.asked(stalled)
    assert link.run(WINDOW + 1) == [stalled]


def test_the_last_one_is_compared_with_those_that_ended_since_it_was_asked_for() -> None:
    """However long ago that was."""
    link = Link()
    slow = link.add(20_000, size=10**9)
    for _ in range(3):
        link.add(20 * MB, size=20 * MB)
    link.run(1)
    for one in link.ranges[1:]:
        link.speeds.ended(one)
    del link.ranges[1:]
    assert link.run(WINDOW + 3)[:1] == [slow]


def test_one_that_ended_is_enough_to_tell_that_the_other_has_stalled() -> None:
    """But not that it is slow."""
    link = Link()
    stalled = link.add(20 * MB, size=10**9)
    other = link.add(20 * MB, size=20 * MB)
    link.run(1)
    link.speeds.ended(other)
    stalled.rate = MB
    assert link.run(3 * WINDOW) == []
    stalled.rate = 0
    assert link.run(2 * WINDOW)[:1] == [stalled]


def test_one_way_that_is_always_slow_is_left_in_the_end() -> None:
    """Dropping it again and again would help nobody."""
    link = Link()
    for _ in range(4):
        link.add(20 * MB, size=10**12)
    slow = link.add(1000)
    drops = 0
    for _ in range(12):
        for one in link.run(WINDOW + 1):
            assert one is slow
            drops += 1
    assert drops == 5


def test_one_that_was_not_read_from_is_not_slow() -> None:
    """Its time begins anew."""
    link = Link()
    for _ in range(4):
        link.add(20 * MB, size=10**12)
    paused = link.add(0.0)
    link.run(WINDOW - 1)
    link.speeds.paused(paused)
    assert link.run(3 * WINDOW) == []
    paused.rate = 20 * MB
    link.speeds.resumed(paused)
    assert link.run(2 * WINDOW) == []
    paused.rate = 0.0
    assert link.run(WINDOW + 1) == [paused]


def test_slow_answers_of_all_are_waited_for() -> None:
    """A store that takes 4 s to answer is not one that has stalled."""
    link = Link()
    for _ in range(4):
        link.add(20 * MB, latency=4.0)
    waiting = Range(0, MB)
    link.speeds.asked(waiting)
    assert link.run(WINDOW + 1) == []


def test_the_range_with_most_time_left_is_divided() -> None:
    """Not the one with most bytes left, and so that both halves end together."""
    link = Link()
    link.add(20 * MB, size=400 * MB)
    slow = link.add(5 * MB, size=200 * MB)
    link.run(2)
    assert link.speeds.longest() is slow
    left = slow.stop - slow.position
    assert link.speeds.middle(slow) == pytest.approx(slow.position + left / 2, abs=MB)


def test_the_newcomer_gets_less_for_coming_later() -> None:
    """By what the other does meanwhile."""
    link = Link()
    one = link.add(10 * MB, size=100 * MB, latency=0.5)
    link.run(1)
    left = one.stop - one.position
    assert link.speeds.middle(one) == pytest.approx(one.position + left / 2 + 2.5 * MB, abs=MB)


def test_what_is_nearly_done_is_not_divided() -> None:
    """Nor what has not begun, nor a few bytes."""
    link = Link()
    assert link.speeds.longest() is None
    near = link.add(10 * MB, size=12 * MB, latency=0.2)
    link.run(1)
    assert near.stop - near.position == 2 * MB  # 0.2 s, as long as a round trip
    assert link.speeds.longest() is None
    link.add(1.0, size=500_000)
    link.run(1)
    assert link.speeds.longest() is None


@pytest.mark.parametrize("left", [2 * 256 * 1024, 10 * MB])
def test_both_halves_have_bytes(left: int) -> None:
    """However the clock stands."""
    link = Link()
    one = link.add(1000.0, size=left, latency=30.0)
    link.now += 0.001
    middle = link.speeds.middle(one)
    assert one.position < middle < one.stop
