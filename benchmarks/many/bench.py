"""Runs a scenario of very many objects: proves each tool, warms it up, then measures round by round."""

from __future__ import annotations

import ctypes
import datetime
import os
import shutil
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import machine, measure
from benchmarks.bench import last_line, say
from benchmarks.many import peers
from benchmarks.many.results import Run, summarise
from benchmarks.many.store import Store, StoreOptions, started
from benchmarks.many.task import Task, expected_sum, wrong_count, wrong_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from benchmarks.many.peers import Peer
    from benchmarks.many.scenarios import Entry, Scenario

PROOF = 1_234
"""Objects: more than a page of a listing, and a last one that is not full."""
TIMEOUT = 1_800.0
"""Seconds; no run takes a third of it."""
MiB = 2**20


def sync(folder: Path) -> float:
    """Have the folder's whole file system on its disk; give the seconds that took."""
    began = time.perf_counter()
    fd = os.open(folder, os.O_RDONLY)
    try:
        if ctypes.CDLL(None, use_errno=True).syncfs(fd):
            os.sync()
    finally:
        os.close(fd)
    return time.perf_counter() - began


@dataclass(slots=True)
class ManyBench:
    """One invocation of the benchmark."""

    given: str = ""
    """The base URL of a server that runs already; empty: start our own."""
    disk: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """A folder on the disk that files are written to."""
    peers: Mapping[str, Peer] = field(default_factory=peers.load)
    sync: Callable[[Path], float] = sync
    _proofs: dict[tuple[str, str, bool], str] = field(default_factory=dict)

    def measure(self, scenario: Scenario) -> dict[str, Any]:
        """Run every round of a scenario; give its record."""
        say(f"== {scenario.name}: {scenario.title}")
        began = datetime.datetime.now(datetime.UTC)
        missing = self._missing(scenario)
        entries = [entry for entry in scenario.entries if entry.name not in missing]
        absent = {} if self.given else self._prove(entries)
        entries = [entry for entry in entries if entry.name not in absent]
        with self._stores(entries) as stores:
            # A server of the user's has as many objects as it has: no task of hardly any can be made for it.
            idle = {} if self.given else {entry.name: self._idle(entry) for entry in entries}
            runs = self._rounds(stores, scenario, entries)
        return {
            "scenario": scenario.name,
            "title": scenario.title,
            "kind": scenario.kind,
            "date": began.date().isoformat(),
            "server": "given" if self.given else "own",
            "machine": {**machine.facts(), "disk": file_system(self.disk)},
            "entries": {entry.name: asdict(entry) for entry in scenario.entries},
            # Notes are about bodies.
            "notes": {e.name: self.peers[e.peer].note for e in scenario.entries if e.what != "list"},
            "missing": missing,
            "absent": absent,
            "summary": summarise(runs, idle, scenario.entries),
            "idle": [asdict(run) for run in idle.values()],
            "runs": [asdict(run) for run in runs],
        }

    def _missing(self, scenario: Scenario) -> dict[str, str]:
        missing = {entry.name: self.peers[entry.peer].missing() for entry in scenario.entries}
        for name, why in missing.items():
            if why:
                say(f"   {name}: {why}")
        return {name: why for name, why in missing.items() if why}

    @contextmanager
    def _stores(self, entries: list[Entry]) -> Iterator[dict[StoreOptions, Store]]:
        """Have a server ready for every kind of task; one that is not asked costs nothing."""
        with ExitStack() as stack:
            yield {
                options: Store(self.given, None) if self.given else stack.enter_context(started(options))
                for options in dict.fromkeys(entry.store for entry in entries)
            }

    def _prove(self, entries: list[Entry]) -> dict[str, str]:
        """Let each tool do its task once for few objects, and look at every byte; tell who has it wrong."""
        proofs = {}
        for entry in entries:
            known = (entry.peer, entry.what, entry.store.folders)
            if known not in self._proofs:
                why = self._proofs[known] = self._proof(entry)
                say(f"   proof of {entry.peer}, {entry.what}: {why or 'right'}")
            proofs[entry.name] = self._proofs[known]
        return {name: why for name, why in proofs.items() if why}

    def _proof(self, entry: Entry) -> str:
        options = StoreOptions(objects=PROOF, folders=entry.store.folders)
        peer, space = self.peers[entry.peer], options.space()
        small = replace(entry, store=options, connections=8)
        with started(options) as store, self._task(store, small, digest=True) as task:
            usage = measure.run(peer.command(task), task.environ(), timeout=60)
            if usage.returncode:
                return last_line(usage)
            told = peer.learnt(usage)
            if task.what == "download":
                return wrong_files(task.directory, space)
        # A tool that is no program of ours tells how many keys it has listed, not which.
        right = expected_sum(space, bodies=task.what == "read") if "sum" in told else None
        if (told.get("objects"), told.get("sum")) != (PROOF, right):
            return f"has {told.get('objects')} objects of {PROOF}, or others than the store"
        return ""

    @contextmanager
    def _task(self, store: Store, entry: Entry, *, digest: bool = False) -> Iterator[Task]:
        with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
            folder = Path(tempfile.mkdtemp(prefix="bench-files-", dir=self.disk))
            try:
                yield Task(
                    what=entry.what,
                    base=store.base,
                    objects=entry.objects,
                    connections=entry.connections,
                    listers=entry.listers,
                    folders=entry.store.folders,
                    home=Path(home),
                    directory=folder,
                    digest=digest,
                )
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _idle(self, entry: Entry) -> Run:
        """
        Let a tool load and connect as in the real task, for hardly any objects.

        It also warms up: no first round pays for reading the tool from disk.
        """
        few = replace(entry, store=replace(entry.store, objects=1))
        with started(few.store) as own:
            return self._run(own, few, 0)

    def _rounds(self, stores: Mapping[StoreOptions, Store], scenario: Scenario, entries: list[Entry]) -> list[Run]:
        runs = []
        for number in range(scenario.rounds):
            due = [entry for entry in entries if number < entry.rounds]
            shift = number % len(due) if due else 0
            # Whoever runs first finds another machine than whoever runs last, so the order turns.
            for entry in due[shift:] + due[:shift]:
                run = self._run(stores[entry.store], entry, number + 1)
                say(f"   round {run.round}: {_line(run)}")
                runs.append(run)
        order = [entry.name for entry in entries]
        return sorted(runs, key=lambda run: (order.index(run.entry), run.round))

    def _run(self, store: Store, entry: Entry, number: int) -> Run:
        peer = self.peers[entry.peer]
        with self._task(store, entry) as task:
            store.reset()
            if task.what == "download":
                self.sync(self.disk)  # What the run before left to write is not this one's.
            busy, served = machine.busy_seconds(), store.cpu_seconds()
            usage = measure.run(peer.command(task), task.environ(), timeout=TIMEOUT)
            served, busy = store.cpu_seconds() - served, machine.busy_seconds() - busy
            flush = self.sync(self.disk) if task.what == "download" else 0.0
            learnt = {} if usage.returncode else peer.learnt(usage)
            failed = last_line(usage) if usage.returncode else _wrong(entry, task, learnt, store.stats())
        others = max(0.0, busy - usage.cpu - served) / usage.wall if store.pid else 0.0
        return Run(
            entry=entry.name,
            round=number,
            objects=entry.objects,
            failed=failed,
            wall=round(usage.wall, 4),
            flush=round(flush, 4),
            user=round(usage.user, 4),
            system=round(usage.system, 4),
            peak_rss=usage.peak_rss,
            others=round(others, 3),
            server_cpu=round(served, 3),
            stats=store.stats(),
            learnt=learnt,
        )


