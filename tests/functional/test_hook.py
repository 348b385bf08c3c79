"""The hook and the operator over Airflow connections, against real servers."""

from __future__ import annotations

import json
import os
import threading
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.exceptions import ConfigError, SourceUnavailable, Stopped
from tests.support.faults import stall_after, status
from tests.support.origin import serving
from tests.support.sources import NEAR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.stores import Store

pytestmark = pytest.mark.airflow


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch, rclone: Store) -> Iterator[None]:
    """An AWS connection to the store; tests add the HTTP one."""
    extra = {"endpoint_url": rclone.endpoint_url, "region_name": "us-east-1"}
    login, password = os.environ["AWS_ACCESS_KEY_ID"], os.environ["AWS_SECRET_ACCESS_KEY"]
    connect(monkeypatch, "store", conn_type="aws", login=login, password=password, extra=extra)
    # Nothing may come from boto3's own chain: the connection is what is tested.
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    yield


def connect(monkeypatch: pytest.MonkeyPatch, name: str, **about: Any) -> None:
    monkeypatch.setenv(f"AIRFLOW_CONN_{name.upper()}", json.dumps(about))


def hook(**settings: Any) -> Any:
    from airflow_s3stream.hooks.s3stream import S3StreamHook

    return S3StreamHook("store", **settings)


def operator(**settings: Any) -> Any:
    from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator

    # As the author of a DAG says it once, in default_args.
    return UrlToS3Operator(**{"task_id": "copy", "aws_conn_id": "store", "allow_private": NEAR, **settings})


class TaskState:
    """``context["task_state_store"]`` as Airflow 3.3 has it."""

    def __init__(self) -> None:
        self.values: dict[str, object] = {}

    def get(self, key: str, default: object = None) -> object:
        return self.values.get(key, default)

    def set(self, key: str, value: object) -> None:
        assert value is not None
        self.values[key] = value

    def delete(self, key: str) -> None:
        self.values.pop(key, None)


