"""
# A large prefix, shared out among workers

One process fetches as many small objects as one core can, so a prefix of millions is work for several. It is split
by key range into pieces of about the same number of objects, and each piece is a task of its own: with its own log,
retries and XCom, and run again alone by clearing it.

    airflow dags trigger download_sharded --conf '{
      "source": "s3://my-bucket/images/",
      "directory": "/mnt/shared/images",
      "pieces": 64
    }'

The directory has to be one that all workers see. Each run makes a directory of its own below it, named after the
moment of planning, and below that one for each piece: `20240101T120000Z/0000`, `.../0001` and so on. Nothing is in two
of them, since no two key ranges overlap.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_s3stream.operators.s3_to_local import S3PrefixToLocalOperator

# What `[core] max_map_length` allows unless it was raised.
MOST_PIECES = 1024


@task(retries=3)
def plan(*, params: dict[str, Any]) -> list[dict[str, Any]]:
    """Split the prefix by probing it, which takes some requests per piece and not one per thousand keys."""
    from datetime import UTC
    from pathlib import Path

    from airflow_s3stream.hooks.s3stream import S3StreamHook

    ranges = S3StreamHook().split_prefix(params["source"], pieces=params["pieces"])
    # A later plan may draw the borders elsewhere: in the same directories, an object would then be there twice. The
    # name of this one stays with the plan, so a piece that is tried again finds what it already has.
    run = Path(params["directory"]) / f"{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    return [{**keys, "directory": str(run / f"{number:04d}")} for number, keys in enumerate(ranges)]


# all_done: one piece that failed must not hide what became of the others. But then this task decides whether the
# run succeeded, so it has to fail when one is missing.
@task(trigger_rule="all_done", retries=0, multiple_outputs=False)
def summarize(planned: list[dict[str, Any]] | None, results: list[dict[str, Any]]) -> dict[str, Any]:
    """Sum up the pieces, and fail naming those that were not downloaded."""
    from pathlib import Path

    if planned is None:
        raise RuntimeError("nothing was downloaded, since the task `plan` failed")
    # A failed instance leaves no result, so positions do not match; directories do.
    done = {result["directory"] for result in results}
    missing = [each["directory"] for each in planned if each["directory"] not in done]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(planned)} pieces were not downloaded: {', '.join(missing)}")
    return {
        "pieces": len(planned),
        "directory": str(Path(planned[0]["directory"]).parent) if planned else None,
        **{name: sum(result[name] for result in results) for name in ("objects", "bytes", "skipped", "failed")},
    }


@dag(
    dag_id="download_sharded",
    schedule=None,
    start_date=datetime(2024, 1, 1),
    params={
        "source": Param(
            "s3://my-bucket/images/",
            type="string",
            pattern="^s3://[^/]+",
            description="The bucket and the prefix to download.",
        ),
        "directory": Param(
            "/mnt/shared/images",
            type="string",
            pattern="^/",
            description="Where to: an absolute path that is the same place on every worker.",
        ),
        "pieces": Param(
            16, type="integer", minimum=1, maximum=MOST_PIECES, description="Into how many tasks to split, about."
        ),
    },
    # For what passes, as a worker that is lost. A piece that is tried again goes on where it was.
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1), "execution_timeout": timedelta(hours=6)},
    tags=["s3stream", "example"],
    doc_md=__doc__,
)
def download_sharded() -> None:
    planned = plan()
    pieces = S3PrefixToLocalOperator.partial(
        task_id="download",
        s3_prefix="{{ params.source }}",
        # Eight pieces at a time over 64 connections each: what the bucket sees, however many pieces there are. The
        # limit holds within one run; where several share a bucket, give them a pool.
        max_active_tis_per_dagrun=8,
        connections=64,
        # In the grid, the place says more than a number.
        map_index_template="{{ task.directory }}",
    ).expand_kwargs(planned)
    summarize(planned, pieces.output)


download_sharded()
