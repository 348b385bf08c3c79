"""botocore's exceptions, translated in one place."""

from __future__ import annotations

import time
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import botocore.exceptions as bc
from botocore.parsers import ResponseParserError

from airflow_s3stream.exceptions import (
    ConfigError,
    IntegrityError,
    LimitExceeded,
    S3StreamError,
    SinkConflict,
    SinkDenied,
    SinkError,
    SinkMissing,
    SinkRejected,
    SinkThrottled,
    SinkUnavailable,
    UploadVanished,
)
from airflow_s3stream.plan.names import redact_text
from airflow_s3stream.plan.retry import parse_retry_after

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Kind = type[S3StreamError]

_BY_CODE: dict[str, tuple[Kind, bool]] = {
    # code: (class, whether the same request may succeed later)
    **dict.fromkeys(
        (
            "SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded",
            "TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded", "503", "429",
        ),
        (SinkThrottled, True),
    ),
    **dict.fromkeys(
        ("InternalError", "InternalFailure", "RequestTimeout", "OperationAborted", "IncompleteBody",
         "500", "502", "504", "408"),
        (SinkUnavailable, True),
    ),
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem",
         "InvalidToken", "403", "401", "Forbidden", "RequestTimeTooSkewed"),
        (SinkDenied, False),
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), (SinkDenied, True)),
    **dict.fromkeys(("NotImplemented", "501"), (SinkRejected, False)),
    "NoSuchBucket": (SinkMissing, False),
    "NoSuchUpload": (UploadVanished, False),
    **dict.fromkeys(("PreconditionFailed", "412", "ConditionalRequestConflict"), (SinkConflict, False)),
    **dict.fromkeys(("BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest"), (IntegrityError, True)),
    **dict.fromkeys(
        ("EntityTooLarge", "EntityTooSmall", "KeyTooLongError", "MetadataTooLarge"), (LimitExceeded, False)
    ),
}  # fmt: skip

# The most specific first. Texts take the exception's own only where it names no URL.
_BY_EXCEPTION: tuple[tuple[tuple[type[Exception], ...], Kind, str], ...] = (
    (
        (bc.ParamValidationError, bc.InvalidEndpointConfigurationError, bc.UnknownRegionError, bc.InvalidRegionError),
        ConfigError,
        "the request to the store is not possible: {}",
    ),
    ((bc.NoRegionError,), ConfigError, "region_name is not set, and the store needs one"),
    (
        (bc.NoCredentialsError, bc.PartialCredentialsError, bc.TokenRetrievalError, bc.ProfileNotFound),
        SinkDenied,
        "no usable AWS credentials: {}",
    ),
    ((bc.CredentialRetrievalError, bc.SSOError), SinkUnavailable, "AWS credentials could not be retrieved: {}"),
    ((bc.EndpointConnectionError, bc.ProxyConnectionError), SinkUnavailable, "the store cannot be reached: {kind}"),
    ((bc.ReadTimeoutError, bc.ConnectTimeoutError), SinkUnavailable, "the store did not answer in time"),
    ((bc.HTTPClientError, bc.ConnectionError), SinkUnavailable, "the connection to the store broke: {kind}"),
    ((ResponseParserError,), SinkUnavailable, "the store's answer could not be read"),
    ((bc.BotoCoreError,), SinkError, "{}"),
)

_HINTS = {
    "RequestTimeTooSkewed": "; this machine's clock is wrong",
    "PermanentRedirect": "; set region_name to the bucket's region",
    "AuthorizationHeaderMalformed": "; set region_name to the bucket's region",
    "IllegalLocationConstraintException": "; set region_name to the bucket's region",
}


@contextmanager
def translated(op: str, target: str, failure: Callable[[], BaseException | None] | None = None) -> Iterator[None]:
    """
    Turn what botocore raises inside into this package's errors, and name the operation in them.

    :param failure: gives the error with which the request's own body broke; botocore wraps that like any
        network failure, although it is the cause.
    """
    try:
        yield
    except Exception as exc:
        own = failure() if failure else None
        if own is not None:
            raise own from None
        error = exc if isinstance(exc, S3StreamError) else translate(exc)
        if error is None:
            raise
        error.op, error.target = error.op or op, error.target or target
        if error is exc:
            raise
        # Without its cause: botocore and the libraries below quote whole URLs, and stores whatever they like.
        raise error from None


def translate(exc: Exception) -> S3StreamError | None:
    """Say what a botocore exception means; None for what is not botocore's."""
    if isinstance(exc, bc.ClientError):
        return from_answer(exc.response)
    if isinstance(exc, bc.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return SinkDenied("the store's TLS certificate was refused; verify may name a CA bundle")
    for kinds, make, text in _BY_EXCEPTION:
        if isinstance(exc, kinds):
            return make(text.format(redact_text(str(exc)), kind=_kind(exc)))
    return None


def _kind(exc: BaseException) -> str:
    """Name the kind of what botocore wrapped, for the traceback will not show it."""
    inner = getattr(exc, "kwargs", {}).get("error")
    reason = getattr(inner, "reason", inner)
    return type(reason if isinstance(reason, BaseException) else exc).__name__


def from_answer(answer: Any) -> S3StreamError:
    """Say what an error answer of S3 means: by its code, else by its status."""
    error, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    kind, again = _BY_CODE.get(code) or _BY_CODE.get(str(status)) or (SinkRejected, status >= 500)
    if kind is SinkRejected and again:
        kind = SinkUnavailable
    after = parse_retry_after(meta.get("HTTPHeaders", {}).get("retry-after"), time.time())
    said = " ".join(filter(None, (code, redact_text(str(error.get("Message", ""))))))
    # A 200 with an error inside is how S3 reports that Complete failed midway.
    return kind(f"the store answered {status}: {said}{_HINTS.get(code, '')}", retryable=again, retry_after=after)
