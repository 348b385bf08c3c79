"""
# What killed copies left behind

Aborts, once a day, multipart uploads that nobody will complete: what was sent of them is invisible, and billed.
Only those that look as `airflow_s3stream` begins them, and of which nothing was heard for longer than any copy can
take, with its retries and the waits between them: an upload that a next try will go on with looks the same.

    airflow variables set swept_prefix s3://my-bucket/incoming/

To see first what it would do: `airflow dags trigger sweep_uploads --conf '{"dry_run": true}'`.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from airflow.sdk import Param, dag

from airflow_s3stream.operators.s3_uploads import S3AbortUploadsOperator


@dag(
    dag_id="sweep_uploads",
    schedule="@daily",
    start_date=datetime(2024, 1, 1),
    catchup=False,  # there is nothing to sweep in the past
    max_active_runs=1,
    params={
        "older_than": Param("2d", type="string", description="More than any copy can take, with all its tries."),
        "dry_run": Param(False, type="boolean", description="Only say what would be aborted."),
    },
    default_args={"retries": 2, "retry_delay": timedelta(minutes=5)},
    tags=["s3stream", "example"],
    doc_md=__doc__,
)
def sweep_uploads() -> None:
    S3AbortUploadsOperator(
        task_id="sweep",
        s3_prefix="{{ var.value.swept_prefix }}",
        older_than="{{ params.older_than }}",
        dry_run="{{ params.dry_run }}",
    )


sweep_uploads()
