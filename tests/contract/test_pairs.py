"""Any Source with any Sink: what lies between them knows neither HTTP nor S3."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_s3stream.config import CopyOptions, MiB, RetryPolicy, Timeouts
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.exceptions import IntegrityError, SourceStalled
from tests.support.content import Content
from tests.support.memory import MemorySink, MemorySource, MemoryStore
from tests.support.origin import serving
from tests.support.sources import http_source

if TYPE_CHECKING:
    from airflow_s3stream.engine.protocols import CompletedPart

OPTIONS = CopyOptions(
    part_size=5 * MiB,
    connections=3,
    timeouts=Timeouts(stall=0.3),
    retry=RetryPolicy(attempts=2, budget=2, base=0.01, cap=0.02),
)


@pytest.mark.parametrize("size", [0, 1000, 5 * MiB, 17 * MiB])
def test_memory_to_memory(size: int) -> None:
    """No socket at all."""
    store = MemoryStore()
    result = copy(MemorySource(Content(size)), MemorySink(store, "key"), OPTIONS)
    assert store.objects["key"][0] == Content(size).bytes()
    assert (result.bytes, result.verification) == (size, "crc64nvme")
    assert store.uploads == {}


@pytest.mark.parametrize("about", [{}, {"ranges": False}, {"ranges": False, "framing": "chunked"}], ids=str)
def test_http_to_memory(about: dict[str, object]) -> None:
    """Whatever the source can do."""
    store = MemoryStore()
    with serving(17 * MiB, **about) as origin:
        copy(http_source(origin.url), MemorySink(store, "key"), OPTIONS)
        assert store.objects["key"][0] == origin.resource.content.bytes()


def test_stalled_source_is_given_up_and_leaves_nothing() -> None:
    """The stall is noticed from outside the source, so it works with any."""
    store = MemoryStore()
    with pytest.raises(SourceStalled):
        copy(MemorySource(Content(17 * MiB), stall_after=1000), MemorySink(store, "key"), OPTIONS)
    assert store.objects == {}
    assert store.uploads == {}


class LosingSink(MemorySink):
    """A sink that stores a byte less of each part than it was given, and says so."""

    def put_part(self, *arguments: Any, **options: Any) -> CompletedPart:
        stored = super().put_part(*arguments, **options)
        return replace(stored, size=stored.size - 1)


def test_parts_that_do_not_add_up_are_not_published() -> None:
    """Whatever a sink says of each of them."""
    store = MemoryStore()
    with pytest.raises(IntegrityError, match="bytes were stored of"):
        copy(MemorySource(Content(12 * MiB)), LosingSink(store, "key"), CopyOptions(part_size=5 * MiB))
    assert store.objects == {}
    assert store.uploads == {}
