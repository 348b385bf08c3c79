"""Runs a scenario: proves each tool, warms it up, then measures round by round."""

from __future__ import annotations

import datetime
import os
import re
import sys
import tempfile
from base64 import b64encode
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import endpoint, machine, measure, peers
from benchmarks.endpoint import Endpoint, LinkOptions
from benchmarks.peers import Job, MiB, Peer
from benchmarks.results import Run, summarise
from benchmarks.scenarios import Entry, Scenario
from benchmarks.server import content

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

PROOF = 40 * MiB + 12_345
"""Bytes: several parts, and a last one that is no round number."""
TIMEOUT = 600.0
"""Seconds; no run takes a third of it."""
_PATH = re.compile(r"(?<![^\s'\"(])/\S*/")


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


@dataclass(slots=True)
class Bench:
    """One invocation of the benchmark."""

    given: Endpoint | None = None
    """A server that runs already; None: start our own."""
    peers: Mapping[str, Peer] = field(default_factory=peers.load)
    _proofs: dict[tuple[str, bool, str], str] = field(default_factory=dict)
    _keys: int = 0

    def measure(self, scenario: Scenario) -> dict[str, Any]:
        """Run every round of a scenario; give its record."""
        say(f"== {scenario.name}: {scenario.title}")
        began = datetime.datetime.now(datetime.UTC)
        entries, missing = self._present(scenario)
        absent = {} if self.given else self._prove(entries)
        entries = [entry for entry in entries if entry.name not in absent]
        with self._server(scenario.link) as server:
            idle = {entry.name: self._run(server, scenario, _idle(entry), 0) for entry in entries}
            absent |= {name: run.failed for name, run in idle.items() if run.failed}
            entries = [entry for entry in entries if entry.name not in absent]
            runs = self._rounds(server, scenario, entries)
        return {
            "scenario": scenario.name,
            "title": scenario.title,
            "kind": scenario.kind,
            "date": began.date().isoformat(),
            "connections": scenario.connections,
            "link": asdict(scenario.link),
            "reference": scenario.reference,
            "server": "given" if self.given else "own",
            "machine": machine.facts(),
            "notes": {entry.name: self.peers[entry.peer].note for entry in scenario.entries},
            "missing": missing,
            "absent": absent,
            "summary": summarise(runs, idle, scenario.reference),
            "idle": [asdict(run) for run in idle.values()],
            "runs": [asdict(run) for run in runs],
        }

    @contextmanager
    def _server(self, link: LinkOptions, *, check: bool = False) -> Iterator[Endpoint]:
        if self.given:
            yield self.given
        else:
            with endpoint.started(link, check=check) as own:
                yield own

    def _present(self, scenario: Scenario) -> tuple[list[Entry], dict[str, str]]:
        entries, missing = [], {}
        for entry in scenario.entries:
            if why := self.peers[entry.peer].missing():
                say(f"   {entry.name}: {why}")
                missing[entry.name] = why
            else:
                entries.append(entry)
        return entries, missing

    def _prove(self, entries: list[Entry]) -> dict[str, str]:
        """Let each tool copy one object to a server that checks every byte; tell who stored the wrong ones."""
        todo = {(entry.peer, entry.tls, entry.source) for entry in entries} - self._proofs.keys()
        if todo:
            expected = b64encode(content.crc64nvme(PROOF).to_bytes(8, "big")).decode()
            with endpoint.started(LinkOptions(), check=True) as server:
                for peer, tls, source in sorted(todo):
                    why = self._proof(server, Entry(peer=peer, size=PROOF, rounds=1, tls=tls, source=source), expected)
                    self._proofs[peer, tls, source] = why
                    say(f"   proof of {peer}{' over https' if tls else ''} from /{source}: {why or 'the right bytes'}")
        proofs = {entry.name: self._proofs[entry.peer, entry.tls, entry.source] for entry in entries}
        return {name: why for name, why in proofs.items() if why}

    def _proof(self, server: Endpoint, entry: Entry, expected: str) -> str:
        with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
            job = self._job(server, entry, connections=4, home=Path(home))
            usage = measure.run(self.peers[entry.peer].command(job), job.environ(), timeout=TIMEOUT)
            stored = server.stored(job.key)
        if usage.returncode:
            return last_line(usage)
        if stored is None or stored.size != PROOF:
            return f"stored {stored.size if stored else 'nothing'} instead of {PROOF} bytes"
        return "" if stored.crc64nvme == expected else "stored other bytes than the source has"

    def _rounds(self, server: Endpoint, scenario: Scenario, entries: list[Entry]) -> list[Run]:
        runs = []
        for number in range(scenario.rounds):
            due = [entry for entry in entries if number < entry.rounds]
            shift = number % len(due) if due else 0
            # Whoever runs first finds another machine than whoever runs last, so the order turns.
            for entry in due[shift:] + due[:shift]:
                run = self._run(server, scenario, entry, number + 1)
                say(f"   round {run.round}: {_line(run)}")
                runs.append(run)
        order = [entry.name for entry in entries]
        return sorted(runs, key=lambda run: (order.index(run.entry), run.round))

    def _job(self, server: Endpoint, entry: Entry, *, connections: int, home: Path) -> Job:
        self._keys += 1
        return Job(
            base=server.base(tls=entry.tls),
            size=entry.size,
            key=f"run-{os.getpid()}-{self._keys}",
            connections=connections,
            source=entry.source,
            ca=server.ca if entry.tls else None,
            home=home,
            part_size=entry.part_size,
            max_memory=entry.max_memory,
        )

    def _run(self, server: Endpoint, scenario: Scenario, entry: Entry, number: int) -> Run:
        peer = self.peers[entry.peer]
        with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
            job = self._job(server, entry, connections=scenario.connections, home=Path(home))
            server.reset()
            busy, served = machine.busy_seconds(), server.cpu_seconds()
            usage = measure.run(peer.command(job), job.environ(), timeout=TIMEOUT)
            served = server.cpu_seconds() - served
            busy = machine.busy_seconds() - busy
        failed = last_line(usage) if usage.returncode else _wrong_size(server, job)
        others = max(0.0, busy - usage.cpu - served) / usage.wall if server.own else 0.0
        return Run(
            entry=entry.name,
            round=number,
            size=entry.size,
            failed=failed,
            wall=round(usage.wall, 4),
            user=round(usage.user, 4),
            system=round(usage.system, 4),
            peak_rss=usage.peak_rss,
            others=round(others, 3),
            server_cpu=round(served, 3),
            stats=server.stats(),
            learnt={} if failed else peers.learnt(peer, usage),
        )


