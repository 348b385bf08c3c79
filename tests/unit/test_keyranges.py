"""Splitting finds ranges that together are the prefix, of similar size, with few probes."""

from __future__ import annotations

from bisect import bisect_right
from itertools import pairwise
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_s3stream.exceptions import SourceMisbehaved
from airflow_s3stream.plan.keyranges import Splitting
from airflow_s3stream.plan.listpage import KeyRange
from tests.unit.liststore import ListStore
from tests.unit.test_listing import SHAPES, SPECIAL, answer, keys_over, page_of


def split(splitting: Splitting, store: ListStore, random: Random) -> list[KeyRange]:
    """Probe to the end, answering in any order."""
    under_way = []
    while not splitting.done:
        while len(under_way) < 16 and random.random() < 0.9 and (request := splitting.next_request()):
            under_way.append(request)
        if not under_way:
            request = splitting.next_request()
            assert request, "a splitting that is not done must have something to ask for"
            under_way.append(request)
        request = under_way.pop(random.randrange(len(under_way)))
        assert splitting.feed(request, store.answer(request.query)) == []
    return splitting.ranges


@settings(deadline=None, max_examples=200)
@given(
    keys_over(SPECIAL), st.text(SPECIAL, max_size=1), st.integers(1, 40), st.integers(1, 20), st.randoms(), st.data()
)
def test_the_ranges_neither_overlap_nor_leave_a_gap(
    keys: list[str], prefix: str, page: int, pieces: int, random: Random, data: st.DataObject
) -> None:
    start_after = data.draw(st.sampled_from(["", *keys[:50]]))
    last = data.draw(st.sampled_from([None, *keys[-50:]]))
    store = ListStore(
        keys,
        honours_start_after=data.draw(st.booleans()),
        empties=data.draw(st.booleans()),
        usual=data.draw(st.booleans()),
    )
    splitting = Splitting(prefix, pieces=pieces, start_after=start_after, last=last, page_size=page)
    ranges = split(splitting, store, random)
    assert ranges[0].start_after == start_after
    assert ranges[-1].last == last
    assert all(one.last == other.start_after for one, other in pairwise(ranges))
    assert all(one.start_after < (one.last or "") for one in ranges[:-1])
    assert len(ranges) <= pieces
    assert store.requests <= 96 + 4 * pieces


@pytest.mark.parametrize("shape", SHAPES)
def test_no_range_is_much_larger_than_the_mean(shape: str) -> None:
    keys = sorted(SHAPES[shape])
    splitting = Splitting("", pieces=16, page_size=20)  # 2,000 pages and more, of which 160 at most are seen
    while not splitting.done:
        batch = []
        while len(batch) < 16 and (request := splitting.next_request()):
            batch.append(request)
        for request in batch:
            splitting.take(request, answer(keys, request))
    assert splitting.pages <= 160
    ends = [len(keys) if r.last is None else bisect_right(keys, r.last) for r in splitting.ranges]
    sizes = [end - begin for begin, end in pairwise([0, *ends])]
    assert max(sizes) <= 2 * len(keys) / 16


def test_a_prefix_of_one_page_is_split_exactly_and_costs_one_request() -> None:
    store = ListStore([f"p/{number:03}" for number in range(640)])
    ranges = split(Splitting("p/", pieces=4), store, Random(1))
    assert ranges == [
        KeyRange("", "p/159"),
        KeyRange("p/159", "p/319"),
        KeyRange("p/319", "p/479"),
        KeyRange("p/479", None),
    ]
    assert store.requests == 1


def test_one_piece_is_the_whole_range_and_costs_no_request() -> None:
    splitting = Splitting("p/", pieces=1, start_after="p/a", last="p/z")
    assert splitting.done
    assert splitting.ranges == [KeyRange("p/a", "p/z")]


def test_a_prefix_without_objects_is_one_range() -> None:
    assert split(Splitting("p/"), ListStore([]), Random(1)) == [KeyRange("", None)]


def test_keys_outside_the_prefix_are_refused() -> None:
    splitting = Splitting("p/")
    request = splitting.next_request()
    assert request
    with pytest.raises(SourceMisbehaved, match="outside the prefix"):
        splitting.take(request, page_of("q/a"))
