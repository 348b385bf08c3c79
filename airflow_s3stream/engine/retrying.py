"""The one retry loop. Every request of a transfer goes through it; the client libraries never retry."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, TypeVar

from airflow_s3stream.config import MiB, RetryPolicy
from airflow_s3stream.exceptions import DeadlineExceeded, S3StreamError, Stopped
from airflow_s3stream.plan.retry import delay

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.stop import Limits

T = TypeVar("T")

_PROGRESS = MiB  # bytes that make a break count as a new one rather than the same again
_HISTORY = 20  # failures kept in an error
_REOPEN_PATIENCE = 5.0  # seconds; S3 gives up on a request body that pauses for much longer (RequestTimeout)


class RetryBudget:
    """Retries left to all requests of one transfer. Each part stored gives one back."""

    def __init__(self, size: int) -> None:
        self._size = self._left = size
        self._lock = threading.Lock()
        self.spent = 0
        """Retries made so far."""

    def spend(self, *, free: bool = False) -> bool:
        """Take one retry; False when none is left. ``free``: only count it."""
        with self._lock:
            if not self._left and not free:
                return False
            self._left -= not free
            self.spent += 1
            return True

    def refund(self) -> None:
        """Give one back, for progress made."""
        with self._lock:
            self._left = min(self._left + 1, self._size)


class Retrier:
    """Repeats what failed and may succeed, with growing random delays, within one budget."""

    def __init__(
        self,
        policy: RetryPolicy,
        limits: Limits,
        *,
        draw: Callable[[], float] = random.random,
        on_retry: Callable[[str, S3StreamError, float], None] | None = None,
    ) -> None:
        self.policy = policy
        self.limits = limits
        self.budget = RetryBudget(policy.budget)
        self._draw = draw
        self._on_retry = on_retry

    def call(self, what: str, action: Callable[[], T]) -> T:
        """
        Run ``action`` until it succeeds.

        :raises S3StreamError: the last failure, with the earlier ones in ``attempts``.
        """
        tries = Tries(self, what)
        while True:
            try:
                return action()
            except S3StreamError as error:
                tries.again(error)

    def wait(self, what: str, error: S3StreamError, failures: int) -> None:
        """Wait before attempt ``failures + 1``, reporting it."""
        pause = delay(self.policy, failures, error.retry_after, self._draw())
        if self._on_retry:
            self._on_retry(what, error, pause)
        self.limits.sleep(pause)


class Tries:
    """
    The failures of one piece of work, whichever side they came from, so that attempts never multiply.

    Work may be begun anew (:meth:`again`), or its source reopened where it broke (:meth:`reopen`).

    :param waits_for_store: a request to the store stays open meanwhile, so a long wait is not for :meth:`reopen`.
    """

    def __init__(self, retrier: Retrier, what: str, *, waits_for_store: bool = True) -> None:
        self._retrier = retrier
        self._waits_for_store = waits_for_store
        self._what = what
        self._failures: list[str] = []
        self._begun = 0  # times the work failed as a whole
        self._breaks = 0  # in a row, without enough bytes between them to call it progress
        self._moved = 0  # bytes since the last break
        self._spent = False

    @property
    def failed(self) -> bool:
        """Whether the work has failed as a whole before."""
        return self._begun > 0

    def again(self, error: S3StreamError) -> None:
        """
        Wait until the work may be begun anew.

        :raises S3StreamError: ``error``, when it is permanent or attempts, budget or deadline are spent.
        """
        self._begun += 1
        self._failed(error, self._begun, free=False)

    def reopen(self, error: S3StreamError) -> None:
        """
        Wait until the source may be opened where it broke, while a request to the store, if there is one, stays open.

        A source that breaks now and then but moves on costs nothing from the budget.

        :raises S3StreamError: ``error``, when it cannot be mended so, or not soon enough for the waiting store.
        """
        if self._waits_for_store and error.retryable and (error.retry_after or 0.0) > _REOPEN_PATIENCE:
            raise error
        moving = self._moved >= _PROGRESS
        self._breaks = 1 if moving else self._breaks + 1
        self._moved = 0
        self._failed(error, self._breaks, free=moving)

    def moved(self, size: int) -> None:
        """Count bytes that arrived."""
        self._moved += size

    def _failed(self, error: S3StreamError, failures: int, *, free: bool) -> None:
        retrier = self._retrier
        permanent = not error.retryable or isinstance(error, Stopped | DeadlineExceeded)
        exhausted = self._spent or failures >= retrier.policy.attempts
        if permanent or exhausted or not retrier.budget.spend(free=free):
            self._spent = True
            error.attempts = tuple(self._failures[-_HISTORY:])
            raise error
        self._failures.append(f"{type(error).__name__}: {error.message}")
        retrier.wait(self._what, error, failures)
