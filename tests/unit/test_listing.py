"""A listing hands out every key once, whatever the keys are like and however the store answers."""

from __future__ import annotations

import tracemalloc
from bisect import bisect_right
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_s3stream.exceptions import SourceMisbehaved
from airflow_s3stream.plan.listing import Listing
from airflow_s3stream.plan.listpage import ListPage, ListRequest
from airflow_s3stream.plan.objects import ObjectEntry
from tests.unit.liststore import ListStore

# Characters that are special to keys, URLs, XML, or the order of strings.
SPECIAL = "ab/ +%&<>'\"=-.~09\x01\x1f\x7f\x80é海\ue000\uffff\U00010000\U0010ffff\n\r\t"
LEGAL_IN_XML = "ab/ +%&<>'\"=-.~09\x7f\x80é海\ue000\U00010000"


def keys_over(alphabet: str) -> st.SearchStrategy[list[str]]:
    """Make lists of keys: random ones, numbered ones, and ones that share long beginnings."""
    text = st.text(alphabet, min_size=1, max_size=6)
    numbered = st.builds(
        lambda stem, first, count, width: [f"{stem}{number:0{width}}" for number in range(first, first + count)],
        text,
        st.integers(0, 2000),
        st.integers(1, 150),
        st.integers(0, 9),
    )
    deep = st.builds(lambda stem, ends: [stem * 12 + end for end in ends], text, st.lists(text, max_size=30))
    partitions = st.builds(
        lambda days, parts: [f"dt=2024-01-{day:02}/part-{part:03}" for day in range(days) for part in range(parts)],
        st.integers(1, 28),
        st.integers(1, 9),
    )
    groups = st.lists(st.one_of(st.lists(text, max_size=40), numbered, deep, partitions), max_size=3)
    return groups.map(lambda lists: sorted({key for keys in lists for key in keys}))


def run(listing: Listing, store: ListStore, random: Random, *, listers: int = 16, repeat: float = 0.0) -> list[str]:
    """List to the end, answering in any order; ``repeat``: the share of answers that are given twice."""
    under_way: list[ListRequest] = []
    got: list[str] = []
    while not listing.done:
        while len(under_way) < listers and random.random() < 0.9 and (request := listing.next_request()):
            assert request not in under_way
            under_way.append(request)
        if not under_way:
            request = listing.next_request()
            assert request, "a listing that is not done must have something to ask for"
            under_way.append(request)
        request = under_way.pop(random.randrange(len(under_way)))
        for _ in range(1 + (random.random() < repeat)):
            got += [entry.key for entry in listing.feed(request, store.answer(request.query))]
    assert listing.next_request() is None
    for request in under_way:  # late answers hold nothing new
        assert listing.feed(request, store.answer(request.query)) == []
    assert listing.found == len(got)
    return got


@settings(deadline=None, max_examples=300)
@given(
    keys_over(SPECIAL), st.text(SPECIAL, max_size=2), st.integers(1, 40), st.integers(1, 16), st.randoms(), st.data()
)
def test_every_key_is_handed_out_once(
    keys: list[str], prefix: str, page: int, listers: int, random: Random, data: st.DataObject
) -> None:
    bounds = st.one_of(st.just(""), st.text(SPECIAL, max_size=4), st.sampled_from(keys or [""]))
    start_after = data.draw(bounds)
    last = data.draw(st.one_of(st.none(), bounds))
    store = ListStore(
        keys,
        most=data.draw(st.sampled_from([1000, 3])),
        honours_start_after=data.draw(st.sampled_from([True, True, False])),
        empties=data.draw(st.booleans()),
        counts=data.draw(st.booleans()),
        usual=data.draw(st.booleans()),
    )
    listing = Listing(prefix, start_after=start_after, last=last, listers=listers, page_size=page)
    got = run(listing, store, random, listers=listers, repeat=0.2)
    assert sorted(got) == [k for k in keys if k.startswith(prefix) and k > start_after and (last is None or k <= last)]


@settings(deadline=None)
@given(keys_over(LEGAL_IN_XML), st.integers(1, 40), st.booleans(), st.randoms())
def test_a_store_that_does_not_encode_keys_is_listed_as_well(
    keys: list[str], page: int, usual: bool, random: Random
) -> None:
    store = ListStore(keys, honours_encoding=False, usual=usual)
    assert sorted(run(Listing("", page_size=page), store, random)) == keys


