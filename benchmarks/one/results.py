"""What came out of fetching one huge object: runs, and their medians."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmarks import results
from benchmarks.results import MB, GiB, spread

if TYPE_CHECKING:
    from benchmarks.one.scenarios import Entry


@dataclass(frozen=True, slots=True, kw_only=True)
class Run(results.Run):
    """One process that fetched one object; ``size`` is what it moved, less than the object if it was cut off."""

    flush: float = 0.0
    """Seconds that the disk then needed until the file was safe on it."""
    cut: bool = False
    """It was ended when its time was up."""
    resumed: Mapping[str, int] = field(default_factory=dict)
    """Of a run that went on where a killed one had been; see :mod:`benchmarks.one.resume`."""

    @property
    def seconds(self) -> float | None:
        """Of the tool's own clock, where it has one."""
        told = self.learnt.get("seconds")
        return float(told) if told else None


def summarise(
    runs: Sequence[Run], idle: Mapping[str, Run], entries: Sequence[Entry], imported: Mapping[str, int] | None = None
) -> dict[str, dict[str, Any]]:
    """Give one summary per entry, in the order of the table; ``imported``: peaks of processes that only load."""
    by_entry: dict[str, list[Run]] = {}
    for run in runs:
        by_entry.setdefault(run.entry, []).append(run)
    summaries = {}
    for entry in entries:
        if mine := by_entry.get(entry.name):
            base = {run.round: run for run in by_entry.get(entry.against, []) if not run.failed}
            found = results.summary(mine, idle.get(entry.name), base)
            good = [run for run in mine if not run.failed]
            if good:
                found |= _more(entry, good, idle.get(entry.name), base)
                found |= _growth(good, (imported or {}).get(entry.name))
            summaries[entry.name] = {**found, "size": entry.size}
    return summaries


def _more(entry: Entry, good: list[Run], idle: Run | None, base: Mapping[int, Run]) -> dict[str, Any]:
    found: dict[str, Any] = {"moved": spread(run.size for run in good)}
    if entry.place == "disk" and entry.what == "file":
        found["flush"] = spread(run.flush for run in good)
        found["safe_mb_per_second"] = spread(run.size / MB / (run.wall + run.flush) for run in good)
    if idle:
        found["net_cpu_per_gib"] = spread((run.cpu - idle.cpu) * GiB / run.size for run in good)
    timed = [(run, run.seconds) for run in good if run.seconds]
    if entry.limit:
        found["share"] = spread(run.size / MB / run.wall / entry.limit for run in good)
        if timed:
            found["own_share"] = spread(run.size / MB / seconds / entry.limit for run, seconds in timed)
    pairs = [(run, seconds, base[run.round]) for run, seconds in timed if run.round in base]
    own = [(a.size / seconds) / (b.size / b.seconds) for a, seconds, b in pairs if b.seconds]
    if own:
        found["own_speed_ratio"] = spread(own)
    return found | _resumed([run.resumed for run in good if run.resumed])


def _growth(good: list[Run], imported: int | None) -> dict[str, Any]:
    if imported is None:
        return {}
    return {"imported": imported, "grown_imported": spread(run.peak_rss - imported for run in good)}


def _resumed(kills: list[Mapping[str, int]]) -> dict[str, Any]:
    gone_on = [kill for kill in kills if not kill["ended"]]
    if not gone_on:
        return {}
    return {
        "kills": len(gone_on),
        "refetched": spread(kill["refetched"] for kill in gone_on),
        "limit": spread(kill["limit"] for kill in gone_on),
        "within": sum(kill["refetched"] <= kill["limit"] for kill in gone_on),
        "afresh": sum(not kill["kept"] for kill in gone_on),
    }
