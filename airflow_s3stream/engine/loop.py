"""The network loop: keeps as many GETs under way as are allowed, and asks again for what failed and may succeed."""

from __future__ import annotations

import heapq
import random
import time
from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.engine.answers import Failure, failure
from airflow_s3stream.engine.events import Retried
from airflow_s3stream.engine.retrying import RetryBudget
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    S3StreamError,
    SourceThrottled,
    SourceTruncated,
    SourceUnavailable,
    Stopped,
)
from airflow_s3stream.plan.retry import delay

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.config import RetryPolicy
    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.reader import Get
    from airflow_s3stream.engine.readers import Readers
    from airflow_s3stream.engine.stop import Limits
    from airflow_s3stream.engine.width import Width

_HISTORY = 20  # failures kept in an error
_DOWN_AFTER = 10  # jobs lost in a row


class Job:
    """
    One GET and what becomes of it. All methods run on the loop's thread unless they say otherwise.

    :ivar get: what to ask for next.
    :ivar failures: one line per failed attempt.
    :ivar spent: attempts that count.
    :ivar era: the width's, :ivar burst: the loop's, and :ivar address: the reader's, when it was asked for last.
    """

    __slots__ = ("address", "burst", "era", "failures", "get", "spent")
    get: Get

    def __init__(self) -> None:
        self.failures: list[str] = []
        self.spent = self.era = self.burst = self.address = 0

    @property
    def cost(self) -> int:
        """Bytes it will move, for the bandwidth."""
        return 0

    @property
    def owed(self) -> int:
        """Bytes it has moved beyond ``cost``, which was not known."""
        return 0

    @property
    def complete(self) -> bool:
        """Whether all that was asked for has come, however the GET ended."""
        return False

    @property
    def name(self) -> str:
        """What people call it."""
        return f"GET {self.get.key}"

    def again(self) -> Get:
        """Give the GET for another attempt."""
        raise NotImplementedError

    def answered(self, get: Get) -> None:
        """
        Take an answer of status 200 or 206.

        :raises S3StreamError: it is not what was asked for.
        """
        raise NotImplementedError

    def given_up(self, error: S3StreamError, *, general: bool) -> None:
        """Take the last failure. ``general``: all other GETs would meet it too."""
        raise NotImplementedError


class Supply(Protocol):
    """Where jobs come from."""

    def next_job(self) -> Job | None:
        """Give a job to begin, or None if there is none at the moment."""

    def turn(self) -> bool:
        """Do what is due once per turn of the loop; False when there is nothing left to do or to wait for."""

    def tell(self, event: Event) -> None:
        """Pass on an event."""


