"""The hook and the operator for uploads left behind, over an Airflow connection."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from airflow_s3stream.exceptions import ConfigError, SinkDenied, SinkUnavailable, Stopped
from tests.support.s3fault import S3Fault, S3FaultProxy, hold_answer, refuse
from tests.support.stores import Store
from tests.support.uploads import leave, leave_as_others
from tests.support.waiting import wait_for

pytestmark = pytest.mark.airflow


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch, localstack: Store) -> Iterator[S3FaultProxy]:
    """The store behind a proxy, as the connection ``store``, which alone has the credentials."""
    with S3FaultProxy(localstack.endpoint_url) as proxy:
        about = {
            "conn_type": "aws",
            "login": os.environ["AWS_ACCESS_KEY_ID"],
            "password": os.environ["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": proxy.endpoint_url, "region_name": "us-east-1"},
        }
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(about))
        monkeypatch.delenv("AWS_ACCESS_KEY_ID")
        monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
        yield proxy


def strike(proxy: S3FaultProxy, *faults: S3Fault) -> None:
    proxy.faults[:] = faults


def hook() -> Any:
    from airflow_s3stream.hooks.s3stream import S3StreamHook

    return S3StreamHook("store")


def operator(**settings: Any) -> Any:
    from airflow_s3stream.operators.s3_uploads import S3AbortUploadsOperator

    return S3AbortUploadsOperator(task_id="sweep", aws_conn_id="store", **settings)


class TestHook:
    """list_uploads and abort_uploads for @task code."""

    def test_uploads_are_listed_one_after_the_other(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """With their sizes, if one asks."""
        left = [leave(localstack, f"in/{number}", parts=number) for number in range(3)]
        leave(localstack, "out")
        found = list(hook().list_uploads(f"s3://{localstack.bucket}/in/", sizes=True))
        assert [upload.upload_id for upload in found] == left
        assert [upload.parts for upload in found] == [0, 1, 2]
        assert list(hook().list_uploads("in/", localstack.bucket, older_than=timedelta(hours=1))) == []

    def test_what_is_old_enough_is_aborted(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """Two days, if nothing is said."""
        left = leave(localstack, "a")
        assert hook().abort_uploads(f"s3://{localstack.bucket}").left_because == {"begun too recently": 1}
        swept = hook().abort_uploads(None, localstack.bucket, older_than=0)
        assert [named["upload_id"] for named in swept.aborted_uploads] == [left]
        localstack.assert_clean()

    def test_failures_are_in_the_result(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """For code that wants to look at them."""
        leave(localstack, "a")
        strike(proxy, refuse("AbortMultipartUpload", 403, "AccessDenied").always())
        swept = hook().abort_uploads(None, localstack.bucket, older_than=0)
        assert (swept.aborted, swept.failed) == (0, 1)


class TestOperator:
    """execute and on_kill."""

    def test_the_xcom_is_the_result_as_json(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """Counts and names."""
        left, theirs = leave(localstack, "a", parts=2), leave_as_others(localstack, "b")
        value = operator(s3_prefix=f"s3://{localstack.bucket}/", older_than="0s").execute({})
        assert json.loads(json.dumps(value)) == value
        assert value.items() >= {"found": 2, "aborted": 1, "parts": 2, "left": 1, "failed": 0}.items()
        assert [named["upload_id"] for named in value["aborted_uploads"]] == [left]
        assert localstack.uploads() == [theirs]

    def test_every_field_that_differs_from_run_to_run_is_a_template(
        self, localstack: Store, proxy: S3FaultProxy
    ) -> None:
        """Rendered as Airflow does it, to text; empty text means that nothing was said."""
        left = leave(localstack, "in/a")
        made = operator(
            s3_prefix="{{ where }}/", s3_bucket="{{ bucket }}", older_than="{{ 1 - 1 }}s", only_own="{{ True }}",
            dry_run="{{ dry }}", connections="{{ 2 + 1 }}", deadline="{{ 60 }}", region_name="{{ none_given }}",
            retry_attempts="{{ 3 }}", retry_budget="{{ none_given }}",
        )  # fmt: skip
        made.render_template_fields(
            {"where": "in", "bucket": localstack.bucket, "dry": True, "none_given": ""}, made.get_template_env()
        )
        value = made.execute({})
        assert (value["dry_run"], value["aborted"], value["uri"]) == (True, 1, f"s3://{localstack.bucket}/in/")
        assert localstack.uploads() == [left]

    def test_a_timedelta_is_an_age(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """As DAG authors write times."""
        leave(localstack, "a")
        value = operator(s3_prefix=f"s3://{localstack.bucket}/", older_than=timedelta(days=3)).execute({})
        assert (value["older_than"], value["left"]) == (259200.0, 1)

    def test_one_that_is_denied_fails_the_task_for_good(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """The others are aborted before."""
        for key in ("a", "b", "c"):
            leave(localstack, key)
        strike(proxy, refuse("AbortMultipartUpload", 403, "AccessDenied").on(2))
        with pytest.raises(Exception, match=r"1 of 3 uploads below .* could not be aborted, 2 were") as caught:
            operator(s3_prefix=f"s3://{localstack.bucket}/", older_than=0).execute({})
        assert type(caught.value).__name__ == "AirflowFailException"
        assert isinstance(caught.value.__cause__, SinkDenied)
        assert len(localstack.uploads()) == 1

    def test_what_may_pass_is_left_to_airflows_retries(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """The typed error itself."""
        leave(localstack, "a")
        strike(proxy, refuse("AbortMultipartUpload", 500, "InternalError").always())
        with pytest.raises(SinkUnavailable, match="1 of 1 uploads"):
            operator(s3_prefix=f"s3://{localstack.bucket}/", older_than=0, retry_attempts=2).execute({})

    def test_bad_arguments_fail_the_task_at_once(self) -> None:
        """In one sentence."""
        with pytest.raises(Exception, match="older_than='soon'") as caught:
            operator(s3_prefix="s3://b/", older_than="soon").execute({})
        assert isinstance(caught.value.__cause__, ConfigError)

    def test_on_kill_makes_execute_raise(self, localstack: Store, proxy: S3FaultProxy) -> None:
        """While an abort waits for its answer."""
        leave(localstack, "a")
        strike(proxy, hold_answer("AbortMultipartUpload", 50).always())
        running = operator(s3_prefix=f"s3://{localstack.bucket}/", older_than=0)

        def kill() -> None:
            wait_for(lambda: "AbortMultipartUpload" in proxy.operations)
            running.on_kill()

        thread = threading.Thread(target=kill)
        thread.start()
        with pytest.raises(Stopped, match="the task was killed"):
            running.execute({})
        thread.join()

    def test_it_leaves_the_method_of_airflow_alone(self) -> None:
        """BaseOperator has a ``dry_run`` of its own."""
        assert callable(operator(dry_run=True).dry_run)
