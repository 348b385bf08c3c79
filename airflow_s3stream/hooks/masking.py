"""Secrets that Airflow is told of, so that it masks them in logs and rendered fields wherever they come from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

try:
    from airflow.sdk.log import mask_secret
except ImportError:  # Airflow 3.1
    from airflow.sdk.execution_time.secrets_masker import mask_secret  # type: ignore[no-redef]

from airflow_s3stream.plan.secrets import header_secrets, login_secrets, setting_secrets, url_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable

    import requests


def mask_request(url: object = None, headers: object = None, setting: object = None) -> None:
    """
    Mask what is secret in a URL, in headers, and in the URLs of any setting.

    What is not of the right type is left: the transfer will refuse it, without quoting it.
    """
    found: set[str] = set()
    if isinstance(url, str):
        found |= url_secrets(url)
    if isinstance(headers, dict):
        found |= header_secrets(headers)
    _mask(found | setting_secrets(setting))


def mask_session(session: requests.Session) -> None:
    """Mask what an HTTP connection has put into a session: Airflow knows those extras only by telling names."""
    found = header_secrets(session.headers) | setting_secrets(dict(session.proxies))
    auth: Any = session.auth
    user, password = auth if isinstance(auth, tuple) else (getattr(auth, "username", ""), getattr(auth, "password", ""))
    if isinstance(user, str) and isinstance(password, str):
        found |= login_secrets(user, password)
    _mask(found)


def _mask(found: Iterable[str]) -> None:
    for secret in found:
        mask_secret(secret)