class Loop:
    """
    Drives jobs through a reader.

    :param draw: uniform in [0, 1), for the jitter of delays.
    """

    def __init__(
        self,
        readers: Readers,
        supply: Supply,
        policy: RetryPolicy,
        limits: Limits,
        width: Width,
        *,
        max_bandwidth: int | None = None,
        draw: Callable[[], float] = random.random,
    ) -> None:
        self._readers = readers
        self._supply = supply
        self._policy = policy
        self._limits = limits
        self.width = width
        self._rate = max_bandwidth
        self._free_at = 0.0  # when all bytes booked so far will have had their time
        self._draw = draw
        self.budget = RetryBudget(policy.budget)
        self._waiting: list[tuple[float, int, Job]] = []  # a heap of jobs to begin again
        self._good = False  # whether there has been a good answer
        self._lost_in_a_row = 0  # jobs given up after all their attempts, without a good answer between
        self._bursts = 0  # of failures
        self.busy = 0
        self.requests = 0
        """Sent so far."""

    def run(self) -> None:
        """
        Work until the supply has nothing left.

        :raises S3StreamError: what a job raised when it was given up; Stopped, DeadlineExceeded.
        """
        clock = time.perf_counter
        while True:
            self._limits.check()
            more = self._supply.turn()
            wait = self._begin()
            if not more and not self.busy and not self._waiting:
                return
            before = clock()
            ended = self._readers.poll(wait)
            self.width.waited(clock() - before, self.busy)
            self.busy -= len(ended)
            for get in ended:
                self._end(get)

    def start(self, job: Job) -> None:
        """Begin a job, or go on with one that was dropped, whatever the width."""
        self._start(job, job.again())

    def drop(self, job: Job) -> None:
        """Forget a job that is under way, and close its connection; or one that waits to be begun again."""
        if self.waits(job):
            self._waiting = [one for one in self._waiting if one[2] is not job]
            heapq.heapify(self._waiting)
            return
        self._readers.cancel(job.get)
        self.busy -= 1

    def move(self, job: Job) -> bool:
        """Go on with a job over another connection; False if it waits to be begun again anyway, or has all it wants."""
        if job.complete or self.waits(job):
            return False
        self.drop(job)
        self.start(job)
        return True

    def waits(self, job: Job) -> bool:
        """Whether a job is to be begun again, and has not been."""
        return any(one[2] is job for one in self._waiting)

    def retry(self, job: Job, found: Failure) -> None:
        """Have a job begun again later, or give it up."""
        error = found.error
        throttled = isinstance(error, SourceThrottled)
        if throttled:
            self.width.throttled(job.era)
        if self._readers.relocated(found.code, job.address):
            self._start(job, job.again())
            return
        # Being told to slow down is nobody's failure while there is a width to be narrowed.
        narrowing = throttled and self.width.allowed > 1
        job.spent += not narrowing
        permanent = not error.retryable or isinstance(error, Stopped | DeadlineExceeded)
        exhausted = job.spent >= self._policy.attempts
        if permanent or exhausted or not self._charge(job, free=narrowing):
            # A store that has used up the retries of all jobs together is down; so is one that has used up those of
            # some one after the other, and answered nothing in between.
            self._lost_in_a_row += exhausted
            patience = _DOWN_AFTER if self._good else 1
            down = not permanent and (not exhausted or self._lost_in_a_row >= patience)
            error.attempts = tuple(job.failures[-_HISTORY:])
            job.given_up(error, general=found.general or down)
            return
        job.failures.append(f"{type(error).__name__}: {error.message}")
        if found.code.startswith("Expired"):
            self._readers.renew_credentials()
        pause = delay(self._policy, len(job.failures), error.retry_after, self._draw())
        self._supply.tell(Retried(what=job.name, reason=str(error), pause=pause))
        heapq.heappush(self._waiting, (self._limits.clock() + pause, id(job), job))

    def _charge(self, job: Job, *, free: bool) -> bool:
        """
        Take a retry from the budget: one for a burst, however many connections it hits at once.

        What was under way when the last was taken has met the same trouble.
        """
        burst = job.burst < self._bursts
        self._bursts += not (burst or free)
        return self.budget.spend(free=free or burst)

    def _begin(self) -> float:
        """Begin what may begin; return the seconds until something else may be due."""
        wait = POLL
        now = self._limits.clock()
        allowed = self.width.allowed
        while self.busy < allowed:
            if self._rate is not None and self._free_at > now:
                return min(wait, self._free_at - now)
            if self._waiting and self._waiting[0][0] <= now:
                _, _, job = heapq.heappop(self._waiting)
                get = job.again()
            else:
                # Jobs that wait to be begun again keep their places: while a store is out of order, not all there is to
                # fetch should be tried on it.
                found = self._supply.next_job() if self.busy + len(self._waiting) < allowed else None
                if found is None:
                    break
                job, get = found, found.get
            self._start(job, get)
            if self._rate is not None:
                self._free_at = max(self._free_at, now) + job.cost / self._rate
        if self._waiting:
            wait = max(0.0, min(wait, self._waiting[0][0] - now))
        return wait

    def _start(self, job: Job, get: Get) -> None:
        get.job = job
        job.era, job.burst, job.address = self.width.era, self._bursts, self._readers.moves
        self.busy += 1
        self.requests += 1
        self._readers.submit(get)

    def _end(self, get: Get) -> None:
        job: Job = get.job
        found = failure(get) if get.error is not None or get.status not in (200, 206) else None
        if found is not None and job.complete and isinstance(found.error, SourceTruncated | SourceUnavailable):
            found = None  # the connection broke off behind the last byte
        if found is None:
            try:
                job.answered(get)
            except S3StreamError as error:
                found = Failure(error)
            else:
                self._good = True
                self._lost_in_a_row = 0
                self.width.answered(1)
                if self._rate is not None and job.owed:
                    self._free_at = max(self._free_at, self._limits.clock()) + job.owed / self._rate
                return
        self.retry(job, found)
