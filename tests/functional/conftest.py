"""The command, run in this process."""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest

from tests.support.commands import Run


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
