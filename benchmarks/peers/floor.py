"""Raw sockets, the least that the same bytes can cost in Python: see benchmarks/floor.py."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Job, module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage


class Floor:
    name = "floor"
    note = "raw sockets and the checksum, no client at all"

    def missing(self) -> str:
        return module_missing("awscrt")

    def command(self, job: Job) -> Sequence[str]:
        command = [sys.executable, "-m", "benchmarks.floor", "--source", job.url, "--endpoint", job.base]
        return [*command, "--key", job.key, "--size", str(job.size), *(["--ca", str(job.ca)] if job.ca else [])]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        told = json.loads(usage.stdout)
        return {"seconds": told["seconds"], "cipher": told["cipher"]}


PEERS = [Floor()]
