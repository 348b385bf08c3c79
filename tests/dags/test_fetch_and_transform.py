"""A compressed CSV streamed from an S3 server, and written back to it as Parquet."""

from __future__ import annotations

import csv
import gzip
import io
import random
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import numpy
import pyarrow
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet
import pytest

from airflow_s3stream.config import MiB
from tests.dags.conftest import Airflow, DagRun, Refused
from tests.support import s3fault
from tests.support.s3calls import Answer
from tests.support.s3fault import S3Fault, S3FaultProxy
from tests.support.stores import Store
from tests.support.wire import Head

DAG = "fetch_and_transform"
COUNTRIES = ["DE", "FR", "US"]
HEADER = "order_id,ordered_at,country,sku,quantity,unit_price,status"


def source(day: str) -> str:
    return f"exports/date={day}/orders.csv.gz"


def outcome(day: str) -> str:
    return f"orders/date={day}/orders.parquet"


def export(day: str, *, rows: int = 500, seed: int = 0) -> bytes:
    """Make the orders of a day, as text."""
    draw = random.Random(f"{day} {seed}")
    lines = [HEADER]
    for number in range(rows):
        status = draw.choice(["paid", "shipped", "cancelled", ""])
        at = f"{day}T{draw.randrange(24):02d}:{draw.randrange(60):02d}:00Z"
        price = Decimal(draw.randrange(1, 100_000)) / 100
        lines.append(f'{number},{at},{draw.choice(COUNTRIES)},"A,{number}",{draw.randrange(1, 9)},{price},{status}')
    return "".join(f"{line}\n" for line in lines).encode()


def fill(store: Store, day: str, **about: Any) -> bytes:
    text = export(day, **about)
    store.put(source(day), gzip.compress(text, mtime=0))
    return text


