"""``curl | s5cmd pipe``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.peers import Job, program

if TYPE_CHECKING:
    from collections.abc import Sequence


class Pipe:
    name = "curl | s5cmd pipe"
    note = "reads the source on one connection"

    def missing(self) -> str:
        lacking = [name for name in ("bash", "curl", "s5cmd") if not program(name)]
        return f"{' and '.join(lacking)} not installed" if lacking else ""

    def command(self, job: Job) -> Sequence[str]:
        # Its parts are 50 MiB by default, as many in memory as it sends at once: 5 is its default too.
        s5cmd = f"{program('s5cmd')} --endpoint-url {job.base} --retry-count 0 pipe s3://bench/{job.key}"
        return ["bash", "-c", f"set -o pipefail; curl -sSf {job.url} | {s5cmd}"]


PEERS = [Pipe()]
