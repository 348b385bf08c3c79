"""Copies as a test wants them: short timeouts, quick retries, small parts, everything closed afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import requests

from airflow_s3stream.config import CopyOptions, MiB, ObjectOptions, RetryPolicy, Timeouts, TransferResult
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.events import Event, Listener
from airflow_s3stream.engine.handover import Resume
from airflow_s3stream.engine.s3client import transfer_config
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.stop import StopFlag
from tests.support.servers import SESSION
from tests.support.sources import LOOPBACK, http_source
from tests.support.stores import Store

PART = 5 * MiB
"""The smallest part S3 takes, so that small objects still have several."""

QUICK = Timeouts(connect=2, read=1, stall=1, deadline=30)
"""For the source. A test that waits for a timeout waits a second."""
STEADY = Timeouts(connect=2, read=15, stall=15, deadline=50)
"""For a source that does not stall: a busy machine may be silent for a second, which is no reason to retry."""
PATIENT = Timeouts(connect=2, read=15)
"""For the store: the slow one is slow."""
EAGER = RetryPolicy(attempts=4, budget=20, base=0.01, cap=0.05, retry_after_cap=2.0)


@dataclass
class Recorder:
    """A listener that keeps every event."""

    events: list[Event] = field(default_factory=list)

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Any]) -> list[Any]:
        return [event for event in self.events if isinstance(event, kind)]


def transfer(
    url: str,
    store: Store,
    key: str = "key",
    *,
    endpoint_url: str | None = None,
    session: requests.Session | None = None,
    headers: dict[str, str] | None = None,
    verify: bool | str = True,
    store_timeouts: Timeouts = PATIENT,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    resume: Resume | None = None,
    **options: Any,
) -> TransferResult:
    """
    Copy ``url`` to ``key``.

    :param endpoint_url: of a proxy before the store, instead of the store's own.
    :param options: fields of CopyOptions; those of ObjectOptions go into ``object``.
    """
    about = ObjectOptions(**options.pop("object", {}))
    settings = {"part_size": PART, "connections": 4, "timeouts": STEADY, "retry": EAGER, "policy": LOOPBACK, **options}
    copy_options = CopyOptions(object=about, **settings)
    source = http_source(
        url,
        session=session,
        headers=headers,
        verify=verify,
        timeouts=copy_options.timeouts,
        connections=copy_options.connections,
        policy=copy_options.policy,
    )
    # What new_client() does, from a session that is made once.
    config = transfer_config(None, connections=copy_options.connections, timeouts=store_timeouts)
    client = SESSION.client("s3", endpoint_url=endpoint_url or store.endpoint_url, config=config)
    try:
        sink = S3Sink(client, store.bucket, key, options=about)
        return copy(source, sink, copy_options, listener=listener, stop=stop or StopFlag(), resume=resume)
    finally:
        client.close()


def quick(**changes: Any) -> Timeouts:
    """Return the quick timeouts with these changes."""
    return replace(QUICK, **changes)
