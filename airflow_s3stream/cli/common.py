"""What the commands have in common."""

from __future__ import annotations

import argparse
import gc
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.profilefile import find_profile
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.profile import with_profile

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.config import Timeouts
    from airflow_s3stream.plan.tuning import Kind

Options = tuple[tuple[str, dict[str, Any]], ...]

EPILOG = (
    "Sizes are bytes or text such as 64MiB or 1GB. Exit codes: 0 done, 1 transfer failed, 2 bad usage, 130 interrupted."
)
PATIENCE: Options = (
    ("--max-bandwidth", {"metavar": "SIZE", "help": "bytes per second over all connections"}),
    ("--connect-timeout", {"metavar": "SECONDS", "help": "(default 10)"}),
    ("--read-timeout", {"metavar": "SECONDS", "help": "without a byte (default 60)"}),
    ("--stall-timeout", {"metavar": "SECONDS", "help": "without progress worth the name (default 60)"}),
    ("--deadline", {"metavar": "SECONDS", "help": "for the whole transfer"}),
    ("--retry-attempts", {"metavar": "N", "help": "of each request (default 8)"}),
    ("--retry-budget", {"metavar": "N", "help": "retries of all requests together (default 100)"}),
    ("--progress-interval", {"metavar": "SECONDS", "help": "between progress lines (default 10)"}),
)


def add_common(parser: argparse.ArgumentParser) -> None:
    """Add what every command takes."""
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible store")
    parser.add_argument("--region", metavar="NAME")
    parser.add_argument("--ca-bundle", metavar="FILE", help="certificate authorities to trust")
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, the last line of stdout"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def add_options(parser: argparse.ArgumentParser, options: Options) -> None:
    """Add options whose defaults are known elsewhere: what is not typed is not set."""
    for name, settings in options:
        parser.add_argument(name, **{"default": argparse.SUPPRESS, **settings})


def given_options(arguments: argparse.Namespace, options: Options) -> dict[str, Any]:
    """Give those of ``options`` that were typed."""
    known = {settings.get("dest", name[2:].replace("-", "_")) for name, settings in options}
    return {name: value for name, value in vars(arguments).items() if name in known}


POLICY: Options = (
    ("--allow-private", {"action": "append", "metavar": "CIDR", "help": "a network that redirects may lead to though "
                         "it is not public; repeatable"}),
    ("--allowed-host", {"dest": "allowed_hosts", "action": "append", "metavar": "HOST", "help": "ask no other host: "
                        "example.org, *.example.org, example.org:8443; repeatable (default: any)"}),
)  # fmt: skip
PROFILE: Options = (
    (
        "--profile",
        {"metavar": "FILE", "help": "what `s3stream tune --save FILE` measured; what is typed wins"},
    ),
)


def settled(options: dict[str, Any], kind: Kind, *, stream: bool = False) -> dict[str, Any]:
    """
    Take ``profile`` out of options and lay the rest over what it says.

    :raises ConfigError: there is no such profile, or it was measured for the other kind of transfer.
    """
    given = dict(options)
    return with_profile(given, find_profile(given.pop("profile", None)), kind, stream=stream)


def pairs(items: list[str], separator: str, option: str) -> dict[str, str]:
    """
    Read ``NAME=VALUE`` and the like.

    :raises ConfigError: a text that is not so.
    """
    found = {}
    for item in items:
        name, parted, value = item.partition(separator)
        if not parted or not name.strip():
            raise ConfigError(f"{option} must look like NAME{separator}VALUE")  # not shown: it may be a secret
        found[name.strip()] = value.strip()
    return found


@contextmanager
def loading() -> Iterator[None]:
    """
    Import the engine inside.

    Late, so that bad usage is told at once, without half a second of loading boto3. Nothing made while loading is ever
    garbage, and looking through it for some costs a good part of the start: so it is frozen, unlooked at.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def new_client(arguments: argparse.Namespace, bucket: str, *, connections: int, timeouts: Timeouts) -> S3Client:
    """Build the client that the common options describe."""
    from airflow_s3stream.engine import s3client
    from airflow_s3stream.engine.s3errors import translated

    with translated("client", f"s3://{bucket}"):
        return s3client.new_client(
            endpoint_url=arguments.endpoint_url,
            region_name=arguments.region,
            verify=arguments.ca_bundle,
            connections=connections,
            timeouts=timeouts,
        )
