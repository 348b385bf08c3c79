"""Months of trip records: made up, but with the columns of the real thing, and the same bytes on every run."""

from __future__ import annotations

import datetime
import hashlib
from typing import TYPE_CHECKING

import numpy
import pyarrow
import pyarrow.parquet

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROW_GROUPS = 6
ROWS_PER_GROUP = 1_000_000
_SUMS = "SHA256SUMS"


def make_months(folder: Path, months: list[str]) -> dict[str, str]:
    """
    Make sure that ``folder`` holds the months, and return the SHA-256 of each by file name.

    A file whose digest is still the one recorded when it was made is kept. The record has the form that
    ``sha256sum -c`` reads.
    """
    folder.mkdir(parents=True, exist_ok=True)
    recorded = _read_sums(folder / _SUMS)
    sums = {}
    for month in months:
        path = folder / f"yellow_tripdata_{month}.parquet"
        if not path.exists() or sha256_of(path) != recorded.get(path.name):
            _write_month(path, month)
        sums[path.name] = recorded[path.name] = sha256_of(path)
        (folder / _SUMS).write_text("".join(f"{digest}  {name}\n" for name, digest in sorted(recorded.items())))
    return sums


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_sums(path: Path) -> dict[str, str]:
    if not path.exists():
        return {}
    lines = path.read_text().splitlines()
    return {name: digest for digest, _, name in (line.partition("  ") for line in lines)}


def _write_month(path: Path, month: str) -> None:
    # Under another name until it is whole, so that an interrupted run leaves nothing that looks finished.
    unfinished = path.with_suffix(".unfinished")
    writer = None
    for table in _row_groups(month):
        writer = writer or pyarrow.parquet.ParquetWriter(unfinished, table.schema, compression="snappy")
        writer.write_table(table)
    if writer:
        writer.close()
    unfinished.rename(path)


def _row_groups(month: str) -> Iterator[pyarrow.Table]:
    start = datetime.datetime.fromisoformat(f"{month}-01")
    # The month is the seed: each month differs, and each run makes the same.
    random = numpy.random.default_rng(start.year * 100 + start.month)
    for _ in range(ROW_GROUPS):
        yield _trips(random, numpy.datetime64(start, "us"))


def _trips(random: numpy.random.Generator, start: numpy.datetime64) -> pyarrow.Table:
    rows = ROWS_PER_GROUP
    pickup = numpy.sort(random.integers(0, 28 * 86_400, rows)) * 1_000_000
    duration = random.gamma(2.0, 450.0, rows).astype("int64") * 1_000_000
    miles = random.gamma(1.3, 2.6, rows).round(2)
    fare = (3.0 + 2.9 * miles + duration / 60_000_000 * 0.4).round(2)
    tip = (fare * random.choice([0.0, 0.15, 0.2, 0.25], rows)).round(2)
    tolls = random.choice([0.0, 6.94], rows, p=[0.93, 0.07])
    surcharge = random.choice([0.0, 2.5], rows, p=[0.1, 0.9])
    columns = {
        "VendorID": random.integers(1, 3, rows, dtype="int32"),
        "tpep_pickup_datetime": start + pickup.astype("timedelta64[us]"),
        "tpep_dropoff_datetime": start + (pickup + duration).astype("timedelta64[us]"),
        "passenger_count": random.integers(1, 7, rows),
        "trip_distance": miles,
        "RatecodeID": random.choice([1, 2, 5], rows, p=[0.95, 0.04, 0.01]),
        "store_and_fwd_flag": random.choice(["N", "Y"], rows, p=[0.99, 0.01]),
        "PULocationID": random.integers(1, 266, rows, dtype="int32"),
        "DOLocationID": random.integers(1, 266, rows, dtype="int32"),
        "payment_type": random.integers(1, 5, rows),
        "fare_amount": fare,
        "mta_tax": numpy.full(rows, 0.5),
        "tip_amount": tip,
        "tolls_amount": tolls,
        "congestion_surcharge": surcharge,
        "total_amount": (fare + 0.5 + tip + tolls + surcharge).round(2),
    }
    return pyarrow.table(columns)
