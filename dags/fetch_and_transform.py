"""
# A huge compressed CSV, made into Parquet on the way

A shop exports its orders of the day as one gzipped CSV, of any size:

    s3://my-bucket/exports/date=2024-01-01/orders.csv.gz
    order_id,ordered_at,country,sku,quantity,unit_price,status
    481516,2024-01-01T10:00:00Z,DE,AB-23,2,19.90,paid

It is read as a stream over many connections, unpacked, parsed into typed columns, freed of cancelled orders, given a
column `total`, and written as Parquet, a row group at a time:

    s3://my-bucket/orders/date=2024-01-01/orders.parquet

Nothing touches a disk, and memory does not depend on the size: 350 MiB were measured, beside what Airflow and pyarrow
take, for 1 GiB of text and for 3 GiB. The table appears whole, after the last byte of the export was read and verified,
or not at all; until then an earlier one stays as it was.

A day's outcome depends on nothing but that day, and running it again replaces it with the same bytes. So days may
run in any order and several at once, and history is a backfill:

    airflow variables set orders_bucket my-bucket
    airflow backfill create --dag-id fetch_and_transform --from-date 2024-01-01 --to-date 2024-12-31 --max-active-runs 4

| variable | default | |
|---|---|---|
| `orders_bucket` | none, must be set | where the exports are, and where the tables go |
| `orders_source` | `exports` | the beginning of the exports' keys |
| `orders_outcome` | `orders` | the beginning of the tables' keys |

The store is the connection `aws_default`. The worker needs pyarrow, which this provider does not bring. Give the bucket
a lifecycle rule with `AbortIncompleteMultipartUpload`: a worker that is killed cannot take back the parts it has sent.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Self

from airflow import __version__ as airflow_version
from airflow.sdk import Asset, Param, dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    import pyarrow

ORDERS = Asset("orders")

# Airflow 3.2 made this the factor; 3.1 refuses anything but a bool, and doubles.
DOUBLE = True if airflow_version.startswith("3.1.") else 2.0

BUCKET = "s3://{{ var.value.orders_bucket }}"
DAY = "date={{ day_of(params, dag_run) }}"
SOURCE = f"{BUCKET}/{{{{ var.value.get('orders_source', 'exports') }}}}/{DAY}/orders.csv.gz"
OUTCOME = f"{BUCKET}/{{{{ var.value.get('orders_outcome', 'orders') }}}}/{DAY}/orders.parquet"

MiB = 1024 * 1024
# What a worker holds at once, in bytes: text being parsed, rows of the next row group, the next part of the upload.
# Parts of 16 MiB make a table of at most 156 GiB, since S3 takes 10,000 of them.
TEXT, ROW_GROUP, PART = MiB, 32 * MiB, 16 * MiB


def day_of(params: Any, dag_run: Any) -> str:
    """
    Return the day a run is about, as ``2024-01-01``.

    ``params.day`` when given, else the logical date. A run triggered without one is about yesterday: the last day
    that was over when the run was due.
    """
    if params["day"]:
        return str(params["day"])
    return str((dag_run.logical_date or dag_run.run_after - timedelta(days=1)).strftime("%Y-%m-%d"))


def schema() -> pyarrow.Schema:
    """Say what the columns of the export are. One that is missing fails the day; others are left out."""
    # Imported here and below, since a DAG file is parsed every half minute and needs none of it for that.
    import pyarrow

    return pyarrow.schema(
        {
            "order_id": pyarrow.int64(),
            "ordered_at": pyarrow.timestamp("s", "UTC"),
            "country": pyarrow.string(),
            "sku": pyarrow.string(),
            "quantity": pyarrow.int32(),
            "unit_price": pyarrow.decimal128(12, 2),
            "status": pyarrow.string(),
        }
    )


def transform(orders: pyarrow.Table) -> pyarrow.Table:
    """Leave out what was cancelled, and add what each order comes to."""
    import pyarrow
    from pyarrow import compute

    # Without a status nobody knows, so the order stays: only what is said to be cancelled goes.
    kept = orders.filter(compute.fill_null(compute.not_equal(orders["status"], "cancelled"), True))
    total = compute.multiply(kept["unit_price"], kept["quantity"].cast(pyarrow.decimal128(10, 0)))
    return kept.append_column("total", total.cast(pyarrow.decimal128(18, 2)))


def tables(stream: Any, source: str) -> Iterator[pyarrow.Table]:
    """Unpack and parse the stream as it comes, some MiB at a time."""
    import pyarrow
    from pyarrow import csv

    columns = schema()
    try:
        batches = csv.open_csv(
            pyarrow.CompressedInputStream(stream, "gzip"),
            read_options=csv.ReadOptions(block_size=TEXT),
            convert_options=csv.ConvertOptions(column_types=columns, include_columns=columns.names),
        )
        for batch in batches:
            yield pyarrow.Table.from_batches([batch])
    except (pyarrow.ArrowException, OSError) as error:
        # Wrong now and wrong in a minute: no CSV, no such column, cut short when it was made. The retries are for a
        # network that breaks, whose errors are not of these classes.
        raise hopeless(f"{source} cannot be read as a table: {error}") from error


def row_groups(parts: Iterable[pyarrow.Table]) -> Iterator[pyarrow.Table]:
    """Put tables together to about ROW_GROUP bytes each: what a reader of Parquet reads or skips as one."""
    import pyarrow

    held: list[pyarrow.Table] = []
    for part in parts:
        held.append(part)
        if sum(each.nbytes for each in held) >= ROW_GROUP:
            yield pyarrow.concat_tables(held)
            held = []
    if held:
        yield pyarrow.concat_tables(held)


class Upload:
    """
    A file in S3, written from its beginning to its end; it is there after ``complete``, and only then.

    With pyarrow's own S3 file system it is there as soon as the file is closed, and an exception closes it too: a run
    that fails would leave half a table that looks whole. Here an exception takes back what was sent. And the store is
    that of the Airflow connection, with its endpoint, roles and certificates.
    """

    closed = False

    def __init__(self, uri: str) -> None:
        from airflow.providers.amazon.aws.hooks.s3 import S3Hook

        self._store = S3Hook().get_conn()
        bucket, key = S3Hook.parse_s3_url(uri)
        self._at = {"Bucket": bucket, "Key": key}
        self._held = bytearray()
        self._parts: list[dict[str, Any]] = []
        self.size = 0

    def __enter__(self) -> Self:
        begun = self._store.create_multipart_upload(**self._at, ContentType="application/vnd.apache.parquet")
        self._at["UploadId"] = begun["UploadId"]
        return self

    def __exit__(self, *_error: object) -> None:
        if not self.closed:
            self._store.abort_multipart_upload(**self._at)

    def write(self, chunk: bytes) -> int:
        self._held += chunk
        self.size += len(chunk)
        if len(self._held) >= PART:
            self._send()
        return len(chunk)

    def flush(self) -> None:
        """Do nothing: a part may not be as small as what a writer would flush."""

    def complete(self) -> None:
        """Send the rest, and let the object appear; it replaces an earlier one in that moment."""
        self._send()
        self._store.complete_multipart_upload(**self._at, MultipartUpload={"Parts": self._parts})
        self.closed = True

    def _send(self) -> None:
        number = len(self._parts) + 1
        sent = self._store.upload_part(**self._at, PartNumber=number, Body=self._held)
        self._parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self._held = bytearray()


def make_table(source: str, outcome: str) -> dict[str, Any]:
    """Read the export once, from its first byte to its last, and write the table."""
    from pyarrow import parquet

    from airflow_s3stream.hooks.s3stream import S3StreamHook

    rows = groups = 0
    # Unpacking is slower than most lines, so half of what is read ahead otherwise is plenty.
    with S3StreamHook().open_object(source, max_memory="64MiB") as stream, Upload(outcome) as upload:
        made = transform(schema().empty_table()).schema
        with parquet.ParquetWriter(upload, made, compression="zstd") as writer:
            for group in row_groups(transform(table) for table in tables(stream, source)):
                writer.write_table(group, row_group_size=len(group))
                rows, groups = rows + len(group), groups + 1
        # The stream verifies the export when its last byte is read, and raises if it is not what the store keeps. To
        # read less than all of it would be to publish what nobody verified.
        if not stream.verification:
            raise RuntimeError(f"{source} was not read to its end")
        upload.complete()
    return {
        "uri": outcome,
        "rows": rows,
        "row_groups": groups,
        "bytes": upload.size,
        "source": source,
        "source_bytes": stream.size,
        "source_etag": stream.etag,
        "verification": stream.verification,
    }


# The object appears whole, so that it is there is enough. Rescheduling frees the worker between two looks.
@task.sensor(
    poke_interval=timedelta(minutes=10).total_seconds(),
    timeout=timedelta(days=3).total_seconds(),
    mode="reschedule",
)
def arrived(source: str) -> bool:
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook().check_for_key(source)


@task(outlets=[ORDERS], multiple_outputs=False)
def tabulate(source: str, outcome: str, *, outlet_events: Any) -> dict[str, Any]:
    made = make_table(source, outcome)
    outlet_events[ORDERS].extra = {"uri": outcome, "rows": made["rows"]}
    return made


def hopeless(reason: str) -> Exception:
    """Return the error that fails a task at once, however many retries are left."""
    try:
        from airflow.sdk.exceptions import AirflowFailException
    except ImportError:  # Airflow 3.1
        from airflow.exceptions import AirflowFailException

    return AirflowFailException(reason)


@dag(
    dag_id="fetch_and_transform",
    # The logical date is the day a run is about, and the run is due when that day is over. Spelled out, since what a
    # bare "@daily" means depends on how the deployment reads cron expressions.
    schedule=CronDataIntervalTimetable("0 0 * * *", timezone="UTC"),
    start_date=datetime(2024, 1, 1),
    # Switching the DAG on must not fetch years at once. History is a decision: `airflow backfill create`.
    catchup=False,
    max_active_runs=4,
    params={
        "day": Param(
            None,
            type=["null", "string"],
            pattern=r"^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$",
            description="Make the table of this day (2024-01-01), whatever the run's date is.",
        )
    },
    user_defined_macros={"day_of": day_of},
    default_args={
        "retries": 5,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": DOUBLE,
        "max_retry_delay": timedelta(minutes=30),
        "execution_timeout": timedelta(hours=6),
    },
    tags=["s3stream", "example"],
    doc_md=__doc__,
)
def fetch_and_transform() -> None:
    arrived(SOURCE) >> tabulate(SOURCE, OUTCOME)


fetch_and_transform()