def _wrong(entry: Entry, task: Task, learnt: Mapping[str, Any], stats: Mapping[str, int]) -> str:
    """Tell what a run that says it is done has not done; empty if it has."""
    if stats and task.what != "list" and stats["Get"] < entry.objects:
        return f"asked for {stats['Get']} objects of {entry.objects}"
    if task.what == "download":
        return wrong_count(task.directory, entry.objects, entry.objects * entry.store.size)
    done = learnt.get("objects")
    return "" if done == entry.objects else f"has {done} objects of {entry.objects}"


def file_system(folder: Path) -> str:
    """Name the type of the file system that a folder is on."""
    best, kind = "", "unknown"
    for line in Path("/proc/mounts").read_text().splitlines():
        _device, place, found = line.split()[:3]
        if folder.resolve().is_relative_to(place) and len(place) >= len(best):
            best, kind = place, found
    return kind


def _line(run: Run) -> str:
    if run.failed:
        return f"{run.entry}: FAILED, {run.failed}"
    own = f" ({run.objects / run.seconds:.0f}/s by its own clock)" if run.seconds else ""
    busy = f", others {run.others:.1f} cores" if run.others > 0.1 else ""
    return (
        f"{run.entry}: {run.wall:.2f} s, {run.objects / run.wall:.0f}/s{own},"
        f" {run.cpu / run.objects * 1e6:.0f} us CPU each, {run.peak_rss / MiB:.0f} MiB{busy}"
    )
