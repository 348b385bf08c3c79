"""A new database of Airflow. Making one takes a quarter of a minute, so all who need one have copies of the same."""

from __future__ import annotations

import fcntl
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

from demo.airflow_home import AirflowHome
from tests.support.leash import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path

POOL = "trip_data_source"


def new_database(kept: Path, to: Path) -> None:
    """
    Put one at ``to``: with its tables, the pool of the example DAGs, and nothing else.

    :param kept: a folder of all who need one, which may be several processes; the first of them makes it there.
    """
    home = AirflowHome(kept / "home", REPOSITORY / "dags", kept / "logs", {})
    kept.mkdir(exist_ok=True)
    with (kept / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        home.prepare(POOL, 4)
        with closing(sqlite3.connect(home.home / "airflow.db")) as made, closing(sqlite3.connect(to)) as copy:
            made.backup(copy)
