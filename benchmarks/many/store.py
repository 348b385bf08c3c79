"""The server that the tools fetch from: one of our own for each kind of task, or one that runs already."""

from __future__ import annotations

import json
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import measure
from benchmarks.server.keyspace import KeySpace

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreOptions:
    """What it has, and what it takes to get it."""

    objects: int
    size: int = 1024
    folders: bool = False
    latency: float = 0.0
    """Seconds before each answer."""
    list_latency: float | None = None
    """Seconds before each page of a listing; None: as for everything."""

    def space(self) -> KeySpace:
        return KeySpace(self.objects, self.size, folders=self.folders)


@dataclass(frozen=True, slots=True)
class Store:
    """A server that runs."""

    base: str
    pid: int | None
    """None: it is not ours, so its counters and its CPU are not known."""

    def stats(self) -> dict[str, int]:
        return self._ask("/_stats") if self.pid else {}

    def reset(self) -> None:
        if self.pid:
            self._ask("/_reset")

    def _ask(self, path: str) -> dict[str, int]:
        with urllib.request.urlopen(f"{self.base}{path}", timeout=10) as answer:
            return json.load(answer)  # type: ignore[no-any-return]

    def cpu_seconds(self) -> float:
        return measure.tree_cpu_seconds(self.pid) if self.pid else 0.0


@contextmanager
def started(options: StoreOptions) -> Iterator[Store]:
    """Run a server of our own, as a process of its own, for as long as the context lasts."""
    command = [sys.executable, "-m", "benchmarks.server.small"]
    command += ["--objects", str(options.objects), "--size", str(options.size), "--latency", str(options.latency)]
    command += ["--list-latency", str(options.list_latency)] if options.list_latency is not None else []
    command += ["--folders"] if options.folders else []
    server = subprocess.Popen(command, cwd=measure.ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        line = server.stdout.readline() if server.stdout else ""
        if not line:
            raise SystemExit("the benchmark's server did not start; see the message above")
        yield Store(f"http://127.0.0.1:{json.loads(line)['http']}", server.pid)
    finally:
        server.communicate()  # Closes its standard input, which ends it.
