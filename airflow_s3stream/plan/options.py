"""Options as users write them, made into settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from airflow_s3stream.config import CopyOptions, ObjectOptions, RetryPolicy, Timeouts, parse_size
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.addresses import read_policy
from airflow_s3stream.plan.digests import Digest
from airflow_s3stream.plan.values import flag, optional_size, seconds, whole_number


def read_copy_options(
    *,
    part_size: int | str | None = None,
    connections: int | str = 16,
    max_memory: int | str = "64MiB",
    if_exists: str = "overwrite",
    min_bytes: int | str | None = None,
    max_bytes: int | str | None = None,
    if_size_outside: str = "fail",
    expected_size: int | str | None = None,
    expected_checksum: str | None = None,
    strict: bool | str = False,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
    tags: Mapping[str, str] | None = None,
    storage_class: str | None = None,
    server_side_encryption: str | None = None,
    kms_key_id: str | None = None,
    allow_private: Sequence[str] | str | None = None,
    allowed_hosts: Sequence[str] | str | None = None,
    max_bandwidth: int | str | None = None,
    connect_timeout: float | str = 10.0,
    read_timeout: float | str = 60.0,
    stall_timeout: float | str = 60.0,
    deadline: float | str | None = None,
    retry_attempts: int | str = 8,
    retry_budget: int | str = 100,
    progress_interval: float | str = 10.0,
) -> CopyOptions:
    """
    Check and convert options of a copy, given as Python values or, after templating, as text.

    Empty text means the default, since a template may render to nothing. Sizes are bytes or text such as
    ``"64MiB"``; times are seconds. ``allow_private`` and ``allowed_hosts`` are lists, or text with commas:
    :class:`~airflow_s3stream.config.ConnectionPolicy`.

    :raises ConfigError: naming the option, its value, and what would be right.
    """
    checksum = expected_checksum or None
    if checksum:
        Digest.parse(checksum)
    return CopyOptions(
        part_size=optional_size(part_size, "part_size"),
        connections=whole_number(connections, "connections"),
        max_memory=parse_size("64MiB" if max_memory == "" else max_memory, "max_memory"),
        if_exists=if_exists or "overwrite",  # type: ignore[arg-type]
        min_bytes=optional_size(min_bytes, "min_bytes"),
        max_bytes=optional_size(max_bytes, "max_bytes"),
        if_size_outside=if_size_outside or "fail",  # type: ignore[arg-type]
        expected_size=optional_size(expected_size, "expected_size"),
        expected_checksum=checksum,
        strict=flag(strict, "strict"),
        max_bandwidth=optional_size(max_bandwidth, "max_bandwidth"),
        progress_interval=seconds(progress_interval, "progress_interval"),
        object=ObjectOptions(
            content_type=content_type or None,
            metadata=_texts(metadata, "metadata"),
            tags=_texts(tags, "tags"),
            storage_class=storage_class or None,
            server_side_encryption=server_side_encryption or None,  # type: ignore[arg-type]
            kms_key_id=kms_key_id or None,
        ),
        policy=read_policy(allow_private, allowed_hosts),
        timeouts=Timeouts(
            connect=seconds(connect_timeout, "connect_timeout"),
            read=seconds(read_timeout, "read_timeout"),
            stall=seconds(stall_timeout, "stall_timeout"),
            deadline=None if deadline in (None, "") else seconds(deadline, "deadline"),
        ),
        retry=RetryPolicy(
            attempts=whole_number(retry_attempts, "retry_attempts"), budget=whole_number(retry_budget, "retry_budget")
        ),
    )


def _texts(values: object, name: str) -> dict[str, str]:
    if values is None or values == "":
        return {}
    if not isinstance(values, Mapping):
        raise ConfigError(f"{name}={values!r} must be a mapping of names to texts")
    pairs = {str(key): str(value) for key, value in values.items()}
    for key, value in pairs.items():
        if name == "metadata" and not (key.isascii() and value.isascii() and (key + value).isprintable()):
            raise ConfigError(f"{name}[{key!r}]={value!r} must be printable US-ASCII; S3 takes nothing else")
    return pairs
