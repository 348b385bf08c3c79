"""This project: its command for files and pipes, its hook's engine for a stream read in Python."""

from __future__ import annotations

import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.many.task import last_json
from benchmarks.one.task import BUCKET, READ, Asked, counted, piped, python
from benchmarks.peers import REGION, module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mypy_boto3_s3 import S3Client

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

_TOLD = (
    "size", "fetched", "resumed", "seconds", "parts", "part_size", "connections", "requests", "retries",
    "slow_dropped", "verification", "warnings",
)  # fmt: skip
_MODULES = ("boto3", "pycurl", "airflow_s3stream.cli.getting", "airflow_s3stream.engine.objectstream")


def get(task: Task, target: str) -> list[str]:
    """Give the command ``s3stream get``."""
    command = [sys.executable, "-m", "airflow_s3stream.cli", "get", task.source, target]
    command += ["--endpoint-url", task.base, "--region", REGION, "--connections", str(task.connections), "--quiet"]
    command += ["--ca-bundle", str(task.ca)] if task.ca else []
    command += ["--part-size", str(task.part_size)] if task.part_size else []
    return [*command, *(["--max-memory", str(task.max_memory)] if task.max_memory else [])]


class _S3Stream:
    def missing(self) -> str:
        return module_missing(*_MODULES)

    def imports(self) -> Sequence[str]:
        """Give the command that loads what a task needs and makes a client, and asks nothing."""
        return python("s3stream", "imports")


class Get(_S3Stream):
    name = "s3stream get"
    note = ""
    can: frozenset[What] = frozenset({"file"})

    def command(self, task: Task) -> Sequence[str]:
        return [*get(task, str(task.path)), "--json"]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        told = last_json(usage.stdout)
        return {name: told[name] for name in _TOLD if name in told}


class GetPipe(_S3Stream):
    name = "s3stream get -"
    note = "into wc -c"
    can: frozenset[What] = frozenset({"stream"})

    def command(self, task: Task) -> Sequence[str]:
        return piped(task, get(task, "-"))

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return counted(usage.stdout)


class OpenObject(_S3Stream):
    name = "s3stream open_object"
    note = "readinto of one buffer of 1 MiB"
    can: frozenset[What] = frozenset({"stream"})

    def command(self, task: Task) -> Sequence[str]:
        return python("s3stream")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Get(), GetPipe(), OpenObject()]


def main() -> None:
    import boto3

    asked = Asked()
    client = boto3.client("s3", endpoint_url=asked.endpoint, region_name=REGION)
    if sys.argv[1:] == ["imports"]:
        import_module("airflow_s3stream.engine.objectstream" if asked.what == "stream" else "airflow_s3stream.cli")
        import_module("airflow_s3stream.engine.getobject")
        return
    read_stream(client, asked)


def read_stream(client: S3Client, asked: Asked) -> None:
    """Read the object to its end, one buffer at a time."""
    from airflow_s3stream.engine.objectstream import open_object
    from airflow_s3stream.plan.getting import read_get_options

    more = {"part_size": asked.part_size, "max_memory": asked.max_memory}
    given = {name: value for name, value in more.items() if value}
    options = read_get_options(connections=asked.connections, **given)
    buffer = bytearray(READ)
    asked.begin()
    with open_object(client, BUCKET, asked.key, options) as stream:
        while count := stream.readinto(buffer):
            asked.drop(memoryview(buffer)[:count])
        asked.tell(verification=stream.verification)


if __name__ == "__main__":
    main()
