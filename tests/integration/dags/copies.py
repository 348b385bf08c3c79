"""DAGs that copy what a run's conf names, to be killed: with and without a try left."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG

from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator

for dag_id, retries in (("copy_with_retry", 1), ("copy_once", 0)):
    with DAG(
        dag_id,
        schedule=None,
        is_paused_upon_creation=False,
        max_active_runs=100,
        default_args={"retries": retries, "retry_delay": timedelta(0), "execution_timeout": timedelta(minutes=10)},
    ) as dag:
        UrlToS3Operator(
            task_id="copy",
            url="{{ dag_run.conf['url'] }}",
            s3_key="{{ dag_run.conf['s3_key'] }}",
            part_size="5MiB",
            connections=3,
            # Where the tests have their origins.
            allow_private=["127.0.0.0/8"],
        )
    globals()[dag_id] = dag
