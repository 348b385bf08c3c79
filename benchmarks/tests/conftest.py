"""The benchmark's server, once per link model, for all tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from benchmarks import endpoint
from benchmarks.endpoint import LinkOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.endpoint import Endpoint


@pytest.fixture(scope="session")
def fast() -> Iterator[Endpoint]:
    """A server that swallows uploads unread."""
    with endpoint.started(LinkOptions()) as server:
        yield server


@pytest.fixture(scope="session")
def checking() -> Iterator[Endpoint]:
    """A server that decodes uploads."""
    with endpoint.started(LinkOptions(), check=True) as server:
        yield server
