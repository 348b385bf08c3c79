"""URLs without secrets, S3 addresses, metadata."""

from __future__ import annotations

import re
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.names import (
    check_url,
    key_in_bucket,
    metadata_value,
    parse_s3_prefix,
    parse_s3_uri,
    redact_url,
    same_host,
    unsigned,
)

SECRET = st.text("abcdefXYZ0123456789-._~!$'()*+,;", min_size=6).filter(lambda text: len(set(text)) > 3)


@given(user=SECRET, password=SECRET, signature=SECRET, fragment=SECRET)
def test_no_secret_survives_redaction(user: str, password: str, signature: str, fragment: str) -> None:
    """User info, query values and the fragment are gone; host, path and the names of the query stay."""
    url = (
        f"https://{quote(user, safe='')}:{quote(password, safe='')}@host.example:8443/data/file.csv"
        f"?X-Amz-Signature={quote(signature, safe='')}&part=1#{quote(fragment, safe='')}"
    )
    shown = redact_url(url)
    assert shown == "https://host.example:8443/data/file.csv?X-Amz-Signature=***&part=***"


@pytest.mark.parametrize("url", ["https://h/p?token", "https://h/p?a=1;b=2", "https://h/p?%73ecret", "https://h/?=x"])
def test_a_query_without_names_is_hidden_whole(url: str) -> None:
    """A bare token is as secret as a named one."""
    shown = redact_url(url)
    assert "***" in shown
    assert not re.search(r"1|2|=x", shown)


@given(st.text())
def test_redaction_never_fails(url: str) -> None:
    """Whatever text came as a URL can be shown in the error about it."""
    assert isinstance(redact_url(url), str)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "empty"),
        (None, "empty"),
        ("example.org/file", "no scheme"),
        ("host:80/file", "no scheme"),
        ("ftp://host/file", "'ftp'"),
        ("file:///etc/passwd", "'file'"),
        ("https://", "no host"),
        ("https:///file", "no host"),
        ("http://host:port/x", "not a URL"),
        ("http://[::1/x", "not a URL"),
    ],
)
def test_a_url_that_cannot_be_read_is_named_with_what_is_wrong(url: str | None, said: str) -> None:
    """One sentence, which names the field."""
    with pytest.raises(ConfigError, match=r"^url=") as caught:
        check_url(url)
    assert said in str(caught.value)


def test_a_bad_url_does_not_leak_its_secret() -> None:
    """The error shows the redacted form."""
    with pytest.raises(ConfigError) as caught:
        check_url("ftp://user:hunter2@host/file?sig=hunter2")
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://ann:hunter2/x@host/file", "http://h\u2100unter2:x@host/", ["http://a:hunter2@h"]]
)
def test_what_is_wrong_with_a_url_is_said_without_quoting_it(url: object) -> None:
    """The library's own words quote the password that it took for a port, or for a host."""
    with pytest.raises(ConfigError, match=r"^url=") as caught:
        check_url(url)
    assert "unter2" not in str(caught.value)


@pytest.mark.parametrize("parse", [parse_s3_uri, parse_s3_prefix, lambda text: key_in_bucket(text, None)])
def test_a_url_in_the_place_of_a_key_is_not_quoted(parse: Callable[[str], object]) -> None:
    """Arguments are swapped easily."""
    with pytest.raises(ConfigError, match="https://host/x") as caught:
        parse("https://ann:hunter2@host/x?sig=hunter2")
    assert "hunter2" not in str(caught.value)


def test_s3_addresses() -> None:
    """A URI, or a bucket beside a key."""
    assert parse_s3_uri("s3://b/a/b c.csv") == ("b", "a/b c.csv")
    assert parse_s3_uri("a/b", "b") == ("b", "a/b")


@pytest.mark.parametrize(
    ("key", "bucket", "said"),
    [
        ("s3://b/", None, "empty"),
        ("s3://b", None, "empty"),
        ("", "b", "empty"),
        ("s3:///k", None, "no bucket"),
        ("k", None, "no bucket"),
        ("k", "", "no bucket"),
        ("s3://b/k", "other", "already"),
        ("s3://b/" + "é" * 513, None, "1026 bytes"),
        (None, "b", "must be text"),
    ],
)
def test_a_bad_s3_address_says_what_is_wrong(key: str | None, bucket: str | None, said: str) -> None:
    """Empty, ambiguous or too long keys are refused before anything is sent."""
    with pytest.raises(ConfigError, match=r"^s3_key") as caught:
        parse_s3_uri(key, bucket)
    assert said in str(caught.value)


