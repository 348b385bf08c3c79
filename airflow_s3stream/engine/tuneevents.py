"""What a tune tells while it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuneoptions import TuneResult
    from airflow_s3stream.plan.tuning import Kind, Sample, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneStarted:
    """A tune begins."""

    kind: Kind
    uri: str
    source: str
    size: int
    settings: int
    """In the grid."""
    full_grid: bool
    max_bytes: int
    max_seconds: float
    first: Setting
    """What is measured first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tried:
    """A setting was measured."""

    sample: Sample
    again: bool
    """It had been measured before; ``sample`` is this measurement alone."""
    number: int
    """Of the measurement, from 1 on."""
    samples: list[Sample]
    """All settings measured so far, each once."""
    bytes: int
    """Moved so far."""
    seconds: float
    next: Setting | None
    """What is measured next, if the budget allows it; None: nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneFinished:
    """A tune ended."""

    result: TuneResult
