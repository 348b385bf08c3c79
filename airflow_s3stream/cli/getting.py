"""``s3stream get``."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from airflow_s3stream.cli.common import (
    PATIENCE,
    PROFILE,
    add_common,
    add_options,
    given_options,
    loading,
    new_client,
    settled,
)
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.getting import read_get_options
from airflow_s3stream.plan.names import parse_s3_uri

if TYPE_CHECKING:
    import argparse

    from airflow_s3stream.cli.common import Options
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.getting import GetResult

STDOUT = "-"

_HOW: Options = (
    ("--connections", {"metavar": "N", "help": "ranges under way at once (default 16)"}),
    ("--part-size", {"metavar": "SIZE", "help": "of a range (default: chosen from the object's size)"}),
    ("--max-memory", {"metavar": "SIZE", "help": "read ahead of stdout (default 128MiB); a file needs none of it"}),
    ("--strict", {"action": "store_true", "help": "fail where only the size can be proved"}),
    ("--min-speed", {"metavar": "SIZE", "help": "bytes per second below which a connection is given up for another "
                     "(default: only those far slower than the others)"}),
    *PATIENCE,
    *PROFILE,
)  # fmt: skip
_FILE: Options = (
    ("--if-exists", {"choices": ("overwrite", "skip_same", "fail"), "help": "(default overwrite)"}),
    ("--no-resume", {"dest": "resume", "action": "store_false", "help": "begin afresh, whatever an earlier run left"}),
)


def add_parser(commands: Any) -> None:
    """Add ``get``."""
    parser = commands.add_parser(
        "get",
        help="download one object, or write it to stdout",
        description="Download one object of any size over many connections, in fixed memory. Run again after it was "
        "killed or failed, it fetches what is missing.",
        epilog="Sizes are bytes or text such as 64MiB or 1GB. With - only the object goes to stdout; progress and the "
        "result of --json go to stderr. It is verified at its end, so whoever reads must look at the exit code "
        "(set -o pipefail): 0 done, 1 transfer failed, 2 bad usage, 130 interrupted, 141 nobody reads stdout any more.",
    )
    parser.set_defaults(run=_get)
    parser.add_argument("source", metavar="s3://BUCKET/KEY")
    parser.add_argument(
        "path", metavar="FILE", help="a file, a directory, or - for stdout; a terminal is given nothing but text"
    )
    add_common(parser)
    add_options(parser, (*_HOW, *_FILE))


def _get(arguments: argparse.Namespace, stop: StopFlag) -> tuple[GetResult, bool]:
    how, about_file = given_options(arguments, _HOW), given_options(arguments, _FILE)
    arguments.json_to_stderr = piped = arguments.path == STDOUT
    if piped and about_file:
        raise ConfigError("--if-exists and --no-resume are about a file, and - is stdout; leave them out")
    if piped and sys.stdout is None:
        # Then the number of stdout goes to whatever is opened first, such as a connection to the store.
        raise ConfigError("stdout is closed, so - is nowhere")
    settings = read_get_options(**settled({**how, **about_file}, "get", stream=piped))
    bucket, key = parse_s3_uri(arguments.source)
    with loading():
        from airflow_s3stream.cli.piping import is_terminal, write_to_stdout
        from airflow_s3stream.engine.boto3reader import BOTO3_CONNECTIONS
        from airflow_s3stream.engine.getobject import get_object, target_path
        from airflow_s3stream.engine.objectstream import open_object
        from airflow_s3stream.terminal import show

        client = new_client(arguments, bucket, connections=BOTO3_CONNECTIONS, timeouts=settings.timeouts)
    # What is written onto the terminal is enough to look at.
    quiet = arguments.quiet or (piped and is_terminal())
    with show(quiet=quiet, to_stderr=arguments.json or piped) as display:
        settings = display.adjust(settings, chosen="progress_interval" in how)
        if not piped:
            path = target_path(arguments.path, key)
            return get_object(client, bucket, key, path, settings, listener=display, stop=stop), True
        with open_object(client, bucket, key, settings, stop=stop, listener=display) as stream:
            return write_to_stdout(stream, settings, stop, display), True
