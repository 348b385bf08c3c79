"""
Run two of the example DAGs against servers on this machine, and compare what they did with where it came from.

An HTTP origin serves made-up trip data, rclone serves S3, a throw-away Airflow runs `ingest_trip_data` for two
months, and `download_partition` for a day of small objects. Then both ends are read again by means that share no
code with the package.
"""

from __future__ import annotations

import contextlib
import shutil
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote

from rich.console import Console

from demo import report
from demo.airflow_home import AirflowHome, clean_environment
from demo.origin import Origin
from demo.processes import DemoFailed
from demo.readings import make_day, sum_up
from demo.store import ACCESS_KEY, REGION, SECRET_KEY, serving
from demo.trips import make_months

if TYPE_CHECKING:
    from collections.abc import Iterator

REPOSITORY = Path(__file__).resolve().parents[1]
WORK = REPOSITORY / ".demo"
LOGS = WORK / "logs"
OBJECTS = WORK / "objects"
INGEST = "ingest_trip_data"
BUCKET = "trip-data"
MONTHS = ["2024-01", "2024-02", "2024-03"]
RUNS = ["2024-01-01", "2024-02-01"]
AGGREGATE = "download_partition"
READINGS = "readings"
DAY = "2024-01-01"

console = Console(highlight=False, soft_wrap=True)
if console.width < report.WIDTH:
    # Into a file or a narrow window: a line that wraps can still be read, a table that was cut cannot.
    console.width = report.WIDTH


def main() -> int:
    """Return 0 if every object is its source's bytes, 1 if not, 130 when interrupted."""
    _interrupt_once()
    try:
        return _demo()
    except DemoFailed as failure:
        console.print(f"[bold red]failed:[/] {failure}")
        if failure.log:
            tail = failure.log.read_text(errors="replace").splitlines()[-60:]
            console.print(f"the end of {failure.log.relative_to(REPOSITORY)}:")
            console.print("\n".join(tail), markup=False)
        return 1
    except KeyboardInterrupt:
        console.print("interrupted; everything that was started has been stopped")
        return 130


def _interrupt_once() -> None:
    """Let SIGINT and SIGTERM end the demo in order, and let no second one end the putting away."""

    def handle(_number: int, _frame: object) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, handle)


def _demo() -> int:
    # Objects of an earlier run would be skipped as unchanged; there would be nothing to see.
    shutil.rmtree(OBJECTS, ignore_errors=True)
    shutil.rmtree(LOGS, ignore_errors=True)
    with _step(f"make {len(MONTHS)} months of trip data (kept between runs)"):
        sums = make_months(WORK / "origin", MONTHS)
    with _step("make a day of sensor readings, in thousands of small objects"):
        make_day(OBJECTS / READINGS, DAY)
    with contextlib.ExitStack() as stack:
        with _step("start the HTTP origin and the S3 server"):
            origin = stack.enter_context(Origin(WORK / "origin"))
            store = stack.enter_context(serving(OBJECTS, log=LOGS / "s3.log", env=clean_environment()))
            store.client.create_bucket(Bucket=BUCKET)
        airflow = AirflowHome(WORK / "airflow", REPOSITORY / "dags", LOGS, _settings(origin.url, store.endpoint_url))
        with _step("prepare Airflow: its database, and the pool that spares the source"):
            airflow.prepare("trip_data_source", 2)
        for dag, day in [*((INGEST, day) for day in RUNS), (AGGREGATE, DAY)]:
            _run(airflow, dag, day)
        with _step("read both ends again and compare them"):
            copies = [report.compare(airflow.xcom(INGEST, day, "copy"), origin.url, store, sums) for day in RUNS]
            expected = sum_up(OBJECTS / READINGS, DAY)
            aggregated = report.compare_day(airflow.xcom(AGGREGATE, DAY, "aggregate"), store, expected)
    objects = OBJECTS.relative_to(REPOSITORY)
    return max(report.show(console, copies, objects), report.show_day(console, aggregated, objects))


def _run(airflow: AirflowHome, dag: str, day: str) -> None:
    with _step(f"airflow dags test {dag} {day}"):
        log = airflow.test_dag(dag, day)
        if airflow.state(dag, day) != "success":
            raise DemoFailed(f"the run of {dag} for {day} is {airflow.state(dag, day)}", log)


def _settings(origin: str, endpoint: str) -> dict[str, str]:
    """Point the DAGs at the servers: the same six things that point them at the real ones."""
    return {
        "AIRFLOW_CONN_AWS_DEFAULT": (
            f"aws://{ACCESS_KEY}:{SECRET_KEY}@/?region_name={REGION}&endpoint_url={quote(endpoint, safe='')}"
        ),
        "AIRFLOW_VAR_TRIP_DATA_BUCKET": BUCKET,
        "AIRFLOW_VAR_TRIP_DATA_SOURCE": origin,
        "AIRFLOW_VAR_TRIP_DATA_ALLOW_PRIVATE": "127.0.0.0/8",
        # rclone's S3 keeps no CRC64NVME; the MD5s of the parts are what it can confirm.
        "AIRFLOW_VAR_TRIP_DATA_VERIFICATION": "md5-etag",
        "AIRFLOW_VAR_READINGS_BUCKET": READINGS,
    }


@contextlib.contextmanager
def _step(what: str) -> Iterator[None]:
    began = time.monotonic()
    with console.status(what):
        yield
    console.print(f"{time.monotonic() - began:6.1f} s  {what}")


if __name__ == "__main__":
    sys.exit(main())