SHAPES = {
    "numbers": [f"small/{number:07}" for number in range(40_000)],
    "numbers that begin far up": [f"f/{number:012}" for number in range(7_000_000, 7_040_000)],
    "numbers without zeros": [f"f/{number}" for number in range(40_000)],
    "hashes": [f"{number * 2654435761 % 2**32:08x}" for number in range(40_000)],
    "partitions": [
        f"dt=2024-{month:02}-{day:02}/hour={hour:02}/part-{part}"
        for month in range(1, 13)
        for day in range(1, 29)
        for hour in range(24)
        for part in range(5)
    ],
    "a hot partition": [
        f"dt=2024-{month:02}/{n:06}" for month in range(1, 13) for n in range(40_000 if month == 7 else 30)
    ],
    "a long common beginning": [f"{'long-common-prefix/' * 12}{number:06}.bin" for number in range(40_000)],
    "names in Chinese": [chr(0x4E00 + n * 7919 % 20_000) + chr(0x4E00 + n * 104_729 % 20_011) for n in range(40_000)],
}


@pytest.mark.parametrize("shape", SHAPES)
def test_sixteen_listers_take_at_most_a_quarter_of_the_time_of_one(shape: str) -> None:
    keys = sorted(SHAPES[shape])
    listing = Listing("", page_size=100)
    rounds, requests, got = 0, 0, 0
    while not listing.done:
        rounds += 1
        batch = []
        while len(batch) < 16 and (request := listing.next_request()):
            batch.append(request)
        requests += len(batch)
        got += sum(len(listing.take(request, answer(keys, request))) for request in batch)
    assert got == len(keys)
    assert rounds <= len(keys) / 100 / 4
    assert requests <= len(keys) / 100 * 1.8


def answer(keys: list[str], request: ListRequest) -> ListPage:
    first = bisect_right(keys, request.start_after)
    page = keys[first : first + request.max_keys]
    truncated = first + request.max_keys < len(keys)
    return ListPage([ObjectEntry(key) for key in page], [], truncated, "token" if truncated else None)


@pytest.mark.parametrize("count", [0, 1, 999, 1000])
def test_what_fits_in_one_page_costs_one_request(count: int) -> None:
    store = ListStore([f"p/{number:04}" for number in range(count)] + ["q/after"])
    assert len(run(Listing("p/"), store, Random(1))) == count
    assert store.requests == 1


def test_a_range_that_holds_nothing_costs_no_request() -> None:
    assert Listing("b/", start_after="c").done
    assert Listing("b/", last="a").done
    assert Listing("", start_after="m", last="m").done


def test_memory_does_not_grow_with_the_number_of_keys() -> None:
    def peak(count: int) -> int:
        keys = [f"small/{number:07}" for number in range(count)]
        listing = Listing("", page_size=100)
        tracemalloc.start()
        while not listing.done:
            batch = []
            while len(batch) < 16 and (request := listing.next_request()):
                batch.append(request)
            for request in batch:
                listing.take(request, answer(keys, request))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(2_000)  # what is made once
    assert peak(100_000) < 1.5 * peak(10_000)


def page_of(*keys: str, truncated: bool = False, token: str | None = None) -> ListPage:
    return ListPage([ObjectEntry(key) for key in keys], [], truncated, token)


def test_keys_outside_the_prefix_are_refused() -> None:
    listing = Listing("p/")
    request = listing.next_request()
    assert request
    with pytest.raises(SourceMisbehaved, match="outside the prefix"):
        listing.take(request, page_of("p/a", "q/b"))


def test_a_truncated_page_with_neither_keys_nor_token_is_refused() -> None:
    listing = Listing("p/")
    request = listing.next_request()
    assert request
    with pytest.raises(SourceMisbehaved, match="nothing to go on from"):
        listing.take(request, page_of(truncated=True))


def test_empty_pages_without_end_are_refused() -> None:
    listing = Listing("p/")
    with pytest.raises(SourceMisbehaved, match="do not go on"):
        for number in range(2000):
            request = listing.next_request()
            assert request
            listing.take(request, page_of(truncated=True, token=f"token {number}"))


def test_a_store_that_ignores_start_after_and_tokens_is_refused() -> None:
    listing = Listing("p/", start_after="p/m")
    with pytest.raises(SourceMisbehaved, match="neither start-after nor the token"):
        for number in range(5):
            request = listing.next_request()
            assert request
            assert listing.take(request, page_of("p/a", "p/b", truncated=True, token=f"token {number}")) == []


def test_keys_that_were_listed_already_are_not_handed_out_again_when_a_chain_of_tokens_takes_over() -> None:
    listing = Listing("p/", page_size=2)
    first = listing.next_request()
    assert first
    assert [e.key for e in listing.take(first, page_of("p/a", "p/b", truncated=True, token="t"))] == ["p/a", "p/b"]
    second = listing.next_request()
    assert second
    assert second.start_after == "p/b"
    assert listing.take(second, page_of("p/a", "p/b", truncated=True, token="t")) == []
    chain = listing.next_request()
    assert chain == ListRequest("p/", max_keys=2)
    assert listing.take(chain, page_of("p/a", "p/b", truncated=True, token="t")) == []
    third = listing.next_request()
    assert third
    assert "continuation-token=t&" in third.query
    assert "start-after" not in third.query
    assert [e.key for e in listing.take(third, page_of("p/c"))] == ["p/c"]
    assert listing.done
