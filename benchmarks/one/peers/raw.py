"""Raw sockets, what the server can give to Python: see benchmarks/rawfile.py."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks.many.task import last_json
from benchmarks.peers import module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What


class Raw:
    name = "raw sockets"
    note = "a thread per connection and the checksum, no client at all"
    can: frozenset[What] = frozenset({"file"})

    def missing(self) -> str:
        return module_missing("awscrt")

    def command(self, task: Task) -> Sequence[str]:
        command = [sys.executable, "-m", "benchmarks.rawfile", "--base", task.base, "--key", task.key]
        command += ["--size", str(task.size), "--connections", str(task.connections), "--path", str(task.path)]
        return [*command, *(["--ca", str(task.ca)] if task.ca else [])]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Raw()]
