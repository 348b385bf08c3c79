"""Figure 5, measured by tests.support.sigterms."""

from __future__ import annotations

from reliability.external import measured
from reliability.figure import Figure, Settings

NUMBER, TITLE = 5, "SIGTERM in a real Airflow task"
TARGET = "stopped within 3.0 s, 0 untracked uploads, 100 times."
_TIMEOUT = 1500.0


def run(settings: Settings) -> Figure:
    return measured(NUMBER, TITLE, TARGET, _command(settings), timeout=_TIMEOUT)


def _command(settings: Settings) -> list[str]:
    return ["tests.support.sigterms", "--rounds", str(settings.count(full=100, quick=2))]
