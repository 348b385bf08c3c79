"""Airflow's own HttpToS3Operator, executed without a scheduler."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from benchmarks.peers import Job, module_missing

if TYPE_CHECKING:
    from collections.abc import Sequence


class HttpToS3:
    name = "Airflow HttpToS3Operator"
    note = "holds the whole body in memory; its time includes importing Airflow"

    def missing(self) -> str:
        return module_missing("airflow") or module_missing("airflow.providers.amazon", "airflow.providers.http")

    def command(self, job: Job) -> Sequence[str]:
        return [sys.executable, "-m", "benchmarks.peers.airflow_http_to_s3"]


PEERS = [HttpToS3()]


def connections(base: str) -> dict[str, str]:
    """Describe the two Airflow connections as environment variables."""
    url = urlsplit(base)
    source = {"conn_type": "http", "host": url.hostname, "port": url.port, "schema": url.scheme}
    store = {"conn_type": "aws", "extra": {"endpoint_url": base, "region_name": "us-east-1"}}
    return {"AIRFLOW_CONN_BENCH_HTTP": json.dumps(source), "AIRFLOW_CONN_BENCH_AWS": json.dumps(store)}


def main() -> None:
    os.environ.update(connections(os.environ["BENCH_ENDPOINT"]))
    # Set before Airflow is imported, since it reads its configuration then.
    from airflow.providers.amazon.aws.transfers.http_to_s3 import HttpToS3Operator

    HttpToS3Operator(
        task_id="copy",
        http_conn_id="bench_http",
        endpoint=urlsplit(os.environ["BENCH_URL"]).path,
        s3_bucket="bench",
        s3_key=os.environ["BENCH_KEY"],
        replace=True,
        aws_conn_id="bench_aws",
    ).execute({})


if __name__ == "__main__":
    main()
