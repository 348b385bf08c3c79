"""``s3stream copy``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow_s3stream.cli.common import (
    EPILOG,
    POLICY,
    PROFILE,
    add_common,
    add_options,
    given_options,
    loading,
    new_client,
    pairs,
    settled,
)
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.names import check_url, parse_s3_uri
from airflow_s3stream.plan.options import read_copy_options

if TYPE_CHECKING:
    import argparse

    from airflow_s3stream.config import TransferResult
    from airflow_s3stream.engine.stop import StopFlag

_COPY_OPTIONS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("--connections", {"metavar": "N", "help": "parts under way at once (default 16)"}),
    ("--part-size", {"metavar": "SIZE", "help": "5MiB to 5GiB (default: chosen from the object's size)"}),
    ("--max-memory", {"metavar": "SIZE", "help": "of part buffers, if the source has no ranges (default 64MiB)"}),
    ("--if-exists", {"choices": ("overwrite", "skip", "skip_unchanged", "fail"), "help": "(default overwrite)"}),
    ("--min-bytes", {"metavar": "SIZE", "help": "least size of the source"}),
    ("--max-bytes", {"metavar": "SIZE", "help": "greatest size of the source"}),
    ("--if-size-outside", {"choices": ("fail", "skip"), "help": "what to do outside those (default fail)"}),
    ("--expected-size", {"metavar": "SIZE", "help": "exact size of the source"}),
    ("--expected-checksum", {"metavar": "ALG:VALUE", "help": "md5, sha1, sha256, sha512, crc32, crc32c or crc64nvme; "
                             "hex or base64"}),
    ("--strict", {"action": "store_true", "help": "fail where only the stored object's size can be proved"}),
    ("--content-type", {"metavar": "TYPE", "help": "of the object (default: what the source says)"}),
    ("--storage-class", {"metavar": "CLASS"}),
    ("--sse", {"dest": "server_side_encryption", "choices": ("AES256", "aws:kms", "aws:kms:dsse")}),
    ("--kms-key-id", {"metavar": "KEY"}),
    *POLICY,
    ("--max-bandwidth", {"metavar": "SIZE", "help": "bytes per second over all connections"}),
    ("--connect-timeout", {"metavar": "SECONDS", "help": "(default 10)"}),
    ("--read-timeout", {"metavar": "SECONDS", "help": "(default 60)"}),
    ("--stall-timeout", {"metavar": "SECONDS", "help": "for one read to complete (default 60)"}),
    ("--deadline", {"metavar": "SECONDS", "help": "for the whole transfer"}),
    ("--retry-attempts", {"metavar": "N", "help": "of each request (default 8)"}),
    ("--retry-budget", {"metavar": "N", "help": "retries of all requests together (default 100)"}),
    ("--progress-interval", {"metavar": "SECONDS", "help": "between progress lines (default 10)"}),
    *PROFILE,
)  # fmt: skip
_MAPPINGS = ("metadata", "tags")


def add_parser(commands: Any) -> None:
    """Add ``copy``."""
    copy = commands.add_parser(
        "copy",
        help="copy a URL into S3",
        description="Copy a URL into S3, streamed by parallel parts, in fixed memory, with no disk.",
        epilog=EPILOG,
    )
    copy.set_defaults(run=_copy)
    copy.add_argument("url", metavar="URL", help="http:// or https://")
    copy.add_argument("destination", metavar="s3://BUCKET/KEY")
    add_common(copy)
    add_options(copy, _COPY_OPTIONS)
    copy.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="sent to the URL's host; repeatable",
    )
    copy.add_argument(
        "--resume", action="store_true",
        help="go on where an earlier run of this command was, and if this one fails keep the upload for the next",
    )  # fmt: skip
    copy.add_argument(
        "--state", metavar="FILE", help="where --resume keeps what it must know (default: a file below ~/.local/state)"
    )
    copy.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    copy.add_argument("--tag", dest="tags", action="append", default=[], metavar="NAME=VALUE", help="repeatable")


def _copy(arguments: argparse.Namespace, stop: StopFlag) -> tuple[TransferResult, bool]:
    given = vars(arguments)
    if arguments.state and not arguments.resume:
        raise ConfigError(f"--state {arguments.state!r} is of use with --resume only; add that or leave this out")
    options = given_options(arguments, _COPY_OPTIONS)
    options.update({name: pairs(given[name], "=", f"--{name.rstrip('s')}") for name in _MAPPINGS})
    settings = read_copy_options(**settled(options, "copy"))
    headers = pairs(arguments.header, ":", "--header")
    url, (bucket, key) = check_url(arguments.url), parse_s3_uri(arguments.destination)

    with loading():
        from airflow_s3stream.cli.statefile import StateFile, default_path
        from airflow_s3stream.engine.copy import copy
        from airflow_s3stream.engine.handover import Resume
        from airflow_s3stream.engine.httpsource import HttpSource
        from airflow_s3stream.engine.s3sink import S3Sink
        from airflow_s3stream.terminal import show

        source = HttpSource(
            url,
            headers=headers,
            verify=arguments.ca_bundle or True,
            timeouts=settings.timeouts,
            connections=settings.connections,
            policy=settings.policy,
            trust_url=True,  # whoever typed it may read what they can reach; where it redirects to is another matter
        )
        client = new_client(arguments, bucket, connections=settings.connections, timeouts=settings.timeouts)
    sink = S3Sink(client, bucket, key, options=settings.object)
    resume = None
    if arguments.resume:
        path = Path(arguments.state) if arguments.state else default_path(sink.name, client.meta.endpoint_url)
        resume = Resume(store=StateFile(path))
    with show(quiet=arguments.quiet, to_stderr=arguments.json) as display:
        # A bar moves more often than a log line needs to be written.
        settings = display.adjust(settings, chosen="progress_interval" in given)
        return copy(source, sink, settings, listener=display, stop=stop, resume=resume), True
