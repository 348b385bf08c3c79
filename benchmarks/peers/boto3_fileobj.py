"""``upload_fileobj(response.raw)``: what most scripts do."""

from __future__ import annotations

import os
import sys
from typing import IO, TYPE_CHECKING, cast

from benchmarks.peers import Job, module_missing

if TYPE_CHECKING:
    from collections.abc import Sequence


class UploadFileobj:
    name = "boto3 upload_fileobj"
    note = "of response.raw, boto3's defaults; reads the source on one connection"

    def missing(self) -> str:
        return module_missing("boto3", "requests")

    def command(self, job: Job) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.boto3_fileobj"]


PEERS = [UploadFileobj()]


def main() -> None:
    import boto3
    import requests

    client = boto3.client("s3", endpoint_url=os.environ["BENCH_ENDPOINT"])
    with requests.get(os.environ["BENCH_URL"], stream=True, timeout=60) as response:
        response.raise_for_status()
        client.upload_fileobj(cast(IO[bytes], response.raw), "bench", os.environ["BENCH_KEY"])


if __name__ == "__main__":
    main()
