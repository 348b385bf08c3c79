"""botocore's exceptions, translated in one place."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import botocore.exceptions as bc

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
from airflow_s3stream.plan.retry import parse_retry_after

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
    "NoSuchBucket": (SinkMissing, False),
    "NoSuchUpload": (UploadVanished, False),
    **dict.fromkeys(("PreconditionFailed", "412", "ConditionalRequestConflict"), (SinkConflict, False)),
    **dict.fromkeys(("BadDigest", "XAmzContentChecksumMismatch", "InvalidDigest"), (IntegrityError, True)),
    **dict.fromkeys(("EntityTooLarge", "EntityTooSmall", "KeyTooLongError", "MetadataTooLarge"), (LimitExceeded, False)),
}  # fmt: skip

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
        raise error from exc


def translate(exc: Exception) -> S3StreamError | None:
    """Say what a botocore exception means; None for what is not botocore's."""
    if isinstance(exc, bc.ClientError):
        return from_answer(exc.response)
    if isinstance(exc, bc.ParamValidationError | bc.InvalidEndpointConfigurationError | bc.UnknownRegionError):
        return ConfigError(f"S3 request refused before it was sent: {exc}".replace("\n", " "))
    if isinstance(exc, bc.NoCredentialsError | bc.PartialCredentialsError | bc.TokenRetrievalError):
        return SinkDenied(f"no usable AWS credentials: {exc}")
    if isinstance(exc, bc.CredentialRetrievalError | bc.SSOError):
        return SinkDenied(f"AWS credentials could not be retrieved: {exc}", retryable=True)
    if isinstance(exc, bc.NoRegionError):
        return ConfigError("region_name is not set, and the store needs one")
    if isinstance(exc, bc.SSLError) and "CERTIFICATE_VERIFY_FAILED" in str(exc):
        return SinkDenied("the store's TLS certificate was refused; verify may name a CA bundle")
    if isinstance(exc, bc.EndpointConnectionError):
        return SinkUnavailable("the store cannot be reached")
    if isinstance(exc, bc.ReadTimeoutError | bc.ConnectTimeoutError):
        return SinkUnavailable("the store did not answer in time")
    if isinstance(exc, bc.HTTPClientError | bc.ConnectionError):
        return SinkUnavailable("the connection to the store broke")
    if isinstance(exc, bc.ResponseParserError):
        return SinkUnavailable("the store's answer could not be read")
    return SinkError(f"{type(exc).__name__}: {exc}") if isinstance(exc, bc.BotoCoreError) else None


def from_answer(answer: Any) -> S3StreamError:
    """Say what an error answer of S3 means: by its code, else by its status."""
    error, meta = answer.get("Error", {}), answer.get("ResponseMetadata", {})
    code, status = str(error.get("Code", "")), int(meta.get("HTTPStatusCode", 0))
    kind, again = _BY_CODE.get(code) or _BY_CODE.get(str(status)) or (SinkRejected, status >= 500)
    if kind is SinkRejected and again:
        kind = SinkUnavailable
    after = parse_retry_after(meta.get("HTTPHeaders", {}).get("retry-after"), time.time())
    said = " ".join(filter(None, (code, str(error.get("Message", "")).strip())))
    # A 200 with an error inside is how S3 reports that Complete failed midway.
    return kind(f"the store answered {status}: {said}{_HINTS.get(code, '')}", retryable=again, retry_after=after)
