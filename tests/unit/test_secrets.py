"""What Airflow is told to mask, and what is quoted of other programs' words."""

from __future__ import annotations

import base64
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_s3stream.plan.names import redact_text
from airflow_s3stream.plan.secrets import header_secrets, login_secrets, setting_secrets, url_secrets
from tests.support import canaries


class TestMasks:
    """What Airflow is told to mask."""

    @pytest.mark.parametrize("secret", [canaries.SIGNATURE, canaries.SECURITY_TOKEN, canaries.SAS, "pw/+ 1@x:y"])
    def test_a_secret_of_a_query_in_each_form(self, secret: str) -> None:
        masks = url_secrets(f"https://ann@h/x?day=2024-01-01&sig={quote(secret, safe='')}")
        for form in (secret, quote(secret), quote(secret, safe=""), quote_plus(secret)):
            assert form in masks
        assert base64.b64encode(secret.encode()).decode() in masks

    def test_what_is_in_every_log_is_no_mask(self) -> None:
        """Else a date, a word or a number would be hidden wherever it stands."""
        masks = url_secrets("https://h/x?day=2024-01-01&format=parquet&part=12345") | header_secrets(
            {"Accept": "text/csv", "User-Agent": "python", "Content-Type": "text/plain"}
        )
        assert masks == {"day=2024-01-01&format=parquet&part=12345"}

    def test_user_info_in_each_form(self) -> None:
        """The password, and what basic authentication makes of it."""
        masks = url_secrets(f"https://ann:{quote(canaries.PASSWORD, safe='')}@h/x")
        assert {canaries.PASSWORD, f"ann:{quote(canaries.PASSWORD, safe='')}"} <= masks
        assert base64.b64encode(f"ann:{canaries.PASSWORD}".encode()).decode() in masks
        assert "ann" not in masks
        assert base64.b64encode(b"ann:secret").decode() in login_secrets("ann", "secret")

    @pytest.mark.parametrize(
        ("headers", "mask"),
        [
            ({"Authorization": f"Bearer {canaries.BEARER}"}, canaries.BEARER),
            ({"authorization": f"token {canaries.BEARER}"}, canaries.BEARER),
            ({"X-Api-Key": canaries.API_KEY}, canaries.API_KEY),
            ({"X-Whatever": b"canary-of-bytes"}, "canary-of-bytes"),
            ({"Cookie": f"a=1; session={canaries.COOKIE}"}, canaries.COOKIE),
        ],
    )
    def test_header_values(self, headers: dict[str, object], mask: str) -> None:
        assert mask in header_secrets(headers)

    @pytest.mark.parametrize("setting", [None, 5, "x", [], {"a": [("https://ann:canary-1@h", 1)]}])
    def test_settings_of_any_kind(self, setting: object) -> None:
        """Only URLs in them are secret."""
        assert ("canary-1" in setting_secrets(setting)) is isinstance(setting, dict)

    @pytest.mark.parametrize("url", ["", "http://[::1/x?sig=canary", "\ud800\ud800\ud800?sig=\ud800\ud800\ud800\ud800"])
    def test_odd_urls(self, url: str) -> None:
        """Masking never fails; what cannot be read is masked whole."""
        assert all(isinstance(mask, str) for mask in url_secrets(url))
        assert "[" not in url or url in url_secrets(url)


class TestWords:
    """What other programs say."""

    @pytest.mark.parametrize(
        ("said", "shown"),
        [
            ("No such key: a=b", "No such key: a=b"),
            ("see https://ann:pw@h/x?sig=1 now", "see https://h/x?sig=*** now"),
            ("AWS4 Credential=AK/s3, Signature=abc\n next", "AWS4 Credential=***, Signature=*** next"),
            ("x" * 600, "x" * 500 + "..."),
        ],
    )
    def test_are_quoted_without_secrets(self, said: str, shown: str) -> None:
        assert redact_text(said) == shown

    @given(st.text())
    @settings(deadline=None)
    def test_whatever_they_are(self, said: str) -> None:
        """On one line, and not without end."""
        assert "\n" not in redact_text(said)
        assert len(redact_text(said * 100)) <= 503
