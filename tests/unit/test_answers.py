"""What S3's refusals mean."""

from __future__ import annotations

import pytest

from airflow_s3stream.engine.answers import explain, failure
from airflow_s3stream.engine.reader import Get, parse_head
from airflow_s3stream.exceptions import (
    S3StreamError,
    SourceArchived,
    SourceChanged,
    SourceDenied,
    SourceMissing,
    SourceRefused,
    SourceThrottled,
    SourceUnavailable,
)


def xml(code: str, message: str = "") -> bytes:
    return f"<Error><Code>{code}</Code><Message>{message}</Message></Error>".encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "again", "general"),
    [
        (503, xml("SlowDown"), SourceThrottled, True, False),
        (503, b"", SourceThrottled, True, False),
        (500, xml("InternalError"), SourceUnavailable, True, False),
        (502, b"<html>", SourceUnavailable, True, False),
        (404, xml("NoSuchKey"), SourceMissing, False, False),
        (404, xml("NoSuchBucket"), SourceMissing, False, True),
        (404, b"", SourceMissing, False, False),
        (403, xml("AccessDenied"), SourceDenied, False, False),
        (403, xml("InvalidObjectState"), SourceArchived, False, False),
        (403, xml("InvalidAccessKeyId"), SourceDenied, False, True),
        (403, xml("SignatureDoesNotMatch"), SourceDenied, False, True),
        (400, xml("ExpiredToken"), SourceDenied, True, True),
        (403, xml("RequestTimeTooSkewed"), SourceDenied, False, True),
        (412, xml("PreconditionFailed"), SourceChanged, False, False),
        (416, b"", SourceChanged, False, False),
        (301, xml("PermanentRedirect"), SourceRefused, False, True),
        (400, xml("AuthorizationHeaderMalformed"), SourceRefused, False, True),
    ],
)
def test_each_refusal_has_its_class(
    status: int, body: bytes, kind: type[S3StreamError], again: bool, general: bool
) -> None:
    """Which object it concerns, and whether asking again can help."""
    get = Get("k")
    get.status, get.body = status, [body]
    found = failure(get)
    assert found is not None
    assert type(found.error) is kind
    assert (found.error.retryable, found.general) == (again, general)


def test_what_the_store_said_is_quoted_and_its_wait_kept() -> None:
    """So that the one on call need not guess."""
    error, code = explain(503, xml("SlowDown", "Please reduce your &quot;rate&quot;."), {"retry-after": "7"})
    assert str(error) == 'the store answered 503 SlowDown Please reduce your "rate".'
    assert (code, error.retry_after) == ("SlowDown", 7.0)


@pytest.mark.parametrize(("status", "told"), [(404, "no such object"), (403, "access is denied"), (503, "503")])
def test_an_answer_without_a_body_is_put_in_words(status: int, told: str) -> None:
    """As one to HEAD is, which is the first that is asked of one object."""
    error, _ = explain(status, b"", {})
    assert str(status) in str(error)
    assert told in str(error)


def test_a_good_answer_is_no_failure() -> None:
    """200 and 206 are."""
    get = Get("k")
    get.status = 206
    assert failure(get) is None


def test_the_last_head_counts() -> None:
    """An interim answer may come before it (RFC 9110 section 15.2)."""
    lines = [b"HTTP/1.1 100 Continue\r\n", b"X-A: 1\r\n", b"\r\n", b"HTTP/1.1 200 OK\r\n", b'ETag: "a:b"\r\n', b"\r\n"]
    assert parse_head(lines) == {"etag": '"a:b"'}


def test_a_store_that_quotes_the_request_is_quoted_without_its_secrets() -> None:
    """Some do so in what they refuse."""
    said = "AWS4-HMAC-SHA256 Credential=AKIA/s3, Signature=canary for https://h/x?X-Amz-Security-Token=canary"
    error, _ = explain(403, xml("AccessDenied", said), {})
    assert "canary" not in str(error)
    assert "AccessDenied" in str(error)
