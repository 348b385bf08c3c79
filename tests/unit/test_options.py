"""Options as users write them."""

from __future__ import annotations

import inspect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.config import CopyOptions, GiB, MiB, format_size, parse_size
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.operators.url_to_s3 import _OPTIONS, UrlToS3Operator
from airflow_s3stream.plan.digests import Digest
from airflow_s3stream.plan.options import read_copy_options


@pytest.mark.parametrize(
    ("text", "size"),
    [("64MiB", 64 * MiB), ("1GB", 10**9), ("1 GiB", GiB), ("0.5MiB", MiB // 2), ("16m", 16 * MiB), ("7", 7), (7, 7),
     ("12 kB", 12_000), ("5b", 5)],
)  # fmt: skip
def test_sizes(text: str | int, size: int) -> None:
    """Powers of 1024 and of 1000, spaces and case as people write them."""
    assert parse_size(text, "part_size") == size


@pytest.mark.parametrize("text", ["", "MiB", "1.5", "-1", -1, "1e6", "1,5MB", "64 MiBs", True, 1.5, None, "٣MiB"])
def test_what_is_no_size_is_named(text: object) -> None:
    """The error names field and value, and shows what would be right."""
    with pytest.raises(ConfigError, match="part_size=") as caught:
        parse_size(text, "part_size")  # type: ignore[arg-type]
    assert "64MiB" in str(caught.value)


@given(st.integers(0, 1 << 62))
def test_any_size_can_be_shown(size: int) -> None:
    """As a number and a unit."""
    number, unit = format_size(size).split(" ")
    assert float(number) >= 0
    assert unit in ("B", "KiB", "MiB", "GiB", "TiB")


@pytest.mark.parametrize(
    ("option", "value", "said"),
    [
        ("part_size", "1MiB", "5.0 MiB"),
        ("part_size", "6GiB", "5.0 GiB"),
        ("part_size", "lots", "64MiB"),
        ("connections", 0, "1 to 512"),
        ("connections", "many", "whole number"),
        ("connections", 2.5, "whole number"),
        ("max_memory", "1MiB", "5.0 MiB"),
        ("if_exists", "replace", "overwrite, skip, skip_unchanged, fail"),
        ("if_size_outside", "ignore", "fail, skip"),
        ("expected_size", "-5", "not a size"),
        ("expected_size", "50TiB", "48.8 TiB"),
        ("expected_checksum", "md5", "32 hex digits"),
        ("expected_checksum", "md4:00", "algorithm:value"),
        ("expected_checksum", "sha256:abcd", "64 hex digits"),
        ("server_side_encryption", "aes", "AES256"),
        ("kms_key_id", "key", "aws:kms"),
        ("max_bandwidth", 0, "above 0"),
        ("connect_timeout", 0, "above 0"),
        ("read_timeout", "soon", "seconds"),
        ("stall_timeout", -1, "above 0"),
        ("deadline", 0, "above 0"),
        ("deadline", "nan", "above 0"),
        ("connect_timeout", "inf", "above 0"),
        ("strict", "maybe", "True or False"),
        ("retry_attempts", 0, "at least 1"),
        ("retry_budget", -1, "at least 0"),
        ("progress_interval", 0, "above 0"),
        ("metadata", {"name": "naïve"}, "US-ASCII"),
        ("metadata", "a=b", "mapping"),
        ("tags", ["a"], "mapping"),
    ],
)
def test_a_bad_option_is_one_sentence_that_names_it(option: str, value: object, said: str) -> None:
    """Field, value, and what would be right."""
    with pytest.raises(ConfigError) as caught:
        read_copy_options(**{option: value})  # type: ignore[arg-type]
    text = str(caught.value)
    assert option in text
    assert said in text
    assert "\n" not in text


def test_min_above_max_is_refused() -> None:
    """The two bounds are checked against each other."""
    with pytest.raises(ConfigError, match="min_bytes=2 must not be above max_bytes=1"):
        read_copy_options(min_bytes=2, max_bytes=1)


def test_text_from_templates_is_read_and_empty_text_means_unset() -> None:
    """A template renders to text, or to nothing."""
    options = read_copy_options(
        part_size="16MiB", connections="4", expected_size="12", deadline="", min_bytes="", expected_checksum=""
    )
    assert (options.part_size, options.connections, options.expected_size) == (16 * MiB, 4, 12)
    assert (options.timeouts.deadline, options.min_bytes, options.expected_checksum) == (None, None, None)


def test_the_defaults_of_options_and_settings_agree() -> None:
    """There are two places that know them."""
    assert read_copy_options() == CopyOptions()


def test_the_operator_passes_every_option_on_with_the_same_default() -> None:
    """Operator, hook and command take the same words."""
    options = inspect.signature(read_copy_options).parameters
    operator = inspect.signature(UrlToS3Operator.__init__).parameters
    assert set(_OPTIONS) == {*options, "profile"}
    expected = {name: parameter.default for name, parameter in options.items()}
    # A profile may speak for these, where the author did not.
    expected.update(connections=None, part_size=None)
    assert {name: operator[name].default for name in options} == expected


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("md5:D41D8CD98F00B204E9800998ECF8427E", "md5:d41d8cd98f00b204e9800998ecf8427e"),
        ("md5:1B2M2Y8AsgTpgAmY7PhCfg==", "md5:d41d8cd98f00b204e9800998ecf8427e"),
        ("crc32:0a0b0c0d", "crc32:CgsMDQ=="),
        ("crc32:CgsMDQ==", "crc32:CgsMDQ=="),
        ("CRC64NVME: rosUhgp5mIg=", "crc64nvme:rosUhgp5mIg="),
    ],
)
def test_checksums_are_read_in_hex_and_base64(text: str, shown: str) -> None:
    """And shown as md5sum, or S3, shows them."""
    assert str(Digest.parse(text)) == shown


@pytest.mark.parametrize(("text", "strict"), [("True", True), ("false", False), ("", False), (True, True)])
def test_a_flag_may_come_from_a_template(text: str | bool, strict: bool) -> None:
    """Which renders to text."""
    assert read_copy_options(strict=text).strict is strict


def test_every_option_of_the_operator_is_templated() -> None:
    """And so are the connections and the addresses."""
    assert set(_OPTIONS) | {"url", "s3_key", "s3_bucket", "headers", "verify"} <= set(UrlToS3Operator.template_fields)
