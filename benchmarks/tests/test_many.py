"""Of very many objects: a tool gets a figure only for the right ones, and records become the second table."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import __main__ as command
from benchmarks import report
from benchmarks.many import peers, scenarios
from benchmarks.many import report as many_report
from benchmarks.many.bench import PROOF, ManyBench, file_system, sync
from benchmarks.many.results import Run, summarise
from benchmarks.many.scenarios import Entry, Scenario
from benchmarks.many.store import StoreOptions
from benchmarks.many.task import Task, What, last_json
from benchmarks.measure import Usage
from benchmarks.one import report as one_report

STORE = StoreOptions(objects=50, size=100)
# Does the task as a tool would, spoilt as it was told.
FETCH = """
import os, sys, urllib.request
from benchmarks.many.task import Asked
spoil, asked = sys.argv[1], Asked()
asked.begin()
keys = list(asked.known_keys())
small = len(keys) < 1000
if spoil == "crash":
    sys.exit("/some/place/tool: it broke")
if spoil == "one too few" or (spoil == "too few when timed" and small):
    keys.pop()
if spoil == "asks for nothing" and small:
    for key in keys:
        asked.take(key, bytes(100))
    keys = []
wrong = b""
for key in keys:
    body = urllib.request.urlopen(f"{asked.endpoint}/bench/{key}").read()
    if spoil == "takes one for another" and key.endswith("7"):
        body = wrong
    asked.take(key, body)
    wrong = body
