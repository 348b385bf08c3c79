"""A store to read from, a place to write to, and the command, run in this process."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Run
from tests.support.readstore import ReadStore


@pytest.fixture
def store() -> Iterator[ReadStore]:
    """Serve a store that holds nothing yet."""
    with ReadStore() as store:
        yield store


@pytest.fixture
def to(tmp_path: Path) -> Path:
    """Name a directory that is not there yet."""
    return tmp_path / "to"


@pytest.fixture
def signals() -> Iterator[None]:
    """Give pytest its own handlers back: the command takes them over."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGPIPE)}
    yield
    for number, handler in kept.items():
        signal.signal(number, handler)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], signals: None) -> Run:
    return Run(capsys)
