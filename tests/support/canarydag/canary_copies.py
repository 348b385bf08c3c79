"""
Copies and downloads with secrets, some of which fail; what they are comes from the file that CANARIES names.

Read at run time by a macro, since what a DAG file itself says is no secret.
"""

from __future__ import annotations

import json
import os
from datetime import datetime
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, task

from airflow_s3stream.operators.s3_to_local import S3ObjectToLocalOperator, S3PrefixToLocalOperator
from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator

GIVEN: dict[str, dict[str, Any]] = json.loads(Path(os.environ["CANARIES"]).read_text())
FILES = os.environ["CANARY_FILES"]
QUICK: dict[str, Any] = {
    "allow_private": "127.0.0.0/8",
    "connect_timeout": 5,
    "read_timeout": 10,
    "retry_attempts": 2,
    "part_size": "5MiB",
}


@task
def in_a_function(name: str) -> dict[str, Any]:
    """Copy by the hook, as a @task function does."""
    from dataclasses import asdict

    from airflow_s3stream.hooks.s3stream import S3StreamHook

    given = GIVEN[name]
    hook = S3StreamHook("store", given["http_conn_id"])
    return asdict(hook.copy_url(given["url"], f"s3://canaries/task/{name}", headers=given["headers"], **QUICK))


@task(trigger_rule="all_done")
def lineage() -> None:
    """Write down what was collected for OpenLineage, and by what."""
    from airflow.sdk.lineage import get_hook_lineage_collector

    collector = get_hook_lineage_collector()
    Path(FILES, "lineage.txt").write_text(f"{type(collector).__name__} {vars(collector)!r}")


with DAG("canary_copies", start_date=datetime(2024, 1, 1), schedule=None, catchup=False,
         user_defined_macros={"given": GIVEN}) as dag:  # fmt: skip
    last = lineage()
    for name, about in GIVEN.items():
        copy = UrlToS3Operator(
            task_id=name, url=f"{{{{ given['{name}'].url }}}}", s3_key=f"s3://canaries/airflow/{name}",
            headers={header: f"{{{{ given['{name}'].headers['{header}'] }}}}" for header in about["headers"]} or None,
            aws_conn_id=about["store"], http_conn_id=about["http_conn_id"], **QUICK,
        )  # fmt: skip
        copy >> last
    for name in ("presigned_well", "presigned_404", "headers_well", "headers_404"):
        in_a_function.override(task_id=f"function_{name}")(name) >> last
    mapped = UrlToS3Operator.partial(task_id="mapped", aws_conn_id="store", **QUICK).expand_kwargs(
        [{"url": GIVEN[name]["url"], "s3_key": f"s3://canaries/mapped/{name}"} for name in GIVEN if "user" in name][:4]
    )
    broken = UrlToS3Operator(
        task_id="broken_template", url=GIVEN["presigned_well"]["url"] + "&x={{ nothing.at.all }}", aws_conn_id="store",
        s3_key="s3://canaries/x",
    )  # fmt: skip
    proxy = {"proxies": {"http": os.environ["CANARY_PROXY"]}}
    for name, store in (("well", "reads"), ("refused", "nowhere"), ("denied", "stale")):
        one = S3ObjectToLocalOperator(
            task_id=f"get_{name}", s3_key="s3://lake/huge.bin", path=f"{FILES}/{name}.bin", aws_conn_id=store,
            retry_attempts=2, part_size="1MiB",
        )  # fmt: skip
        many = S3PrefixToLocalOperator(
            task_id=f"download_{name}", s3_prefix="s3://lake/", directory=f"{FILES}/{name}", aws_conn_id=store,
            retry_attempts=2,
        )  # fmt: skip
        [one, many] >> last
    through = S3ObjectToLocalOperator(
        task_id="get_through_a_proxy", s3_key="s3://lake/huge.bin", path=f"{FILES}/proxied.bin", aws_conn_id="distant",
        botocore_config=proxy, retry_attempts=2,
    )  # fmt: skip
    wrong = S3ObjectToLocalOperator(
        task_id="get_with_bad_settings", s3_key="s3://lake/huge.bin", path=f"{FILES}/bad.bin", aws_conn_id="reads",
        botocore_config={**proxy, "no_such_setting": 1},
    )  # fmt: skip
    [mapped, broken, through, wrong] >> last
