"""Figure 8, measured by tests.support.ssrf."""

from __future__ import annotations

from reliability.external import measured
from reliability.figure import Figure, Settings

NUMBER, TITLE = 8, "Address spellings"
TARGET = "60 spellings x (direct, redirect, rebinding): 0 packets at the canary."
_TIMEOUT = 1500.0


def run(settings: Settings) -> Figure:
    return measured(NUMBER, TITLE, TARGET, _command(settings), timeout=_TIMEOUT)


def _command(settings: Settings) -> list[str]:
    return ["tests.support.ssrf"]
