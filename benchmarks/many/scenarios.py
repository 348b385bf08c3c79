"""What is measured of very many small objects: how many, over what link, who takes part, how often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmarks.many.store import StoreOptions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.many.task import What

S3STREAM, S5CMD, RCLONE, CRT = "s3stream", "s5cmd", "rclone copy", "awscrt S3Client"
BOTO3, EXECUTOR, OBSTORE, RAW = "boto3 in threads", "asyncio run_in_executor", "obstore in threads", "raw sockets"
GRID = (32, 64, 128, 256, 512)
DEFAULT = "default"


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row: a tool and its task."""

    peer: str
    what: What
    store: StoreOptions
    rounds: int
    connections: int | None = None
    listers: int = 16
    label: str = ""
    """The row's name; the tool's own unless given."""
    against: str = ""
    """The row that this one is given as a multiple of, round by round."""

    @property
    def name(self) -> str:
        return self.label or self.peer

    @property
    def objects(self) -> int:
        return self.store.objects


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One table."""

    name: str
    title: str
    kind: str
    """Which table the report makes of it: ``download``, ``read``, ``list``, ``peak`` or ``default``."""
    entries: tuple[Entry, ...]

    @property
    def rounds(self) -> int:
        return max(entry.rounds for entry in self.entries)


def _fewer(entry: Entry, peer: str, objects: int) -> Entry:
    """Give the row of a slow tool: fewer objects, once."""
    return replace(entry, peer=peer, store=replace(entry.store, objects=objects), rounds=1)


def _download() -> Scenario:
    store = StoreOptions(objects=100_000, latency=0.020)
    row = Entry(peer=S3STREAM, what="download", store=store, connections=256, rounds=3, against=S5CMD)
    slow = [_fewer(row, peer, count) for peer, count in ((CRT, 20_000), (BOTO3, 5_000), (EXECUTOR, 5_000))]
    entries = (row, replace(row, peer=S5CMD), replace(row, peer=RCLONE, rounds=1), replace(row, peer=OBSTORE), *slow)
    return Scenario(
        name="many-download",
        title="Download 100,000 objects of 1 KiB, listing included, to the working disk; 20 ms, 256 connections",
        kind="download",
        entries=entries,
    )


def _read(name: str, title: str, store: StoreOptions, connections: int) -> Scenario:
    row = Entry(peer=S3STREAM, what="read", store=store, connections=connections, rounds=5, against=BOTO3)
    # Every round has a boto3, so that the ratio is taken between neighbours.
    boto3 = replace(row, peer=BOTO3, store=replace(store, objects=3_000))
    others = (replace(row, peer=OBSTORE), _fewer(row, CRT, 20_000), _fewer(row, EXECUTOR, 3_000))
    entries = (replace(row, peer=RAW), row, boto3, *others)
    return Scenario(name=name, title=title, kind="read", entries=entries)


def _list() -> Scenario:
    store = StoreOptions(objects=1_000_000, list_latency=0.100)
    serial = Entry(peer=S3STREAM, what="list", store=store, listers=1, label="s3stream, 1 lister", rounds=3)
    parallel = replace(serial, listers=16, label="s3stream, 16 listers", against=serial.name)
    nested = replace(parallel, store=replace(store, folders=True), label="s3stream, 16 listers, 1,000 folders")
    peers = (
        replace(serial, peer=S5CMD, label="s5cmd ls", rounds=1, against=serial.name),
        replace(_fewer(serial, OBSTORE, 100_000), label="obstore list", against=serial.name),
        replace(_fewer(serial, BOTO3, 100_000), label="boto3 paginator", against=serial.name),
    )
    return Scenario(
        name="many-list",
        title="List 1,000,000 keys, 100 ms a page of 1,000",
        kind="list",
        entries=(serial, parallel, nested, *peers),
    )


def _peak() -> Scenario:
    few, many = StoreOptions(objects=10_000, size=100), StoreOptions(objects=1_000_000, size=100)
    row = Entry(peer=S3STREAM, what="download", store=few, connections=256, rounds=3, label="download, 10,000")
    read = replace(row, what="read", label="read_objects, 10,000")
    entries = (
        row,
        replace(row, store=many, label="download, 1,000,000", against=row.label, rounds=1),
        read,
        replace(read, store=many, label="read_objects, 1,000,000", against=read.label),
    )
    return Scenario(
        name="many-peak",
        title="Peak memory of s3stream's whole process, objects of 100 bytes, 256 connections",
        kind="peak",
        entries=entries,
    )


def _default() -> Scenario:
    entries = []
    for milliseconds in (5, 20, 50):
        store = StoreOptions(objects=50_000, latency=milliseconds / 1000)
        row = Entry(peer=S3STREAM, what="download", store=store, rounds=3, label=f"{milliseconds} ms, {DEFAULT}")
        entries.append(row)
        entries += [
            replace(row, connections=count, label=f"{milliseconds} ms, {count}", against=row.label) for count in GRID
        ]
    return Scenario(
        name="many-default",
        title="Default settings beside the best number of connections, 50,000 objects of 1 KiB to the working disk",
        kind="default",
        entries=tuple(entries),
    )


def everything() -> Mapping[str, Scenario]:
    """Give every scenario by name."""
    busy = StoreOptions(objects=100_000, latency=0.020)
    found = (
        _download(),
        _read("many-read", "Read 100,000 objects of 1 KiB in memory; 20 ms, 256 connections", busy, 256),
        _read(
            "many-cpu",
            "Read 100,000 objects of 1 KiB in memory; no latency, 32 connections",
            StoreOptions(objects=100_000),
            32,
        ),
        _list(),
        _peak(),
        _default(),
    )
    return {scenario.name: scenario for scenario in found}


def quick(scenario: Scenario) -> Scenario:
    """Shrink a scenario to seconds: it shows that everything runs, its figures mean nothing."""
    entries = tuple(
        replace(entry, rounds=1, store=replace(entry.store, objects=max(100, entry.objects // 50)))
        for entry in scenario.entries
    )
    return replace(scenario, title=f"{scenario.title} (quick: 1/50 of the objects)", entries=entries)


def only(scenario: Scenario, peers: set[str]) -> Scenario:
    """Keep some tools."""
    entries = tuple(entry for entry in scenario.entries if peers & {entry.peer, entry.name})
    return replace(scenario, entries=entries)


def at_most(scenario: Scenario, rounds: int) -> Scenario:
    """Run no entry more often than so many rounds."""
    entries = tuple(replace(entry, rounds=min(entry.rounds, rounds)) for entry in scenario.entries)
    return replace(scenario, entries=entries)
