"""Names: URLs without their secrets, S3 addresses, metadata that S3 accepts."""

from __future__ import annotations

import re
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from airflow_s3stream.config import AWS_LIMITS, S3Limits
from airflow_s3stream.exceptions import ConfigError

# An access point's ARN stands where a bucket's name does and has slashes of its own.
_ACCESS_POINT = re.compile(
    r"(arn:[^:/]+:s3[^:/]*:[^:/]*:[^:/]*:(?:outpost[:/][^:/]+[:/])?accesspoint[:/][^:/]+)/?(.*)", re.DOTALL
)
_URL = re.compile(r"https?://\S+", re.IGNORECASE)
_PAIR = re.compile(r"\b([\w-]*(?:credential|passwd|password|secret|sig|signature|token))=[^\s&,;]+", re.IGNORECASE)
# What services put into the query of a presigned URL: AWS and Google version 4 and their like by a prefix; AWS version
# 2 with CloudFront and Google version 2, and Azure's SAS, by names that mean something else without the first of them.
_SIGNING = ("x-amz-", "x-goog-", "x-oss-")
_SIGNATURES = (
    ("signature", "expires", "awsaccesskeyid", "googleaccessid", "ossaccesskeyid", "key-pair-id", "policy"),
    ("sig", "se", "st", "sp", "sv", "sr", "spr", "sip", "ss", "srt", "skoid", "sktid", "skt", "ske", "sks", "skv"),
)
_SAID = 500  # characters of another program's words
_METADATA_VALUE = 512  # bytes; S3 allows 2 KB for all user metadata together


def redact_url(url: str) -> str:
    """
    Show a URL without user info, query values and fragment: the one form that may be logged or stored.

    No query value is shown, however harmless its name: each service calls its signature something else. What stands
    in the path or the host's name cannot be told from what is no secret, and stays.
    """
    try:
        parts = urlsplit(url)
        port = parts.port  # fails where a password with a slash was taken for a port
    except ValueError:
        return "(unreadable URL)"
    _, credentials, host = parts.netloc.rpartition("@")
    path = parts.path
    if "@" in path and (not parts.netloc or (port is not None and not credentials)):
        # Text that lacks a slash or two, or a password of digits and a slash, which was taken for a port and a path.
        path = f"/***@{path.rpartition('@')[2]}" if parts.netloc else f"***@{path.rpartition('@')[2]}"
    fields = (field.partition("=") for field in re.split("[&;]", parts.query) if field)
    # A name without a value may be the padded Base64 of a token.
    query = "&".join(f"{name}=***" if value.strip("=") else "***" for name, _, value in fields)
    scheme = "" if path.startswith("***@") else parts.scheme  # then it may be the user's name
    return urlunsplit((scheme, host, path, query, ""))


def unsigned(url: str) -> str:
    """
    Give a URL without user info, fragment and the query's signature: the same for each time that it is presigned.

    Every other query value counts, for it may say which of many things is meant.
    """
    parts = urlsplit(url)
    fields = [field for field in re.split("[&;]", parts.query) if field]
    names = [unquote(field.partition("=")[0]).lower() for field in fields]
    signing = {name for names_of in _SIGNATURES if names_of[0] in names for name in names_of}
    kept = [
        field
        for field, name in zip(fields, names, strict=True)
        if name not in signing and not name.startswith(_SIGNING)
    ]
    return urlunsplit((parts.scheme.lower(), parts.netloc.rpartition("@")[2].lower(), parts.path, "&".join(kept), ""))


def redact_text(text: str) -> str:
    """Show what another program said: URLs and ``Signature=...`` in it redacted, on one line, and not without end."""
    said = _URL.sub(lambda found: redact_url(found[0]), " ".join(text.split()))
    said = _PAIR.sub(r"\1=***", said)
    return said if len(said) <= _SAID else f"{said[:_SAID]}..."


def shown(text: str) -> str:
    """Show an argument that should be no URL, and may be one by mistake."""
    return redact_url(text) if _URL.match(text) else text


def same_host(first: str, second: str) -> bool:
    """Whether credentials for ``first`` may go to ``second``: same scheme, host and port, or its upgrade to https."""
    try:
        a, b = _origin(first), _origin(second)
    except ValueError:
        return False
    return a == b or (a[1] == b[1] and (a[0], a[2], b[0], b[2]) == ("http", 80, "https", 443))


def is_ambiguous(url: str) -> bool:
    """
    Whether readers of URLs disagree about the host.

    ``http://a\\@b/`` is at ``b`` for urllib.parse (RFC 3986), and at ``a`` for urllib3 and for browsers, which take a
    backslash for a slash (WHATWG URL Standard, host parsing): the one would be checked, and the other asked.
    """
    return "\\" in urlsplit(url).netloc


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    if is_ambiguous(url):
        raise ValueError("two hosts")
    scheme = parts.scheme.lower()
    return scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(scheme)


def check_url(url: object) -> str:
    """
    Check that ``url`` is absolute http or https.

    :raises ConfigError: otherwise.
    """
    if not isinstance(url, str | None):
        raise ConfigError(f"url=({type(url).__name__}) is not text; give an absolute http:// or https:// URL")
    if url is None or not url.strip():
        raise ConfigError(f"url={url!r} is empty; give an absolute http:// or https:// URL")
    safe = redact_url(url)
    try:
        parts = urlsplit(url.strip())
        _ = parts.port
    except ValueError:  # whose words quote what may be a password
        raise ConfigError(
            f"url={safe!r} is not a URL; its host and port cannot be read, and what is special in a password must be "
            "percent-encoded"
        ) from None
    if not parts.scheme or "://" not in url:
        raise ConfigError(f"url={safe!r} has no scheme; give an absolute http:// or https:// URL")
    if parts.scheme.lower() not in ("http", "https"):
        raise ConfigError(f"url={safe!r} has the scheme {parts.scheme!r}; only http and https can be read")
    if not parts.hostname:
        raise ConfigError(f"url={safe!r} names no host")
    if is_ambiguous(url.strip()):
        raise ConfigError(
            f"url={safe!r} has a backslash before its path, so that two hosts could be read in it; percent-encode it"
        )
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
        raise ConfigError(f"s3_key={shown(key)!r} names no bucket; write s3://bucket/key or give s3_bucket")
    if not key:
        raise ConfigError(f"s3_key for bucket {bucket!r} is empty; name the object: s3://{bucket}/key")
    try:
        length = len(key.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"s3_key={shown(key)[:60]!r} is not text that UTF-8 can carry") from None
    if length > limits.max_key:
        raise ConfigError(f"s3_key={shown(key)[:60]!r}... has {length} bytes of UTF-8; S3 allows {limits.max_key}")
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
        raise ConfigError(f"s3_prefix={shown(prefix)!r} names no bucket; write s3://bucket/prefix/ or give s3_bucket")
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
        raise ConfigError(f"keys has {shown(key)!r}, which names no bucket; write s3://bucket/key or give s3_bucket")
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
