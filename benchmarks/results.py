"""What came out: runs, and their medians."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

GiB = 2**30
MB = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process that copied one object, or failed to."""

    entry: str
    round: int
    size: int
    failed: str = ""
    """Why; empty if the right bytes were stored."""
    wall: float = 0.0
    """Seconds of the whole process, its start included."""
    user: float = 0.0
    system: float = 0.0
    peak_rss: int = 0
    others: float = 0.0
    """Cores that were busy meanwhile with neither this process nor the server."""
    server_cpu: float = 0.0
    stats: Mapping[str, int] = field(default_factory=dict)
    """What the server counted."""
    learnt: Mapping[str, Any] = field(default_factory=dict)
    """What the tool itself told."""

    @property
    def cpu(self) -> float:
        return self.user + self.system


def spread(values: Iterable[float]) -> dict[str, float]:
    """Give median, least and most."""
    found = sorted(values)
    return {
        "median": round(statistics.median(found), 4),
        "min": round(found[0], 4),
        "max": round(found[-1], 4),
    }


def summarise(runs: Sequence[Run], idle: Mapping[str, Run], reference: str) -> dict[str, dict[str, Any]]:
    """Give one summary per entry, in the order in which they first ran."""
    by_entry: dict[str, list[Run]] = {}
    for run in runs:
        by_entry.setdefault(run.entry, []).append(run)
    base = {run.round: run for run in by_entry.get(reference, []) if not run.failed}
    return {name: summary(mine, idle.get(name), base) for name, mine in by_entry.items()}


def summary(runs: Sequence[Run], idle: Run | None, base: Mapping[int, Run]) -> dict[str, Any]:
    """Give the medians of one entry; ``base`` has, by its round, each run that it is given as a multiple of."""
    good = [run for run in runs if not run.failed]
    found: dict[str, Any] = {"size": runs[0].size, "rounds": len(good)}
    if len(good) < len(runs):
        found["failed"] = [run.failed for run in runs if run.failed]
    if not good:
        return found
    found |= {
        "wall": spread(run.wall for run in good),
        "mb_per_second": spread(run.size / MB / run.wall for run in good),
        "cpu": spread(run.cpu for run in good),
        "user": spread(run.user for run in good),
        "system": spread(run.system for run in good),
        "cpu_per_gib": spread(run.cpu * GiB / run.size for run in good),
        "server_cpu_per_gib": spread(run.server_cpu * GiB / run.size for run in good),
        "peak_rss": spread(run.peak_rss for run in good),
        "others": spread(run.others for run in good),
    }
    timed = [run for run in good if "seconds" in run.learnt]
    if timed:
        found["transfer_mb_per_second"] = spread(run.size / MB / run.learnt["seconds"] for run in timed)
    # Ratios are taken within a round: the machine's speed drifts more from minute to minute than between neighbours.
    pairs = [(run, base[run.round]) for run in good if run.round in base]
    if pairs:
        found["cpu_ratio"] = spread((a.cpu / a.size) / (b.cpu / b.size) for a, b in pairs)
        found["speed_ratio"] = spread((a.size / a.wall) / (b.size / b.wall) for a, b in pairs)
    if idle:
        found["idle"] = {"wall": idle.wall, "cpu": idle.cpu, "peak_rss": idle.peak_rss}
        found["grown"] = spread(run.peak_rss - idle.peak_rss for run in good)
    return found
