"""Raw sockets, the least that the same objects can cost in Python: see benchmarks/rawget.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks.many.task import last_json

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage


class Raw:
    name = "raw sockets"
    note = "no client at all: signs nothing, checks nothing, keeps nothing"
    can: frozenset[What] = frozenset({"read"})

    def missing(self) -> str:
        return ""

    def command(self, task: Task) -> Sequence[str]:
        command = [sys.executable, "-m", "benchmarks.rawget", "--base", task.base, "--objects", str(task.objects)]
        command += ["--connections", str(task.connections or 32)]
        return [*command, *(["--folders"] if task.folders else []), *(["--digest"] if task.digest else [])]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Raw()]
