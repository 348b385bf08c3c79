"""Sources that keep to a policy, and a resolver that says what a test wants."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.exceptions import SourceRefused

PUBLIC = "93.184.216.34"
METADATA = "169.254.169.254"
_QUICK = Timeouts(connect=2, read=10, stall=10)


def forget_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no proxy of this machine resolve names in a test's place."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


class Resolver:
    """Answers for each host in turn; the last answer stays. Numeric hosts are themselves."""

    def __init__(self, **answers: Iterable[list[str]]) -> None:
        self._answers = {host.replace("_", "."): list(told) for host, told in answers.items()}
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        told = self._answers.get(host)
        if told is None:
            return [host]
        return told.pop(0) if len(told) > 1 else told[0]


def source_of(url: str, resolve: Resolver | None = None, **settings: Any) -> HttpSource:
    about: dict[str, Any] = {"timeouts": _QUICK, **settings}
    return HttpSource(url, **about, **({"resolve": resolve} if resolve else {}))


def read(source: HttpSource) -> int | None:
    """Probe, read to the end so that the connection is kept, and give the size."""
    probe, body = source.probe()
    view = memoryview(bytearray(100_000))
    while body.readinto(view):
        pass
    body.close()
    return probe.size


def refused(source: HttpSource) -> str:
    """Give what it says when it refuses, for good."""
    with pytest.raises(SourceRefused) as caught:
        read(source)
    assert not caught.value.retryable
    return str(caught.value)
