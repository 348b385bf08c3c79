"""What a store's answer to a GET means, when it is not the bytes."""

from __future__ import annotations

import re
import time
from html import unescape
from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
    SourceArchived,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    SourceThrottled,
    SourceUnavailable,
)
from airflow_s3stream.plan.names import redact_text
from airflow_s3stream.plan.retry import parse_retry_after, source_error

if TYPE_CHECKING:
    from airflow_s3stream.engine.reader import Get

_CODE = re.compile(rb"<Code>\s*([A-Za-z0-9.]{1,80})\s*</Code>")
_MESSAGE = re.compile(rb"<Message>\s*([^<]{1,500}?)\s*</Message>")

_BY_CODE: dict[str, tuple[type[S3StreamError], bool]] = {
    # code: (class, whether the same request may succeed later)
    **dict.fromkeys(
        ("SlowDown", "ServiceUnavailable", "Throttling", "ThrottlingException", "RequestLimitExceeded",
         "TooManyRequests", "TooManyRequestsException", "BandwidthLimitExceeded"),
        (SourceThrottled, True),
    ),
    **dict.fromkeys(
        ("InternalError", "InternalFailure", "RequestTimeout", "OperationAborted"), (SourceUnavailable, True)
    ),
    **dict.fromkeys(("ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired"), (SourceDenied, True)),
    **dict.fromkeys(
        ("AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem",
         "InvalidToken", "RequestTimeTooSkewed"),
        (SourceDenied, False),
    ),
    **dict.fromkeys(("NoSuchKey", "NoSuchBucket", "NoSuchVersion"), (SourceMissing, False)),
    **dict.fromkeys(
        ("PermanentRedirect", "TemporaryRedirect", "AuthorizationHeaderMalformed",
         "IllegalLocationConstraintException"),
        (SourceRefused, False),
    ),
    **dict.fromkeys(("PreconditionFailed", "InvalidRange"), (SourceChanged, False)),
    "InvalidObjectState": (SourceArchived, False),
    "NotImplemented": (SourceRefused, False),
    "BadDigest": (IntegrityError, True),
}  # fmt: skip
_HINTS = {
    "RequestTimeTooSkewed": "; this machine's clock is wrong",
    "PermanentRedirect": "; set region_name to the bucket's region",
    "AuthorizationHeaderMalformed": "; set region_name to the bucket's region",
    "IllegalLocationConstraintException": "; set region_name to the bucket's region",
    "InvalidObjectState": "; restore it first, or leave it out",
}
_OF_THE_STORE = frozenset({
    "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch", "AllAccessDisabled", "AccountProblem",
    "InvalidToken", "ExpiredToken", "ExpiredTokenException", "TokenRefreshRequired", "RequestTimeTooSkewed",
    "PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException",
})  # fmt: skip


class Failure:
    """
    Why a GET gave no bytes.

    ``code`` is S3's word for it, "" if there is none; ``general`` says that every other GET will meet the same.
    """

    __slots__ = ("code", "error", "general")

    def __init__(self, error: S3StreamError, code: str = "") -> None:
        self.error = error
        self.code = code
        self.general = code in _OF_THE_STORE


def failure(get: Get) -> Failure | None:
    """Judge an answer; None where it is 200 or 206 and complete. An <Error> under status 200 is not looked for here."""
    if get.error is not None:
        return Failure(get.error)
    if get.status in (200, 206):
        return None
    return Failure(*explain(get.status, b"".join(get.body), get.headers))


def explain(status: int, body: bytes, headers: dict[str, str]) -> tuple[S3StreamError, str]:
    """Give the error that a status and S3's XML amount to, and S3's code."""
    found, text = _CODE.search(body[:8192]), _MESSAGE.search(body[:8192])
    code = found[1].decode() if found else _CODE_OF_STATUS.get(status, "")
    after = parse_retry_after(headers.get("retry-after"), time.time())
    known = _BY_CODE.get(code)
    if known is None:
        return source_error(status, code, after), code
    kind, again = known
    message = redact_text(unescape(text[1].decode("utf-8", "replace"))) if text else ""
    said = "".join(f" {word}" for word in (code if found else "", message) if word) or _UNSAID.get(status, "")
    return kind(f"the store answered {status}{said}{_HINTS.get(code, '')}", retryable=again, retry_after=after), code


# A HEAD has no body to explain it; some statuses say enough.
_CODE_OF_STATUS = {301: "PermanentRedirect", 307: "TemporaryRedirect", 403: "AccessDenied", 404: "NoSuchKey",
                   412: "PreconditionFailed", 416: "InvalidRange", 503: "ServiceUnavailable"}  # fmt: skip
_UNSAID = {
    403: ": access is denied; or there is no such object, and its bucket may not be listed",
    404: ": there is no such object, or no such bucket",
}
