"""Every error this package raises.

::

    S3StreamError                  op, target (redacted), attempts; ``retryable`` is a separate fact
    ├── ConfigError (ValueError)   an argument is wrong; raised before any byte moves
    ├── SourceError
    │   ├── SourceUnavailable  (r) cannot connect, 5xx, timeout, TLS failure that may pass
    │   ├── SourceTruncated    (r) the body ended early
    │   ├── SourceStalled      (r) the body stopped moving
    │   ├── SourceThrottled    (r) 429, or 503 with Retry-After
    │   ├── SourceDenied           401, 403, 407; TLS certificate refused
    │   ├── SourceMissing          404, 410, no such host
    │   ├── SourceChanged          another version than the one the transfer began with
    │   ├── SourceArchived         the object is in an archive class and must be restored first
    │   ├── SourceMisbehaved       an answer HTTP does not allow, or that cannot be trusted
    │   └── SourceRefused          the source is outside what the caller allows (size, redirect, framing)
    ├── SinkError
    │   ├── SinkUnavailable    (r) cannot connect, 5xx, timeout
    │   ├── SinkThrottled      (r) 503 SlowDown and its kin
    │   ├── SinkDenied             403, no or bad credentials, KMS refused
    │   ├── SinkMissing            no such bucket
    │   ├── SinkConflict           the key exists, or another writer won
    │   ├── UploadVanished         the multipart upload is gone
    │   └── SinkRejected           any other refusal: a request that no retry will mend
    ├── LocalError                 the local file system failed: an I/O error, no place for another open file
    │   ├── LocalDenied            not permitted, or read-only
    │   ├── DiskFull               no space, no inodes or no quota left
    │   ├── DirectoryBusy      (r) another run is writing to the same directory
    │   └── FileBusy           (r) another run is writing to the same file
    ├── KeyRefused                 a key that cannot become a file below the directory
    ├── IntegrityError             size or checksum differs from what was read or promised
    ├── LimitExceeded              S3's or the caller's limits cannot hold this transfer
    ├── DeadlineExceeded       (r) the total deadline passed
    └── Stopped                (r) told to stop: on_kill, SIGINT, execution_timeout

(r): ``retryable`` is True, so a later try of the task may succeed. What happened (the class) and whether
a retry can help are separate facts; an instance may override ``retryable``.
"""

from __future__ import annotations

from typing import Any


def printable(text: str) -> str:
    """Escape what is no printable character: words of servers, and keys, must not steer a terminal or forge a line."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


class S3StreamError(Exception):
    """The base of all errors here.

    :param message: one sentence that names what went wrong, with secrets already redacted.
    :param op: the operation that failed: ``probe``, ``read``, ``UploadPart``, ...
    :param target: the redacted URL or ``s3://bucket/key`` it was aimed at.
    :param retryable: overrides the class's answer to "may a later try succeed?".
    :param retry_after: seconds the other side asked to wait, or None.
    :param attempts: one short line per failed attempt before this one, oldest first.
    """

    retryable: bool = False

    def __init__(
        self,
        message: str,
        *,
        op: str = "",
        target: str = "",
        retryable: bool | None = None,
        retry_after: float | None = None,
        attempts: tuple[str, ...] = (),
    ) -> None:
        super().__init__(message)
        self.message = message
        self.op = op
        self.target = target
        if retryable is not None:
            self.retryable = retryable
        self.retry_after = retry_after
        self.attempts = attempts

    def __str__(self) -> str:
        where = f" ({self.op} {self.target})" if self.op and self.target else ""
        tries = f" [after {len(self.attempts)} earlier attempts]" if self.attempts else ""
        return printable(f"{self.message}{where}{tries}")

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.__dict__)


def _rebuild(kind: type[S3StreamError], state: dict[str, Any]) -> S3StreamError:
    error = kind(state["message"])
    error.__dict__.update(state)
    return error


class ConfigError(S3StreamError, ValueError):
    """An argument is wrong. Names the field, the value and what would be right."""


class SourceError(S3StreamError):
    """The source failed."""


class SourceUnavailable(SourceError):
    """The source cannot be reached or answers with a server error."""

    retryable = True


class SourceTruncated(SourceError):
    """The body ended before its promised end."""

    retryable = True


class SourceStalled(SourceError):
    """The body stopped moving for longer than the stall timeout."""

    retryable = True


class SourceThrottled(SourceError):
    """The source asked for fewer requests."""

    retryable = True


class SourceDenied(SourceError):
    """The source refused these credentials, or its certificate was refused."""


class SourceMissing(SourceError):
    """There is nothing at this URL."""


class SourceChanged(SourceError):
    """The source is now another version than the one the transfer began with."""


class SourceArchived(SourceError):
    """The object is in an archive storage class and must be restored before it can be read."""


class SourceMisbehaved(SourceError):
    """The source sent an answer that HTTP does not allow or that cannot be trusted."""


class SourceRefused(SourceError):
    """The source is outside what the caller allows."""


class SinkError(S3StreamError):
    """The store failed."""


class SinkUnavailable(SinkError):
    """The store cannot be reached or answers with a server error."""

    retryable = True


class SinkThrottled(SinkError):
    """The store asked for fewer requests."""

    retryable = True


class SinkDenied(SinkError):
    """The store refused these credentials."""


class SinkMissing(SinkError):
    """The bucket does not exist."""


class SinkConflict(SinkError):
    """The key exists although it must not, or another writer won."""


class UploadVanished(SinkError):
    """The multipart upload no longer exists."""


class SinkRejected(SinkError):
    """The store refused a request that no retry will mend."""


class LocalError(S3StreamError):
    """The local file system failed."""


class LocalDenied(LocalError):
    """The file system does not permit it, or is read-only."""


class DiskFull(LocalError):
    """No space, no inodes or no quota left."""


class DirectoryBusy(LocalError):
    """Another run is writing to the same directory."""

    retryable = True


class FileBusy(LocalError):
    """Another run is writing to the same file."""

    retryable = True


class KeyRefused(S3StreamError):
    """A key that cannot become a file below the directory: it would escape, clash, or be too long."""


class IntegrityError(S3StreamError):
    """Size or checksum differs from what was read or promised."""


class LimitExceeded(S3StreamError):
    """S3's limits, or the caller's, cannot hold this transfer."""


class DeadlineExceeded(S3StreamError):
    """The total deadline of the transfer passed."""

    retryable = True


class Stopped(S3StreamError):
    """The transfer was told to stop."""

    retryable = True
