"""``s3stream uploads list`` and ``s3stream uploads abort``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.cli.common import PATIENCE, add_common, add_options, given_options, loading, new_client
from airflow_s3stream.plan.names import parse_s3_prefix
from airflow_s3stream.plan.uploads import read_abort_options, read_upload_options

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from airflow_s3stream.cli.common import Options
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.uploads import AbortResult, ListResult

_SPARED = ("--max-bandwidth", "--stall-timeout")
_HOW: Options = (
    ("--connections", {"metavar": "N", "help": "requests under way at once (default 16)"}),
    *(option for option in PATIENCE if option[0] not in _SPARED),
)
_SIZES: Options = (
    ("--sizes", {"action": "store_true", "help": "count their parts and bytes: a request for each upload"}),
)
_DRY_RUN: Options = (("--dry-run", {"action": "store_true", "help": "only say what would be aborted"}),)
_EPILOG = (
    "An upload counts as begun by s3stream if it was begun with a CRC64NVME of the whole object and each of its parts "
    "has one. Others may look the same: this is a likeness, not a proof. Ages are seconds or text such as 12h or 2d, "
    "and go by the store's clock. Exit codes: 0 done, 1 something failed, 2 bad usage, 130 interrupted."
)


def add_parser(commands: Any) -> None:
    """Add ``uploads list`` and ``uploads abort``."""
    uploads = commands.add_parser(
        "uploads",
        help="list or abort multipart uploads left behind",
        description="What was sent of an upload that is neither completed nor aborted stays, invisible and billed.",
        epilog=_EPILOG,
    )
    actions = uploads.add_subparsers(dest="action", required=True, metavar="ACTION")
    listing = _add(actions, "list", _list, _SIZES, "list them", "(default: any)")
    listing.description = "List multipart uploads that are neither completed nor aborted."
    sweep = _add(actions, "abort", _abort, _DRY_RUN, "abort them, which frees what was sent", "(default 2d)")
    sweep.description = (
        "Abort multipart uploads that were begun, and got their newest part, longer ago than --older-than. Give it an "
        "age that no transfer and no wait for its next try can reach."
    )


def _add(actions: Any, name: str, run: Callable[..., Any], own: Options, about: str, default: str) -> Any:
    parser = actions.add_parser(name, help=about, epilog=_EPILOG)
    parser.set_defaults(run=run)
    parser.add_argument("prefix", metavar="s3://BUCKET/PREFIX")
    older_than = {"metavar": "AGE", "help": f"only those of at least this age {default}"}
    add_options(parser, (("--older-than", older_than),))
    parser.add_argument("--all", action="store_true", help="whoever began them, not only s3stream")
    add_common(parser)
    add_options(parser, (*own, *_HOW))
    return parser


def _given(arguments: argparse.Namespace, own: Options) -> dict[str, Any]:
    return {
        **given_options(arguments, (("--older-than", {}), *own, *_HOW)),
        "only_own": not arguments.all,
    }


def _list(arguments: argparse.Namespace, stop: StopFlag) -> tuple[ListResult, bool]:
    settings = read_upload_options(**_given(arguments, _SIZES))
    bucket, prefix = parse_s3_prefix(arguments.prefix)
    with loading():
        from airflow_s3stream.cli.uploadshow import UploadRows
        from airflow_s3stream.engine.uploads import list_uploads

        client = new_client(arguments, bucket, connections=settings.connections, timeouts=settings.timeouts)
    others: dict[str, int] = {}
    rows = UploadRows(bucket, prefix, settings, quiet=arguments.quiet, as_json=arguments.json)
    for upload in list_uploads(client, bucket, prefix, settings, stop=stop, listener=rows.note, others=others):
        rows.add(upload)
    return rows.finish(others), True


def _abort(arguments: argparse.Namespace, stop: StopFlag) -> tuple[AbortResult, bool]:
    given = _given(arguments, _DRY_RUN)
    settings = read_abort_options(**given)
    bucket, prefix = parse_s3_prefix(arguments.prefix)
    with loading():
        from airflow_s3stream.engine.events import Noted
        from airflow_s3stream.engine.uploads import abort_uploads
        from airflow_s3stream.terminal import show

        client = new_client(arguments, bucket, connections=settings.connections, timeouts=settings.timeouts)
    with show(quiet=arguments.quiet, to_stderr=arguments.json) as display:
        if "older_than" not in given:
            display(Noted(text="Only uploads of at least 2 days, the default; --older-than AGE says otherwise"))
        result = abort_uploads(client, bucket, prefix, settings, stop=stop, listener=display)
    return result, not result.failed
