"""s5cmd, the fastest of the tools with a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers import program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage


class S5cmd:
    name = "s5cmd"
    note = "verifies no body"
    can: frozenset[What] = frozenset({"download", "list"})

    def missing(self) -> str:
        return "" if program("s5cmd") else "s5cmd not installed"

    def command(self, task: Task) -> Sequence[str]:
        s5cmd = [program("s5cmd") or "s5cmd", "--endpoint-url", task.base, "--log", "error"]
        s5cmd += ["--numworkers", str(task.connections)] if task.connections else []
        if task.what == "list":
            counted = 'set -o pipefail; "$@" | wc -l'
            return ["bash", "-c", counted, "bash", *s5cmd[:3], "ls", f"{task.source}*"]
        return [*s5cmd, "cp", "--concurrency", "1", f"{task.source}*", f"{task.directory}/"]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        lines = usage.stdout.split()
        return {"objects": int(lines[-1])} if lines else {}


PEERS = [S5cmd()]
