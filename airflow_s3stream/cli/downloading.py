"""``s3stream download``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.cli.common import EPILOG, PATIENCE, add_common, add_options, given_options, loading, new_client
from airflow_s3stream.plan.download import Wanted, read_download_options
from airflow_s3stream.plan.names import parse_s3_prefix
from airflow_s3stream.plan.selection import read_selection

if TYPE_CHECKING:
    import argparse

    from airflow_s3stream.cli.common import Options
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.download import DownloadResult

_WHAT: Options = (
    ("--include", {"action": "append", "metavar": "GLOB", "help": "of paths below the prefix; repeatable"}),
    ("--exclude", {"action": "append", "metavar": "GLOB", "help": "repeatable; wins over --include"}),
    ("--min-bytes", {"metavar": "SIZE", "help": "least size of an object"}),
    ("--max-bytes", {"metavar": "SIZE", "help": "greatest size of an object"}),
    ("--modified-after", {"metavar": "TIME", "help": "last modified then or later; ISO 8601, UTC without a zone"}),
    ("--modified-before", {"metavar": "TIME", "help": "last modified before"}),
)
_NAMED: Options = (
    (
        "--keys-from",
        {
            "dest": "manifest",
            "metavar": "FILE",
            "help": "fetch the keys that a file names: text, CSV or JSON lines; local, s3://, or - for stdin",
        },
    ),
    ("--retry-failed", {"metavar": "FILE", "help": "fetch what failed according to this results manifest"}),
)
_RANGE: Options = (
    ("--start-after", {"metavar": "KEY", "help": "leave out keys up to this one"}),
    ("--last-key", {"metavar": "KEY", "help": "leave out keys after this one"}),
)
_HOW: Options = (
    ("--connections", {"metavar": "N", "help": "GETs under way at once (default: 128, more while they help)"}),
    ("--max-memory", {"metavar": "SIZE", "help": "of bodies under way (default 64MiB)"}),
    ("--layout", {"choices": ("paths", "flatten"), "help": "(default paths)"}),
    ("--sink", {"choices": ("files", "tar"), "help": "(default files)"}),
    ("--shard-size", {"metavar": "SIZE", "help": "of a tar shard (default 256MiB)"}),
    ("--if-exists", {"choices": ("overwrite", "skip_same", "fail"), "help": "(default overwrite)"}),
    ("--on-error", {"choices": ("fail", "continue"), "help": "(default fail)"}),
    ("--fail-if-empty", {"action": "store_true", "help": "fail where there is nothing to download"}),
    ("--strict", {"action": "store_true", "help": "fail objects of which only the size can be proved"}),
    ("--results", {"metavar": "FILE", "help": "the results manifest (default DIR/.s3stream/results.jsonl)"}),
    *PATIENCE,
)  # fmt: skip


def add_parser(commands: Any) -> None:
    """Add ``download``."""
    parser = commands.add_parser(
        "download",
        help="download a prefix, or many named objects",
        description="Download many objects into a directory, in parallel and in fixed memory. Run again after it was "
        "killed or failed, it fetches what is missing.",
        epilog=EPILOG,
    )
    parser.set_defaults(run=_download)
    parser.add_argument("source", metavar="s3://BUCKET/PREFIX")
    parser.add_argument("directory", metavar="DIR")
    add_common(parser)
    for options in (_WHAT, _NAMED, _RANGE, _HOW):
        add_options(parser, options)


def _download(arguments: argparse.Namespace, stop: StopFlag) -> tuple[DownloadResult, bool]:
    chosen = given_options(arguments, _HOW)
    settings = read_download_options(**chosen)
    selection = read_selection(**given_options(arguments, _WHAT))
    bucket, prefix = parse_s3_prefix(arguments.source)
    with loading():
        from airflow_s3stream.engine.boto3reader import BOTO3_CONNECTIONS
        from airflow_s3stream.engine.download import download
        from airflow_s3stream.engine.named import named_entries
        from airflow_s3stream.terminal import show

        client = new_client(arguments, bucket, connections=BOTO3_CONNECTIONS, timeouts=settings.timeouts)
    named, between = given_options(arguments, _NAMED), given_options(arguments, _RANGE)
    entries = named_entries(client, bucket, **named)
    wanted = Wanted(prefix=prefix, entries=entries, selection=selection, retries=named.get("retry_failed"), **between)
    with show(quiet=arguments.quiet, to_stderr=arguments.json) as display:
        settings = display.adjust(settings, chosen="progress_interval" in chosen)
        result = download(client, bucket, wanted, arguments.directory, settings, listener=display, stop=stop)
    return result, not result.failed
