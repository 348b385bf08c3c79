"""The command ``s3stream``. Works without Airflow's configuration; credentials come from boto3's default chain."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import signal
import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, NoReturn

from airflow_s3stream import __version__
from airflow_s3stream.cli import copying, downloading, getting, tuning, uploads
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import ConfigError, S3StreamError, Stopped
from airflow_s3stream.plan.names import redact_text

if TYPE_CHECKING:
    from collections.abc import Sequence

OK, FAILED, USAGE = 0, 1, 2
_AMBIGUOUS = re.compile(r"(ambiguous option: -[\w-]*)=.*(?= could match )", re.DOTALL)


def main(argv: Sequence[str] | None = None) -> int:
    """
    Run the command; return its exit code: 0 done, 1 the transfer failed, 2 bad usage, 128+N on signal N.

    That includes SIGPIPE, which Python turns into an error: whoever read the output went away, and needs no message.
    """
    parser = _parser()
    arguments, unknown = parser.parse_known_args(argv)
    if unknown:
        # Not quoted: what follows a misspelt --header is a secret, and stderr is kept in logs.
        names = [word.partition("=")[0] for word in unknown if word.startswith("--")]
        parser.error(f"unrecognized arguments: {' '.join(names) or f'{len(unknown)} too many'}")
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s: %(message)s")
    stop = StopFlag()
    signals = _stop_on_signals(stop)
    try:
        result, good = arguments.run(arguments, stop)
    except ConfigError as error:
        return _complain(error, USAGE)
    except Stopped as error:
        return _complain(error, 128 + signals[0] if signals else FAILED)
    except S3StreamError as error:
        return _complain(error, FAILED)
    except BrokenPipeError:
        # The interpreter flushes stdout at its end, and would complain of the same again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 128 + signal.SIGPIPE
    if arguments.json:
        print(json.dumps(asdict(result)), file=sys.stderr if arguments.json_to_stderr else sys.stdout, flush=True)
    return OK if good else FAILED


class _Parser(argparse.ArgumentParser):
    """Also of each command: argparse makes theirs of the same class."""

    def error(self, message: str) -> NoReturn:
        # An option cut short is quoted with its value: --h=Authorization:... could be --help or --header.
        super().error(redact_text(_AMBIGUOUS.sub(r"\1", message)))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="s3stream", description="Move bytes between URLs, S3 and local disk.")
    parser.add_argument("--version", action="version", version=f"s3stream {__version__}")
    parser.set_defaults(json_to_stderr=False)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    copying.add_parser(commands)
    downloading.add_parser(commands)
    getting.add_parser(commands)
    tuning.add_parser(commands)
    uploads.add_parser(commands)
    return parser


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
