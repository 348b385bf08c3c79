"""This project: its command for files, its engine for bodies in memory and for keys."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from benchmarks.many.task import BUCKET, Asked, last_json, python
from benchmarks.peers import module_missing
from benchmarks.server.keyspace import PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage

_TOLD = (
    "objects", "bytes", "seconds", "sum", "listed", "listing_seconds", "requests", "retries", "connections",
    "verification", "warnings",
)  # fmt: skip


class S3Stream:
    name = "s3stream"
    note = ""
    can: frozenset[What] = frozenset({"download", "read", "list"})

    def missing(self) -> str:
        return module_missing("boto3", "pycurl", "airflow_s3stream.engine.readobjects")

    def command(self, task: Task) -> Sequence[str]:
        if task.what != "download":
            return python("s3stream")
        command = [sys.executable, "-m", "airflow_s3stream.cli", "download", task.source, str(task.directory)]
        command += ["--endpoint-url", task.base, "--region", "us-east-1", "--json", "--quiet"]
        return [*command, *(["--connections", str(task.connections)] if task.connections else [])]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        told = last_json(usage.stdout)
        return {name: told[name] for name in _TOLD if name in told}


PEERS = [S3Stream()]


def main() -> None:
    import boto3

    from airflow_s3stream.engine.listobjects import list_objects
    from airflow_s3stream.engine.readobjects import read_objects
    from airflow_s3stream.plan.download import ReadOptions
    from airflow_s3stream.plan.objects import ObjectEntry

    asked = Asked()
    client = boto3.client("s3", endpoint_url=asked.endpoint)
    asked.begin()
    if asked.what == "list":
        for entry in list_objects(client, BUCKET, PREFIX, listers=asked.listers):
            asked.count(entry.key, b"")
    else:
        entries = (ObjectEntry(key) for key in asked.known_keys())
        for key, body in read_objects(client, BUCKET, entries, ReadOptions(connections=asked.connections)):
            asked.count(key, body)
    asked.tell()


if __name__ == "__main__":
    main()
