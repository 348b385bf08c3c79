"""
# Many URLs, one mapped task each

Trigger it with a list and a destination:

    airflow dags trigger ingest_many_urls --conf '{
      "urls": ["https://example.org/a.csv", "https://example.org/b.csv"],
      "destination": "s3://my-bucket/incoming"
    }'

Each URL becomes a task instance of its own: with its own log, retries and XCom, and run again alone by
clearing it. A run maps at most `[core] max_map_length` URLs (1,024 unless raised); give a longer list in
several runs.

The URLs are whatever the one who triggers it writes, so they and their redirects may lead to public addresses only.
What of one's own network may be copied as well is for others to say, in an Airflow Variable:

    airflow variables set ingest_allow_private 10.20.0.0/16
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, task

from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator


@task(retries=0)
def plan(*, params: dict[str, Any]) -> list[dict[str, str]]:
    """Name a key for each URL, and refuse two URLs for one key: the later would replace the earlier."""
    from pathlib import PurePosixPath
    from urllib.parse import unquote, urlsplit

    urls_of: dict[str, list[str]] = {}
    for url in params["urls"]:
        name = unquote(PurePosixPath(urlsplit(url).path).name)
        if not name:
            raise ValueError(f"{url} has no file name to make a key of")
        urls_of.setdefault(f"{params['destination'].rstrip('/')}/{name}", []).append(url)
    for key, urls in urls_of.items():
        if len(urls) > 1:
            raise ValueError(f"{' and '.join(urls)} would both become {key}")
    return [{"url": url, "s3_key": key} for key, (url,) in urls_of.items()]


# all_done: one URL that is gone must not hide what became of the others. But then this task decides whether
# the run succeeded, so it has to fail when one is missing.
@task(trigger_rule="all_done", retries=0, multiple_outputs=False)
def summarize(planned: list[dict[str, str]] | None, results: list[dict[str, Any]]) -> dict[str, int]:
    """Count what became of the URLs, and fail naming those that were not copied."""
    if planned is None:
        raise RuntimeError("nothing was copied, since the task `plan` failed")
    # A failed instance leaves no result, so positions do not match; keys do.
    done = {result["uri"]: result for result in results}
    missing = [each["url"] for each in planned if each["s3_key"] not in done]
    statuses = [result["status"] for result in done.values()]
    if missing:
        raise RuntimeError(f"{len(missing)} of {len(planned)} were not copied: {', '.join(missing)}")
    return {
        "copied": statuses.count("copied"),
        "skipped": statuses.count("skipped"),
        "bytes": sum(result["bytes"] for result in done.values() if result["status"] == "copied"),
    }


@dag(
    dag_id="ingest_many_urls",
    schedule=None,
    start_date=datetime(2024, 1, 1),
    params={
        "urls": Param(
            ["https://d37ci6vzurychx.cloudfront.net/misc/taxi_zone_lookup.csv"],
            type="array",
            items={"type": "string", "pattern": "^https?://"},
            minItems=1,
            description="What to copy.",
        ),
        "destination": Param(
            "s3://my-bucket/incoming",
            type="string",
            pattern="^s3://[^/]+",
            description="The bucket and the beginning of the keys; a key ends as its URL's path does.",
        ),
    },
    default_args={"retries": 3, "retry_delay": timedelta(minutes=1)},
    tags=["s3stream", "example"],
    doc_md=__doc__,
)
def ingest_many_urls() -> None:
    planned = plan()
    copies = UrlToS3Operator.partial(
        task_id="copy",
        if_exists="skip_unchanged",
        # Four URLs at a time, each over four connections: 16 streams and their memory, however long the list.
        # The limit holds within one run; where several share a source or a worker, give them a pool.
        max_active_tis_per_dagrun=4,
        connections=4,
        # Not a parameter of the run: then the one who names the URLs would also say what they may lead to.
        allow_private="{{ var.value.get('ingest_allow_private', '') }}",
        # In the grid, the key says more than a number.
        map_index_template="{{ task.s3_key }}",
    ).expand_kwargs(planned)
    summarize(planned, copies.output)


ingest_many_urls()
