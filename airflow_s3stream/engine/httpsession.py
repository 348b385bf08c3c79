"""What the environment says about HTTP: proxies and CA bundles, read once and explicitly."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from requests.utils import get_environ_proxies

from airflow_s3stream.exceptions import ConfigError

if TYPE_CHECKING:
    import requests


def check_bundle(verify: bool | str | None) -> None:
    """
    Check that a CA bundle named by ``verify`` is there; the libraries notice late, as a network failure.

    :raises ConfigError: it is not.
    """
    if isinstance(verify, str) and not os.path.exists(verify):
        raise ConfigError(f"verify={verify!r} is not there; it must be the path of a CA bundle, True or False")


class Environment:
    """
    The proxies and the CA bundle for a session, taken out of requests' own hands.

    With ``trust_env`` on, requests lets ``REQUESTS_CA_BUNDLE`` overrule ``Session.verify`` and adds credentials
    from ``.netrc``. The session's own settings must win, and nobody asked for ``.netrc``.
    """

    def __init__(self, session: requests.Session) -> None:
        self._session = session
        self._environment = session.trust_env
        session.trust_env = False

    @property
    def verify(self) -> bool | str:
        """The session's setting; where that is True, the environment's bundle if there is one."""
        verify = True if self._session.verify is None else self._session.verify
        if verify is not True or not self._environment:
            return verify
        return os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or True

    def proxies_for(self, url: str) -> dict[str, Any]:
        """Give the proxies that apply to ``url``, honouring ``NO_PROXY``; the session's own come first."""
        proxies: dict[str, Any] = {}
        if self._environment:
            proxies.update(get_environ_proxies(url, no_proxy=self._session.proxies.get("no_proxy")))
        proxies.update(self._session.proxies)
        return proxies
