"""The formula in CopyOptions' docstring, measured in processes of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from airflow_s3stream.config import MiB
from tests.support.origin import serving

if TYPE_CHECKING:
    from tests.support.stores import Store

# What the client libraries keep for 16 connections, and the interpreter's own growth.
LIBRARIES = 32 * MiB

COPY = """
import json, sys
from airflow_s3stream.config import ConnectionPolicy, CopyOptions, MiB
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.engine.s3sink import S3Sink

def memory(name):
    for line in open("/proc/self/status"):
        if line.startswith(name):
            return int(line.split()[1]) * 1024

url, endpoint, bucket, options = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
policy = ConnectionPolicy(allow_private=("127.0.0.0/8",))
source, client = HttpSource(url, policy=policy), new_client(endpoint_url=endpoint)
idle = memory("VmRSS")
result = copy(source, S3Sink(client, bucket, "key"), CopyOptions(**options))
print(json.dumps({"growth": memory("VmHWM") - idle, "parts": result.parts, "connections": result.connections}))
"""


def growth(url: str, store: Store, connections: int = 16, **options: int) -> int:
    """Copy in a new process; return by how many bytes its memory grew at the peak."""
    wanted = json.dumps({"connections": connections, **options})
    done = subprocess.run(
        [sys.executable, "-c", COPY, url, store.endpoint_url, store.bucket, wanted],
        capture_output=True, text=True, check=True, timeout=50,
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["connections"] <= connections
    return int(told["growth"])


@pytest.mark.parametrize("part_size", [8 * MiB, 32 * MiB])
def test_a_relay_holds_a_chunk_per_connection_whatever_the_part_size(rclone: Store, part_size: int) -> None:
    """512 MiB over 16 connections: 16 MiB of chunks, and the libraries."""
    with serving(512 * MiB) as origin:
        assert growth(origin.url, rclone, part_size=part_size) <= LIBRARIES


@pytest.mark.parametrize("framing", ["length", "chunked"])
def test_a_stream_holds_its_part_buffers(rclone: Store, framing: str) -> None:
    """256 MiB that are read as one stream stay under max_memory, which 16 uploaders would like to exceed."""
    with serving(256 * MiB, ranges=False, framing=framing) as origin:
        assert growth(origin.url, rclone, max_memory=48 * MiB) <= 48 * MiB + LIBRARIES


def test_a_small_budget_is_kept_too(rclone: Store) -> None:
    """One buffer of 5 MiB at a time, if that is all there is."""
    with serving(64 * MiB, ranges=False) as origin:
        assert growth(origin.url, rclone, max_memory=5 * MiB) <= 5 * MiB + LIBRARIES // 2
