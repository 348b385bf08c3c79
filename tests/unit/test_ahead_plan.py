"""How far ahead a stream is fetched."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.config import KiB, MiB
from airflow_s3stream.plan.ahead import AheadPlan

GiB = 1024 * MiB


def ranges(plan: AheadPlan, start: int, size: int) -> list[tuple[int, int]]:
    """Read to the end in order, taking each range as soon as it is asked for."""
    asked, end = [], start
    while end < size:
        assert plan.room(end, end)
        stop = plan.next_stop(end, end)
        asked.append((end, stop))
        end = stop
    return asked


@given(
    st.integers(1, 10 * GiB),
    st.integers(1, 64),
    st.none() | st.integers(16 * MiB, 64 * MiB),
    st.integers(4 * MiB, GiB),
    st.floats(0, 0.999),
)
def test_every_byte_is_asked_for_once(
    size: int, connections: int, part_size: int | None, memory: int, at: float
) -> None:
    """From wherever it begins, to the end."""
    plan = AheadPlan(size, connections, part_size, memory)
    start = int(size * at)
    plan.restart(start)
    asked = ranges(plan, start, size)
    assert asked[0][0] == start
    assert asked[-1][1] == size
    assert all(one[1] == other[0] for one, other in itertools.pairwise(asked))
    assert all(stop > begin for begin, stop in asked)
    if part_size:
        assert max(stop - begin for begin, stop in asked) <= part_size


def test_at_the_start_all_connections_get_ranges() -> None:
    """Of different sizes, so that they do not end together."""
    plan = AheadPlan(GiB, 8, None, 64 * MiB)
    plan.restart(0)
    end, sizes = 0, []
    while plan.room(0, end):
        stop = plan.next_stop(0, end)
        sizes.append(stop - end)
        end = stop
    assert len(sizes) >= 8
    assert sizes[:8] == sorted(sizes[:8])
    assert len(set(sizes[:8])) == 8
    assert end - plan.part_size < 2 * 64 * MiB <= end


def test_after_a_seek_little_is_asked_for_until_reading_goes_on() -> None:
    """Then twice as much each time, up to all there is room for."""
    plan = AheadPlan(10 * GiB, 8, None, 64 * MiB)
    plan.restart(GiB)
    position = end = GiB
    ahead = []
    for _ in range(200):
        while plan.room(position, end):
            end = plan.next_stop(position, end)
        ahead.append(end - position)
        position += min(256 * KiB, end - position)
    assert ahead[0] <= MiB
    assert max(ahead) >= 64 * MiB
    assert all(later <= 4 * earlier + MiB for earlier, later in itertools.pairwise(ahead))


def test_one_connection_asks_once() -> None:
    """And for nothing beyond what is read."""
    plan = AheadPlan(GiB, 1, None, MiB)
    plan.restart(0)
    assert plan.room(0, 0)
    assert plan.next_stop(0, 0) == GiB
    assert not plan.room(5, GiB)


def test_one_connection_with_a_part_size_asks_step_by_step() -> None:
    """The next when the last has been read."""
    plan = AheadPlan(GiB, 1, MiB, 64 * MiB)
    assert plan.next_stop(0, 0) == MiB
    assert not plan.room(MiB - 1, MiB)
    assert plan.room(MiB, MiB)


@pytest.mark.parametrize(
    ("connections", "memory", "part"), [(16, 64, 6.4), (8, 64, 12.8), (2, 1000, 64), (64, 1, 0.25)]
)
def test_ranges_fit_the_memory(connections: int, memory: int, part: float) -> None:
    """On average half of each has arrived."""
    plan = AheadPlan(10 * GiB, connections, None, memory * MiB)
    assert plan.part_size == pytest.approx(part * MiB, abs=1)


def test_at_the_end_ranges_become_smaller() -> None:
    """No connection is left with a large one while the others have nothing to do; nor is one asked for crumbs."""
    plan = AheadPlan(GiB, 16, None, 128 * MiB)
    plan.restart(0)
    asked = ranges(plan, 0, GiB)
    full = [stop - begin for begin, stop in asked if GiB - begin > 16 * plan.part_size]
    assert max(full) == full[-1] == plan.part_size
    last = [stop - begin for begin, stop in asked if GiB - begin <= 16 * plan.part_size]
    assert all(
        size <= max((GiB - begin) // 16, MiB) for size, (begin, _) in zip(last, asked[-len(last) :], strict=True)
    )
    assert sorted(last, reverse=True) == last
    assert set(last[-16:-1]) == {MiB}
