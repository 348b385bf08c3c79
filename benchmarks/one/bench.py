"""Runs a scenario of one huge object: proves each tool, warms it up, then measures round by round."""

from __future__ import annotations

import datetime
import shutil
import signal
import tempfile
import urllib.request
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import endpoint, machine, measure
from benchmarks.bench import last_line, say
from benchmarks.endpoint import LinkOptions
from benchmarks.many.bench import file_system, sync
from benchmarks.one import peers, resume
from benchmarks.one.results import Run, summarise
from benchmarks.one.task import BUCKET, Task, crc64nvme, wrong_proof, wrong_run
from benchmarks.peers import GiB, MiB

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from benchmarks.endpoint import Endpoint
    from benchmarks.one.peers import Peer
    from benchmarks.one.scenarios import Entry, Scenario

PROOF = 70 * MiB + 12_345
"""Bytes: some parts for each of a few connections, and a last one that is no round number."""
TIMEOUT = 900.0
"""Seconds; no run takes a third of it."""
DEADLINE = 60.0
"""Seconds that a run lasts whose object would take too long."""
MEMORY = Path("/dev/shm")  # noqa: S108  (a file system in memory is what it is there for)
SPARE = GiB
"""Bytes that stay free where a file is written."""


@dataclass(slots=True)
class OneBench:
    """One invocation of the benchmark."""

    given: Endpoint | None = None
    """A server that runs already; None: start our own."""
    disk: Path = field(default_factory=lambda: Path(tempfile.gettempdir()))
    """A folder on the disk that files are written to."""
    deadline: float = DEADLINE
    memory: Path = MEMORY
    """A folder on a file system in memory."""
    proof: int = PROOF
    """Bytes of the object that each tool is proved with."""
    peers: Mapping[str, Peer] = field(default_factory=peers.load)
    sync: Callable[[Path], float] = sync
    warm: Callable[[Path, int], None] = machine.warm
    _proofs: dict[tuple[str, str, bool], str] = field(default_factory=dict)
    _sent: dict[int, int] = field(default_factory=dict)
    """The CRC64NVME of huge objects of a server that is not ours, by their size."""

    def measure(self, scenario: Scenario) -> dict[str, Any]:
        """Run every round of a scenario; give its record."""
        say(f"== {scenario.name}: {scenario.title}")
        began = datetime.datetime.now(datetime.UTC)
        missing = self._missing(scenario)
        entries = [entry for entry in scenario.entries if entry.name not in missing]
        absent = self._prove(entries)
        entries = [entry for entry in entries if entry.name not in absent]
        with self._servers(entries) as servers:
            idle = {entry.name: self._idle(servers[entry.link], entry) for entry in entries}
            absent |= {name: run.failed for name, run in idle.items() if run.failed}
            entries = [entry for entry in entries if entry.name not in absent]
            imported = self._imported(servers, entries) if scenario.kind == "memory" else {}
            runs = self._rounds(servers, scenario, entries)
        return {
            "scenario": scenario.name,
            "title": scenario.title,
            "kind": scenario.kind,
            "date": began.date().isoformat(),
            "server": "given" if self.given else "own",
            "machine": {**machine.facts(), "disk": file_system(self.disk)},
            "entries": {entry.name: asdict(entry) for entry in scenario.entries},
            "notes": {entry.peer: self.peers[entry.peer].note for entry in scenario.entries},
            "missing": _by_tool(missing, scenario.entries),
            "absent": _by_tool(absent, scenario.entries),
            "summary": summarise(runs, idle, scenario.entries, imported),
            "idle": [asdict(run) for run in idle.values()],
            "runs": [asdict(run) for run in runs],
        }

    def _missing(self, scenario: Scenario) -> dict[str, str]:
        asked = {entry.name: self.peers[entry.peer].missing() or self._lacking(entry) for entry in scenario.entries}
        missing = {name: why for name, why in asked.items() if why}
        for name, why in _by_tool(missing, scenario.entries).items():
            say(f"   {name}: {why}")
        return missing

    def _lacking(self, entry: Entry) -> str:
        """Tell what this machine lacks for a row; empty if nothing."""
        if self.given and entry.tls and not self.given.https:
            return "needs --tls-base-url and --ca-file beside --base-url"
        if entry.what == "stream":
            return ""
        folder = self._folder(entry)
        if not folder.is_dir():
            return f"there is no {folder}"
        room = shutil.disk_usage(folder).free - SPARE
        return "" if entry.size <= room else f"needs {entry.size // GiB} GiB on the disk, it has {room / GiB:.0f}"

    def _folder(self, entry: Entry) -> Path:
        return self.disk if entry.place == "disk" else self.memory

    @contextmanager
    def _servers(self, entries: list[Entry]) -> Iterator[dict[LinkOptions, Endpoint]]:
        """Have a server ready for every link; one that is not asked costs nothing."""
        with ExitStack() as stack:
            yield {
                link: self.given or stack.enter_context(endpoint.started(link))
                for link in dict.fromkeys(entry.link for entry in entries)
            }

    def _prove(self, entries: list[Entry]) -> dict[str, str]:
        """Let each tool fetch one object of our own server, and look at every byte; tell who has it wrong."""
        todo = {(entry.peer, entry.what, entry.tls): entry for entry in entries}
        todo = {known: entry for known, entry in todo.items() if known not in self._proofs}
        if todo:
            with endpoint.started(LinkOptions()) as server:
                for known, entry in todo.items():
                    why = self._proofs[known] = self._proof(server, entry)
                    say(f"   proof of {entry.peer}{' over https' if entry.tls else ''}: {why or 'the right bytes'}")
        proofs = {entry.name: self._proofs[entry.peer, entry.what, entry.tls] for entry in entries}
        return {name: why for name, why in proofs.items() if why}

    def _proof(self, server: Endpoint, entry: Entry) -> str:
        peer = self.peers[entry.peer]
        small = replace(entry, size=self.proof, connections=4, place="memory")
        with self._task(server, small, digest=True) as task:
            usage = measure.run(peer.command(task), task.environ(), timeout=60)
            return last_line(usage) if usage.returncode else wrong_proof(task, dict(peer.learnt(usage)))

    @contextmanager
    def _task(self, server: Endpoint, entry: Entry, *, digest: bool = False) -> Iterator[Task]:
        with tempfile.TemporaryDirectory(prefix="bench-home-") as home:
            folder = Path(tempfile.mkdtemp(prefix="bench-file-", dir=self._folder(entry)))
            try:
                yield Task(
                    what=entry.what,
                    base=server.base(tls=entry.tls),
                    size=entry.size,
                    connections=entry.connections,
                    home=Path(home),
                    folder=folder,
                    ca=server.ca if entry.tls else None,
                    part_size=entry.part_size,
                    max_memory=entry.max_memory,
                    digest=digest,
                )
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _idle(self, server: Endpoint, entry: Entry) -> Run:
        """
        Let a tool load and connect as in the real task, for an object of one byte.

        It also warms up: no first round pays for reading the tool from disk.
        """
        return self._run(server, replace(entry, size=1, place="memory", cut=False), 0)

    def _imported(self, servers: Mapping[LinkOptions, Endpoint], entries: list[Entry]) -> dict[str, int]:
        """Give the memory of processes that load what the task needs, and ask nothing."""
        found = {}
        for entry in entries:
            load = getattr(self.peers[entry.peer], "imports", None)
            if load:
                with self._task(servers[entry.link], entry) as task:
                    usage = measure.run(load(), task.environ(), timeout=60)
                    found[entry.name] = usage.peak_rss
        return found

    def _rounds(self, servers: Mapping[LinkOptions, Endpoint], scenario: Scenario, entries: list[Entry]) -> list[Run]:
        runs = []
        run_once = self._resume if scenario.kind == "resume" else self._run
        for number in range(scenario.rounds):
            due = [entry for entry in entries if number < entry.rounds]
            shift = number % len(due) if due else 0
            # Whoever runs first finds another machine than whoever runs last, so the order turns.
            for entry in due[shift:] + due[:shift]:
                run = run_once(servers[entry.link], entry, number + 1)
                say(f"   round {run.round}: {_line(run)}")
                runs.append(run)
        order = [entry.name for entry in entries]
        return sorted(runs, key=lambda run: (order.index(run.entry), run.round))

    def _run(self, server: Endpoint, entry: Entry, number: int) -> Run:
        with self._task(server, entry) as task:
            run = self._measured(server, entry, task)
            wrong = "" if run.failed or run.cut else wrong_run(task, dict(run.learnt))
        return replace(run, round=number, failed=run.failed or wrong)

    def _resume(self, server: Endpoint, entry: Entry, number: int) -> Run:
        """Kill one run somewhere, measure the next one, and look at every byte of what it leaves."""
        place = resume.offset(entry.name, number, entry.size)
        counters = resume.Counters(server)
        with self._task(server, entry) as task:
            command = self.peers[entry.peer].command(task)
            server.reset()
            code, said = resume.kill_at(command, task.environ(), counters, place, timeout=TIMEOUT)
            before = counters.settled()
            run = self._measured(server, entry, task)
            after = counters.settled()
            wrong = run.failed or self._wrong(server, task, dict(run.learnt))
        counters.close()
        if code not in (0, -signal.SIGKILL):
            wrong = f"exit {code} before it was killed: {said}"
        told = resume.account(entry.size, place, (before, after), run.learnt, entry.connections)
        return replace(run, round=number, failed=wrong, resumed={**told, "ended": int(code == 0)})

    def _wrong(self, server: Endpoint, task: Task, learnt: dict[str, Any]) -> str:
        """Look at every byte; of a server that is not ours we only know what it sends to whoever reads it through."""
        if server.own:
            return wrong_proof(task, learnt)
        if task.size not in self._sent:
            with urllib.request.urlopen(f"{server.http}/{BUCKET}/{task.key}") as answer:
                self._sent[task.size] = crc64nvme(answer)
        if why := wrong_run(task, learnt):
            return why
        with task.path.open("rb") as file:
            return "" if crc64nvme(file) == self._sent[task.size] else "bytes are wrong"

    def _measured(self, server: Endpoint, entry: Entry, task: Task) -> Run:
        peer, to_disk = self.peers[entry.peer], entry.place == "disk" and entry.what == "file"
        timeout = self.deadline if entry.cut else TIMEOUT
        command = peer.command(task)
        if entry.what == "file":
            self.warm(self.memory, entry.size)
        if to_disk:
            self.sync(self.disk)  # What the run before left to write is not this one's.
        server.reset()
        busy, served = machine.busy_seconds(), server.cpu_seconds()
        usage = measure.run(command, task.environ(), timeout=timeout)
        served, busy = server.cpu_seconds() - served, machine.busy_seconds() - busy
        cut = entry.cut and usage.returncode == -signal.SIGKILL
        flush = self.sync(self.disk) if to_disk and not cut else 0.0
        stats = server.stats()
        others = max(0.0, busy - usage.cpu - served) / usage.wall if server.own else 0.0
        failed = last_line(usage) if usage.returncode and not cut else ""
        return Run(
            entry=entry.name,
            round=0,
            size=min(entry.size, stats["BytesOut"] or 1) if cut else entry.size,
            failed=failed,
            wall=round(usage.wall, 4),
            flush=round(flush, 4),
            user=round(usage.user, 4),
            system=round(usage.system, 4),
            peak_rss=usage.peak_rss,
            others=round(others, 3),
            server_cpu=round(served, 3),
            cut=cut,
            stats=stats,
            learnt={} if failed or cut else peer.learnt(usage),
        )


def _by_tool(reasons: Mapping[str, str], entries: Sequence[Entry]) -> dict[str, str]:
    """Name the tool instead of its rows where all of them lack the same."""
    found = {}
    for entry in entries:
        if why := reasons.get(entry.name):
            rows = {reasons.get(other.name) for other in entries if other.peer == entry.peer}
            found[entry.peer if rows == {why} else entry.name] = why
    return found


def _line(run: Run) -> str:
    if run.failed:
        return f"{run.entry}: FAILED, {run.failed}"
    rate, cpu = run.size / 1e6 / run.wall, run.cpu * GiB / run.size
    own = f" ({run.size / 1e6 / run.seconds:.0f} by its own clock)" if run.seconds else ""
    busy = f", others {run.others:.1f} cores" if run.others > 0.1 else ""
    kill = run.resumed
    again = f"; killed at {kill['sent_before'] / MiB:.0f} MiB, {kill['refetched'] / MiB:.1f} again" if kill else ""
    return (
        f"{run.entry}: {run.wall:.2f} s, {rate:.0f} MB/s{own}, {cpu:.2f} CPU-s/GiB,"
        f" {run.peak_rss / MiB:.0f} MiB{busy}{again}"
    )
