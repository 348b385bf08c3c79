"""read_objects as a test wants it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from airflow_s3stream.engine.readobjects import read_objects
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.plan.download import ReadOptions
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support.downloads import EAGER, HASTY, PATIENT, client_of
from tests.support.readstore import BUCKET, ReadStore
from tests.support.stores import Store


def read_all(
    store: ReadStore | Store,
    keys: Iterable[str | ObjectEntry],
    *,
    client: Any = None,
    stop: StopFlag | None = None,
    ordered: bool = True,
    apply: Any = None,
    **options: Any,
) -> Iterator[tuple[str, Any]]:
    """Yield keys and bodies."""
    bucket = BUCKET if isinstance(store, ReadStore) else store.bucket
    timeouts = HASTY if isinstance(store, ReadStore) else PATIENT
    settings = {"connections": 8, "timeouts": timeouts, "retry": EAGER, **options}
    own = client or client_of(store, timeouts=timeouts)
    # As the hook does it: keys may come as text.
    entries = (ObjectEntry(key) if isinstance(key, str) else key for key in keys)
    try:
        yield from read_objects(
            own, bucket, entries, ReadOptions(**settings), ordered=ordered, apply=apply, stop=stop or StopFlag()
        )
    finally:
        if client is None:
            own.close()
