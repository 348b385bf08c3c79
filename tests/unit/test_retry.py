"""When to try again, and for how long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.config import RetryPolicy
from airflow_s3stream.engine.retrying import Retrier, Tries
from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    S3StreamError,
    SinkUnavailable,
    SourceChanged,
    SourceMissing,
    SourceThrottled,
    SourceTruncated,
    Stopped,
)
from airflow_s3stream.plan.retry import delay, parse_retry_after, source_error


class Clock:
    """Time that passes only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept += seconds


def retrier(
    clock: Clock, policy: RetryPolicy | None = None, deadline: float | None = None, stop: StopFlag | None = None
) -> Retrier:
    limits = Limits(stop or StopFlag(), deadline, clock=clock, sleep=clock.sleep)
    return Retrier(policy or RetryPolicy(), limits, draw=lambda: 1.0)


class Failing:
    """An action that fails as often as told, then gives 42."""

    def __init__(self, times: int, error: type[S3StreamError] = SinkUnavailable, **kwargs: float) -> None:
        self.left = times
        self.calls = 0
        self.error = error
        self.kwargs = kwargs

    def __call__(self) -> int:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error("no", **self.kwargs)  # type: ignore[arg-type]
        return 42


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("120", 120.0),
        (" 0 ", 0.0),
        ("Sat, 21 Nov 2026 00:02:00 GMT", 120.0),
        ("Fri, 20 Nov 2026 00:00:00 GMT", 0.0),
        ("9" * 400, float("9" * 12)),
        (None, None),
        ("", None),
        ("-5", None),
        ("soon", None),
        ("1.5", None),
        ("٣", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    """Garbage is as good as nothing; a date in the past means now."""
    assert parse_retry_after(value, now=1795219200.0) == seconds


@given(failures=st.integers(1, 10**6), after=st.none() | st.floats(0, 1e12), draw=st.floats(0, 1, exclude_max=True))
def test_no_wait_is_longer_than_the_caps(failures: int, after: float | None, draw: float) -> None:
    """However often it failed and whatever the other side asked for."""
    policy = RetryPolicy()
    wait = delay(policy, failures, after, draw)
    assert 0 <= wait <= max(policy.cap, policy.retry_after_cap)
    if after is not None:
        assert wait >= min(after, policy.retry_after_cap)


@pytest.mark.parametrize(
    ("status", "name", "retryable"),
    [
        (400, "SourceMisbehaved", False), (401, "SourceDenied", False), (403, "SourceDenied", False),
        (404, "SourceMissing", False), (407, "SourceDenied", False), (408, "SourceUnavailable", True),
        (410, "SourceMissing", False), (412, "SourceChanged", False), (429, "SourceThrottled", True),
        (500, "SourceUnavailable", True), (502, "SourceUnavailable", True), (503, "SourceThrottled", True),
        (504, "SourceUnavailable", True), (204, "SourceMisbehaved", False), (304, "SourceMisbehaved", False),
    ],
)  # fmt: skip
def test_each_status_of_the_source_has_its_meaning(status: int, name: str, retryable: bool) -> None:
    """What happened, and whether a retry can help."""
    error = source_error(status, "Reason", None)
    assert (type(error).__name__, error.retryable) == (name, retryable)


def test_a_fault_that_passes_is_retried_with_growing_waits() -> None:
    """Full jitter at its largest draw: half a second, one, two."""
    clock, action = Clock(), Failing(3)
    assert retrier(clock).call("x", action) == 42
    assert action.calls == 4
    assert clock.slept == pytest.approx(0.5 + 1 + 2)


def test_a_permanent_fault_is_not_retried() -> None:
    """404 stays 404."""
    clock, action = Clock(), Failing(9, SourceMissing)
    with pytest.raises(SourceMissing):
        retrier(clock).call("x", action)
    assert (action.calls, clock.slept) == (1, 0)


def test_attempts_end_and_their_history_is_told() -> None:
    """The last error carries the earlier ones."""
    action = Failing(99)
    with pytest.raises(SinkUnavailable) as caught:
        retrier(Clock(), RetryPolicy(attempts=3)).call("x", action)
    assert action.calls == 3
    assert caught.value.attempts == ("SinkUnavailable: no",) * 2


def test_the_budget_is_shared_and_progress_gives_back() -> None:
    """Two retries for all requests together; a stored part earns one more."""
    shared = retrier(Clock(), RetryPolicy(budget=2))
    assert shared.call("x", Failing(2)) == 42
    with pytest.raises(SinkUnavailable):
        shared.call("x", Failing(1))
    shared.budget.refund()
    assert shared.call("x", Failing(1)) == 42
    assert shared.budget.spent == 3


def test_retry_after_is_waited_for_up_to_the_cap() -> None:
    """120 s, not the eleven days asked for."""
    clock = Clock()
    assert retrier(clock).call("x", Failing(1, SourceThrottled, retry_after=1e6)) == 42
    assert clock.slept == pytest.approx(120)


def test_the_deadline_ends_waiting() -> None:
    """A retry that would begin after the deadline never begins."""
    clock, action = Clock(), Failing(1, SourceThrottled, retry_after=60)
    with pytest.raises(DeadlineExceeded):
        retrier(clock, deadline=5).call("x", action)
    assert action.calls == 1
    assert clock.slept <= 5.1


def test_a_stop_is_neither_waited_for_nor_retried() -> None:
    """Although a later try of the task may well succeed."""
    stop = StopFlag()
    stop.request("because")
    with pytest.raises(Stopped, match="because"):
        retrier(Clock(), stop=stop).call("x", Failing(1))
    action = Failing(5, Stopped)
    with pytest.raises(Stopped):
        retrier(Clock()).call("x", action)
    assert action.calls == 1


class TestReopening:
    """A source that breaks inside a part."""

    def test_a_source_that_moves_on_may_break_for_ever(self) -> None:
        """Each break after a MiB is a first one, and free."""
        shared = retrier(Clock(), RetryPolicy(attempts=2, budget=0))
        tries = Tries(shared, "part 1")
        for _ in range(50):
            tries.moved(1 << 20)
            tries.reopen(SourceTruncated("cut"))
        assert shared.budget.spent == 50

    def test_a_source_that_does_not_move_on_is_given_up(self) -> None:
        """And attempts do not multiply: the part is not begun anew after that."""
        tries = Tries(retrier(Clock(), RetryPolicy(attempts=3)), "part 1")
        tries.reopen(SourceTruncated("cut"))
        tries.reopen(SourceTruncated("cut"))
        with pytest.raises(SourceTruncated) as caught:
            tries.reopen(SourceTruncated("cut"))
        with pytest.raises(SourceTruncated):
            tries.again(caught.value)

    def test_a_long_wait_is_not_held_against_the_store(self) -> None:
        """S3 drops a request whose body pauses, so the part is begun anew after the wait."""
        clock = Clock()
        tries = Tries(retrier(clock), "part 1")
        error = SourceThrottled("busy", retry_after=30)
        with pytest.raises(SourceThrottled):
            tries.reopen(error)
        assert clock.slept == 0
        tries.again(error)
        assert clock.slept == pytest.approx(30)

    def test_a_changed_source_is_not_reopened(self) -> None:
        """Two versions are never spliced."""
        with pytest.raises(SourceChanged):
            Tries(retrier(Clock()), "part 1").reopen(SourceChanged("v2"))
