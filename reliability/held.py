"""
One transfer in a process of its own, whose memory somebody else looks at: ``python -m reliability.held WAY URL SIZE``.

Prints ``idle`` once all is loaded, a client made and nothing asked, and waits for a line; then transfers, and prints
``done``. Ways: ``relay``, ``spool`` and ``unknown`` copy from a source with ranges, without, and without a length;
``file`` and ``stream`` download one object.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from airflow_s3stream.config import CopyOptions, MiB
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.getobject import get_object
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.engine.objectstream import open_object
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.plan.getting import GetOptions

BUCKET = "bench"
SOURCES = {"relay": "origin", "spool": "plain", "unknown": "chunked"}
MAX_MEMORY = {"relay": 64 * MiB, "spool": 256 * MiB, "unknown": 64 * MiB}
"""S3's 10,000 parts need more than the default for 1 TiB that cannot be read in ranges."""


def prepared(way: str, base: str, size: int, folder: str) -> Callable[[], object]:
    """Make all that is needed, and give what does the transfer."""
    client = new_client(endpoint_url=base)
    if way in SOURCES:
        source = HttpSource(f"{base}/{SOURCES[way]}/{size}", trust_url=True)  # on this machine
        sink = S3Sink(client, BUCKET, "held")
        return lambda: copy(source, sink, CopyOptions(max_memory=MAX_MEMORY[way]))
    if way == "file":
        return lambda: get_object(client, BUCKET, f"big/{size}", str(Path(folder) / "object"), GetOptions())
    return lambda: _drained(client, size)


def _drained(client: Any, size: int) -> None:
    buffer = bytearray(MiB)
    with open_object(client, BUCKET, f"big/{size}", GetOptions()) as stream:
        while stream.readinto(buffer):
            pass


def main() -> None:
    way, base, size, folder = sys.argv[1:]
    transfer = prepared(way, base, int(size), folder)
    print("idle", flush=True)
    sys.stdin.readline()
    transfer()
    print("done", flush=True)


if __name__ == "__main__":
    main()
