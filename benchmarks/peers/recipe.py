"""The recipe found on the web: read 100 MB, upload it as a part, read on."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Job, module_missing

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK = 100_000_000


class OneAtATime:
    name = "one part at a time"
    note = "requests iter_content and upload_part in turn, 100 MB chunks"

    def missing(self) -> str:
        return module_missing("boto3", "requests")

    def command(self, job: Job) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.recipe"]


PEERS = [OneAtATime()]


def main() -> None:
    import boto3
    import requests

    client = boto3.client("s3", endpoint_url=os.environ["BENCH_ENDPOINT"])
    target: dict[str, Any] = {"Bucket": "bench", "Key": os.environ["BENCH_KEY"]}
    upload_id = client.create_multipart_upload(**target)["UploadId"]
    parts: list[Any] = []
    with requests.get(os.environ["BENCH_URL"], stream=True, timeout=60) as response:
        response.raise_for_status()
        for number, chunk in enumerate(response.iter_content(CHUNK), start=1):
            made = client.upload_part(**target, UploadId=upload_id, PartNumber=number, Body=chunk)
            parts.append({"PartNumber": number, "ETag": made["ETag"]})
    client.complete_multipart_upload(**target, UploadId=upload_id, MultipartUpload={"Parts": parts})


if __name__ == "__main__":
    main()
