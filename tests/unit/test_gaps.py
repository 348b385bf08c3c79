"""Which ranges are asked for: every missing byte once, none that is there."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.config import MiB
from airflow_s3stream.plan.gaps import Gaps, paced, part_size_for


@given(
    st.integers(0, 5000),
    st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 400)), max_size=20),
    st.integers(1, 700),
)
def test_every_missing_byte_is_given_once(size: int, pieces: list[tuple[int, int]], part_size: int) -> None:
    """In order, and never more than a part at once."""
    there: set[int] = set()
    done = []
    for start, length in pieces:
        span = set(range(start, min(start + length, size)))
        if span and not span & there:
            there |= span
            done.append((start, start + len(span)))
    gaps = Gaps(size, done, part_size)
    given_out: list[int] = []
    assert gaps.left == size - len(there)
    while (span_ := gaps.take()) is not None:
        start, stop = span_
        assert 0 < stop - start <= part_size
        given_out += range(start, stop)
    assert given_out == sorted(set(range(size)) - there)
    assert gaps.left == 0


def test_a_range_is_a_connections_share() -> None:
    """Between 8 and 64 MiB."""
    assert part_size_for(1024 * MiB, 16) == 64 * MiB
    assert part_size_for(100 * MiB, 4) == 25 * MiB
    assert part_size_for(10 * MiB, 16) == 8 * MiB
    assert part_size_for(10**13, 16) == 64 * MiB


def test_a_bandwidth_makes_ranges_small() -> None:
    """A quarter of a second each."""
    assert paced(64 * MiB, None) == 64 * MiB
    assert paced(None, None) is None
    assert paced(64 * MiB, 4 * MiB) == MiB
    assert paced(1000, 4 * MiB) == 1000
    assert paced(None, 3) == 1
