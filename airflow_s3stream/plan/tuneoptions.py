"""Settings and results of a tune. Frozen, checked when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from airflow_s3stream.config import GiB, MiB, RetryPolicy, Timeouts, format_size, parse_size
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.values import read_values, seconds, whole_number

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_s3stream.plan.tuning import Kind, Sample

StoppedBy = Literal["converged", "max_bytes", "max_seconds"]

# (seconds, bytes). A search takes 5 to 15 trials of about a second each. 10 GiB out of Amazon's network are less than a
# dollar.
_SEARCH_BUDGET = (60.0, 10 * GiB)
# 40 trials of more than 3 s each; whoever asks for them wants the table.
_GRID_BUDGET = (300.0, 100 * GiB)
_LEAST_BYTES = 16 * MiB
_LEAST_SECONDS = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneOptions:
    """
    What a tune may try, and what it may cost.

    It ends when it knows enough, or at ``max_bytes`` or ``max_seconds``, whichever comes first; what is on its way at
    that moment is dropped.
    """

    connections: tuple[int, ...] | None = None
    """To choose from; None: 1, 2, 4, ... 128."""
    part_sizes: tuple[int, ...] | None = None
    """To choose from, in bytes; None: 4, 8, ... 64 MiB, of a copy from 8 MiB on."""
    full_grid: bool = False
    """Measure every setting instead of searching."""
    max_bytes: int | None = None
    """None: 10 GiB; of a full grid 100 GiB."""
    max_seconds: float | None = None
    """None: 60; of a full grid 300."""
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if self.max_bytes is not None and self.max_bytes < _LEAST_BYTES:
            raise ConfigError(f"max_bytes={self.max_bytes} must be at least {format_size(_LEAST_BYTES)}")
        if self.timeouts.deadline is not None:
            raise ConfigError(f"deadline={self.timeouts.deadline:g} is no option of a tune; max_seconds is its end")
        if self.max_seconds is not None and not _LEAST_SECONDS <= self.max_seconds <= 86400:
            raise ConfigError(f"max_seconds={self.max_seconds!r} must be from {_LEAST_SECONDS:g} to 86400")

    @property
    def seconds(self) -> float:
        """What it may take."""
        return self.max_seconds or (_GRID_BUDGET if self.full_grid else _SEARCH_BUDGET)[0]

    @property
    def bytes(self) -> int:
        """What it may move."""
        return self.max_bytes or (_GRID_BUDGET if self.full_grid else _SEARCH_BUDGET)[1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a setting that was not measured would reach, as far as those that were can tell."""

    connections: int
    part_size: int
    bytes_per_second: float


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneResult:
    """What a tune found; JSON-ready through ``dataclasses.asdict``."""

    kind: Kind
    """``get``: downloads of the object; ``copy``: copies of a URL to it."""
    uri: str
    source: str
    """Of a copy the redacted URL, else ""."""
    endpoint: str
    size: int
    """Bytes of the object, or of the source."""
    connections: int
    """Recommended: the cheapest setting within 5 % of the best."""
    part_size: int
    """Recommended, in bytes."""
    recommended: Sample
    best: Sample
    """The fastest."""
    default: Sample | None
    """What is used where nothing is set; None where ``connections`` or ``part_sizes`` leave it out."""
    gain: float | None
    """Speed of the recommended over the default's: 2.0 is twice as fast."""
    samples: list[Sample]
    """All that was measured, in order, one of each setting."""
    estimates: list[Estimate]
    """Of settings that were not measured. Not measured: worked out from those that were."""
    full_grid: bool
    trials: int
    """Measurements; some settings are measured more than once."""
    bytes: int
    """Moved in all."""
    seconds: float
    requests: int
    stopped_by: StoppedBy
    left: str
    """Of a copy, what became of its upload: nothing is ever published, and it is aborted."""
    warnings: list[str]


def read_tune_options(**given: Any) -> TuneOptions:
    """
    Build :class:`TuneOptions` from what users type: lists as lists or text (``"4,8,16"``), sizes as text or int.

    :raises ConfigError: an unknown option or a value that does not fit.
    """
    lists = {
        "connections": lambda value: whole_number(value, "connections"),
        "part_sizes": lambda value: parse_size(value, "part_sizes"),
    }
    read = read_values(
        {name: value for name, value in given.items() if name not in lists},
        TuneOptions.__dataclass_fields__,
        sizes=("max_bytes",),
        flags=("full_grid",),
    )
    if "max_seconds" in read:
        read["max_seconds"] = seconds(read["max_seconds"], "max_seconds")
    for name, parse in lists.items():
        if given.get(name) not in (None, ""):
            read[name] = _several(given[name], parse)
    return TuneOptions(**read)


def _several(given: Any, parse: Callable[[Any], int]) -> tuple[int, ...]:
    """Read several values: a list of them, one, or text with commas."""
    values: Iterable[Any] = given
    if isinstance(given, str):
        values = [text.strip(" '\"") for text in given.strip().removeprefix("[").removesuffix("]").split(",")]
    elif isinstance(given, int):
        values = [given]
    return tuple(parse(value) for value in values)
