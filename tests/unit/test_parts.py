"""The plan: parts tile the object, and every one obeys S3's limits."""

from __future__ import annotations

from itertools import islice, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.config import AWS_LIMITS, CopyOptions, GiB, MiB, TiB
from airflow_s3stream.exceptions import ConfigError, LimitExceeded
from airflow_s3stream.plan.parts import SMALL, TransferPlan, make_plan

# Log-uniform, so that small, middling and huge objects are all met, and the edges of each.
SIZES = st.one_of(
    st.integers(0, 64 * MiB),
    st.integers(0, AWS_LIMITS.max_object),
    st.builds(lambda n, d: max(0, n * MiB + d), st.integers(0, 100_000), st.integers(-1, 1)),
    st.sampled_from([0, 1, SMALL, SMALL + 1, 5 * GiB, 5 * TiB, AWS_LIMITS.max_object]),
)
PART_SIZES = st.none() | st.integers(AWS_LIMITS.min_part, AWS_LIMITS.max_part)


def check_tiling(plan: TransferPlan, size: int) -> None:
    """Look at every part when they are few, at both ends and the joints when they are many."""
    count = -(-size // plan.part_size)
    assert 1 <= count <= AWS_LIMITS.max_parts
    parts = list(plan.parts())
    assert len(parts) == count
    assert parts[0].span.start == 0
    assert parts[-1].span.stop == size
    assert [part.number for part in (parts[0], parts[-1])] == [1, count]
    assert all(a.span.stop == b.span.start and b.number == a.number + 1 for a, b in pairwise(parts))
    assert all(AWS_LIMITS.min_part <= len(part.span) <= AWS_LIMITS.max_part for part in parts[:-1])
    assert 0 < len(parts[-1].span) <= AWS_LIMITS.max_part


@given(size=SIZES, part_size=PART_SIZES, connections=st.integers(1, 512))
def test_ranged_parts_tile_the_object_and_obey_every_limit(size: int, part_size: int | None, connections: int) -> None:
    """Any object from 0 bytes to 48.8 TiB is cut into parts that S3 takes."""
    plan = make_plan(CopyOptions(part_size=part_size, connections=connections), size, ranges=True)
    if plan.mode == "put":
        assert size <= SMALL
        return
    assert plan.mode == "relay"
    assert 1 <= plan.connections <= connections
    check_tiling(plan, size)


@given(size=st.integers(0, 50 * TiB), memory=st.integers(5 * MiB, 16 * GiB), connections=st.integers(1, 512))
def test_spooled_parts_fit_the_memory_or_are_refused(size: int, memory: int, connections: int) -> None:
    """A source without ranges gets parts of which every uploader's, and the reader's, fit under max_memory."""
    options = CopyOptions(max_memory=memory, connections=connections)
    try:
        plan = make_plan(options, size, ranges=False)
    except LimitExceeded as error:
        assert size > AWS_LIMITS.max_object or -(-size // AWS_LIMITS.max_parts) > memory - MiB
        assert "max_memory" in str(error) or "S3's limit" in str(error)
        return
    if plan.mode == "put":
        assert size <= memory
        return
    check_tiling(plan, size)
    assert plan.part_size <= memory
    assert plan.connections == 1 or (plan.connections + 1) * plan.part_size <= memory


@given(memory=st.integers(5 * MiB, 32 * GiB), part_size=st.none() | st.integers(5 * MiB, 32 * MiB))
def test_parts_of_unknown_length_grow_within_memory_and_limits(memory: int, part_size: int | None) -> None:
    """Parts never shrink, never pass half the memory unless the first one does, and never S3's limits."""
    if part_size is not None and part_size > memory:
        with pytest.raises(ConfigError, match="max_memory"):
            make_plan(CopyOptions(max_memory=memory, part_size=part_size), None, ranges=False)
        return
    plan = make_plan(CopyOptions(max_memory=memory, part_size=part_size), None, ranges=False)
    sizes = [plan.size_of(number) for number in range(1, AWS_LIMITS.max_parts + 1)]
    assert all(a <= b for a, b in pairwise(sizes))
    assert AWS_LIMITS.min_part <= sizes[0]
    assert sizes[-1] <= min(AWS_LIMITS.max_part, max(memory // 2, sizes[0]))
    parts = list(islice(plan.parts(), AWS_LIMITS.max_parts + 1))
    assert len(parts) == AWS_LIMITS.max_parts
    assert plan.capacity == min(sum(sizes), AWS_LIMITS.max_object)


def test_an_unknown_length_reaches_far_beyond_fixed_parts() -> None:
    """Fixed parts of 8 MiB end at 78 GiB; growing ones pass 300 GB under 64 MiB of memory and 38 TB with 10 GiB."""
    assert make_plan(CopyOptions(), None, ranges=False).capacity > 300 * 10**9
    assert make_plan(CopyOptions(max_memory=10 * GiB), None, ranges=False).capacity > 38 * 10**12


@pytest.mark.parametrize("connections", [1, 3, 16, 64])
@pytest.mark.parametrize("size", [GiB, 3 * GiB + 12345, 10 * GiB])
def test_every_round_of_parts_is_full(size: int, connections: int) -> None:
    """No connection is idle for long in the last round: the parts are a multiple of the connections, or nearly."""
    plan = make_plan(CopyOptions(connections=connections), size, ranges=True)
    count = -(-size // plan.part_size)
    rounds = -(-count // connections)
    assert rounds * plan.part_size * connections - size <= rounds * connections * MiB


def test_a_gibibyte_over_sixteen_connections_is_one_round() -> None:
    """Each connection gets one part of 64 MiB, so no round trip is paid twice."""
    plan = make_plan(CopyOptions(connections=16), GiB, ranges=True)
    assert (plan.part_size, plan.connections) == (64 * MiB, 16)


def test_a_part_size_too_small_for_the_object_is_raised() -> None:
    """10,000 parts of 5 MiB end at 48.8 GiB; a larger object gets the least size that fits."""
    plan = make_plan(CopyOptions(part_size=5 * MiB), 100 * GiB, ranges=True)
    assert plan.part_size == 11 * MiB


def test_an_object_over_the_limit_is_refused_before_any_byte() -> None:
    """S3 takes 48.8 TiB."""
    with pytest.raises(LimitExceeded, match=r"48\.8 TiB"):
        make_plan(CopyOptions(), AWS_LIMITS.max_object + 1, ranges=True)
