"""What a tune's measurements amount to: the result, and what a person should know about it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_s3stream.config import format_size
from airflow_s3stream.plan.tuneestimate import estimate
from airflow_s3stream.plan.tuneoptions import TuneResult
from airflow_s3stream.plan.tuning import BUSY, WITHIN, choose

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuneoptions import StoppedBy, TuneOptions
    from airflow_s3stream.plan.tunesearch import Order
    from airflow_s3stream.plan.tuning import Choice, Grid, Kind, Sample, Setting


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What is known beside the samples; see :class:`~airflow_s3stream.plan.tuneoptions.TuneResult`."""

    kind: Kind
    uri: str
    source: str
    endpoint: str
    size: int
    default: Setting | None
    options: TuneOptions
    trials: int
    bytes: int
    seconds: float
    requests: int
    stopped_by: StoppedBy
    left: str
    warnings: list[str]


def verdict(about: Measured, order: Order, grid: Grid) -> TuneResult:
    """Choose, and say what is to be said."""
    samples, choice = order.samples, choose(order.candidates)
    default = next((sample for sample in samples if sample.setting == about.default), None)
    chosen = choice.recommended
    gain = chosen.bytes_per_second / default.bytes_per_second if default and default.bytes_per_second else None
    return TuneResult(
        kind=about.kind,
        uri=about.uri,
        source=about.source,
        endpoint=about.endpoint,
        size=about.size,
        connections=chosen.connections,
        part_size=chosen.part_size,
        recommended=chosen,
        best=choice.best,
        default=default,
        gain=gain,
        samples=samples,
        estimates=estimate(grid, samples),
        full_grid=about.options.full_grid,
        trials=about.trials,
        bytes=about.bytes,
        seconds=about.seconds,
        requests=about.requests,
        stopped_by=about.stopped_by,
        left=about.left,
        warnings=[*about.warnings, *_warnings(about, samples, choice, grid)],
    )


def _warnings(about: Measured, samples: list[Sample], choice: Choice, grid: Grid) -> list[str]:
    best, chosen = choice
    said = []
    throttled = [sample.connections for sample in samples if sample.throttled]
    if throttled:
        said.append(f"the store asked for less (SlowDown) at {min(throttled)} connections, so fewer were chosen")
    if chosen.throttled:
        said[-1:] = ["the store asked for less (SlowDown) whatever was tried; tune again at a quieter time"]
    if best.busy >= BUSY:
        said.append(
            f"the CPU was the limit, not the network: {best.setting} wanted it {100 * best.busy:.0f} % of the time"
        )
    if about.bytes > about.size:
        said.append(
            f"the object has {format_size(about.size)} and was read {about.bytes / about.size:.1f} times over, so a "
            "cache may have made it look faster than one that is read once"
        )
    if about.stopped_by != "converged":
        limit = f"{about.stopped_by}={getattr(about.options, about.stopped_by.removeprefix('max_')):g}"
        left = len(grid.settings()) - len(samples)
        rest = f"{left} settings were not measured" if about.options.full_grid else "the search was not done"
        said.append(f"{limit} was reached, and {rest}; what is recommended is the best of what was")
    if chosen.error > WITHIN:
        said.append(f"the speed went up and down by {100 * chosen.error:.0f} % while measured; tune again to be sure")
    failed = sum(sample.errors - sample.throttles for sample in samples)
    if failed > 0:
        said.append(f"{failed} of {about.requests} requests failed and were made again")
    return said
