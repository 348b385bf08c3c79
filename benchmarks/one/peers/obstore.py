"""obstore, Rust's object_store for Python: ranges from threads into a file, and its own stream."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from benchmarks.many.task import in_threads, last_json
from benchmarks.one.task import BUCKET, READ, Asked, python
from benchmarks.peers import MiB, module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

PART = 16 * MiB


class GetRange:
    name = "obstore get_range"
    note = "a thread per connection, each range held in memory and then written; verifies nothing"
    can: frozenset[What] = frozenset({"file"})

    def missing(self) -> str:
        return module_missing("obstore")

    def command(self, task: Task) -> Sequence[str]:
        return python("obstore")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


class Stream:
    name = "obstore stream"
    note = "one connection"
    can: frozenset[What] = frozenset({"stream"})

    def missing(self) -> str:
        return module_missing("obstore")

    def command(self, task: Task) -> Sequence[str]:
        return python("obstore")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [GetRange(), Stream()]


def fetch(store: Any, asked: Asked) -> None:
    """Write the file from as many threads as there are connections."""
    file = os.open(asked.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.ftruncate(file, asked.size)
    part = asked.part_size or PART

    def carry(start: int) -> None:
        os.pwrite(file, store.get_range(asked.key, start=start, end=min(start + part, asked.size)), start)

    in_threads(carry, iter(range(0, asked.size, part)), asked.connections)
    os.close(file)


def main() -> None:
    from obstore.store import S3Store  # type: ignore[import-not-found,unused-ignore]

    asked = Asked()
    options: dict[str, Any] = {"allow_http": True}
    if asked.ca:
        with open(asked.ca, "rb") as ca:
            options["root_certificate"] = ca.read()
    store = S3Store(BUCKET, endpoint=asked.endpoint, client_options=options)
    asked.begin()
    if asked.what == "file":
        fetch(store, asked)
    else:
        for piece in store.get(asked.key).stream(min_chunk_size=READ):
            asked.drop(bytes(piece))
    asked.tell()


if __name__ == "__main__":
    main()
