"""
SIGTERM in a task of a real Airflow, over and over, at bytes that a seed decides.

``python -m tests.support.sigterms --rounds 100`` prints one JSON object. Every other round has a try left, whose upload
is to be kept for it and found by it; the rest have none, and are to leave nothing.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import platform
import random
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from botocore.exceptions import ClientError

from airflow_s3stream.config import MiB
from tests.support import faults, servers
from tests.support.airflowclient import PATIENCE, AirflowClient, Unanswered
from tests.support.airflowcopy import CONNECTIONS, ONCE, PART, WITH_RETRY, AirflowCopy
from tests.support.airflowserver import AirflowServer, aws_connection
from tests.support.faults import Fault
from tests.support.stores import Store
from tests.support.waiting import wait_for

REPOSITORY = Path(__file__).resolve().parents[2]
DAGS = REPOSITORY / "tests" / "integration" / "dags"

SIZE = 8 * PART - 4_321
STOP_SECONDS = 3.0
WHAT = (
    "Airflow's API server, scheduler with LocalExecutor, DAG processor and triggerer on SQLite; one DAG run a round; "
    "SIGTERM to the task runner under its own supervisor when the origin has sent as many bytes as the seed says; "
    "timed from the signal to the end of the process, and to the operator's exception"
)


@dataclass
class Round:
    """What became of one SIGTERM."""

    seed: str
    offset: int
    try_left: bool
    seconds: float = 0.0
    """From the signal to the end of the task runner."""
    raised: float | None = None
    """From the signal to the operator's exception in the task log."""
    finished_first: bool = False
    """The copy was done before it noticed."""
    untracked: int = 0
    """Uploads that nothing will go on with."""
    wrong_object: bool = False
    failure: str = ""
    """What else went wrong."""

    @property
    def bad(self) -> bool:
        return bool(self.seconds > STOP_SECONDS or self.untracked or self.wrong_object or self.failure)


@dataclass
class Strike:
    """Signals once, on the thread of the origin that has just sent the byte, and remembers when."""

    copy: AirflowCopy
    ready: threading.Event
    happened: threading.Event = field(default_factory=threading.Event)
    at: float = 0.0
    wall: float = 0.0
    """The same in seconds since the epoch."""

    def wait_for_end(self, offset: int) -> float:
        """Signal at ``offset``; return the seconds from then to the end of the task runner."""
        with self.copy.runner() as runner:

            def strike() -> None:
                self.ready.clear()  # what the next try asks for has to wait until we have looked
                self.at, self.wall = time.monotonic(), time.time()
                runner.send(signal.SIGTERM)
                self.happened.set()

            self.copy.origin.when_sent(offset, strike)
            self.ready.set()
            assert self.happened.wait(PATIENCE), "the copy ended before the signal"
            assert runner.wait(PATIENCE) is not None, "the task runner never ended"
            return time.monotonic() - self.at


def run_round(client: AirflowClient, store: Store, seed: int, number: int) -> Round:
    """Copy and be stopped, and with a try left copy on."""
    name = f"{seed}/{number}"
    outcome = Round(name, random.Random(name).randrange(1, int(0.9 * SIZE)), try_left=number % 2 == 0)
    ready = threading.Event()
    held = Fault("held", lambda request, reply: setattr(reply, "hold", (-1, ready)))
    # Slow enough for the copy not to be over before a stop is noticed.
    slow = faults.drip(128 * 1024, 0.02)
    dag_id = WITH_RETRY if outcome.try_left else ONCE
    try:
        with AirflowCopy(client, store, dag_id, SIZE, held, slow, key=f"{number}.bin", seed=number % 5) as copy:
            wait_for(lambda: bool(copy.origin.exchanges), PATIENCE)
            strike = Strike(copy, ready)
            outcome.seconds = strike.wait_for_end(outcome.offset)
            raised = copy.failed_at(1)
            outcome.raised = None if raised is None else raised - strike.wall
            copy.origin.faults.remove(slow)
            (_look_at_next_try if outcome.try_left else _look_at_end)(outcome, copy, store, ready)
    except (AssertionError, ClientError, Unanswered) as error:
        outcome.failure = f"{type(error).__name__}: {error}"
    return outcome


