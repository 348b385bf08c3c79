"""
Runs several of Airflow's commands at once: ``python -m tests.support.airflowmain FOLDER COMMAND...``

First ``airflow db migrate``, unless there is a database, then each of the commands, each in a process of its own with
its output in ``FOLDER``.
They are forked from here once Airflow is imported, with what its AWS and HTTP connections need, since importing that is
half of what starting it costs, and most of what a task costs. Ends when one of them ends.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path
from typing import Any

import airflow.__main__
import airflow.providers.amazon.aws.hooks.base_aws
import airflow.providers.http.hooks.http
from airflow.cli.commands import (  # noqa: F401  imported for the sake of what they import
    api_server_command,
    dag_processor_command,
    scheduler_command,
    triggerer_command,
)
from sqlalchemy import event
from sqlalchemy.pool import Pool

BUSY_MILLISECONDS = 200


def start(folder: Path, *command: str) -> int:
    """Run ``airflow COMMAND...`` in a child; return its process id."""
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        with (folder / f"{command[0]}.log").open("wb") as log:
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
        if command[0] == "api-server":
            event.listen(Pool, "connect", _never_wait_long)
        sys.argv = ["airflow", *command]
        airflow.__main__.main()
        code = 0
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
    except BaseException:  # noqa: BLE001  the process ends here, and its log is to say why
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _never_wait_long(connection: Any, _record: Any) -> None:
    """
    Let the API server be told soon that SQLite is busy; whoever asked it asks again.

    It writes to its log of actions on its event loop, where the thread that holds SQLite's lock has to come by before
    it can let go of it. Only the end of the waiting ends that, and meanwhile no task is answered.
    """
    cursor = connection.cursor()
    cursor.execute(f"PRAGMA busy_timeout = {BUSY_MILLISECONDS}")
    cursor.close()


def main(folder: Path, commands: list[str]) -> None:
    if not (folder / "airflow.db").exists():
        _, status = os.waitpid(start(folder, "db", "migrate"), 0)
        if status:
            sys.exit("`airflow db migrate` failed")
    names = {start(folder, name): name for name in commands}
    ended, status = os.wait()
    sys.exit(f"`airflow {names[ended]}` ended with {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
