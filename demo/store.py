"""An S3 server that keeps objects as files one can look at."""

from __future__ import annotations

import contextlib
import hashlib
import re
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from demo.processes import DemoFailed, running

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

ACCESS_KEY, SECRET_KEY, REGION = "demo", "demo-secret", "us-east-1"
_STARTED = re.compile(r"Starting s3 server on \[(http://127\.0\.0\.1:\d+)/\]")
_START_SECONDS = 20.0


@dataclass(frozen=True)
class Store:
    """A running server, seen through a client that owes nothing to the package on show."""

    endpoint_url: str
    client: Any

    def sha256(self, bucket: str, key: str) -> tuple[str, int]:
        """Read an object back; return its digest and its size."""
        digest, size = hashlib.sha256(), 0
        with self.client.get_object(Bucket=bucket, Key=key)["Body"] as body:
            while piece := body.read(1024 * 1024):
                digest.update(piece)
                size += len(piece)
        return digest.hexdigest(), size


@contextlib.contextmanager
def serving(folder: Path, *, log: Path, env: Mapping[str, str]) -> Iterator[Store]:
    """Serve ``folder`` as S3: its folders are buckets, its files objects. The port is the kernel's choice."""
    command = [
        str(Path(sys.executable).with_name("rclone")), "serve", "s3", "--config", "",
        "--addr", "127.0.0.1:0", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}", str(folder),
    ]  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    with running(command, log=log, env=env) as process:
        deadline = time.monotonic() + _START_SECONDS
        while not (started := _STARTED.search(log.read_text(errors="replace"))):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DemoFailed("the S3 server did not start", log)
            time.sleep(0.05)
        client = boto3.client(
            "s3", endpoint_url=started[1], region_name=REGION, aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY, config=Config(s3={"addressing_style": "path"}),
        )  # fmt: skip
        yield Store(started[1], client)
