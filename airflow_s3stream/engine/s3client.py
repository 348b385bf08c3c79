"""boto3 clients set up for transfers: one attempt per call, no second pass over the payload."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import boto3
from botocore.config import Config

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.httpsession import check_bundle
from airflow_s3stream.engine.quietlog import hide_secrets
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.names import redact_url

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_SPARE = 4  # connections beyond the parts' own: Create, Complete, HEAD, Abort


def check_endpoint(url: str) -> None:
    """
    Check that a store's URL has a scheme that can be spoken, and no secret in it.

    It is shown wherever the store is named, such as in the command that removes an upload; and botocore does not send
    its user info.

    :raises ConfigError: otherwise.
    """
    if not url.startswith(("http://", "https://")):
        raise ConfigError(f"endpoint_url={redact_url(url)!r} must begin with http:// or https://")
    try:
        parts = urlsplit(url)
        secret = "@" in parts.netloc or parts.query or parts.fragment
    except ValueError:
        secret = ""  # botocore will refuse it
    if secret:
        raise ConfigError(
            f"endpoint_url={redact_url(url)!r} must have no user info, query or fragment: requests to a store are "
            "signed with the AWS credentials"
        )


def transfer_config(base: Config | None, *, connections: int, timeouts: Timeouts) -> Config:
    """
    Lay what a transfer needs over ``base``.

    Retries are the engine's (attempts must not multiply), the pool holds every connection (botocore's default
    of 10 would close and reopen the rest), and checksums are computed here once rather than by botocore again.
    Timeouts and addressing that ``base`` sets are kept.
    """
    hide_secrets()
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
    if endpoint_url is not None:
        check_endpoint(endpoint_url)
    try:
        client = boto3.session.Session().client(
            "s3",
            endpoint_url=endpoint_url,
            region_name=region_name,
            verify=verify,
            config=transfer_config(config, connections=connections, timeouts=timeouts or Timeouts()),
        )
    except ValueError:  # how botocore says that it cannot use the endpoint
        raise ConfigError(f"endpoint_url={redact_url(endpoint_url or '')!r} is no URL of a store") from None
    check_endpoint(client.meta.endpoint_url)
    return client