def test_a_key_of_exactly_1024_bytes_is_fine() -> None:
    """S3's limit counts bytes of UTF-8."""
    assert parse_s3_uri("s3://b/" + "é" * 512)[1] == "é" * 512


@given(st.text())
def test_metadata_fits_a_header(text: str) -> None:
    """Printable US-ASCII, and short."""
    value = metadata_value(text)
    assert value.isascii()
    assert value == "" or value.isprintable()
    assert len(value) <= 512


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("https://h/p?s3cr3t", "https://h/p?***"),
        ("https://h/p?a=1;b=2&s3cr3t", "https://h/p?a=***&b=***&***"),
        ("http://ann:pa/ss@h/p", "(unreadable URL)"),
        ("http://ann:12/ss@h/p", "http://ann:12/***@h/p"),
        ("ann:pa/ss@h/p", "***@h/p"),
        ("http:/ann:pass@h/p", "***@h/p"),
        ("http://h/@types/x", "http://h/@types/x"),
        ("http://ann:pass@h:80/@types/x", "http://h:80/@types/x"),
        ("https://h/p?czNjcjN0==", "https://h/p?***"),
    ],
)
def test_what_looks_like_a_name_or_a_port_may_be_a_secret(url: str, shown: str) -> None:
    """A token without a name, and a password with a slash."""
    assert redact_url(url) == shown


@pytest.mark.parametrize(
    "bucket",
    [
        "arn:aws:s3:eu-west-1:123456789012:accesspoint/lake",
        "arn:aws:s3:eu-west-1:123456789012:accesspoint:lake",
        "arn:aws:s3::123456789012:accesspoint/lake.mrap",
        "arn:aws:s3-outposts:eu-west-1:123456789012:outpost/op-1/accesspoint/lake",
    ],
)
def test_an_access_point_stands_where_a_bucket_does(bucket: str) -> None:
    """Its ARN has slashes of its own."""
    assert parse_s3_uri(f"s3://{bucket}/year=2024/k.csv") == (bucket, "year=2024/k.csv")


def test_a_key_that_is_no_text_is_refused() -> None:
    """A lone surrogate has no UTF-8."""
    with pytest.raises(ConfigError, match="UTF-8"):
        parse_s3_uri("s3://b/\ud800")


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("https://h/a", "https://H:443/b", True),
        ("http://h/a", "https://h/b", True),
        ("https://h/a", "http://h/b", False),
        ("http://h:8080/a", "https://h/b", False),
        ("https://h/a", "https://h.evil/b", False),
        ("https://h/a", "https://h@evil/b", False),
        ("https://h/a", "https://h:99999/b", False),
        ("https://h/a", "https://evil\\@h/b", False),
        ("https://evil\\@h/b", "https://evil\\@h/b", False),
    ],
)
def test_where_credentials_may_go(first: str, second: str, same: bool) -> None:
    """The same scheme, host and port, or up to https."""
    assert same_host(first, second) is same


@pytest.mark.parametrize(
    ("url", "identity"),
    [
        ("HTTPS://u:p@H/a?b=1#f", "https://h/a?b=1"),
        ("https://h/a?b=1;c=2", "https://h/a?b=1&c=2"),
        ("https://h/a?X-Amz-Date=1&x-amz-signature=2&versionId=3", "https://h/a?versionId=3"),
        ("https://h/a?X%2DAmz-Date=1&id=3", "https://h/a?id=3"),
        ("https://h/a?X-Goog-Expires=1&id=3", "https://h/a?id=3"),
        ("https://h/a?AWSAccessKeyId=1&Signature=2&Expires=3&id=4", "https://h/a?id=4"),
        ("https://h/a?Expires=3&Policy=4", "https://h/a?Expires=3&Policy=4"),
        ("https://h/a?sv=1&se=2&sp=r&sig=3&comp=4", "https://h/a?comp=4"),
        ("https://h/a?sv=1&sp=r", "https://h/a?sv=1&sp=r"),
        ("https://h/a?token=1", "https://h/a?token=1"),
    ],
)
def test_a_url_is_the_same_however_often_it_is_signed(url: str, identity: str) -> None:
    """And another one by any other value: which is an id, and which a token, nobody can tell."""
    assert unsigned(url) == identity
