"""boto3 clients set up for transfers: one attempt per call, no second pass over the payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.httpsession import check_bundle
from airflow_s3stream.exceptions import ConfigError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SPARE = 4  # connections beyond the parts' own: Create, Complete, HEAD, Abort


def transfer_config(base: Config | None, *, connections: int, timeouts: Timeouts) -> Config:
    """
    Lay what a transfer needs over ``base``.

    Retries are the engine's (attempts must not multiply), the pool holds every connection (botocore's default
    of 10 would close and reopen the rest), and checksums are computed here once rather than by botocore again.
    Timeouts and addressing that ``base`` sets are kept.
    """
    s3 = dict(getattr(base, "s3", None) or {})
    # Without this botocore hashes every payload with SHA-256 over plain http, which costs more than all else.
    # Not left to the caller: what is signed then would be the empty body that stands in for a part (s3parts).
    s3["payload_signing_enabled"] = False
    own = Config(
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=connections + _SPARE,
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        tcp_keepalive=True,
        s3=s3,  # type: ignore[arg-type]
    )
    given: dict[str, Any] = getattr(base, "_user_provided_options", {}) if base else {}
    waits: dict[str, Any] = {}
    if "connect_timeout" not in given:
        waits["connect_timeout"] = timeouts.connect
    if "read_timeout" not in given:
        waits["read_timeout"] = timeouts.read
    return (base or Config()).merge(own).merge(Config(**waits))


def new_client(
    *,
    endpoint_url: str | None = None,
    region_name: str | None = None,
    verify: bool | str | None = None,
    connections: int = 16,
    timeouts: Timeouts | None = None,
    config: Config | None = None,
) -> S3Client:
    """
    Build an S3 client from boto3's default credential chain.

    :param verify: False, True, or the path of a CA bundle; None: ``AWS_CA_BUNDLE`` or the system's.
    :param connections: parts that will be under way at once.
    :raises ConfigError: the endpoint is no URL, or the CA bundle is not there.
    """
    check_bundle(verify)
    if endpoint_url is not None and not endpoint_url.startswith(("http://", "https://")):
        raise ConfigError(f"endpoint_url={endpoint_url!r} must begin with http:// or https://")
    try:
        return boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region_name,
            verify=verify,
            config=transfer_config(config, connections=connections, timeouts=timeouts or Timeouts()),
        )
    except ValueError as error:  # how botocore says that it cannot use the endpoint
        raise ConfigError(f"endpoint_url={endpoint_url!r} is no URL of a store: {error}") from None
