"""Figure 9, measured by tests.support.canaries."""

from __future__ import annotations

from reliability.external import measured
from reliability.figure import Figure, Settings

NUMBER, TITLE = 9, "Leaks of secrets"
TARGET = "12 kinds of secret x 9 places: 0 leaks."
_TIMEOUT = 1500.0


def run(settings: Settings) -> Figure:
    return measured(NUMBER, TITLE, TARGET, _command(settings), timeout=_TIMEOUT)


def _command(settings: Settings) -> list[str]:
    return ["tests.support.canaries"]
