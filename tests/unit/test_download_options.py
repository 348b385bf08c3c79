"""What users type about downloads."""

from __future__ import annotations

from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.download import DownloadOptions, ReadOptions, read_download_options, read_read_options
from airflow_s3stream.plan.names import key_in_bucket, parse_s3_prefix


def test_text_and_numbers_mean_the_same() -> None:
    """A template renders everything to text."""
    typed = read_download_options(
        connections="64", max_memory="128MiB", shard_size="1GiB", strict="true", deadline="90", read_timeout=5,
        retry_attempts="3", retry_budget=7, progress_interval="2.5", fail_if_empty="False",
    )  # fmt: skip
    assert (typed.connections, typed.max_memory, typed.shard_size) == (64, 128 * MiB, 1024 * MiB)
    assert (typed.strict, typed.fail_if_empty, typed.progress_interval) == (True, False, 2.5)
    assert (typed.timeouts.deadline, typed.timeouts.read, typed.timeouts.connect) == (90.0, 5.0, 10.0)
    assert (typed.retry.attempts, typed.retry.budget) == (3, 7)


def test_what_is_empty_is_not_given() -> None:
    """An empty text is what a template leaves; None is a default."""
    assert read_download_options(connections="", deadline=None, max_bandwidth="") == DownloadOptions()
    assert read_read_options() == ReadOptions()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"connections": 0}, "connections=0 must be a whole number from 1 to 4096"),
        ({"connections": "many"}, "connections='many' must be a whole number"),
        ({"max_memory": "1KiB"}, "max_memory=1024 bytes must be at least 1.0 MiB"),
        ({"max_memory": "lots"}, "max_memory='lots' is not a size"),
        ({"shard_size": 10}, "shard_size=10 bytes must be at least"),
        ({"layout": "tree"}, "layout='tree' must be one of paths, flatten"),
        ({"sink": "zip"}, "sink='zip' must be one of files, tar"),
        ({"if_exists": "skip"}, "if_exists='skip' must be one of overwrite, skip_same, fail"),
        ({"on_error": "ignore"}, "on_error='ignore' must be one of fail, continue"),
        ({"max_bandwidth": 0}, "max_bandwidth=0 must be above 0"),
        ({"progress_interval": 0}, "progress_interval=0.0 must be"),
        ({"strict": "perhaps"}, "strict='perhaps' must be True or False"),
        ({"deadline": "soon"}, "deadline='soon' must be a number of seconds"),
        ({"part_size": 5}, "part_size is not an option here; known are "),
    ],
)
def test_a_wrong_value_is_named(given: dict[str, Any], said: str) -> None:
    """One sentence: the field, the value, what would be right."""
    with pytest.raises(ConfigError) as caught:
        read_download_options(**given)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("prefix", "bucket", "found"),
    [
        ("s3://lake/a/b/", None, ("lake", "a/b/")),
        ("s3://lake", None, ("lake", "")),
        ("s3://lake/", None, ("lake", "")),
        ("a/b", "lake", ("lake", "a/b")),
        (None, "lake", ("lake", "")),
        ("s3://arn:aws:s3:eu-west-1:123456789012:accesspoint/p/x/", None,
         ("arn:aws:s3:eu-west-1:123456789012:accesspoint/p", "x/")),
    ],
)  # fmt: skip
def test_a_prefix_may_be_empty(prefix: str | None, bucket: str | None, found: tuple[str, str]) -> None:
    """A whole bucket is a prefix, too."""
    assert parse_s3_prefix(prefix, bucket) == found


@pytest.mark.parametrize(
    ("prefix", "bucket"), [("a/b", None), (None, None), ("s3://", None), ("s3://a/b", "c"), (5, "c")]
)
def test_a_prefix_needs_one_bucket(prefix: Any, bucket: str | None) -> None:
    """Neither none nor two."""
    with pytest.raises(ConfigError, match="s3_prefix="):
        parse_s3_prefix(prefix, bucket)


def test_keys_are_of_one_bucket() -> None:
    """One download reads one."""
    assert key_in_bucket("s3://lake/a/b", None) == ("lake", "a/b")
    assert key_in_bucket("s3://lake/a/b", "lake") == ("lake", "a/b")
    assert key_in_bucket("a/b", "lake") == ("lake", "a/b")
    for key, bucket in (("s3://other/a", "lake"), ("a", None), ("", "lake"), ("s3://lake/", None), (5, "lake")):
        with pytest.raises(ConfigError, match="keys has"):
            key_in_bucket(key, bucket)
