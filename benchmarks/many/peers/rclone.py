"""``rclone copy``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.peers import ACCESS_KEY, SECRET_KEY, program
from benchmarks.server.keyspace import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage


class Rclone:
    name = "rclone copy"
    note = "verifies the MD5; the fastest flags tried, --inplace among them: a killed run leaves partial files"
    can: frozenset[What] = frozenset({"download"})

    def missing(self) -> str:
        return "" if program("rclone") else "rclone not installed"

    def command(self, task: Task) -> Sequence[str]:
        command = [program("rclone") or "rclone", "copy", f":s3:bench/{PREFIX}", str(task.directory)]
        command += ["--s3-provider", "Other", "--s3-endpoint", task.base, "--s3-region", "us-east-1"]
        command += ["--s3-access-key-id", ACCESS_KEY, "--s3-secret-access-key", SECRET_KEY, "--s3-no-check-bucket"]
        command += ["--config", "", "--retries", "1", "--log-level", "ERROR", "--s3-list-version", "2"]
        # An empty target need not be compared, a listing has the times, and 1 KiB needs no buffer of 16 MiB.
        command += ["--no-check-dest", "--use-server-modtime", "--fast-list", "--buffer-size", "0", "--inplace"]
        return [*command, *(["--transfers", str(task.connections)] if task.connections else [])]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return {}


PEERS = [Rclone()]