def _look_at_next_try(outcome: Round, copy: AirflowCopy, store: Store, ready: threading.Event) -> None:
    uploads = copy.uploads()
    outcome.untracked = sum(not copy.remembers(upload) for upload in uploads)
    ready.set()
    task = copy.wait_for_end()
    outcome.finished_first = task.try_number == 1
    assert task.state == "success", f"the task is {task}"
    outcome.wrong_object = store.sha256(copy.key) != copy.content.sha256()
    outcome.untracked += len(copy.uploads())


def _look_at_end(outcome: Round, copy: AirflowCopy, store: Store, ready: threading.Event) -> None:
    ready.set()
    outcome.finished_first = copy.wait_for_end().state == "success"
    outcome.untracked = len(copy.uploads())
    if outcome.finished_first:
        outcome.wrong_object = store.sha256(copy.key) != copy.content.sha256()
    else:
        outcome.wrong_object = store.keys().count(copy.key) > 0


def run(numbers: Sequence[int], seed: int, at_once: int) -> list[Round]:
    """Start an Airflow and a store, and run the rounds, some at once."""
    with tempfile.TemporaryDirectory(prefix="sigterms-", ignore_cleanup_errors=True) as folder:
        home, stored = Path(folder, "airflow"), Path(folder, "store")
        home.mkdir()
        stored.mkdir()
        with servers.LocalStack(stored) as localstack:
            client = servers.plain_client(localstack.endpoint_url)
            client.create_bucket(Bucket="sigterms")
            store = Store("localstack", localstack.endpoint_url, client, "sigterms")
            settings = aws_connection(localstack.endpoint_url)
            with AirflowServer(home, DAGS, settings, parallelism=at_once + 1) as airflow:
                with ThreadPoolExecutor(at_once) as threads:
                    rounds = threads.map(lambda number: run_round(airflow.client, store, seed, number), numbers)
                    return [_told(outcome) for outcome in rounds]


def _told(outcome: Round) -> Round:
    print(f"{outcome.seed}: {outcome.seconds:.2f} s ({outcome.raised or 0:.2f} s) {outcome.failure}", file=sys.stderr)
    return outcome


def report(outcomes: Sequence[Round], seed: int, seconds: float) -> dict[str, Any]:
    """Sum up."""
    return {
        "rounds": len(outcomes),
        "with_a_try_left": sum(outcome.try_left for outcome in outcomes),
        "finished_before_the_stop": sum(outcome.finished_first for outcome in outcomes),
        "stopped_within_3s": sum(0 < outcome.seconds <= STOP_SECONDS for outcome in outcomes),
        "slowest": round(max(outcome.seconds for outcome in outcomes), 3),
        "median": round(statistics.median(outcome.seconds for outcome in outcomes), 3),
        "slowest_operator": round(max((outcome.raised or 0.0 for outcome in outcomes), default=0.0), 3),
        "untracked_uploads": sum(outcome.untracked for outcome in outcomes),
        "wrong_objects": sum(outcome.wrong_object for outcome in outcomes),
        "seed": seed,
        "seconds": round(seconds),
        "versions": {
            "python": platform.python_version(),
            **{name: importlib.metadata.version(name) for name in ("airflow-s3stream", "apache-airflow", "boto3")},
        },
        "notes": [
            f"{WHAT}. Objects of {SIZE} bytes in parts of {PART // MiB} MiB over {CONNECTIONS} connections. Seconds.",
        ],
        "failures": [_why(outcome) for outcome in outcomes if outcome.bad],
    }


def _why(outcome: Round) -> str:
    reasons = [
        (
            f"stopped after {outcome.seconds:.1f} s, the operator after {outcome.raised} s",
            outcome.seconds > STOP_SECONDS,
        ),
        (f"{outcome.untracked} untracked uploads", outcome.untracked > 0),
        ("wrong object", outcome.wrong_object),
        (outcome.failure, bool(outcome.failure)),
    ]
    seed, number = outcome.seed.split("/")
    told = "; ".join(text for text, holds in reasons if holds)
    return f"{told}: python -m tests.support.sigterms --seed {seed} --only {number}"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.support.sigterms", description=__doc__)
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--seed", type=int, default=5)
    parser.add_argument("--at-once", type=int, default=3, help="rounds that run at the same time")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this round alone, counted from 0")
    arguments = parser.parse_args()
    numbers = range(arguments.rounds) if arguments.only is None else [arguments.only]
    began = time.monotonic()
    outcomes = run(numbers, arguments.seed, arguments.at_once)
    print(json.dumps(report(outcomes, arguments.seed, time.monotonic() - began), indent=2))
    return int(any(outcome.bad for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
