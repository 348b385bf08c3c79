"""When to try again: pure arithmetic; clock, sleep and chance belong to the caller."""

from __future__ import annotations

from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import (
    S3StreamError,
    SourceChanged,
    SourceDenied,
    SourceMisbehaved,
    SourceMissing,
    SourceThrottled,
    SourceUnavailable,
)
from airflow_s3stream.plan.names import redact_text

if TYPE_CHECKING:
    from airflow_s3stream.config import RetryPolicy


def parse_retry_after(value: str | None, now: float) -> float | None:
    """
    Read Retry-After (RFC 9110 section 10.2.3), seconds or an HTTP date.

    :param now: seconds since the epoch.
    :returns: seconds to wait, never negative; None when absent or malformed.
    """
    if not value:
        return None
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:12])
    try:
        date = parsedate_to_datetime(value)
        return max(0.0, date.replace(tzinfo=date.tzinfo or UTC).timestamp() - now)
    except (ValueError, OverflowError):
        return None


def delay(policy: RetryPolicy, failures: int, retry_after: float | None, draw: float) -> float:
    """
    Give the seconds to wait before the next attempt.

    :param failures: how many attempts have failed, at least 1.
    :param draw: uniform in [0, 1), the caller's chance.
    """
    backoff = draw * min(policy.cap, policy.base * 2.0 ** min(failures, 30))
    if retry_after is None:
        return backoff
    return max(backoff, min(retry_after, policy.retry_after_cap))


def source_error(status: int, reason: str, retry_after: float | None) -> S3StreamError:
    """Turn a status of the source that carries no body of ours into the error it amounts to."""
    said = f"the source answered {status} {redact_text(reason)}".rstrip()
    if status in (401, 403, 407):
        hint = {401: "; it wants credentials", 407: "; the proxy wants credentials"}.get(status, "")
        return SourceDenied(said + hint)
    if status in (404, 410):
        return SourceMissing(said)
    if status == 416:
        return SourceChanged(said + ": it has become shorter")
    if status == 412:
        return SourceChanged(said + ": it is no longer the version this transfer began with")
    if status in (429, 503):
        return SourceThrottled(said, retry_after=retry_after)
    if status == 408 or status >= 500:
        return SourceUnavailable(said, retry_after=retry_after)
    return SourceMisbehaved(said)
