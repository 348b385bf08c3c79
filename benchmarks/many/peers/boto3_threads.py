"""boto3 in a pool of threads, and its paginator for listings: what most programs do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.many.task import BUCKET, Asked, in_threads, last_json, python
from benchmarks.peers import module_missing
from benchmarks.server.keyspace import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage


class Boto3Threads:
    name = "boto3 in threads"
    note = "one client, get_object, a thread per connection; lists by its paginator"
    can: frozenset[What] = frozenset({"download", "read", "list"})

    def missing(self) -> str:
        return module_missing("boto3")

    def command(self, task: Task) -> Sequence[str]:
        return python("boto3_threads")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Boto3Threads()]


def make_client(asked: Asked, connections: int) -> Any:
    """Make a client with as many connections as threads use it; it has 10 otherwise."""
    import boto3
    from botocore.config import Config

    return boto3.client("s3", endpoint_url=asked.endpoint, config=Config(max_pool_connections=connections))


def keys(client: Any, asked: Asked) -> Iterator[str]:
    """Give the keys: listed for a download, known for a read."""
    if asked.what == "read":
        yield from asked.known_keys()
        return
    for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=PREFIX):
        yield from [entry["Key"] for entry in page.get("Contents", [])]


def main() -> None:
    asked = Asked()
    threads = asked.connections or 32
    client = make_client(asked, threads)

    def fetch(key: str) -> None:
        asked.take(key, client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    asked.begin()
    found = keys(client, asked)
    if asked.what == "list":
        for key in found:
            asked.count(key, b"")
    else:
        in_threads(fetch, found, threads)
    asked.tell()


if __name__ == "__main__":
    main()