def _idle(entry: Entry) -> Entry:
    """
    Give a task that loads and connects all that the real one does, and moves nothing to speak of.

    It also warms up: no first round pays for reading the tool from disk.
    """
    return replace(entry, size=1, source="origin")


def _wrong_size(server: Endpoint, job: Job) -> str:
    stored = server.stored(job.key)
    if stored is None:
        return "nothing was stored"
    # A server that is not ours may count S3's framing as content: some hundred bytes per chunk of 64 KiB or more.
    slack = 0 if server.own else job.size // 100
    if not job.size <= stored.size <= job.size + slack:
        return f"stored {stored.size} instead of {job.size} bytes"
    return ""


def last_line(usage: measure.Usage) -> str:
    lines = (usage.stderr.strip() or usage.stdout.strip()).splitlines()
    # A record goes into the repository; where things lie on this machine does not.
    line = _PATH.sub("", lines[-1])[:200] if lines else "no message"
    return f"exit {usage.returncode}: {line}"


def _line(run: Run) -> str:
    if run.failed:
        return f"{run.entry}: FAILED, {run.failed}"
    rate, cpu = run.size / 1e6 / run.wall, run.cpu * 2**30 / run.size
    busy = f", others {run.others:.1f} cores" if run.others > 0.1 else ""
    return f"{run.entry}: {run.wall:.2f} s, {rate:.0f} MB/s, {cpu:.2f} CPU-s/GiB, {run.peak_rss / MiB:.0f} MiB{busy}"
