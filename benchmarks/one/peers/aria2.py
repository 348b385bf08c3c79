"""aria2c on a presigned URL: what downloads as fast as any, and knows nothing of S3."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from benchmarks.one.task import BUCKET
from benchmarks.peers import ACCESS_KEY, REGION, SECRET_KEY, module_missing, program

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

MOST = 16
"""Connections to one server; aria2c refuses more."""


class Aria2:
    name = "aria2c"
    note = "on a presigned URL; verifies nothing, at most 16 connections"
    can: frozenset[What] = frozenset({"file"})

    def missing(self) -> str:
        return module_missing("boto3") if program("aria2c") else "aria2c not installed: apt-get install aria2"

    def command(self, task: Task) -> Sequence[str]:
        connections = str(min(task.connections, MOST))
        command = [program("aria2c") or "aria2c", "--no-conf", "--console-log-level=error", "--summary-interval=0"]
        command += ["--max-connection-per-server", connections, "--split", connections, "--min-split-size", "1M"]
        # Reserved as ours is; the default writes a file of zeros first. Of the caches tried none was the fastest.
        command += [
            "--file-allocation=falloc",
            "--disk-cache=0",
            "--max-tries=1",
            "--allow-overwrite=true",
            "--dir",
            str(task.folder),
        ]
        command += ["--ca-certificate", str(task.ca)] if task.ca else []
        return [*command, "--out", task.path.name, presigned(task)]

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return {}


PEERS = [Aria2()]


def presigned(task: Task) -> str:
    """Give a URL that needs no further signature; made beside the measured time."""
    import boto3
    from botocore.config import Config

    config = Config(signature_version="s3v4", s3={"addressing_style": "path"})
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY, "region_name": REGION}
    client = boto3.client("s3", endpoint_url=task.base, config=config, **keys)
    asked = {"Bucket": BUCKET, "Key": task.key}
    return client.generate_presigned_url("get_object", Params=asked)
