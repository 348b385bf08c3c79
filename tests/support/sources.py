"""HTTP sources as tests want them: their origins are on loopback, which users have to allow and tests always do."""

from __future__ import annotations

from typing import Any

from airflow_s3stream.config import ConnectionPolicy
from airflow_s3stream.engine.httpsource import HttpSource

NEAR = ("127.0.0.0/8", "::1")
"""What ``allow_private`` has to name for an origin on this machine."""
LOOPBACK = ConnectionPolicy(allow_private=NEAR)


def http_source(url: str, **settings: Any) -> HttpSource:
    """Make a source whose origin, and whatever it redirects to, may be on this machine."""
    return HttpSource(url, **{"policy": LOOPBACK, **settings})