asked.tell()
"""


@dataclass
class Tool:
    name: str
    note: str = ""
    can: frozenset[What] = frozenset({"download", "read"})

    def missing(self) -> str:
        return "not installed" if self.name == "lacking" else ""

    def command(self, task: Task) -> Sequence[str]:
        return [sys.executable, "-c", FETCH, self.name]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


def bench(disk: Path, **more: Any) -> ManyBench:
    """Give one that waits for no disk, which others may keep busy for seconds."""
    return ManyBench(disk=disk, sync=lambda _folder: 0.0, **more)


def measure(disk: Path, what: What, *names: str) -> dict[str, Any]:
    entries = tuple(
        Entry(peer=name, what=what, store=STORE, rounds=2, connections=4, against=names[0]) for name in names
    )
    kind = "read" if what == "read" else "download"
    scenario = Scenario(name="many-read", title="A test", kind=kind, entries=entries)
    return bench(disk, peers={name: Tool(name) for name in names}).measure(scenario)


@pytest.mark.parametrize("what", ["download", "read"])
def test_only_the_right_objects_get_a_figure(tmp_path: Path, what: What) -> None:
    """Wrong bodies, one object less and a crash are found by the proof; too few or none asked for, when timed."""
    names = ("crash", "one too few", "takes one for another", "too few when timed", "asks for nothing", "lacking")
    record = measure(tmp_path, what, "honest", *names)
    assert record["summary"]["honest"]["rounds"] == 2
    assert set(record["absent"]) == {"crash", "one too few", "takes one for another"}
    assert record["absent"]["crash"] == "exit 1: tool: it broke"
    assert record["missing"] == {"lacking": "not installed"}
    assert record["summary"]["too few when timed"]["rounds"] == 0
    assert record["summary"]["asks for nothing"]["failed"] == ["asked for 0 objects of 50"] * 2
    assert list(tmp_path.iterdir()) == []
    assert "| asks for nothing | failed: asked for 0 objects of 50 |" in many_report.table(record)


@pytest.mark.parametrize(
    ("name", "what"),
    sorted({(name, what) for name, peer in peers.load().items() for what in peer.can}),
)
def test_every_peer_proves_its_tasks(tmp_path: Path, name: str, what: What) -> None:
    """Each tool that is measured does what it is measured at, to the last byte."""
    peer = peers.load()[name]
    if why := peer.missing():
        pytest.skip(why)
    entry = Entry(peer=name, what=what, store=STORE, rounds=1, connections=4)
    record = bench(tmp_path).measure(Scenario(name="t", title="A test", kind="read", entries=(entry,)))
    assert record["absent"] == {}
    assert record["summary"][name]["rounds"] == 1


def test_every_peer_of_a_scenario_exists_and_can_do_its_task() -> None:
    """No scenario names a tool that is not there or cannot; every row can be told from the others."""
    known = peers.load()
    for scenario in scenarios.everything().values():
        names = [entry.name for entry in scenario.entries]
        assert len(set(names)) == len(names)
        for entry in scenario.entries:
            assert entry.what in known[entry.peer].can
            assert entry.against in ("", *names)


def runs(entry: str, objects: int, costs: Sequence[tuple[float, float, float]], connections: int = 0) -> list[Run]:
    return [
        Run(
            entry=entry,
            round=number,
            objects=objects,
            wall=wall,
            user=cpu,
            peak_rss=int(rss * 2**20),
            learnt={"seconds": wall / 2, "connections": connections},
        )
        for number, (wall, cpu, rss) in enumerate(costs, start=1)
    ]


def test_ratios_are_taken_within_a_round_and_per_object() -> None:
    """A round in which the machine was slow changes no ratio, nor does a peer that was given fewer objects."""
    fast = Entry(peer="fast", what="read", store=replace(STORE, objects=1000, latency=0.02), rounds=3, connections=10)
    slow = Entry(peer="slow", what="read", store=replace(STORE, objects=100), rounds=3)
    done = runs("fast", 1000, [(4.0, 1.0, 9), (8.0, 2.0, 9), (4.0, 1.0, 9)])
    done += runs("slow", 100, [(1.0, 0.5, 5), (2.0, 1.0, 5), (1.0, 0.5, 5)])
    found = summarise(done, {}, (replace(fast, against="slow"), slow))["fast"]
    assert found["speed_ratio"] == {"median": 2.5, "min": 2.5, "max": 2.5}
    assert found["own_speed_ratio"]["median"] == 2.5
    assert found["cpu_ratio"] == {"median": 0.2, "min": 0.2, "max": 0.2}
    assert found["rate"] == {"median": 250.0, "min": 125.0, "max": 250.0}
    assert found["own_rate"]["median"] == 500.0
    assert found["share"]["median"] == 1.0  # 500/s over 10 connections of 20 ms.
    assert found["cpu_per_object"]["median"] == 1000.0
    assert found["rss_growth"]["median"] == 4 * 2**20


def record(name: str, entries: Sequence[Entry], done: Sequence[Run]) -> dict[str, Any]:
    scenario = scenarios.everything()[name]
    return {
        "scenario": name,
        "title": scenario.title,
        "kind": scenario.kind,
        "date": "2026-01-01",
        "machine": {
            "cores": 2, "processor": "P", "features": ["aes"], "kernel": "6", "python": "3.11", "openssl": "3",
            "versions": {"boto3": "1"}, "disk": "ext4",
        },
        "notes": {}, "missing": {}, "absent": {},
        "summary": summarise(done, {}, entries),
        "runs": [{"entry": run.entry, "others": 0.0, "learnt": run.learnt} for run in done],
    }  # fmt: skip


def test_the_default_is_shown_beside_the_best_of_the_grid() -> None:
    """One row per latency: what the default reaches of the best setting that was tried, itself included."""
    row = Entry(peer="s3stream", what="download", store=STORE, rounds=1, label="20 ms, default")
    entries = [row, *(replace(row, label=f"20 ms, {count}") for count in (64, 256))]
    done = runs("20 ms, default", 100, [(1.25, 1, 1)], connections=128)
    done += runs("20 ms, 64", 100, [(2.0, 1, 1)]) + runs("20 ms, 256", 100, [(1.0, 1, 1)])
    table = many_report.table(record("many-default", entries, done))
    assert "| 20 ms | 80 | 128 | 100 | 256 | 80% |" in table


def test_memory_is_shown_as_what_a_million_needs_more() -> None:
    """The growth is that of the same round, in MiB."""
    entries = scenarios.everything()["many-peak"].entries[:2]
    done = runs(entries[0].name, 10_000, [(1, 1, 60), (1, 1, 62)])
    done += runs(entries[1].name, 1_000_000, [(100, 1, 63.5)])
    table = many_report.table(record("many-peak", entries, done))
    assert "| download, 10,000 | 61.0 (60.0 to 62.0) |  | 10000 | 2 |" in table
    assert "| download, 1,000,000 | 63.5 | 3.5 | 10000 | 1 |" in table


def test_the_report_writes_both_tables_each_in_its_place(tmp_path: Path) -> None:
    """Records of both kinds lie in one folder; the newest of each scenario is used."""
    readme, folder = tmp_path / "README.md", tmp_path / "results"
    folder.mkdir()
    entries = scenarios.everything()["many-download"].entries[:2]
    for date, wall in (("2026-01-01", 7.0), ("2026-01-02", 10.0)):
        done = runs("s3stream", 100_000, [(wall, 5, 70)]) + runs("s5cmd", 100_000, [(40.0, 50, 90)])
        text = json.dumps({**record("many-download", entries, done), "date": date})
        (folder / f"{date}-many-download.json").write_text(text)
    readme.write_text(
        f"a\n{report.START}\n{report.END}\nb\n{many_report.START}\nold\n{many_report.END}\nc\n{one_report.START}\n{one_report.END}\n"
    )
    command.write_readme(readme, folder)
    before, _, rest = readme.read_text().partition(many_report.START)
    assert before == f"a\n{report.START}\nNo results yet: run `make bench`.\n{report.END}\nb\n"
    assert "| s3stream | 10000 | 4.00 | 10000 | 50 | 0.10 |" in rest
    assert "the working disk is ext4" in rest
    assert "old" not in rest
    assert f"{many_report.END}\nc\n" in rest
    assert rest.endswith(f"{one_report.START}\nNo results yet: run `make bench`.\n{one_report.END}\n")


def test_a_proof_is_of_more_than_one_page() -> None:
    """A tool that stops after the first page of a listing must not pass."""
    assert PROOF > 1000
    assert PROOF % 1000


def test_files_are_on_the_disk_when_sync_returns(tmp_path: Path) -> None:
    """It takes time, tells how much, and the folder's file system has a name."""
    (tmp_path / "file").write_bytes(bytes(100))
    assert 0 < sync(tmp_path) < 60
    assert file_system(tmp_path) not in ("", "unknown")
    assert file_system(Path("/proc/self")) == "proc"
