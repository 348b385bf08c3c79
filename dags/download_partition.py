"""
# A day of sensor readings, aggregated in memory

A day arrives as thousands of small objects of JSON lines, one reading a line:

    s3://my-bucket/readings/date=2024-01-01/station-0042/10.jsonl
    {"station": "station-0042", "at": "2024-01-01T10:00:00Z", "celsius": 3.25}

The bodies are read many at a time, summed up per station as they come, and never touch a disk. What comes of it is
one object, with a line for each station:

    s3://my-bucket/stations/date=2024-01-01/celsius.jsonl

A day's outcome depends on nothing but that day, and running it again replaces it with the same bytes. So days may
run in any order and several at once, and history is a backfill:

    airflow variables set readings_bucket my-bucket
    airflow backfill create --dag-id download_partition --from-date 2024-01-01 --to-date 2024-12-31 --max-active-runs 4

| variable | default | |
|---|---|---|
| `readings_bucket` | none, must be set | where the readings are, and where the outcome goes |
| `readings_prefix` | `readings` | the beginning of the readings' keys |
| `readings_outcome` | `stations` | the beginning of the outcome's keys |

The store is the connection `aws_default`.
"""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from airflow import __version__ as airflow_version
from airflow.sdk import Asset, Param, dag, task
from airflow.timetables.interval import CronDataIntervalTimetable

STATIONS = Asset("station_temperatures")

# Airflow 3.2 made this the factor; 3.1 refuses anything but a bool, and doubles.
DOUBLE = True if airflow_version.startswith("3.1.") else 2.0

DAY = "date={{ day_of(params, dag_run) }}"
SOURCE = "s3://{{ var.value.readings_bucket }}/{{ var.value.get('readings_prefix', 'readings') }}/" + DAY + "/"
OUTCOME = "s3://{{ var.value.readings_bucket }}/{{ var.value.get('readings_outcome', 'stations') }}/" + DAY


def day_of(params: Any, dag_run: Any) -> str:
    """
    Return the day a run is about, as ``2024-01-01``.

    ``params.day`` when given, else the logical date. A run triggered without one is about yesterday: the last day
    that was over when the run was due.
    """
    if params["day"]:
        return str(params["day"])
    return str((dag_run.logical_date or dag_run.run_after - timedelta(days=1)).strftime("%Y-%m-%d"))


class Tally(NamedTuple):
    """What is kept of any number of readings."""

    readings: int
    total: float
    least: float
    greatest: float

    def plus(self, other: Tally) -> Tally:
        return Tally(
            self.readings + other.readings,
            self.total + other.total,
            min(self.least, other.least),
            max(self.greatest, other.greatest),
        )


def add(tallies: dict[str, Tally], more: dict[str, Tally]) -> None:
    for station, tally in more.items():
        known = tallies.get(station)
        tallies[station] = known.plus(tally) if known else tally


def tally_of(key: str, body: bytes) -> dict[str, Tally]:
    """Sum up one object by station; the engine calls this beside its network loop, as each body arrives."""
    tallies: dict[str, Tally] = {}
    for number, line in enumerate(body.splitlines(), 1):
        try:
            reading = json.loads(line)
            celsius = float(reading["celsius"])
            add(tallies, {str(reading["station"]): Tally(1, celsius, celsius, celsius)})
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(f"{key}, line {number} is not a reading: {error!r}") from error
    return tallies


# Whoever fills a partition writes this marker when the last object is there, as Spark and its kin do. Without it, a
# day that is still arriving looks like a whole one. Rescheduling frees the worker between two looks.
@task.sensor(
    poke_interval=timedelta(minutes=10).total_seconds(),
    timeout=timedelta(days=3).total_seconds(),
    mode="reschedule",
)
def arrived(source: str) -> bool:
    # Imported here, since a DAG file is parsed every half minute and needs none of it for that.
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    return S3Hook().check_for_key(f"{source}_SUCCESS")


@task(outlets=[STATIONS], multiple_outputs=False)
def aggregate(source: str, outcome: str, *, outlet_events: Any) -> dict[str, Any]:
    """Read every object of the day, and write one line per station."""
    from time import monotonic

    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    from airflow_s3stream.hooks.s3stream import S3StreamHook

    hook = S3StreamHook()
    bucket = S3Hook.parse_s3_url(source)[0]
    # One lister gives keys in their order, and read_objects bodies in the order asked: sums of floating-point numbers
    # depend on it, and the same day must come to the same bytes. Lazy: reading begins with the first page of the
    # listing, and no list of all keys is ever made.
    wanted = (entry for entry in hook.list_objects(source, listers=1) if entry.key.endswith(".jsonl"))
    began, objects, tallies = monotonic(), 0, dict[str, Tally]()
    try:
        for _key, more in hook.read_objects(wanted, bucket, ordered=True, apply=tally_of):
            add(tallies, more)
            objects += 1
    except ValueError as error:
        # Wrong now and wrong in a minute; the retries are for a network that breaks.
        raise hopeless(str(error)) from error
    seconds = monotonic() - began
    uri = write(f"{outcome}/celsius.jsonl", tallies)
    outlet_events[STATIONS].extra = {"uri": uri, "stations": len(tallies)}
    return {
        "uri": uri,
        "objects": objects,
        "readings": sum(tally.readings for tally in tallies.values()),
        "stations": len(tallies),
        "seconds": seconds,
        "objects_per_second": objects / seconds,
    }


def write(uri: str, tallies: dict[str, Tally]) -> str:
    """Put the outcome in one request: it replaces an earlier one as a whole, or not at all."""
    from airflow.providers.amazon.aws.hooks.s3 import S3Hook

    lines = [
        json.dumps(
            {
                "station": station,
                "readings": tally.readings,
                "mean": tally.total / tally.readings,
                "least": tally.least,
                "greatest": tally.greatest,
            }
        )
        for station, tally in sorted(tallies.items())
    ]
    bucket, key = S3Hook.parse_s3_url(uri)
    body = "".join(f"{line}\n" for line in lines).encode()
    S3Hook().get_conn().put_object(Bucket=bucket, Key=key, Body=body, ContentType="application/x-ndjson")
    return uri


def hopeless(reason: str) -> Exception:
    """Return the error that fails a task at once, however many retries are left."""
    try:
        from airflow.sdk.exceptions import AirflowFailException
    except ImportError:  # Airflow 3.1
        from airflow.exceptions import AirflowFailException

    return AirflowFailException(reason)


@dag(
    dag_id="download_partition",
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
            description="Aggregate this day (2024-01-01), whatever the run's date is.",
        )
    },
    user_defined_macros={"day_of": day_of},
    default_args={
        "retries": 5,
        "retry_delay": timedelta(minutes=1),
        "retry_exponential_backoff": DOUBLE,
        "max_retry_delay": timedelta(minutes=30),
        "execution_timeout": timedelta(hours=1),
    },
    tags=["s3stream", "example"],
    doc_md=__doc__,
)
def download_partition() -> None:
    arrived(SOURCE) >> aggregate(SOURCE, OUTCOME)


download_partition()