def expected(text: bytes) -> list[dict[str, Any]]:
    """Transform the orders again, with the standard library."""
    return [
        {
            "order_id": int(row["order_id"]),
            "ordered_at": datetime.strptime(row["ordered_at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC),
            "country": row["country"],
            "sku": row["sku"],
            "quantity": int(row["quantity"]),
            "unit_price": Decimal(row["unit_price"]),
            "status": row["status"],
            "total": int(row["quantity"]) * Decimal(row["unit_price"]),
        }
        for row in csv.DictReader(io.StringIO(text.decode()))
        if row["status"] != "cancelled"
    ]


def table(store: Store, day: str) -> pyarrow.Table:
    return pyarrow.parquet.read_table(io.BytesIO(store.get(outcome(day))), partitioning=None)


def run(airflow: Airflow, store: Store, day: str | None, **about: Any) -> DagRun:
    date = f"{day}T00:00:00+00:00" if day else None
    return airflow.run(DAG, store, variables={"orders_bucket": store.bucket}, logical_date=date, **about)


def test_the_outcome_is_the_days_table(airflow: Airflow, moto: Store) -> None:
    """Typed, without what was cancelled, with what each order comes to; and nothing of its neighbours'."""
    text = fill(moto, "2024-01-01")
    fill(moto, "2024-01-02", rows=3)
    done = run(airflow, moto, "2024-01-01")
    assert done.state == "success", done.log
    assert done.tasks == {"arrived": "success", "tabulate": "success"}
    made = table(moto, "2024-01-01")
    assert made.to_pylist() == expected(text)
    assert {name: str(made.schema.field(name).type) for name in ("ordered_at", "unit_price", "total")} == {
        "ordered_at": "timestamp[ms, tz=UTC]", "unit_price": "decimal128(12, 2)", "total": "decimal128(18, 2)",
    }  # fmt: skip
    told = done.returned["tabulate"]
    assert (
        told.items()
        >= {
            "uri": f"s3://{moto.bucket}/{outcome('2024-01-01')}",
            "rows": made.num_rows,
            "row_groups": 1,
            "bytes": len(moto.get(outcome("2024-01-01"))),
            "source_bytes": len(moto.get(source("2024-01-01"))),
            "verification": "md5-etag",
        }.items()
    )


def test_a_day_run_again_comes_to_the_same_bytes(airflow: Airflow, moto: Store) -> None:
    """And what a corrected export says replaces what the earlier one said."""
    bodies = []
    fill(moto, "2024-02-01")
    for _ in range(2):
        done = run(airflow, moto, "2024-02-01")
        assert done.state == "success", done.log
        bodies.append(moto.get(outcome("2024-02-01")))
    assert bodies[0] == bodies[1]
    text = fill(moto, "2024-02-01", seed=1)
    assert run(airflow, moto, "2024-02-01").state == "success"
    assert table(moto, "2024-02-01").to_pylist() == expected(text)


@pytest.mark.parametrize(
    ("about", "day"),
    [
        ({"run_after": "2024-04-02T05:00:00+00:00"}, "2024-04-01"),
        ({"run_after": "2024-04-02T05:00:00+00:00", "run_conf": {"day": "2023-12-31"}}, "2023-12-31"),
    ],
    ids=["the day before it was due", "the parameter"],
)
def test_a_run_without_logical_date_has_a_day_too(
    airflow: Airflow, moto: Store, about: dict[str, Any], day: str
) -> None:
    """Triggered by hand, a run is about the last day that is over, or the one it is told."""
    text = fill(moto, day, rows=5)
    done = run(airflow, moto, None, **about)
    assert done.state == "success", done.log
    assert table(moto, day).to_pylist() == expected(text)


def test_an_export_that_is_not_there_yet_is_waited_for(airflow: Airflow, moto: Store) -> None:
    """An object appears whole, so that it is there is enough."""
    uri = f"s3://{moto.bucket}/{source('2024-05-01')}"
    # A run sets the connection that a call uses.
    fill(moto, "2024-05-02", rows=1)
    run(airflow, moto, "2024-05-02")
    before = airflow.call(DAG, "arrived", uri)
    fill(moto, "2024-05-01", rows=1)
    assert [before, airflow.call(DAG, "arrived", uri)] == [False, True]


def test_a_day_without_orders_has_an_empty_table(airflow: Airflow, moto: Store) -> None:
    """With all its columns, so that whoever reads a year of them meets no hole."""
    fill(moto, "2024-06-01", rows=0)
    done = run(airflow, moto, "2024-06-01")
    assert done.state == "success", done.log
    made = table(moto, "2024-06-01")
    assert (made.num_rows, made.column_names) == (0, [*HEADER.split(","), "total"])


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (lambda text: gzip.compress(text + b"x,2024-07-01T00:00:00Z,DE,A,1,1.00,paid\n"), "invalid value 'x'"),
        (lambda text: gzip.compress(text + b"1,2\n"), "Expected 7 columns, got 2"),
        (lambda text: gzip.compress(text.replace(b"unit_price", b"price", 1)), "Column 'unit_price'"),
        (lambda text: gzip.compress(text)[:-20], "Truncated compressed stream"),
        (lambda text: text, "incorrect header check"),
    ],
    ids=["a value of another type", "a row too short", "a column missing", "cut short", "not compressed"],
)
def test_what_is_not_a_table_fails_the_day_at_once(
    airflow: Airflow, moto: Store, spoil: Callable[[bytes], bytes], told: str
) -> None:
    """The error names the export, no retry is waited for, and the earlier table stays as it was."""
    moto.put(outcome("2024-07-01"), b"the earlier table")
    # Enough for several batches, so that rows before the wrong one are on their way already.
    moto.put(source("2024-07-01"), spoil(export("2024-07-01", rows=40_000)))
    done = run(airflow, moto, "2024-07-01")
    assert done.tasks == {"arrived": "success", "tabulate": "failed"}
    assert f"s3://{moto.bucket}/{source('2024-07-01')} cannot be read as a table" in done.log
    assert told in done.log
    assert moto.get(outcome("2024-07-01")) == b"the earlier table"
    assert moto.uploads() == []


