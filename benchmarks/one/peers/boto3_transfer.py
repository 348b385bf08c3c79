"""boto3's ``download_file``, ranges in threads, and ``get_object`` read piece by piece."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.many.task import last_json
from benchmarks.one.task import BUCKET, READ, Asked, python
from benchmarks.peers import MiB, module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

PART = 16 * MiB


class DownloadFile:
    name = "boto3 download_file"
    note = "TransferConfig with as many threads as connections; does not verify ranges"
    can: frozenset[What] = frozenset({"file"})

    def missing(self) -> str:
        return module_missing("boto3")

    def command(self, task: Task) -> Sequence[str]:
        return python("boto3_transfer")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


class Body:
    name = "boto3 Body.read"
    note = "one connection"
    can: frozenset[What] = frozenset({"stream"})

    def missing(self) -> str:
        return module_missing("boto3")

    def command(self, task: Task) -> Sequence[str]:
        return python("boto3_transfer")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [DownloadFile(), Body()]


def main() -> None:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    asked = Asked()
    config = Config(max_pool_connections=asked.connections)
    client = boto3.client("s3", endpoint_url=asked.endpoint, config=config)
    asked.begin()
    if asked.what == "file":
        tuned = TransferConfig(
            max_concurrency=asked.connections,
            multipart_chunksize=asked.part_size or PART,
            io_chunksize=MiB,
            preferred_transfer_client="classic",
        )
        client.download_file(BUCKET, asked.key, asked.path, Config=tuned)
    else:
        body = client.get_object(Bucket=BUCKET, Key=asked.key)["Body"]
        while piece := body.read(READ):
            asked.drop(piece)
    asked.tell()


if __name__ == "__main__":
    main()
