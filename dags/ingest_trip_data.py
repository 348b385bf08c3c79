"""
# Trip data, month by month

Copies each month of the yellow-taxi trip records into S3, checks what arrived, and only then tells the
rest of the house that there is something new (the asset `yellow_trip_data`).

The logical date names the month, so a backfill is all it takes to fetch history:

    airflow pools set trip_data_source 4 "tasks that may use the trip-data site at once"
    airflow variables set trip_data_bucket my-bucket
    airflow backfill create --dag-id ingest_trip_data --from-date 2024-01-01 --to-date 2024-12-01

Where bytes come from and go to is set outside this file, so that the same DAG runs against a test server
and the real thing. Airflow Variables (or `AIRFLOW_VAR_TRIP_DATA_BUCKET` and so on in the environment):

| variable | default | |
|---|---|---|
| `trip_data_bucket` | none, must be set | where the months go |
| `trip_data_prefix` | `yellow` | the keys' beginning |
| `trip_data_source` | the public site | URL of the folder with the months |
| `trip_data_allow_private` | none | networks where the source may be though they are not public, as `10.20.0.0/16` |
| `trip_data_verification` | `crc64nvme` | the least that must be proved; `md5-etag` where the store has no CRC64NVME |

The store is the connection `aws_default`; its extra `endpoint_url` names a store other than Amazon's.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow import __version__ as airflow_version
from airflow.sdk import Asset, Param, dag, task

from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator

YELLOW = Asset("yellow_trip_data")

# Every task that talks to the source takes a slot here. A backfill may start many runs at once; the site
# belongs to someone else, and the pool is what keeps us a guest.
SOURCE_POOL = "trip_data_source"

# Airflow 3.2 made this the factor; 3.1 refuses anything but a bool, and doubles.
DOUBLE = True if airflow_version.startswith("3.1.") else 2.0

# A month of this data set is tens of MB. Less than this is an error page that came with status 200.
LEAST_BYTES = 1024 * 1024

# What TransferResult.verification can say, weakest first.
PROOFS = ("none", "size", "md5-etag", "crc64nvme")

URL = (
    "{{ var.value.get('trip_data_source', 'https://d37ci6vzurychx.cloudfront.net/trip-data') }}"
    "/yellow_tripdata_{{ month_of(params, dag_run) }}.parquet"
)
KEY = (
    "s3://{{ var.value.trip_data_bucket }}/{{ var.value.get('trip_data_prefix', 'yellow') }}"
    "/year={{ month_of(params, dag_run)[:4] }}/month={{ month_of(params, dag_run)[5:] }}"
    "/yellow_tripdata_{{ month_of(params, dag_run) }}.parquet"
)


def month_of(params: Any, dag_run: Any) -> str:
    """
    Return the month a run is about, as ``2024-01``.

    ``params.month`` when given, else the logical date's. A run triggered by an asset, or by hand without a
    date, has no logical date (and so no ``ds``): then the month in which it was due. Not
    ``data_interval_start``: which month that is depends on how the deployment reads cron schedules.
    """
    if params["month"]:
        return str(params["month"])
    return str((dag_run.logical_date or dag_run.run_after).strftime("%Y-%m"))


# A month is published about two months after it ended. Rescheduling frees the worker between two looks,
# so a run that waits a season costs nothing.
@task.sensor(
    poke_interval=timedelta(hours=12).total_seconds(),
    timeout=timedelta(days=120).total_seconds(),
    mode="reschedule",
    pool=SOURCE_POOL,
)
def published(url: str) -> bool:
    # Imported here, since a DAG file is parsed every half minute and needs none of it for that.
    import requests

    # A GET of one byte, since not every server answers HEAD as it answers GET.
    with requests.get(url, headers={"Range": "bytes=0-0"}, stream=True, timeout=30) as answer:
        # The public site says 403, not 404, for a month that is not there yet.
        if answer.status_code in (403, 404):
            return False
        answer.raise_for_status()
        return True


# retries=0: what this finds wrong will be as wrong in a minute.
@task(outlets=[YELLOW], retries=0)
def check(copied: dict[str, Any], required: str, *, outlet_events: Any) -> None:
    """
    Let the month pass only if it arrived whole.

    The operator has verified its own work. This gate stands on the reader's side: it asks the store, not the
    writer, and it looks for what no transfer can know, whether the bytes are what they claim to be.
    """
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    uri = copied["uri"]
    bucket, key = S3Hook.parse_s3_url(uri)
    store = S3Hook().get_conn()
    head = store.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
    if head["ContentLength"] < LEAST_BYTES:
        raise ValueError(f"{uri} has {head['ContentLength']} bytes; a month has at least {LEAST_BYTES}")
    # A skipped copy moved nothing and proves nothing; its object passed here when it was copied.
    if copied["status"] == "copied":
        same_object(copied, required, head)
    # Parquet begins and ends with the same four bytes. An HTML page with status 200 does not.
    for where in ("bytes=0-3", "bytes=-4"):
        with store.get_object(Bucket=bucket, Key=key, Range=where)["Body"] as body:
            if body.read() != b"PAR1":
                raise ValueError(f"{uri} is not a Parquet file")
    # Whoever is scheduled on the asset learns what is new without asking S3.
    outlet_events[YELLOW].extra = {"uri": uri, "bytes": head["ContentLength"], "etag": head["ETag"].strip('"')}


def same_object(copied: dict[str, Any], required: str, head: dict[str, Any]) -> None:
    """Fail unless the store holds what the copy reports, and the copy was verified as required."""
    uri, verification = copied["uri"], copied["verification"]
    if PROOFS.index(verification) < PROOFS.index(required):
        raise ValueError(
            f"{uri} was verified by {verification!r}; the variable trip_data_verification asks for {required!r}"
        )
    if head["ContentLength"] != copied["bytes"]:
        raise ValueError(f"{uri} has {head['ContentLength']} bytes, copied were {copied['bytes']}")
    # Stores that know no checksums send none; `required` has already decided whether that is enough.
    stored = head.get("ChecksumCRC64NVME")
    if stored and copied["checksum"] != f"crc64nvme:{stored}":
        raise ValueError(f"{uri} has the CRC-64/NVME {stored}, copied was {copied['checksum']}")


@dag(
    dag_id="ingest_trip_data",
    schedule="@monthly",
    start_date=datetime(2024, 1, 1),
    # Switching the DAG on must not fetch years at once. History is a decision: `airflow backfill create`.
    catchup=False,
    params={
        "month": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-(0[1-9]|1[0-2])$",
            description="Copy this month (2024-01), whatever the run's date is.",
        )
    },
    user_defined_macros={"month_of": month_of},
    default_args={
        # For what passes: a site that is down, a network that breaks. What no retry can mend (the source says
        # 404, the bucket denies) fails the task at once, however many retries are left.
        "retries": 5,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": DOUBLE,
        "max_retry_delay": timedelta(minutes=30),
        "execution_timeout": timedelta(hours=2),
    },
    tags=["s3stream", "example"],
    doc_md=__doc__,
)
def ingest_trip_data() -> None:
    copy = UrlToS3Operator(
        task_id="copy",
        url=URL,
        s3_key=KEY,
        # For a month it already has, it compares the source's validator with the one stored with the object
        # and copies nothing. So a backfill may be repeated, and a month that was corrected is replaced.
        if_exists="skip_unchanged",
        min_bytes=LEAST_BYTES,
        # On a store without checksums: prove each part by its MD5, rather than all of them by the size alone.
        strict=True,
        content_type="application/vnd.apache.parquet",
        # Half the default: slots of the pool x connections is what the site sees.
        connections=8,
        # A mirror in one's own network has to be named; the public site needs no such leave.
        allow_private="{{ var.value.get('trip_data_allow_private', '') }}",
        pool=SOURCE_POOL,
    )
    required = "{{ var.value.get('trip_data_verification', 'crc64nvme') }}"
    published(URL) >> copy >> check(copy.output, required)


ingest_trip_data()
