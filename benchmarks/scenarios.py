"""What is measured: sizes, links, who takes part, how often."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from benchmarks.endpoint import LinkOptions
from benchmarks.peers import GiB, MiB

if TYPE_CHECKING:
    from collections.abc import Mapping

SLOW = ("rclone copyurl", "curl | s5cmd pipe", "boto3 upload_fileobj", "one part at a time", "Airflow HttpToS3Operator")
"""Each reads the source on one connection, so that a link that is slow per connection is slow for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row: a peer and its task."""

    peer: str
    size: int
    rounds: int
    label: str = ""
    """The row's name; the peer's own unless given."""
    source: str = "origin"
    tls: bool = False
    part_size: int | None = None
    max_memory: int | None = None

    @property
    def name(self) -> str:
        return self.label or self.peer


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One table."""

    name: str
    title: str
    kind: str
    """Which table the report makes of it: ``speed``, ``cpu`` or ``memory``."""
    connections: int
    entries: tuple[Entry, ...]
    link: LinkOptions = field(default_factory=LinkOptions)
    reference: str = ""
    """The row that the others are given as a multiple of, round by round."""

    @property
    def rounds(self) -> int:
        return max(entry.rounds for entry in self.entries)


def _wan() -> Scenario:
    fast = tuple(Entry(peer=peer, size=GiB, rounds=5) for peer in ("s3stream", "rclone copy :http:"))
    # They take 25 MB/s by construction, most of a minute each; once is enough.
    slow = tuple(Entry(peer=peer, size=GiB, rounds=1) for peer in SLOW[:-1])
    airflow = Entry(peer=SLOW[-1], size=256 * MiB, rounds=1)
    return Scenario(
        name="wan",
        title="30 ms, 25 MB/s per connection, 16 connections, 1 GiB: at most 400 MB/s",
        kind="speed",
        connections=16,
        entries=(*fast, *slow, airflow),
        link=LinkOptions(latency=0.030, conn_mbps=25),
        reference="rclone copy :http:",
    )


def _cpu(name: str, *, tls: bool) -> Scenario:
    main = ("floor", "s3stream", "rclone copyurl")
    entries = [Entry(peer=peer, size=4 * GiB, rounds=5, tls=tls) for peer in main]
    entries += [Entry(peer="rclone copy :http:", size=4 * GiB, rounds=1, tls=tls)]
    entries += [Entry(peer=peer, size=GiB, rounds=1, tls=tls) for peer in SLOW[1:]]
    return Scenario(
        name=name,
        title=f"CPU, {'https' if tls else 'http'} on both sides, 8 connections, no link model",
        kind="cpu",
        connections=8,
        entries=tuple(entries),
        reference="floor",
    )


def _memory() -> Scenario:
    ranged = Entry(peer="s3stream", label="a source with ranges", size=GiB, rounds=3, part_size=64 * MiB)
    whole = Entry(peer="s3stream", size=GiB, rounds=3, max_memory=64 * MiB)
    entries = (
        ranged,
        replace(ranged, label="the same over https", tls=True),
        replace(ranged, label="a huge one with ranges", size=64 * GiB, rounds=1),
        replace(whole, label="a source without ranges, max_memory 64 MiB", source="plain"),
        replace(whole, label="a source without a length, max_memory 64 MiB", source="chunked"),
    )
    return Scenario(
        name="memory",
        title="Peak memory of the whole process, 16 connections, 64 MiB parts where the source takes ranges",
        kind="memory",
        connections=16,
        entries=entries,
    )


def everything() -> Mapping[str, Scenario]:
    """Give every scenario by name."""
    found = (_wan(), _cpu("cpu-http", tls=False), _cpu("cpu-tls", tls=True), _memory())
    return {scenario.name: scenario for scenario in found}


def quick(scenario: Scenario) -> Scenario:
    """Shrink a scenario to seconds: it shows that everything runs, its figures mean nothing."""
    small = 256 * MiB if scenario.kind == "memory" else 32 * MiB
    entries = tuple(replace(entry, size=min(entry.size // 16, small), rounds=1) for entry in scenario.entries)
    return replace(scenario, title=f"{scenario.title} (quick: 1/16 of the size or less)", entries=entries)


def only(scenario: Scenario, peers: set[str]) -> Scenario:
    """Keep some peers."""
    entries = tuple(entry for entry in scenario.entries if entry.peer in peers)
    return replace(scenario, entries=entries)


def at_most(scenario: Scenario, rounds: int) -> Scenario:
    """Run no entry more often than so many rounds."""
    entries = tuple(replace(entry, rounds=min(entry.rounds, rounds)) for entry in scenario.entries)
    return replace(scenario, entries=entries)
