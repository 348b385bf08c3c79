"""What Airflow is told to mask, and when: by operators as they are rendered, by the hook as it is used."""

from __future__ import annotations

import json
from typing import Any

import pytest

from airflow_s3stream.exceptions import ConfigError, S3StreamError

pytestmark = pytest.mark.airflow


def masked(value: Any) -> str:
    """Return what Airflow makes of a value before it shows or stores it."""
    try:
        from airflow.sdk.log import redact
    except ImportError:  # Airflow 3.1
        from airflow.sdk._shared.secrets_masker import redact  # type: ignore[no-redef]

    return json.dumps(redact(value))


def operator(**settings: Any) -> Any:
    from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator

    return UrlToS3Operator(task_id="copy", s3_key="s3://lake/x", **settings)


def hook(**settings: Any) -> Any:
    from airflow_s3stream.hooks.s3stream import S3StreamHook

    return S3StreamHook("nowhere", **settings)


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """An AWS connection to a store that is not there, so that nothing goes further than asking for it."""
    about = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": "http://127.0.0.1:9"}}
    monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps(about))


class TestOperator:
    def test_what_a_template_renders_to_is_masked(self) -> None:
        """Rendered fields are stored before the task executes."""
        made = operator(
            url="https://h/x?sig={{ sig }}", headers={"X-Key": "{{ key }}"},
            botocore_config={"proxies": {"https": "http://ann:{{ pw }}@h:1"}},
        )  # fmt: skip
        made.render_template_fields({"sig": "rendered-sig-1", "key": "rendered-key-1", "pw": "rendered-pw-1"})
        assert made.headers == {"X-Key": "rendered-key-1"}
        # Under names that tell Airflow nothing.
        shown = masked([made.url, *made.headers.values(), made.botocore_config["proxies"]["https"]])
        assert "rendered-" not in shown
        assert "https://h/x?***" in shown

    def test_the_text_of_a_template_that_fails_is_masked(self) -> None:
        """Airflow logs it."""
        made = operator(url="https://h/x?sig=literal-sig-2&x={{ nothing.at.all }}")
        with pytest.raises(Exception, match="nothing"):
            made.render_template_fields({})
        assert "literal-sig-2" not in masked(made.url)

    def test_fields_of_the_wrong_type_are_left_to_the_transfer(self) -> None:
        """Which refuses them, in one sentence."""
        operator(url=5, headers=["x"], botocore_config="http://").render_template_fields({})


@pytest.mark.usefixtures("nowhere")
class TestHook:
    def test_a_url_and_headers_given_in_a_task_function(self) -> None:
        """Other code in the task may log them."""
        with pytest.raises(S3StreamError):
            hook().copy_url(
                "http://127.0.0.1:9/x?sig=hooked-sig-3", "s3://lake/x", headers={"X-Key": "hooked-key-3"},
                retry_attempts=1, allow_private="127.0.0.0/8",
            )  # fmt: skip
        assert "hooked-" not in masked(["?sig=hooked-sig-3", "hooked-key-3"])

    def test_what_an_http_connection_has_under_names_that_tell_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Airflow takes an extra for a secret by its name."""
        extra = {"X-Whatever": "extra-value-4", "proxies": {"http": "http://bob:extra-pw-4@127.0.0.1:9"}}
        about = {"conn_type": "http", "host": "http://127.0.0.1:9", "login": "ann", "password": "extra-pass-4"}
        monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps({**about, "extra": extra}))
        with pytest.raises(S3StreamError):
            hook(http_conn_id="web").copy_url("x", "s3://lake/x", retry_attempts=1)
        # Basic authentication's Base64 of ann:extra-pass-4.
        shown = masked(["extra-value-4", "bob:extra-pw-4", "extra-pass-4", "YW5uOmV4dHJhLXBhc3MtNA=="])
        assert json.loads(shown) == ["***"] * 4

    def test_bad_settings_are_named_without_their_values(self) -> None:
        """A proxy's URL has a password."""
        config = {"proxies": {"http": "http://bob:setting-5@h"}, "no_such": 1}
        with pytest.raises(ConfigError, match="proxies, no_such") as caught:
            hook(botocore_config=config).copy_url("http://127.0.0.1:9/x", "s3://lake/x")
        assert "setting-5" not in str(caught.value)
        assert "setting-5" not in masked("http://bob:setting-5@h")

    def test_a_store_with_a_password_in_its_url_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """It would be shown, and is never sent."""
        extra = {"endpoint_url": "http://ann:endpoint-6@127.0.0.1:9", "region_name": "us-east-1"}
        about = {"conn_type": "aws", "login": "a", "password": "b", "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_NOWHERE", json.dumps(about))
        with pytest.raises(ConfigError, match="no user info") as caught:
            hook().copy_url("http://127.0.0.1:9/x", "s3://lake/x")
        assert "endpoint-6" not in str(caught.value)
