"""Of one huge object: only the right bytes get a figure, kills are accounted for, records become the third table."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks import endpoint
from benchmarks.endpoint import Endpoint, LinkOptions
from benchmarks.many.task import last_json
from benchmarks.measure import Usage
from benchmarks.one import peers, resume, scenarios
from benchmarks.one import report as one_report
from benchmarks.one.bench import PROOF, OneBench
from benchmarks.one.results import Run, summarise
from benchmarks.one.scenarios import FAR, LINE, Entry, Scenario
from benchmarks.one.task import Task, What, wrong_bytes, wrong_file
from benchmarks.peers import GiB, MiB
from benchmarks.server import content

SIZE = 3 * MiB + 5
SHORT = 20 * MiB + 5
# Does the task as a tool would, spoilt as it was told; goes on where a killed run of it was.
FETCH = """
import os, sys, time, urllib.request
from benchmarks.one.task import Asked
spoil, asked = sys.argv[1], Asked()
asked.begin()
timed = asked.size < 5 * 2**20
if spoil == "crash":
    sys.exit("/some/place/tool: it broke")
if spoil == "asks for nothing":
    open(asked.path, "wb").truncate(asked.size)
    asked.tell(bytes=asked.size)
    sys.exit()
part = asked.path + ".part"
file = open(part, "ab")
start = file.tell()
if start and spoil == "splices":
    file.truncate(start - 1)
    file.write(b"?")
last = asked.size - 1 - (spoil == "one too few" or (spoil == "too few when timed" and timed))
ranged = {"Range": f"bytes={start}-{last}"}
answer = urllib.request.urlopen(urllib.request.Request(f"{asked.endpoint}/bench/{asked.key}", headers=ranged))
first = True
while piece := answer.read(65536):
    if first and spoil == "one wrong byte":
        piece = bytes([piece[0] ^ 1]) + piece[1:]
    first = False
    asked.drop(piece)
    if asked.what == "file":
        file.write(piece)
        file.flush()
    if spoil == "slow":
        time.sleep(0.2)
file.close()
os.unlink(part) if asked.what == "stream" else os.rename(part, asked.path)
if spoil == "leaves a file behind":
    open(asked.path + ".journal", "w").close()
