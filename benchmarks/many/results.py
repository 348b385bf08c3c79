"""What came out of fetching very many objects: runs, and their medians."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks.results import spread

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.many.scenarios import Entry

MICRO = 1e-6


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process that fetched or listed objects, or failed to."""

    entry: str
    round: int
    objects: int
    failed: str = ""
    """Why; empty if all that was asked for was there."""
    wall: float = 0.0
    """Seconds of the whole process, its start included."""
    flush: float = 0.0
    """Seconds that the disk then needed until all files were safe on it."""
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

    @property
    def seconds(self) -> float | None:
        """Of the tool's own clock, where it has one."""
        told = self.learnt.get("seconds")
        return float(told) if told else None


def summarise(runs: Sequence[Run], idle: Mapping[str, Run], entries: Sequence[Entry]) -> dict[str, dict[str, Any]]:
    """Give one summary per entry, in the order of the table."""
    by_entry: dict[str, list[Run]] = {}
    for run in runs:
        by_entry.setdefault(run.entry, []).append(run)
    summaries = {}
    for entry in entries:
        if mine := by_entry.get(entry.name):
            base = [run for run in by_entry.get(entry.against, []) if not run.failed]
            summaries[entry.name] = _summary(entry, mine, idle.get(entry.name), base)
    return summaries


def _summary(entry: Entry, runs: list[Run], idle: Run | None, base: list[Run]) -> dict[str, Any]:
    good = [run for run in runs if not run.failed]
    summary: dict[str, Any] = {"objects": entry.objects, "rounds": len(good), "connections": entry.connections}
    if len(good) < len(runs):
        summary["failed"] = [run.failed for run in runs if run.failed]
    if not good:
        return summary
    summary |= {
        "wall": spread(run.wall for run in good),
        "flush": spread(run.flush for run in good),
        "rate": spread(run.objects / run.wall for run in good),
        "safe_rate": spread(run.objects / (run.wall + run.flush) for run in good),
        "cpu_per_object": spread(run.cpu / run.objects / MICRO for run in good),
        "server_cpu_per_object": spread(run.server_cpu / run.objects / MICRO for run in good),
        "peak_rss": spread(run.peak_rss for run in good),
        "others": spread(run.others for run in good),
    }
    if idle:
        summary["idle"] = {"wall": idle.wall, "cpu": idle.cpu, "peak_rss": idle.peak_rss}
    return summary | _own_clock(entry, good) | _ratios(good, base)


def _own_clock(entry: Entry, good: list[Run]) -> dict[str, Any]:
    rates = [run.objects / run.seconds for run in good if run.seconds]
    if not rates:
        return {}
    found = {"own_rate": spread(rates)}
    if entry.connections and entry.store.latency and entry.what != "list":
        most = entry.connections / entry.store.latency
        found["share"] = spread(rate / most for rate in rates)
    return found


def _ratios(good: list[Run], base: list[Run]) -> dict[str, Any]:
    """Compare within a round: the machine's speed drifts more from minute to minute than between neighbours."""
    by_round = {run.round: run for run in base}
    pairs = [(run, by_round[run.round]) for run in good if run.round in by_round]
    if not pairs:
        return {}
    timed = [(a, b, a.seconds, b.seconds) for a, b in pairs]
    own = [(a.objects / mine) / (b.objects / its) for a, b, mine, its in timed if mine and its]
    return {
        "speed_ratio": spread((a.objects / a.wall) / (b.objects / b.wall) for a, b in pairs),
        "cpu_ratio": spread((a.cpu / a.objects) / (b.cpu / b.objects) for a, b in pairs),
        "rss_growth": spread(a.peak_rss - b.peak_rss for a, b in pairs),
        **({"own_speed_ratio": spread(own)} if own else {}),
    }
