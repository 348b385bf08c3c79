"""``s3stream tune``."""

from __future__ import annotations

import importlib.util
import os
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_s3stream.cli.common import (
    PATIENCE,
    POLICY,
    add_common,
    add_options,
    given_options,
    loading,
    new_client,
    pairs,
)
from airflow_s3stream.engine.profilefile import check_writable
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.addresses import read_policy
from airflow_s3stream.plan.names import check_url, parse_s3_uri
from airflow_s3stream.plan.tuneoptions import read_tune_options
from airflow_s3stream.plan.tuning import MOST_CONNECTIONS

if TYPE_CHECKING:
    import argparse

    from airflow_s3stream.cli.common import Options
    from airflow_s3stream.config import ConnectionPolicy
    from airflow_s3stream.engine.httpsource import HttpSource
    from airflow_s3stream.engine.s3sink import S3Sink
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.tuneoptions import TuneOptions, TuneResult

_WHAT: Options = (
    ("--connections", {"metavar": "LIST", "help": "to choose from, such as 8,16,32 (default 1,2,4,...128)"}),
    ("--part-sizes", {"metavar": "LIST", "help": "to choose from, such as 8MiB,64MiB (default 4MiB to 64MiB; of a copy "
                      "from 8MiB on)"}),
    ("--full-grid", {"action": "store_true", "help": "measure every setting, instead of searching"}),
    ("--max-bytes", {"metavar": "SIZE", "help": "to move at most (default 10GiB; with --full-grid 100GiB)"}),
    ("--max-seconds", {"metavar": "SECONDS", "help": "to take at most (default 60; with --full-grid 300)"}),
    *(option for option in PATIENCE if option[0] not in ("--max-bandwidth", "--deadline", "--progress-interval")),
)  # fmt: skip
_COPY: Options = (
    ("--storage-class", {"metavar": "CLASS", "help": "of the parts of a copy"}),
    ("--sse", {"dest": "server_side_encryption", "choices": ("AES256", "aws:kms", "aws:kms:dsse")}),
    ("--kms-key-id", {"metavar": "KEY"}),
)
_PICTURES = (".png", ".svg", ".pdf")


def add_parser(commands: Any) -> None:
    """Add ``tune``."""
    parser = commands.add_parser(
        "tune",
        help="measure which part size and how many connections are best from here",
        description="Measure, on real bytes and from this place, which part size and how many connections suit "
        "downloads of an object, or copies of a URL to a key. Nothing is kept: what is downloaded is dropped, what is "
        "copied goes into a multipart upload that is aborted.",
        epilog="Recommended is the cheapest setting within 5 % of the fastest: the one with the fewest connections, "
        "then the least memory and CPU. Sizes are bytes or text such as 64MiB or 1GB. Exit codes: 0 done, 1 failed, "
        "2 bad usage, 130 interrupted.",
    )
    parser.set_defaults(run=_tune)
    parser.add_argument("source", metavar="s3://BUCKET/KEY | URL", help="an object to download, or a URL to copy")
    parser.add_argument("destination", metavar="s3://BUCKET/KEY", nargs="?", help="of a copy; nothing appears there")
    add_common(parser)
    add_options(parser, (*_WHAT, *_COPY, *POLICY))
    parser.add_argument("--save", metavar="FILE", help="write a profile, which --profile and profile= take")
    parser.add_argument("--plot", metavar="FILE", help="draw a heat map: .png, .svg or .pdf (needs matplotlib)")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="sent to the URL's host; repeatable"
    )


def _tune(arguments: argparse.Namespace, stop: StopFlag) -> tuple[TuneResult, bool]:
    settings = read_tune_options(**given_options(arguments, _WHAT))
    copies = arguments.destination is not None
    about_copies = given_options(arguments, (*_COPY, *POLICY))
    if not copies and (about_copies or arguments.header):
        raise ConfigError(
            "--header, --storage-class, --sse, --kms-key-id, --allow-private and --allowed-host are about copies: "
            "s3stream tune URL s3://..."
        )
    bucket, key = parse_s3_uri(arguments.destination if copies else arguments.source)
    if copies:
        check_url(arguments.source)
    policy = read_policy(**given_options(arguments, POLICY))
    _check_outputs(arguments)
    with loading():
        from airflow_s3stream.cli.tuneshow import show_tune
        from airflow_s3stream.engine.tune import tune_copy, tune_get

        most = max(settings.connections or (MOST_CONNECTIONS,))
        client = new_client(arguments, bucket, connections=most, timeouts=settings.timeouts)
        if copies:
            source, sink = _ends(arguments, settings, policy, client, most)
    with show_tune(quiet=arguments.quiet, to_stderr=arguments.json, saved=arguments.save) as listener:
        if copies:
            endpoint = client.meta.endpoint_url
            result = tune_copy(source, sink, endpoint, settings, stop=stop, listener=listener)
        else:
            result = tune_get(client, bucket, key, settings, stop=stop, listener=listener)
    _write_outputs(arguments, result)
    return result, True


def _ends(
    arguments: argparse.Namespace, settings: TuneOptions, policy: ConnectionPolicy, client: Any, most: int
) -> tuple[HttpSource, S3Sink]:
    """Make both ends of a copy."""
    from airflow_s3stream.config import ObjectOptions
    from airflow_s3stream.engine.httpsource import HttpSource
    from airflow_s3stream.engine.s3sink import S3Sink

    bucket, key = parse_s3_uri(arguments.destination)
    source = HttpSource(
        check_url(arguments.source),
        headers=pairs(arguments.header, ":", "--header"),
        verify=arguments.ca_bundle or True,
        timeouts=settings.timeouts,
        connections=most,
        policy=policy,
        trust_url=True,
    )
    return source, S3Sink(client, bucket, key, options=ObjectOptions(**given_options(arguments, _COPY)))


def _check_outputs(arguments: argparse.Namespace) -> None:
    """
    See, before anything is measured, that the profile and the picture can be written.

    :raises ConfigError: they cannot.
    """
    for option, path in (("--save", arguments.save), ("--plot", arguments.plot)):
        if path is not None:
            check_writable(path, option)
    if arguments.plot is None:
        return
    if os.path.splitext(arguments.plot)[1].lower() not in _PICTURES:
        raise ConfigError(f"--plot={arguments.plot!r} must end in one of {', '.join(_PICTURES)}")
    if importlib.util.find_spec("matplotlib") is None:
        raise ConfigError("--plot needs matplotlib, which is not installed: pip install 'airflow-s3stream[plot]'")


def _write_outputs(arguments: argparse.Namespace, result: TuneResult) -> None:
    now = datetime.now().astimezone()
    if arguments.save is not None:
        from airflow_s3stream.engine.profilefile import save_profile
        from airflow_s3stream.plan.profile import make_profile

        save_profile(make_profile(result, now.isoformat(timespec="seconds")), arguments.save)
    if arguments.plot is not None:
        from airflow_s3stream.cli.tuneplot import plot

        plot(result, arguments.plot, date=f"{now:%Y-%m-%d}")