asked.tell(resumed=start, part_size=2**20)
"""


@dataclass
class Tool:
    name: str
    note: str = ""
    can: frozenset[What] = frozenset({"file", "stream"})

    def missing(self) -> str:
        return "not installed: pip install it" if self.name == "lacking" else ""

    def command(self, task: Task) -> Sequence[str]:
        return [sys.executable, "-c", FETCH, self.name]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


def bench(place: Path, *names: str, **more: Any) -> OneBench:
    """Give one that writes below ``place`` and waits for no disk, which others may keep busy for seconds."""
    tools = {name: Tool(name) for name in names} if names else peers.load()
    proof = SHORT if names else PROOF
    return OneBench(
        disk=place,
        memory=place,
        sync=lambda _folder: 0.0,
        warm=lambda _folder, _size: None,
        proof=proof,
        peers=tools,
        **more,
    )


def scenario(*entries: Entry, kind: str = "fast") -> Scenario:
    return Scenario(name="one-tls", title="A test", kind=kind, entries=entries)


def row(name: str, **more: Any) -> Entry:
    given: dict[str, Any] = {"peer": name, "size": SIZE, "rounds": 1, "connections": 2, **more}
    return Entry(**given)


def test_only_the_right_file_gets_a_figure(tmp_path: Path) -> None:
    """A wrong byte, one too few, a crash and a left file are found by the proof; too few when timed, by its size."""
    spoilt = ("crash", "one too few", "one wrong byte", "leaves a file behind")
    names = ("honest", *spoilt, "too few when timed", "lacking")
    record = bench(tmp_path, *names).measure(scenario(*(row(name, against="honest") for name in names)))
    assert record["absent"] == {
        "crash": "exit 1: tool: it broke",
        "one too few": f"the file has {SHORT - 1} bytes instead of {SHORT}",
        "one wrong byte": "1 bytes are wrong, the first at 0",
        "leaves a file behind": "left object.journal behind",
    }
    assert record["missing"] == {"lacking": "not installed: pip install it"}
    assert record["summary"]["honest"]["rounds"] == 1
    assert record["summary"]["honest"]["speed_ratio"]["median"] == 1.0
    assert record["summary"]["too few when timed"]["failed"] == [f"the file has {SIZE - 1} bytes instead of {SIZE}"]
    assert list(tmp_path.iterdir()) == []
    assert f"| too few when timed | failed: the file has {SIZE - 1} bytes" in one_report.table(record)


def test_only_the_right_stream_gets_a_figure(tmp_path: Path) -> None:
    """A stream is proved by its checksum, and counted when it is timed."""
    names = ("honest", "one wrong byte", "asks for nothing", "too few when timed")
    record = bench(tmp_path, *names).measure(scenario(*(row(name, what="stream") for name in names)))
    assert record["absent"] == dict.fromkeys(names[1:3], "read other bytes than the object has")
    assert record["summary"]["honest"]["transfer_mb_per_second"]["median"] > 0
    assert record["summary"]["too few when timed"]["failed"] == [f"read {SIZE - 1} bytes of {SIZE}"]


def test_a_run_that_takes_too_long_is_cut_and_tells_what_it_moved(tmp_path: Path) -> None:
    """A row that is to be cut has figures for what the server sent it until then."""
    entry = row("slow", size=100 * MiB, what="stream", cut=True)
    measured = bench(tmp_path, "slow", deadline=1.5)
    with endpoint.started(LinkOptions()) as server:
        run = measured._run(server, entry, 1)
    assert run.cut
    assert not run.failed
    assert 0 < run.size < entry.size
    found = summarise([run], {}, [entry], {"slow": run.peak_rss - 1000})["slow"]
    assert found["moved"]["median"] == run.size
    assert found["grown_imported"]["median"] == 1000


def test_a_kill_is_accounted_for(tmp_path: Path) -> None:
    """A tool that goes on is told from one that splices; what was sent twice is what the server says."""
    entry = row("honest", size=16 * MiB, rounds=2, link=LinkOptions(conn_mbps=40))
    entries = (entry, replace(entry, peer="splices"))
    record = bench(tmp_path, "honest", "splices").measure(scenario(*entries, kind="resume"))
    killed = [run for run in record["runs"] if not run["resumed"]["ended"]]
    assert {run["entry"] for run in killed} == {"honest", "splices"}
    for run in killed:
        told = run["resumed"]
        assert told["sent_before"] >= told["place"]
        assert told["refetched"] == told["sent_before"] + told["sent_after"] - entry.size
        assert told["sent_after"] == entry.size - run["learnt"]["resumed"]
        assert told["limit"] == 4 * MiB
    honest = record["summary"]["honest"]
    assert "failed" not in honest
    assert honest["kills"] == sum(run["entry"] == "honest" for run in killed)
    assert all("bytes are wrong" in why for why in record["summary"]["splices"]["failed"])
    assert list(tmp_path.iterdir()) == []


def test_a_server_of_the_user_s_is_its_own_measure(fast: Endpoint, tmp_path: Path) -> None:
    """What it sends to whoever reads it through is what a killed and resumed run must have."""
    given = replace(fast, own=False, pid=None)
    entries = [row(name, size=8 * MiB) for name in ("honest", "one wrong byte")]
    measured = bench(tmp_path, "honest", "one wrong byte", given=given)
    found = [measured._resume(given, entry, 1).failed for entry in entries]
    assert found == ["", "bytes are wrong"]


def test_kills_are_the_same_in_every_benchmark() -> None:
    """The offsets are seeded, all inside the object, and no two rounds or rows have the same."""
    places = [resume.offset(name, number, GiB) for name in ("a", "b") for number in range(100)]
    assert places == [resume.offset(name, number, GiB) for name in ("a", "b") for number in range(100)]
    assert len(set(places)) == 200
    assert 0 <= min(places) < 0.05 * GiB < 0.95 * GiB < max(places) < GiB


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
@pytest.mark.parametrize(
    ("name", "what"), sorted({(name, what) for name, peer in peers.load().items() for what in peer.can})
)
def test_every_peer_proves_its_tasks(name: str, what: What, tls: bool, fast: Endpoint, tmp_path: Path) -> None:
    """Each tool that is measured does what it is measured at, to the last byte, and trusts the CA that it is told."""
    measured = bench(tmp_path)
    if why := measured.peers[name].missing():
        pytest.skip(why)
    assert measured._proof(fast, row(name, what=what, tls=tls)) == ""


def test_every_peer_of_a_scenario_exists_and_can_do_its_task() -> None:
    """No scenario names a tool that is not there or cannot; every row can be told from the others."""
    known = peers.load()
    for found in scenarios.everything().values():
        names = [entry.name for entry in found.entries]
        assert len(set(names)) == len(names)
        for entry in found.entries:
            assert entry.what in known[entry.peer].can
            assert entry.against in ("", *names)
            assert entry.cut or entry.size <= 10 * GiB


def test_a_file_that_has_no_room_is_not_begun(tmp_path: Path) -> None:
    """A row says what the disk lacks; a stream needs no room, and https needs a server that speaks it."""
    huge = row("honest", size=2**60)
    server = Endpoint("http://127.0.0.1:1", None, None, own=False)
    measured = bench(tmp_path, "honest", given=server)
    assert "GiB on the disk, it has" in measured._lacking(huge)
    assert measured._lacking(replace(huge, what="stream")) == ""
    assert "--tls-base-url" in measured._lacking(replace(huge, what="stream", tls=True))


def test_wrong_bytes_are_counted_wherever_they_are(tmp_path: Path) -> None:
    """How many bytes are not the object's, and where the first is; a file of another size is told before that."""
    path = tmp_path / "object"
    right = bytearray(content.at(0, MiB)) + bytearray(content.at(MiB, MiB))
    path.write_bytes(right)
    assert wrong_file(path, 2 * MiB) == ""
    for place in (MiB + 7, MiB - 1, 2 * MiB - 1):
        right[place] ^= 1
    path.write_bytes(right)
    assert wrong_bytes(path) == (3, MiB - 1)
    assert wrong_file(path, 2 * MiB) == f"3 bytes are wrong, the first at {MiB - 1}"
    assert wrong_file(path, MiB) == f"the file has {2 * MiB} bytes instead of {MiB}"
    assert wrong_file(tmp_path / "none", MiB) == "there is no file"


