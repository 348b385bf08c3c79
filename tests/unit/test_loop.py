"""The network loop, with a reader that answers as it is told."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest

from airflow_s3stream.config import RetryPolicy
from airflow_s3stream.engine.events import Event, Retried
from airflow_s3stream.engine.loop import Job, Loop
from airflow_s3stream.engine.reader import Get
from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.engine.width import Width
from airflow_s3stream.exceptions import DeadlineExceeded, S3StreamError, SourceMissing, SourceUnavailable, Stopped
from tests.unit.test_retry import Clock

Answer = tuple[int, bytes]


class Store:
    """Stands where the readers do. ``answer`` gets the key and how often it has been asked for."""

    def __init__(self, clock: Clock, answer: Callable[[str, int], Answer]) -> None:
        self.clock = clock
        self.answer = answer
        self.asked: dict[str, int] = {}
        self.most = 0
        self.renewed = 0
        self.moves = 0
        self._under_way: deque[Get] = deque()

    def submit(self, get: Get) -> None:
        self._under_way.append(get)
        self.most = max(self.most, len(self._under_way))

    def poll(self, timeout: float) -> list[Get]:
        if not self._under_way:
            self.clock.now += max(timeout, 0.001)
            return []
        get = self._under_way.popleft()
        key = str(get.key)
        self.asked[key] = self.asked.get(key, 0) + 1
        get.status, body = self.answer(key, self.asked[key])
        get.body = [body]
        return [get]

    def relocated(self, code: str, asked: int) -> bool:
        if code != "PermanentRedirect" or self.moves:
            return code == "PermanentRedirect" and asked < self.moves
        self.moves = 1
        return True

    def renew_credentials(self) -> None:
        self.renewed += 1


class Errand(Job):
    def __init__(self, supply: Errands, key: str) -> None:
        super().__init__()
        self.supply = supply
        self.get = Get(key)

    @property
    def cost(self) -> int:
        return 1000

    def again(self) -> Get:
        self.get = Get(self.get.key)
        return self.get

    def answered(self, get: Get) -> None:
        self.supply.done.append(str(get.key))

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        self.supply.lost.append((str(self.get.key), error, general))


class Errands:
    def __init__(self, keys: list[str]) -> None:
        self.keys = deque(keys)
        self.done: list[str] = []
        self.lost: list[tuple[str, S3StreamError, bool]] = []
        self.events: list[Event] = []

    def next_job(self) -> Job | None:
        return Errand(self, self.keys.popleft()) if self.keys else None

    def turn(self) -> bool:
        return bool(self.keys)

    def tell(self, event: Event) -> None:
        self.events.append(event)


def ok(_: str, __: int) -> Answer:
    return 200, b"body"


def drive(
    keys: list[str],
    answer: Callable[[str, int], Answer] = ok,
    *,
    policy: RetryPolicy | None = None,
    connections: int = 4,
    deadline: float | None = None,
    stop: StopFlag | None = None,
    **options: Any,
) -> tuple[Errands, Store, Loop, Clock]:
    clock = Clock()
    store, supply = Store(clock, answer), Errands(keys)
    limits = Limits(stop or StopFlag(), deadline, clock=clock, sleep=clock.sleep)
    loop = Loop(
        store,  # type: ignore[arg-type]
        supply,
        policy or RetryPolicy(),
        limits,
        Width(connections, connections, clock),
        draw=lambda: 1.0,
        **options,
    )
    loop.run()
    return supply, store, loop, clock


def test_all_is_asked_for_once_and_no_more_at_once_than_allowed() -> None:
    """The plain case."""
    keys = [f"k{n}" for n in range(50)]
    supply, store, loop, _ = drive(keys)
    assert sorted(supply.done) == sorted(keys)
    assert store.most == 4
    assert loop.requests == 50


def test_what_fails_is_asked_for_again_later() -> None:
    """With a delay, and without holding up the rest."""
    supply, store, loop, clock = drive(["a", "b"], lambda key, n: (500, b"") if (key, n) == ("a", 1) else (200, b""))
    assert supply.done == ["b", "a"]
    assert store.asked == {"a": 2, "b": 1}
    assert loop.budget.spent == 1
    assert clock.now - 1000.0 >= 0.5
    assert [type(event) for event in supply.events] == [Retried]


def test_attempts_end() -> None:
    """And the error tells of the earlier ones."""
    supply, store, _, _ = drive(
        ["a", "b"], lambda key, _: (500 if key == "a" else 200, b""), policy=RetryPolicy(attempts=3)
    )
    ((key, error, general),) = supply.lost
    assert (key, store.asked["a"], len(error.attempts)) == ("a", 3, 2)
    assert isinstance(error, SourceUnavailable)
    assert not general  # another was had


def test_a_store_that_never_answers_is_down() -> None:
    """There is no point in trying the others one by one."""
    supply, _, _, _ = drive(["a"], lambda *_: (500, b""), policy=RetryPolicy(attempts=3))
    assert supply.lost[0][2]


def test_a_permanent_failure_is_not_repeated() -> None:
    """Nor does it concern the others."""
    supply, store, _, _ = drive(["a", "b"], lambda key, _: (404, b"") if key == "a" else (200, b""))
    ((key, error, general),) = supply.lost
    assert (key, general, store.asked["a"]) == ("a", False, 1)
    assert isinstance(error, SourceMissing)
    assert supply.done == ["b"]


def test_the_budget_is_shared() -> None:
    """A store that fails one after the other is not asked attempts times jobs."""
    supply, store, _, _ = drive(
        [f"k{n}" for n in range(20)], lambda *_: (500, b""), policy=RetryPolicy(budget=5), connections=1
    )
    assert sum(store.asked.values()) == 25
    assert len(supply.lost) == 20
    assert all(general for _, _, general in supply.lost)


def test_a_burst_costs_one_retry() -> None:
    """However many connections one hiccup hits at once."""
    keys = [f"k{n}" for n in range(64)]
    supply, _, loop, _ = drive(
        keys, lambda _, n: (500 if n == 1 else 200, b""), policy=RetryPolicy(budget=3), connections=64
    )
    assert sorted(supply.done) == sorted(keys)
    assert loop.budget.spent == 64


def test_while_it_fails_no_more_is_begun_than_there_are_connections() -> None:
    """What waits to be tried again keeps its place."""
    _, store, _, _ = drive([f"k{n}" for n in range(100)], lambda *_: (500, b""), policy=RetryPolicy(attempts=2))
    assert store.most <= 4
    assert all(count == 2 for count in store.asked.values())


def test_throttling_narrows() -> None:
    """One SlowDown halves what is under way."""
    _, _, loop, _ = drive(["a"], lambda _, n: (503, b"<Code>SlowDown</Code>") if n == 1 else (200, b""), connections=8)
    assert loop.width.allowed == 4


def test_expired_credentials_are_renewed() -> None:
    """And the request repeated."""
    supply, store, _, _ = drive(["a"], lambda _, n: (400, b"<Code>ExpiredToken</Code>") if n == 1 else (200, b""))
    assert (supply.done, store.renewed) == (["a"], 1)


def test_a_bucket_that_lives_elsewhere_is_followed_once() -> None:
    """A store that sends one on for ever is not."""
    supply, _, _, _ = drive(
        ["a", "b", "c"], lambda _, n: (301, b"<Code>PermanentRedirect</Code>") if n == 1 else (200, b"")
    )
    assert sorted(supply.done) == ["a", "b", "c"]  # those that were under way when it moved, too
    supply, _, _, _ = drive(["a"], lambda *_: (301, b"<Code>PermanentRedirect</Code>"))
    assert supply.lost[0][2]


def test_bandwidth_is_booked() -> None:
    """Ten times 1,000 bytes at 2,000 bytes per second take no less than 4.5 s: the last may begin then."""
    _, _, _, clock = drive([f"k{n}" for n in range(10)], max_bandwidth=2000)
    assert clock.now - 1000.0 >= 4.5


def test_a_stop_and_a_deadline_end_it() -> None:
    """Whatever is under way."""
    stop = StopFlag()

    def stopping(_: str, __: int) -> Answer:
        stop.request("SIGTERM")
        return 200, b""

    with pytest.raises(Stopped, match="SIGTERM"):
        drive(["a", "b", "c"], stopping, stop=stop)
    with pytest.raises(DeadlineExceeded):
        drive(["a"], lambda *_: (500, b""), deadline=0.1)


def test_a_store_that_stops_answering_is_down() -> None:
    """After some jobs in a row have used up their attempts, the rest is not tried one by one."""
    supply, _, _, _ = drive(
        [f"k{n}" for n in range(12)],
        lambda key, _: (200 if key == "k0" else 500, b""),
        policy=RetryPolicy(attempts=2),
        connections=1,
    )
    assert [general for _, _, general in supply.lost] == [False] * 9 + [True] * 2
