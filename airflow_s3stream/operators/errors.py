"""Which errors end a task at once."""

from __future__ import annotations

from contextlib import contextmanager

try:
    from airflow.sdk.exceptions import AirflowFailException
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowFailException  # type: ignore[attr-defined,no-redef,unused-ignore]

from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import (
    ConfigError,
    KeyRefused,
    SinkDenied,
    SinkMissing,
    SourceArchived,
    SourceDenied,
    SourceMissing,
    SourceRefused,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# A SourceChanged is not here: the next try begins afresh with the new version, which is what the author wants.
_HOPELESS = (
    ConfigError,
    SourceMissing,
    SourceDenied,
    SourceArchived,
    SourceRefused,
    SinkDenied,
    SinkMissing,
    KeyRefused,
)


@contextmanager
def failing_fast() -> Iterator[None]:
    """Turn errors that no retry can mend into AirflowFailException, so that Airflow does not try again."""
    try:
        yield
    except _HOPELESS as error:
        if error.retryable:
            raise
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error