def make_table(airflow: Airflow, store: Store, day: str, endpoint_url: str) -> dict[str, Any]:
    """Call what the task calls, without the task's retries."""
    uris = (f"s3://{store.bucket}/{key}" for key in (source(day), outcome(day)))
    made: dict[str, Any] = airflow.call_function(DAG, "make_table", *uris, endpoint_url=endpoint_url)
    return made


def test_a_table_of_many_row_groups_goes_up_in_parts(airflow: Airflow, rclone: Store) -> None:
    """Every order is in it once, in order; large enough for more than one of each, which takes some seconds."""
    draw, rows = numpy.random.default_rng(1), 600_000
    times = numpy.datetime64("2024-08-01") + draw.integers(0, 86_400, rows).astype("timedelta64[s]")
    columns = {
        "order_id": numpy.arange(rows),
        "ordered_at": pyarrow.array(times, pyarrow.timestamp("s", "UTC")),
        "country": pyarrow.array(COUNTRIES).take(draw.integers(0, 3, rows)),
        # Long and random: nothing makes it small.
        "sku": [sku.hex() for sku in numpy.frombuffer(draw.bytes(32 * rows), "V32").tolist()],
        "quantity": draw.integers(1, 9, rows),
        "unit_price": draw.integers(1, 100_000, rows) / 100,
        "status": pyarrow.array(["paid", "shipped", "cancelled"]).take(draw.integers(0, 3, rows)),
    }
    made = pyarrow.table(columns)
    text = io.BytesIO()
    pyarrow.csv.write_csv(made, text)
    rclone.put(source("2024-08-01"), gzip.compress(text.getvalue(), compresslevel=1))
    with S3FaultProxy(rclone.endpoint_url) as proxy:
        told = make_table(airflow, rclone, "2024-08-01", proxy.endpoint_url)
        assert len(set(proxy.parts())) > 1
    # Parquet has no seconds.
    found = table(rclone, "2024-08-01")
    found = found.set_column(1, "ordered_at", found["ordered_at"].cast(made.schema.field("ordered_at").type))
    kept = made.filter(pyarrow.compute.not_equal(made["status"], "cancelled"))
    assert all(found[name].equals(kept[name]) for name in ("order_id", "ordered_at", "country", "sku", "status"))
    cents = numpy.rint(kept["unit_price"].to_numpy() * 100) * kept["quantity"].to_numpy()
    assert (numpy.rint(found["total"].cast(pyarrow.float64()).to_numpy() * 100) == cents).all()
    assert told["rows"] == kept.num_rows
    assert told["row_groups"] > 1
    assert told["bytes"] > 16 * MiB


def wrong_checksum() -> S3Fault:
    """Let the store promise a checksum that the bytes do not have."""

    def rewrite(call: Any, answer: Answer) -> Answer:
        more = [("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), ("x-amz-checksum-type", "FULL_OBJECT")]
        return Answer(Head(answer.head.start, [*answer.head.headers, *more]), answer.body)

    return S3Fault("wrong checksum", "HeadObject", rewrite=rewrite).always()


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        (wrong_checksum(), "IntegrityError"),
        (s3fault.refuse("UploadPart", 403, "AccessDenied"), "UploadPart"),
        (s3fault.refuse("CompleteMultipartUpload", 403, "AccessDenied"), "CompleteMultipartUpload"),
    ],
    ids=["wrong checksum", "UploadPart", "CompleteMultipartUpload"],
)
def test_on_failure_nothing_is_published(airflow: Airflow, moto: Store, fault: S3Fault, told: str) -> None:
    """The earlier table stays, and no upload is left."""
    moto.put(outcome("2024-09-01"), b"the earlier table")
    fill(moto, "2024-09-01")
    with S3FaultProxy(moto.endpoint_url, fault) as proxy, pytest.raises(Refused, match=told):
        make_table(airflow, moto, "2024-09-01", proxy.endpoint_url)
    assert moto.get(outcome("2024-09-01")) == b"the earlier table"
    assert moto.uploads() == []
