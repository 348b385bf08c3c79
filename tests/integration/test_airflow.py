"""
Copies in tasks of a real Airflow that are killed, stopped, marked failed and doubled while they copy.

All of them in this file, so that they share one Airflow. What is disturbed when is decided by bytes: the origin sends
no more than a part of the object until the test lets it.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.support import s3fault
from tests.support.airflowclient import PATIENCE
from tests.support.airflowcopy import CONNECTIONS, ONCE, PART, WITH_RETRY, AirflowCopy, held_from
from tests.support.airflowserver import AirflowServer
from tests.support.processes import OtherProcess
from tests.support.s3fault import S3FaultProxy
from tests.support.sigterms import run_round
from tests.support.stores import Store
from tests.support.waiting import wait_for

PARTS = 8
STORED = 4
"""Parts that the store has when the copy stands still."""
SIZE = PARTS * PART - 12_345
STOP_SECONDS = 3.0
"""Airflow kills a task that has not stopped 5 s after SIGTERM."""
HEARTBEAT_SECONDS = 1.0
"""How often a supervisor asks whether its task is still to run, as tests/support/airflowserver.py sets it."""


class Halfway(AirflowCopy):
    """A copy that stands still when the store has half of the parts."""

    def __init__(self, airflow: AirflowServer, store: Store, dag_id: str) -> None:
        self.go_on = threading.Event()
        super().__init__(airflow.client, store, dag_id, SIZE, held_from(STORED * PART, self.go_on))

    @contextmanager
    def halfway(self) -> Iterator[tuple[OtherProcess, str]]:
        """Wait until it stands still; give its runner and the id of its upload."""
        upload = self.wait_until_held(STORED)
        with self.runner() as runner:
            yield runner, upload

    def assert_resumes(self, store: Store, upload: str, try_number: int) -> None:
        """Let the next try run; fail unless it finishes what the one before began."""
        self.go_on.set()
        task = self.wait_for_end()
        assert (task.state, task.try_number) == ("success", try_number), self.log(try_number)
        assert f"{STORED} of {PARTS} parts" in self.log(try_number)
        assert "will not be sent again" in self.log(try_number)
        assert upload in self.log(try_number)
        assert self.returned()["resumed_parts"] == STORED
        assert not self.remembers(upload), "the state is cleared at a good end"
        store.assert_holds(self.key, self.content)


def test_a_killed_task_is_resumed_by_the_next_try(
    airflow: AirflowServer, proxy: S3FaultProxy, localstack: Store
) -> None:
    """SIGKILL of the task runner: the scheduler retries, and what is stored is not sent again."""
    with Halfway(airflow, localstack, WITH_RETRY) as copy:
        with copy.halfway() as (runner, upload):
            assert copy.remembers(upload), "the state is written before the first part"
            runner.send(signal.SIGKILL)
            assert runner.wait(10) is not None
        copy.assert_resumes(localstack, upload, try_number=2)
        assert copy.origin.sent <= SIZE + (CONNECTIONS + 2) * PART
        assert len(proxy.of("CreateMultipartUpload")) == 1


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM], ids=["SIGTERM", "execution_timeout"])
def test_a_task_that_is_stopped_leaves_its_upload_to_the_next_try(
    airflow: AirflowServer, proxy: S3FaultProxy, localstack: Store, number: signal.Signals
) -> None:
    """
    Stopped within 3 s, the upload is kept and known, and the next try finishes it.

    SIGALRM is how Airflow's execution_timeout comes about; sent by the test, it falls where the copy stands still.
    """
    with Halfway(airflow, localstack, WITH_RETRY) as copy:
        with copy.halfway() as (runner, upload):
            runner.send(number)
            assert runner.wait(STOP_SECONDS) is not None
        assert copy.uploads() == [upload]
        assert copy.remembers(upload)
        copy.assert_resumes(localstack, upload, try_number=2)
        assert len(proxy.of("CreateMultipartUpload")) == 1
        if number == signal.SIGALRM:
            assert "AirflowTaskTimeout" in copy.log(1)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGALRM], ids=["SIGTERM", "execution_timeout"])
def test_a_task_that_is_stopped_on_its_last_try_leaves_nothing(
    airflow: AirflowServer, proxy: S3FaultProxy, localstack: Store, number: signal.Signals
) -> None:
    """
    Stopped within 3 s, and the upload that nobody would go on with is aborted.

    Once, although SIGTERM comes again while it is being aborted.
    """
    proxy.faults.append(s3fault.hold_answer("AbortMultipartUpload", 0.5))
    with Halfway(airflow, localstack, ONCE) as copy:
        with copy.halfway() as (runner, _):
            runner.send(number)
            began = time.monotonic()
            wait_for(lambda: bool(proxy.of("AbortMultipartUpload")))
            runner.send(signal.SIGTERM)
            assert runner.wait(began + STOP_SECONDS - time.monotonic()) is not None
        assert copy.wait_for_end().state == "failed"
        assert len(proxy.of("AbortMultipartUpload")) == 1
        localstack.assert_clean()


def test_a_task_marked_failed_leaves_its_upload_to_the_run_after_a_clear(
    airflow: AirflowServer, localstack: Store
) -> None:
    """Marked failed with a try left: stopped by SIGTERM alone, the upload is kept, and cleared it goes on there."""
    with Halfway(airflow, localstack, WITH_RETRY) as copy:
        with copy.halfway() as (runner, upload):
            said_before = len(airflow.output("scheduler"))
            airflow.client.mark_failed(copy.address)
            # The supervisor learns of it by its next heartbeat, which a busy machine may delay.
            assert runner.wait(HEARTBEAT_SECONDS + STOP_SECONDS + 10) is not None
        # Else Airflow has killed it 5 s after SIGTERM.
        assert "escalating" not in airflow.output("scheduler")[said_before:]
        assert airflow.client.task(copy.address).state == "failed"
        assert copy.uploads() == [upload]
        assert copy.remembers(upload)
        airflow.client.clear(copy.address)
        copy.assert_resumes(localstack, upload, try_number=2)


@pytest.mark.parametrize("late", [False, True], ids=["while the next try runs", "after the next try"])
def test_a_zombie_and_the_next_try_make_one_object(airflow: AirflowServer, localstack: Store, late: bool) -> None:
    """
    A try whose machine was cut off, so that Airflow has begun the next one, comes back: the object is right, and alone.

    Supervisor and runner are stopped by SIGSTOP. The five minutes that Airflow waits for a heartbeat pass by setting
    the last one back in its database.
    """
    with Halfway(airflow, localstack, WITH_RETRY) as copy:
        with copy.halfway() as (runner, _), OtherProcess(runner.parent) as supervisor:
            assert "LocalExecutor" in supervisor.title
            for process in (supervisor, runner):
                process.send(signal.SIGSTOP)
            try:
                airflow.forget_heartbeats(copy.address)
                copy.wait(lambda task: task.try_number == 2 and task.state == "running")
                if late:
                    copy.go_on.set()
                    assert copy.wait_for_end().state == "success", copy.log(2)
                else:
                    copy.wait_until_held(STORED, tries=2)
            finally:
                for process in (supervisor, runner):
                    process.send(signal.SIGCONT)
            copy.go_on.set()
            task = copy.wait_for_end()
            assert runner.wait(PATIENCE) is not None
        assert (task.state, task.try_number) == ("success", 2), copy.log(2)
        localstack.assert_holds(copy.key, copy.content)
        assert localstack.keys() == [copy.key]
        # Its supervisor has told Airflow what became of the first try, and Airflow has not listened.
        assert airflow.client.task(copy.address) == task


@pytest.mark.parametrize("number", [0, 1], ids=["a try is left", "none is left"])
def test_a_round_of_the_published_figure(airflow: AirflowServer, localstack: Store, number: int) -> None:
    """The rig of ``python -m tests.support.sigterms``: SIGTERM at a byte that a seed decides."""
    outcome = run_round(airflow.client, localstack, 5, number)
    assert not outcome.bad, outcome