def runs(entry: Entry, costs: Sequence[tuple[float, float, float]]) -> list[Run]:
    return [
        Run(
            entry=entry.name,
            round=number,
            size=entry.size,
            wall=wall,
            user=cpu,
            flush=wall,
            peak_rss=int(rss * MiB),
            learnt={"seconds": wall / 2},
        )
        for number, (wall, cpu, rss) in enumerate(costs, start=1)
    ]


def test_shares_ratios_and_costs_less_the_start() -> None:
    """The limit is that of the link and the connections; the start is taken off the CPU, and rounds are compared."""
    get = Entry(peer="get", size=GiB, rounds=2, connections=16, link=FAR, place="disk")
    other = replace(get, peer="other", against="get", connections=8)
    idle = {"get": Run(entry="get", round=0, size=1, user=0.5, peak_rss=60 * MiB)}
    done = [*runs(get, [(4.0, 2.5, 70), (8.0, 2.5, 71)]), *runs(other, [(8.0, 3.0, 90), (16.0, 3.0, 90)])]
    found = summarise(done, idle, [get, other])
    assert get.limit == 400.0
    assert other.limit == 200.0
    assert replace(get, link=LINE).limit == 125.0
    assert replace(get, link=LinkOptions()).limit == 0.0
    assert found["get"]["net_cpu_per_gib"]["median"] == 2.0
    assert found["get"]["grown"] == {"median": 10.5 * MiB, "min": 10.0 * MiB, "max": 11.0 * MiB}
    assert found["get"]["share"]["max"] == round(GiB / 1e6 / 4.0 / 400, 4)
    assert found["get"]["own_share"]["max"] == round(GiB / 1e6 / 2.0 / 400, 4)
    assert found["get"]["safe_mb_per_second"]["max"] == round(GiB / 1e6 / 8.0, 4)
    assert found["other"]["speed_ratio"] == found["other"]["own_speed_ratio"] == {"median": 0.5, "min": 0.5, "max": 0.5}


