"""What is measured of one huge object: its size, over what link, into what, who takes part, how often."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from benchmarks.endpoint import LinkOptions
from benchmarks.peers import GiB, MiB

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.one.task import What

GET, PIPE, OPEN = "s3stream get", "s3stream get -", "s3stream open_object"
RCLONE, S5CMD, CRT, OBSTORE = "rclone copyto", "s5cmd cp", "awscrt S3Client", "obstore get_range"
BOTO3, ARIA2, RAW = "boto3 download_file", "aria2c", "raw sockets"
PEERS = (RCLONE, S5CMD, ARIA2, OBSTORE, CRT, BOTO3)
STREAMS = (CRT, "s5cmd cat", "obstore stream", "boto3 Body.read")
PARTS = {RCLONE: (64, 64), S5CMD: (64, 8), OBSTORE: (8, 16), CRT: (8, 8), BOTO3: (16, 32)}
"""MiB of a range over a near and a far link: the fastest of 8, 16, 32 and 64."""
CONNECTIONS = (1, 2, 4, 8, 16)
READ_AHEAD = (16 * MiB, 32 * MiB, 64 * MiB, 128 * MiB)
NEAR = LinkOptions()
FAR = LinkOptions(latency=0.030, conn_mbps=25)
LINE = LinkOptions(latency=0.030, total_mbps=125)
Place = Literal["memory", "disk"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One row: a tool and its task."""

    peer: str
    size: int
    rounds: int
    connections: int
    what: What = "file"
    link: LinkOptions = NEAR
    tls: bool = False
    place: Place = "memory"
    """Where its file goes: a file system in memory, or the working disk."""
    part_size: int | None = None
    max_memory: int | None = None
    cut: bool = False
    """It is ended after a time; until then it shows what its memory does."""
    label: str = ""
    """The row's name; the tool's own unless given."""
    against: str = ""
    """The row that this one is given as a multiple of, round by round."""

    @property
    def name(self) -> str:
        return self.label or self.peer

    @property
    def limit(self) -> float:
        """MB/s that the link lets through; 0: no limit."""
        caps = (self.link.total_mbps, self.link.conn_mbps * self.connections)
        return min((cap for cap in caps if cap), default=0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One table."""

    name: str
    title: str
    kind: str
    """Which table the report makes of it: ``fast``, ``far``, ``line``, ``stream``, ``memory`` or ``resume``."""
    entries: tuple[Entry, ...]

    @property
    def rounds(self) -> int:
        return max(entry.rounds for entry in self.entries)


def _tuned(row: Entry, peer: str) -> Entry:
    """Give the row of another tool with its best settings."""
    near, far = PARTS.get(peer, (0, 0))
    part = far if row.link.latency else near
    return replace(row, peer=peer, part_size=part * MiB or None)


def _tls() -> Scenario:
    entries = []
    for place, where in (("memory", "tmpfs"), ("disk", "disk")):
        row = Entry(peer=GET, size=2 * GiB, rounds=5, connections=8, tls=True, label=f"{GET}, {where}")
        row = replace(row, place=place, against=row.label)
        others = (*PEERS, *((RAW,) if place == "memory" else ()))
        entries += [row, *(replace(_tuned(row, peer), label=f"{peer}, {where}") for peer in others)]
    return Scenario(
        name="one-tls",
        title="One object of 2 GiB over https into a file, 8 connections, no link model",
        kind="fast",
        entries=tuple(entries),
    )


def _far() -> Scenario:
    row = Entry(peer=GET, size=GiB, rounds=5, connections=16, link=FAR, against=GET)
    return Scenario(
        name="one-far",
        title="One object of 1 GiB, 30 ms, 25 MB/s per connection, 16 connections: at most 400 MB/s",
        kind="far",
        entries=(row, *(replace(_tuned(row, peer), rounds=3) for peer in (*PEERS, RAW))),
    )


def _line() -> Scenario:
    row = Entry(peer=GET, size=GiB, rounds=3, connections=1, link=LINE)
    peers = [row, *(replace(_tuned(row, peer), rounds=1) for peer in PEERS)]
    entries = [
        replace(each, connections=count, label=f"{each.peer}, {count}") for each in peers for count in CONNECTIONS
    ]
    return Scenario(
        name="one-line",
        title="One object of 1 GiB, 30 ms, one line of 125 MB/s for all connections together",
        kind="line",
        entries=tuple(entries),
    )


def _stream() -> Scenario:
    near = Entry(peer=GET, size=2 * GiB, rounds=3, connections=8, tls=True)
    far = Entry(peer=GET, size=GiB, rounds=3, connections=16, link=FAR)
    entries = []
    for row, where in ((near, "https"), (far, "far")):
        get = replace(row, label=f"{where}, {GET}", against=f"{where}, {GET}")
        stream = replace(get, peer=OPEN, what="stream")
        ahead = [
            replace(stream, max_memory=most, label=f"{where}, {OPEN}, max_memory {most // MiB} MiB")
            for most in READ_AHEAD
        ]
        pipe = replace(stream, peer=PIPE, label=f"{where}, {PIPE}")
        peers = [replace(stream, peer=peer, label=f"{where}, {peer}", rounds=1) for peer in STREAMS]
        entries += [get, *ahead, pipe, *peers]
    return Scenario(
        name="one-stream",
        title=(
            "One object read in order, 1 MiB at a time, and dropped: https, 2 GiB, 8 connections;"
            " far: 1 GiB, 30 ms, 25 MB/s per connection, 16 connections"
        ),
        kind="stream",
        entries=tuple(entries),
    )


def _memory() -> Scenario:
    file = Entry(peer=GET, size=GiB, rounds=3, connections=16, label="a file, 1 GiB")
    stream = replace(file, peer=OPEN, what="stream", label="open_object, 1 GiB")
    huge = {"size": 100 * GiB, "rounds": 1, "cut": True}
    entries = (
        file,
        replace(file, size=10 * GiB, rounds=1, place="disk", label="a file, 10 GiB"),
        replace(file, size=10 * GiB, rounds=1, place="disk", tls=True, label="a file, 10 GiB, https"),
        # As much as the disks of most machines have room for, and as many ranges as the next one.
        replace(file, **{**huge, "size": 64 * GiB}, place="disk", label="a file, 64 GiB"),
        replace(file, **huge, place="disk", label="a file, 100 GiB"),
        stream,
        replace(stream, size=10 * GiB, rounds=1, label="open_object, 10 GiB"),
        replace(stream, size=10 * GiB, rounds=1, tls=True, label="open_object, 10 GiB, https"),
        replace(stream, **huge, label="open_object, 100 GiB"),
    )
    return Scenario(
        name="one-memory",
        title="Peak memory of s3stream's whole process, 16 connections, max_memory 128 MiB where there is a stream",
        kind="memory",
        entries=entries,
    )


def _resume() -> Scenario:
    row = Entry(peer=GET, size=GiB, rounds=100, connections=8, part_size=16 * MiB, label="ranges of 16 MiB")
    default = replace(row, rounds=20, part_size=None, label="ranges of the default size")
    return Scenario(
        name="one-resume",
        title="One object of 1 GiB, 8 connections, killed (SIGKILL) anywhere, then run again",
        kind="resume",
        entries=(row, default),
    )


def everything() -> Mapping[str, Scenario]:
    """Give every scenario by name."""
    found = (_tls(), _far(), _line(), _stream(), _memory(), _resume())
    return {scenario.name: scenario for scenario in found}


def quick(scenario: Scenario) -> Scenario:
    """Shrink a scenario to seconds: it shows that everything runs, its figures mean nothing."""
    rounds = 3 if scenario.kind == "resume" else 1
    entries = tuple(
        replace(entry, size=min(entry.size // 16, 64 * MiB), rounds=rounds, cut=False) for entry in scenario.entries
    )
    return replace(scenario, title=f"{scenario.title} (quick: 64 MiB)", entries=entries)


def only(scenario: Scenario, peers: set[str]) -> Scenario:
    """Keep some tools."""
    entries = tuple(entry for entry in scenario.entries if peers & {entry.peer, entry.name})
    return replace(scenario, entries=entries)


def at_most(scenario: Scenario, rounds: int) -> Scenario:
    """Run no entry more often than so many rounds."""
    entries = tuple(replace(entry, rounds=min(entry.rounds, rounds)) for entry in scenario.entries)
    return replace(scenario, entries=entries)
