"""The command ``s3stream``. Works without Airflow's configuration; credentials come from boto3's default chain."""

from __future__ import annotations

import argparse
import gc
import json
import logging
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from airflow_s3stream import __version__
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import ConfigError, S3StreamError, Stopped
from airflow_s3stream.plan.names import check_url, parse_s3_uri
from airflow_s3stream.plan.options import read_copy_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from airflow_s3stream.config import TransferResult

OK, FAILED, USAGE = 0, 1, 2

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
    ("--max-bandwidth", {"metavar": "SIZE", "help": "bytes per second over all connections"}),
    ("--connect-timeout", {"metavar": "SECONDS", "help": "(default 10)"}),
    ("--read-timeout", {"metavar": "SECONDS", "help": "(default 60)"}),
    ("--stall-timeout", {"metavar": "SECONDS", "help": "for one read to complete (default 60)"}),
    ("--deadline", {"metavar": "SECONDS", "help": "for the whole transfer"}),
    ("--retry-attempts", {"metavar": "N", "help": "of each request (default 8)"}),
    ("--retry-budget", {"metavar": "N", "help": "retries of all requests together (default 100)"}),
    ("--progress-interval", {"metavar": "SECONDS", "help": "between progress lines (default 10)"}),
)  # fmt: skip
_MAPPINGS = ("metadata", "tags")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code: 0 done, 1 the transfer failed, 2 bad usage, 128+N on signal N."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    stop = StopFlag()
    signals = _stop_on_signals(stop)
    try:
        result = _copy(arguments, stop)
    except ConfigError as error:
        return _complain(error, USAGE)
    except Stopped as error:
        return _complain(error, 128 + signals[0] if signals else FAILED)
    except S3StreamError as error:
        return _complain(error, FAILED)
    if arguments.json:
        print(json.dumps(asdict(result)), flush=True)
    return OK


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="s3stream", description="Move bytes between URLs and S3.")
    parser.add_argument("--version", action="version", version=f"s3stream {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    copy = commands.add_parser(
        "copy",
        help="copy a URL into S3",
        description="Copy a URL into S3, streamed by parallel parts, in fixed memory, with no disk.",
        epilog="Sizes are bytes or text such as 64MiB or 1GB. Exit codes: 0 done, 1 transfer failed, 2 bad usage, "
        "130 interrupted.",
    )
    copy.add_argument("url", metavar="URL", help="http:// or https://")
    copy.add_argument("destination", metavar="s3://BUCKET/KEY")
    _add_common(copy)
    for name, settings in _COPY_OPTIONS:
        copy.add_argument(name, **{"default": argparse.SUPPRESS, **settings})
    copy.add_argument(
        "--header",
        action="append",
        default=[],
        metavar="'NAME: VALUE'",
        help="sent to the URL's host; repeatable",
    )
    copy.add_argument("--metadata", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    copy.add_argument("--tag", dest="tags", action="append", default=[], metavar="NAME=VALUE", help="repeatable")
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--endpoint-url", metavar="URL", help="of an S3-compatible store")
    parser.add_argument("--region", metavar="NAME")
    parser.add_argument("--ca-bundle", metavar="FILE", help="certificate authorities to trust, for source and store")
    parser.add_argument(
        "--json", action="store_true", help="print the result as one JSON object, the last line of stdout"
    )
    parser.add_argument("--quiet", action="store_true", help="print errors only")


def _copy(arguments: argparse.Namespace, stop: StopFlag) -> TransferResult:
    given = vars(arguments)
    known = {settings.get("dest", name[2:].replace("-", "_")) for name, settings in _COPY_OPTIONS}
    options: dict[str, Any] = {name: value for name, value in given.items() if name in known}
    options.update({name: _pairs(given[name], "=", f"--{name.rstrip('s')}") for name in _MAPPINGS})
    settings = read_copy_options(**options)
    headers = _pairs(arguments.header, ":", "--header")
    url, (bucket, key) = check_url(arguments.url), parse_s3_uri(arguments.destination)

    # Imported late: bad usage is told at once, without half a second of loading boto3. Nothing made while loading is
    # ever garbage, and looking through it for some costs a good part of the start: so it is frozen, unlooked at.
    gc.disable()
    from airflow_s3stream.engine.copy import copy
    from airflow_s3stream.engine.httpsource import HttpSource
    from airflow_s3stream.engine.s3client import new_client
    from airflow_s3stream.engine.s3errors import translated
    from airflow_s3stream.engine.s3sink import S3Sink
    from airflow_s3stream.terminal import show

    trust: str | None = arguments.ca_bundle
    try:
        source = HttpSource(
            url, headers=headers, verify=trust or True, timeouts=settings.timeouts, connections=settings.connections
        )
        with translated("client", f"s3://{bucket}"):
            client = new_client(
                endpoint_url=arguments.endpoint_url,
                region_name=arguments.region,
                verify=trust,
                connections=settings.connections,
                timeouts=settings.timeouts,
            )
    finally:
        gc.freeze()
        gc.enable()
    sink = S3Sink(client, bucket, key, options=settings.object)
    with show(quiet=arguments.quiet, to_stderr=arguments.json) as display:
        # A bar moves more often than a log line needs to be written.
        settings = display.adjust(settings, chosen="progress_interval" in given)
        return copy(source, sink, settings, listener=display, stop=stop)


def _pairs(items: list[str], separator: str, option: str) -> dict[str, str]:
    pairs = {}
    for item in items:
        name, found, value = item.partition(separator)
        if not found or not name.strip():
            raise ConfigError(f"{option} must look like NAME{separator}VALUE")  # not shown: it may be a secret
        pairs[name.strip()] = value.strip()
    return pairs


def _stop_on_signals(stop: StopFlag) -> list[int]:
    """Turn SIGINT and SIGTERM into a request to stop; return the list in which they are noted."""
    received: list[int] = []

    def handle(number: int, _frame: object) -> None:
        received.append(number)
        stop.request("Ctrl-C" if number == signal.SIGINT else "SIGTERM")

    signal.signal(signal.SIGINT, handle)
    signal.signal(signal.SIGTERM, handle)
    return received


def _complain(error: S3StreamError, code: int) -> int:
    print(f"s3stream: {error}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