def record(kind: str, entries: Sequence[Entry], done: Sequence[Run], **more: Any) -> dict[str, Any]:
    return {
        "title": "A test",
        "kind": kind,
        "entries": {entry.name: {"peer": entry.peer} for entry in entries},
        "notes": {"s3stream get": "a note", "other": "not shown"},
        "missing": {},
        "absent": {},
        "summary": summarise(done, more.pop("idle", {}), entries, **more),
    }


def test_the_line_is_shown_as_a_grid() -> None:
    """A row for each tool, one more by its own clock, a column for each number of connections; notes by tool."""
    entry = Entry(peer="s3stream get", size=GiB, rounds=1, connections=1, link=LINE)
    entries = [replace(entry, connections=count, label=f"s3stream get, {count}") for count in (1, 4)]
    seconds = GiB / 125e6
    done = [*runs(entries[0], [(2 * seconds, 1, 1)]), *runs(entries[1], [(seconds / 0.8, 1, 1)])]
    table = one_report.table(record("line", entries, done))
    assert "| s3stream get | 50.0 % |  | 80.0 % |  |  |" in table
    assert "| s3stream get, its own clock | 100.0 % |" in table
    assert "s3stream get (a note)" in table
    assert "not shown" not in table


def test_memory_is_shown_beside_both_kinds_of_idle() -> None:
    """Over a process that has loaded all, and over one that has fetched a byte; what was moved, not what there was."""
    entry = Entry(peer="s3stream get", size=100 * GiB, rounds=1, connections=1, label="a file, 100 GiB")
    idle = {entry.name: Run(entry=entry.name, round=0, size=1, peak_rss=70 * MiB)}
    done = [replace(run, size=40 * GiB, cut=True) for run in runs(entry, [(60, 1, 81)])]
    table = one_report.table(record("memory", [entry], done, idle=idle, imported={entry.name: 60 * MiB}))
    assert "| a file, 100 GiB | 40.0 | 60.0 | 70.0 | 81.0 | 21.0 | 11.0 | 1 |" in table


def test_kills_are_shown_beside_what_they_may_cost() -> None:
    """How many were killed, how many went on, and how many fetched more again than they may."""
    entry = Entry(peer="s3stream get", size=GiB, rounds=3, connections=8, label="ranges of 16 MiB")
    done = runs(entry, [(1, 1, 1)] * 3)
    told = {"ended": 0, "kept": 5, "limit": 160 * MiB}
    kills = ({**told, "refetched": 50 * MiB}, {**told, "refetched": 170 * MiB, "kept": 0}, {**told, "ended": 1})
    done = [replace(run, resumed=kill) for run, kill in zip(done, kills, strict=True)]
    table = one_report.table(record("resume", [entry], done))
    assert "| ranges of 16 MiB (1 GiB) | 2 | 1 | 110.0 (50.0 to 170.0) | 160 | 1 of 2 | 0 |" in table
