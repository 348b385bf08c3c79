"""Names: URLs without their secrets, S3 addresses, metadata that S3 accepts."""

from __future__ import annotations

import re
from urllib.parse import quote, urlsplit, urlunsplit

from airflow_s3stream.config import AWS_LIMITS, S3Limits
from airflow_s3stream.exceptions import ConfigError

# An access point's ARN stands where a bucket's name does and has slashes of its own.
_ACCESS_POINT = re.compile(
    r"(arn:[^:/]+:s3[^:/]*:[^:/]*:[^:/]*:(?:outpost[:/][^:/]+[:/])?accesspoint[:/][^:/]+)/?(.*)", re.DOTALL
)
_METADATA_VALUE = 512  # bytes; S3 allows 2 KB for all user metadata together


def redact_url(url: str) -> str:
    """Show a URL without user info, query values and fragment: the one form that may be logged or stored."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # fails where a password with a slash was taken for a port
    except ValueError:
        return "(unreadable URL)"
    host = parts.netloc.rpartition("@")[2]
    fields = (field.partition("=") for field in re.split("[&;]", parts.query) if field)
    query = "&".join(f"{name}=***" if found else "***" for name, found, _ in fields)
    return urlunsplit((parts.scheme, host, parts.path, query, ""))


def same_host(first: str, second: str) -> bool:
    """Whether credentials for ``first`` may go to ``second``: same scheme, host and port, or its upgrade to https."""
    try:
        a, b = _origin(first), _origin(second)
    except ValueError:
        return False
    return a == b or (a[1] == b[1] and (a[0], a[2], b[0], b[2]) == ("http", 80, "https", 443))


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(scheme)


def check_url(url: object) -> str:
    """
    Check that ``url`` is absolute http or https.

    :raises ConfigError: otherwise.
    """
    shown = redact_url(url) if isinstance(url, str) else repr(url)
    if not isinstance(url, str) or not url.strip():
        raise ConfigError(f"url={url!r} is empty; give an absolute http:// or https:// URL")
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError as exc:
        raise ConfigError(f"url={shown!r} is not a URL: {exc}") from None
    if not parts.scheme or "://" not in url:
        raise ConfigError(f"url={shown!r} has no scheme; give an absolute http:// or https:// URL")
    if parts.scheme.lower() not in ("http", "https"):
        raise ConfigError(f"url={shown!r} has the scheme {parts.scheme!r}; only http and https can be read")
    if not parts.hostname:
        raise ConfigError(f"url={shown!r} names no host")
    return url.strip()


def parse_s3_uri(key: object, bucket: str | None = None, limits: S3Limits = AWS_LIMITS) -> tuple[str, str]:
    """
    Split ``s3://bucket/key``, or pair a plain key with ``bucket``, and check the key.

    :raises ConfigError: no bucket, two buckets, or a key that is empty or longer than S3 allows.
    """
    if not isinstance(key, str):
        raise ConfigError(f"s3_key={key!r} must be text: s3://bucket/key, or a key beside s3_bucket")
    if key.startswith("s3://"):
        if bucket:
            raise ConfigError(
                f"s3_key={key!r} names a bucket already; leave out s3_bucket={bucket!r} or the s3:// part"
            )
        bucket, key = _split(key.removeprefix("s3://"))
        if not bucket:
            raise ConfigError(f"s3_key='s3:///{key}' names no bucket; it must look like s3://bucket/key")
    elif not bucket:
        raise ConfigError(f"s3_key={key!r} names no bucket; write s3://bucket/key or give s3_bucket")
    if not key:
        raise ConfigError(f"s3_key for bucket {bucket!r} is empty; name the object: s3://{bucket}/key")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"s3_key={key[:60]!r} is not text that UTF-8 can carry") from None
    if length > limits.max_key:
        raise ConfigError(f"s3_key={key[:60]!r}... has {length} bytes of UTF-8; S3 allows {limits.max_key}")
    return bucket, key


def parse_s3_prefix(prefix: object, bucket: str | None = None) -> tuple[str, str]:
    """
    Split ``s3://bucket/prefix``, or pair a plain prefix with ``bucket``; the prefix may be empty.

    :raises ConfigError: no bucket, or two.
    """
    if prefix is not None and not isinstance(prefix, str):
        raise ConfigError(f"s3_prefix={prefix!r} must be text: s3://bucket/prefix/, or a prefix beside s3_bucket")
    prefix = prefix or ""
    if prefix.startswith("s3://"):
        if bucket:
            raise ConfigError(
                f"s3_prefix={prefix!r} names a bucket already; leave out s3_bucket={bucket!r} or the s3:// part"
            )
        bucket, prefix = _split(prefix.removeprefix("s3://"))
    if not bucket:
        raise ConfigError(f"s3_prefix={prefix!r} names no bucket; write s3://bucket/prefix/ or give s3_bucket")
    return bucket, prefix


def key_in_bucket(key: object, bucket: str | None) -> tuple[str, str]:
    """
    Give (bucket, key) for one of many keys: ``s3://bucket/key``, or a key of ``bucket``.

    :raises ConfigError: no bucket, another bucket, or an empty key.
    """
    if not isinstance(key, str) or not key:
        raise ConfigError(f"keys has {key!r}; each must be the text of a key, or s3://bucket/key")
    if key.startswith("s3://"):
        named, rest = _split(key.removeprefix("s3://"))
        if bucket and named != bucket:
            raise ConfigError(f"keys has {key!r}, which is not in bucket {bucket!r}; one download reads one bucket")
        if not named or not rest:
            raise ConfigError(f"keys has {key!r}; each must be the text of a key, or s3://bucket/key")
        return named, rest
    if not bucket:
        raise ConfigError(f"keys has {key!r}, which names no bucket; write s3://bucket/key or give s3_bucket")
    return bucket, key


def _split(path: str) -> tuple[str, str]:
    match = _ACCESS_POINT.fullmatch(path)
    if match:
        return match[1], match[2]
    bucket, _, key = path.partition("/")
    return bucket, key


def metadata_value(text: str) -> str:
    """Make text fit a user-metadata header: percent-encoded outside printable US-ASCII, and cut."""
    return quote(text, safe="".join(map(chr, range(32, 127))))[:_METADATA_VALUE].strip()