@pytest.mark.usefixtures("connections")
class TestHook:
    """copy_url for @task code."""

    def test_a_url_is_copied_with_the_connections_credentials(self, rclone: Store) -> None:
        """The store checks signatures."""
        with serving(12 * MiB) as origin:
            result = hook().copy_url(origin.url, f"s3://{rclone.bucket}/key", part_size="5MiB", allow_private=NEAR)
            rclone.assert_holds("key", origin.resource.content)
        assert (result.parts, result.connections) == (3, 3)

    def test_a_path_below_the_http_connection_carries_its_credentials(
        self, rclone: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """On every range, with the connection's own headers, and our ones."""
        with serving(12 * MiB) as origin:
            connect(
                monkeypatch, "web", conn_type="http", host="127.0.0.1", port=origin.port, schema="http",
                login="ann", password="secret", extra={"X-Api-Key": "k1"},
            )  # fmt: skip
            hook(http_conn_id="web").copy_url(
                "object.bin", "key", rclone.bucket, headers={"X-Team": "data"}, part_size="5MiB"
            )
            assert len(origin.exchanges) == 3
            for exchange in origin.exchanges:
                assert exchange.header("Authorization") == "Basic YW5uOnNlY3JldA=="
                assert exchange.header("X-Api-Key") == "k1"
                assert exchange.header("X-Team") == "data"
                assert exchange.header("Accept-Encoding") == "identity"
            rclone.assert_holds("key", origin.resource.content)

    def test_credentials_of_a_connection_do_not_go_to_another_host(
        self, rclone: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """An absolute URL elsewhere is refused before anything is sent."""
        connect(monkeypatch, "web", conn_type="http", host="data.example", schema="https", login="ann", password="s")
        with serving(10) as origin:
            with pytest.raises(ConfigError, match=r"not on https://data\.example"):
                hook(http_conn_id="web").copy_url(origin.url, "key", rclone.bucket)
            assert origin.exchanges == []

    def test_credentials_of_an_https_connection_do_not_go_over_http(
        self, rclone: Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The same host and port, without the encryption."""
        with serving(10) as origin:
            connect(
                monkeypatch, "web", conn_type="http", host="127.0.0.1", port=origin.port, schema="https", login="ann"
            )
            with pytest.raises(ConfigError, match="credentials must not go elsewhere"):
                hook(http_conn_id="web").copy_url(origin.url, "key", rclone.bucket)
            assert origin.exchanges == []

    @pytest.mark.parametrize(
        ("settings", "said"), [({"botocore_config": {"no_such": 1}}, "no_such"), ({"verify": "/none"}, "/none")]
    )
    def test_bad_settings_of_the_hook_are_named(self, rclone: Store, settings: dict[str, Any], said: str) -> None:
        """Before anything is sent."""
        with serving(10) as origin:
            with pytest.raises(ConfigError, match=said):
                hook(**settings).copy_url(origin.url, "key", rclone.bucket)
            assert origin.exchanges == []

    def test_stop_ends_a_copy_from_another_thread(self, rclone: Store) -> None:
        """As on_kill does it, while every worker hangs in a read."""
        busy = hook()
        with serving(20 * MiB, stall_after(MiB)) as origin:

            def stop_when_stalled() -> None:
                while len(origin.exchanges) < 3:
                    time.sleep(0.02)
                busy.stop("enough")

            thread = threading.Thread(target=stop_when_stalled)
            thread.start()
            with pytest.raises(Stopped, match="enough"):
                busy.copy_url(origin.url, "key", rclone.bucket, part_size="5MiB", allow_private=NEAR)
            thread.join()
        rclone.assert_clean()


@pytest.mark.usefixtures("connections")
class TestOperator:
    """execute and on_kill."""

    def test_the_xcom_is_the_result_as_json(self, rclone: Store) -> None:
        """Every field, in types that JSON has."""
        with serving(9 * MiB) as origin:
            value = operator(
                url=origin.url, s3_key="{{ x }}/k".replace("{{ x }}", "a"), s3_bucket=rclone.bucket
            ).execute({})
        assert json.loads(json.dumps(value)) == value
        assert set(value) == {
            "uri", "status", "reason", "bytes", "etag", "version_id", "checksum", "verification", "parts", "part_size",
            "connections", "seconds", "bytes_per_second", "retries", "resumed_parts", "source", "source_etag",
            "source_last_modified",
        }  # fmt: skip
        assert value["uri"] == f"s3://{rclone.bucket}/a/k"
        assert value["bytes"] == 9 * MiB

    def test_nothing_is_checked_before_execute(self) -> None:
        """Templates are not rendered yet when the operator is made."""
        made = operator(url="{{ nothing }}", s3_key="", part_size="{{ later }}", expected_checksum="?")
        assert made.url == "{{ nothing }}"

    def test_a_profile_says_what_the_author_does_not(self, rclone: Store) -> None:
        """Fields that a template left empty are not said; one that is filled wins."""
        profile = {"s3stream_profile": 1, "kind": "copy", "connections": 2, "part_size": 6 * MiB}
        with serving(20 * MiB) as origin:
            to = {"url": origin.url, "s3_key": "key", "s3_bucket": rclone.bucket, "profile": profile}
            value = operator(**to, connections="", max_memory="").execute({})
            assert (value["connections"], value["part_size"]) == (2, 6 * MiB)
            value = operator(**to, connections="3", part_size="5MiB").execute({})
            assert (value["connections"], value["part_size"]) == (3, 5 * MiB)

    @pytest.mark.parametrize("code", [401, 403, 404, 410])
    def test_what_no_retry_mends_fails_the_task_at_once(self, rclone: Store, code: int) -> None:
        """AirflowFailException, with the typed error as its cause."""
        with serving(10, status(code)) as origin, pytest.raises(Exception, match=str(code)) as caught:
            operator(url=origin.url, s3_key="k", s3_bucket=rclone.bucket).execute({})
        assert type(caught.value).__name__ == "AirflowFailException"
        assert type(caught.value.__cause__).__name__ == ("SourceMissing" if code in (404, 410) else "SourceDenied")

    def test_what_may_pass_is_left_to_airflows_retries(self, rclone: Store) -> None:
        """The typed error itself, so that a retry policy can tell."""
        with serving(10, status(500)) as origin, pytest.raises(SourceUnavailable):
            operator(url=origin.url, s3_key="k", s3_bucket=rclone.bucket, retry_attempts=2).execute({})

    def test_bad_arguments_fail_the_task_at_once(self) -> None:
        """In one sentence."""
        with pytest.raises(Exception, match="part_size='tiny'") as caught:
            operator(url="http://h/x", s3_key="s3://b/k", part_size="tiny").execute({})
        assert isinstance(caught.value.__cause__, ConfigError)

    def test_on_kill_makes_execute_raise(self, rclone: Store) -> None:
        """Within a second or so, with nothing left behind."""
        with serving(20 * MiB, stall_after(MiB)) as origin:
            running = operator(url=origin.url, s3_key="key", s3_bucket=rclone.bucket, part_size="5MiB")

            def kill_when_stalled() -> None:
                while len(origin.exchanges) < 3:
                    time.sleep(0.02)
                running.on_kill()

            thread = threading.Thread(target=kill_when_stalled)
            thread.start()
            with pytest.raises(Stopped, match="the task was killed"):
                running.execute({})
            thread.join()
        rclone.assert_clean()

    @pytest.mark.parametrize("tries", [(1, 2), (3, 2)], ids=["a try is left", "none is left"])
    def test_a_kill_keeps_the_upload_for_the_next_try(
        self, localstack: Store, monkeypatch: pytest.MonkeyPatch, tries: tuple[int, int]
    ) -> None:
        """In Airflow's state of the task; and removes it where no try will come."""
        extra = {"endpoint_url": localstack.endpoint_url, "region_name": "us-east-1"}
        connect(monkeypatch, "store", conn_type="aws", login="a", password="b", extra=extra)
        store = TaskState()
        context = {"task_state_store": store, "ti": SimpleNamespace(try_number=tries[0], max_tries=tries[1])}
        with serving(60 * MiB) as origin:
            to = {"url": origin.url, "s3_key": "key", "s3_bucket": localstack.bucket, "part_size": "5MiB"}
            running = operator(**to, connections=4)
            origin.when_sent(30 * MiB, running.on_kill)
            kept = tries[0] <= tries[1]
            with pytest.raises(Stopped, match="is kept for the next try" if kept else "was aborted"):
                running.execute(context)
            assert len(localstack.uploads()) == len(store.values) == kept
            value = operator(**to, connections=4).execute(context)
            assert (value["resumed_parts"] > 0) == kept
            localstack.assert_holds("key", origin.resource.content)
        assert store.values == {}

    def test_without_resume_a_kill_leaves_nothing(self, localstack: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        extra = {"endpoint_url": localstack.endpoint_url, "region_name": "us-east-1"}
        connect(monkeypatch, "store", conn_type="aws", login="a", password="b", extra=extra)
        store = TaskState()
        context = {"task_state_store": store, "ti": SimpleNamespace(try_number=1, max_tries=2)}
        with serving(60 * MiB) as origin:
            to = {"url": origin.url, "s3_key": "key", "s3_bucket": localstack.bucket, "part_size": "5MiB"}
            running = operator(**to, resume="False")
            origin.when_sent(30 * MiB, running.on_kill)
            with pytest.raises(Stopped, match="was aborted"):
                running.execute(context)
        localstack.assert_clean()
        assert store.values == {}

    def test_an_airflow_that_keeps_no_state_is_said_once(self) -> None:
        """Airflow before 3.3; and only where a retry will come."""
        from airflow_s3stream.hooks.taskstate import resume_in

        said: list[str] = []
        assert resume_in({"ti": SimpleNamespace(try_number=1, max_tries=0)}, warn=said.append) is None
        assert said == []
        assert resume_in({"ti": SimpleNamespace(try_number=1, max_tries=1)}, warn=said.append) is None
        assert len(said) == 1
        assert "keeps no state" in said[0]

    def test_a_state_that_was_not_kept_is_noticed(self) -> None:
        """The store does not say that it refused."""
        from airflow_s3stream.hooks.taskstate import TaskStateStore

        deaf = TaskState()
        deaf.set = lambda key, value: None  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="did not keep it"):
            TaskStateStore(deaf).save("token")

    def test_a_kill_before_there_is_anything_to_stop_is_not_forgotten(self, rclone: Store) -> None:
        """A task may be killed before it begins."""
        with serving(10) as origin:
            killed = operator(url=origin.url, s3_key="key", s3_bucket=rclone.bucket)
            killed.on_kill()
            with pytest.raises(Stopped):
                killed.execute({})
            assert origin.exchanges == []
