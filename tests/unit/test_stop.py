"""A call that nobody waits for any more."""

from __future__ import annotations

import threading
import time

import pytest

from airflow_s3stream.engine.stop import run_detached


class TimeIsUp(BaseException):
    """As Airflow's execution_timeout: no Exception, and raised once."""


def test_what_comes_too_late_is_undone_before_the_process_may_end() -> None:
    """Where the caller says how long that may take."""
    due, undone = threading.Event(), []

    def begin() -> str:
        due.wait(10)
        time.sleep(0.2)
        return "upload"

    def check() -> None:
        due.set()
        raise TimeIsUp

    with pytest.raises(TimeIsUp):
        run_detached(begin, check, undone.append, linger=10)
    assert undone == ["upload"]
