"""obstore, Rust's object_store for Python, from threads: faster than its asyncio interface."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.many.task import BUCKET, Asked, in_threads, last_json, python
from benchmarks.peers import module_missing
from benchmarks.server.keyspace import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage


class Obstore:
    name = "obstore in threads"
    note = "verifies no body"
    can: frozenset[What] = frozenset({"download", "read", "list"})

    def missing(self) -> str:
        return module_missing("obstore")

    def command(self, task: Task) -> Sequence[str]:
        return python("obstore")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Obstore()]


def keys(store: Any, asked: Asked) -> Iterator[str]:
    """Give the keys: listed for a download, known for a read."""
    if asked.what == "read":
        yield from asked.known_keys()
        return
    for page in store.list(PREFIX, chunk_size=1000):
        yield from [entry["path"] for entry in page]


def main() -> None:
    from obstore.store import S3Store  # type: ignore[import-not-found,unused-ignore]

    asked = Asked()
    threads = asked.connections or 32
    store = S3Store(BUCKET, endpoint=asked.endpoint, client_options={"allow_http": True})

    def fetch(key: str) -> None:
        asked.take(key, bytes(store.get(key).bytes()))

    asked.begin()
    found = keys(store, asked)
    if asked.what == "list":
        for key in found:
            asked.count(key, b"")
    else:
        in_threads(fetch, found, threads)
    asked.tell()


if __name__ == "__main__":
    main()
