"""A tool gets a figure only for the right bytes, and a record becomes a table."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import pytest

from benchmarks import peers, report, scenarios
from benchmarks.bench import Bench
from benchmarks.results import Run, summarise
from benchmarks.scenarios import Entry, Scenario

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.peers import Job

MiB = 2**20
# Copies like a tool would, then spoils what it was told to spoil.
COPY = """
import os, sys, urllib.request
spoil, body = sys.argv[1], urllib.request.urlopen(os.environ["BENCH_URL"]).read()
if spoil == "bytes" or (spoil == "short" and len(body) == 1 << 20):
    body = body[:-1] + (b"" if spoil == "short" else bytes([body[-1] ^ 1]))
if spoil == "crash":
    sys.exit("/some/place/tool: it broke")
if spoil != "nothing stored":
    target = f"{os.environ['BENCH_ENDPOINT']}/bench/{os.environ['BENCH_KEY']}"
    urllib.request.urlopen(urllib.request.Request(target, body, method="PUT"))
"""


@dataclass
class Tool:
    name: str
    spoil: str = ""
    note: str = ""

    def missing(self) -> str:
        return ""

    def command(self, job: Job) -> Sequence[str]:
        return [sys.executable, "-c", COPY, self.spoil]


def run(*tools: Tool) -> dict[str, Any]:
    entries = tuple(Entry(peer=tool.name, size=MiB, rounds=2) for tool in tools)
    scenario = Scenario(
        name="cpu-http", title="A test", kind="cpu", connections=2, entries=entries, reference=tools[0].name
    )
    return Bench(peers={tool.name: tool for tool in tools}).measure(scenario)


def test_only_the_right_bytes_get_a_figure() -> None:
    """Wrong bytes, no object and a crash are found before anything is timed; the honest tool gets its figures."""
    liars = [Tool(spoil, spoil=spoil) for spoil in ("bytes", "nothing stored", "crash")]
    record = run(Tool("honest"), *liars)
    assert list(record["summary"]) == ["honest"]
    assert record["summary"]["honest"]["rounds"] == 2
    assert record["summary"]["honest"]["cpu_ratio"]["median"] == 1.0
    assert record["absent"] == {
        "bytes": "stored other bytes than the source has",
        "nothing stored": "stored nothing instead of 41955385 bytes",
        "crash": "exit 1: tool: it broke",
    }


def test_a_run_that_stores_too_little_has_failed() -> None:
    """A tool that passed its proof but stores a byte less when timed gets a failure in place of a figure."""
    record = run(Tool("honest"), Tool("short", spoil="short"))
    assert record["summary"]["short"]["rounds"] == 0
    assert record["summary"]["short"]["failed"] == ["stored 1048575 instead of 1048576 bytes"] * 2
    assert "| short | failed: stored 1048575 instead of 1048576 bytes |" in report.table(record)


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that is twice as slow in one round changes no ratio."""
    runs = [
        Run(entry=name, round=number, size=MiB, wall=1.0, user=cost * slow)
        for number, slow in ((1, 1.0), (2, 2.0), (3, 1.0))
        for name, cost in (("floor", 2.0), ("tool", 3.0))
    ]
    assert summarise(runs, {}, "floor")["tool"]["cpu_ratio"] == {"median": 1.5, "min": 1.5, "max": 1.5}


def test_every_peer_of_a_scenario_exists() -> None:
    """No scenario names a tool that is not there, and every row has a name of its own."""
    known = peers.load()
    for scenario in scenarios.everything().values():
        assert {entry.peer for entry in scenario.entries} <= set(known)
        assert len({entry.name for entry in scenario.entries}) == len(scenario.entries)
        assert scenario.reference in ("", *(entry.name for entry in scenario.entries))


def test_the_floor_copies_the_right_bytes_over_http_and_https() -> None:
    """The floor is itself proved, so that nothing is compared with a program that does less."""
    entry = Entry(peer="floor", size=MiB, rounds=1)
    both = (entry, replace(entry, label="over https", tls=True))
    scenario = Scenario(name="cpu-tls", title="A test", kind="cpu", connections=2, entries=both, reference="floor")
    record = Bench().measure(scenario)
    assert record["absent"] == {}
    assert [summary["rounds"] for summary in record["summary"].values()] == [1, 1]


def test_the_report_replaces_what_is_between_the_markers(tmp_path: Path) -> None:
    """The README keeps all but the tables; one without markers is left alone."""
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{report.START}\nold\n{report.END}\nafter\n")
    report.write(readme, "new")
    assert readme.read_text() == f"before\n{report.START}\nnew\n{report.END}\nafter\n"
    readme.write_text("no markers")
    with pytest.raises(SystemExit):
        report.write(readme, "new")
    assert readme.read_text() == "no markers"


def test_a_tool_that_is_not_installed_is_no_failure() -> None:
    """It is named with the reason, and the others are measured."""

    class Lacking(Tool):
        def missing(self) -> str:
            return "not installed"

    record = run(Tool("honest"), Lacking("lacking"))
    assert record["missing"] == {"lacking": "not installed"}
    assert record["absent"] == {}
    assert list(record["summary"]) == ["honest"]
    assert "lacking: not installed." in report.table(record)
