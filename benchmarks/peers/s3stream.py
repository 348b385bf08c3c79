"""This project's own command."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from benchmarks.peers import Job, module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage


class S3Stream:
    name = "s3stream"
    note = ""

    def missing(self) -> str:
        return module_missing("airflow_s3stream", "boto3", "requests")

    def command(self, job: Job) -> Sequence[str]:
        command = [sys.executable, "-m", "airflow_s3stream.cli", "copy", job.url, f"s3://bench/{job.key}"]
        command += ["--endpoint-url", job.base, "--connections", str(job.connections), "--json", "--quiet"]
        command += ["--ca-bundle", str(job.ca)] if job.ca else []
        command += ["--part-size", str(job.part_size)] if job.part_size else []
        command += ["--max-memory", str(job.max_memory)] if job.max_memory else []
        return command

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        lines = usage.stdout.strip().splitlines()
        result = json.loads(lines[-1]) if lines else {}
        names = ("bytes", "seconds", "parts", "part_size", "retries", "verification")
        return {name: result[name] for name in names if name in result}


PEERS = [S3Stream()]
