"""The asyncio recipe found on the web: ``await loop.run_in_executor(pool, boto3...)``."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from benchmarks.many.peers.boto3_threads import keys, make_client
from benchmarks.many.task import BUCKET, Asked, last_json, python
from benchmarks.peers import module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage


class Executor:
    name = "asyncio run_in_executor"
    note = "boto3 behind asyncio, a pool of as many threads as connections"
    can: frozenset[What] = frozenset({"download", "read"})

    def missing(self) -> str:
        return module_missing("boto3")

    def command(self, task: Task) -> Sequence[str]:
        return python("executor")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Executor()]


async def fetch_all(client: Any, asked: Asked, threads: int) -> None:
    """Fetch every object, all of them as tasks at once, as the recipe has it."""
    loop = asyncio.get_running_loop()

    def fetch(key: str) -> None:
        asked.take(key, client.get_object(Bucket=BUCKET, Key=key)["Body"].read())

    with ThreadPoolExecutor(threads) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, fetch, key) for key in keys(client, asked)))


def main() -> None:
    asked = Asked()
    threads = asked.connections or 32
    client = make_client(asked, threads)
    asked.begin()
    asyncio.run(fetch_all(client, asked, threads))
    asked.tell()


if __name__ == "__main__":
    main()
