"""The supply of the network loop: from a list or keys, through admission, to GETs within the memory allowed."""

from __future__ import annotations

from collections import deque
from contextlib import ExitStack
from itertools import count
from operator import itemgetter
from typing import TYPE_CHECKING, Any, cast

from airflow_s3stream.engine.admission import Admission
from airflow_s3stream.engine.ahead import Ahead
from airflow_s3stream.engine.answers import Failure
from airflow_s3stream.engine.bodymemory import BodyMemory
from airflow_s3stream.engine.dispatch import Dispatcher
from airflow_s3stream.engine.jobs import PageJob, WholeJob
from airflow_s3stream.engine.large import HeadJob, LargeObject
from airflow_s3stream.engine.pace import MEMORY, MemoryBudget
from airflow_s3stream.engine.proof import etag_of
from airflow_s3stream.exceptions import LocalError, S3StreamError
from airflow_s3stream.plan.download import WHOLE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_s3stream.engine.destination import Destination
    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.fetchrun import FetchRun
    from airflow_s3stream.engine.loop import Job
    from airflow_s3stream.engine.reader import Get
    from airflow_s3stream.plan.download import ReadOptions
    from airflow_s3stream.plan.listing import Listing
    from airflow_s3stream.plan.listpage import ListRequest
    from airflow_s3stream.plan.objects import ObjectEntry

_AHEAD = 4_000  # entries waiting to be fetched at most, pages under way included
_PAGE = 1_000
_ADMITTED = 250  # entries admitted together
_NAMED_AHEAD = 1_000  # entries from keys or a manifest
_UNFINISHED = 1_000  # bodies waiting for a finishing thread at most
_LARGE = 4  # large objects open at once; their ranges fill the connections


class Fetch:
    """
    Decides what to ask for next, and keeps count.

    ``listing`` or ``entries`` names the objects. With ``numbered`` their places are their numbers in the order of
    ``entries``; else the destination is asked. State is the network thread's, but for what finishing threads count
    under a lock.
    """

    def __init__(
        self,
        run: FetchRun,
        destination: Destination,
        *,
        listing: Listing | None = None,
        entries: Iterable[ObjectEntry] = (),
        admits: Callable[[ObjectEntry], bool] | None = None,
        numbered: bool = False,
        finishers: int = 2,
        memory: MemoryBudget = MEMORY,
    ) -> None:
        self.options = cast("ReadOptions", run.options)
        self.uri = run.uri
        self.destination = destination
        self.tally = run.tally
        self.dispatcher = Dispatcher(
            destination, run.tally, strict=self.options.strict, threads=finishers, wake=run.readers.wake
        )
        self.memory = BodyMemory(destination, self.options.max_memory, numbered=numbered, budget=memory)
        self._run = run
        self._listing = listing
        self._entries = None if listing else Ahead(entries, run.readers.wake)
        self._pulled = False  # the last of the entries
        self._admits = admits
        self._numbers = count() if numbered else None
        self._backlog: deque[tuple[ObjectEntry, Any]] = deque()
        self._again: list[tuple[ObjectEntry, Any]] = []  # whose size was not known, and is now
        self._admitting = 0  # entries
        self._pages = 0  # under way
        self._ranged: deque[LargeObject] = deque()  # of which ranges are still to be asked for, in turns
        self._open: set[LargeObject] = set()

    # What the loop asks.

    def next_job(self) -> Job | None:
        """Give a page while the backlog is short, else the next object or range."""
        page = self._next_page()
        if page is not None:
            return page
        if self.dispatcher.pending >= _UNFINISHED:
            return None
        fair = self._run.width.allowed // 2  # the other half is for the objects that wait behind
        ranges = sum(large.under_way for large in self._ranged)
        if self._ranged and ranges >= fair and (found := self._next_object()):
            return found
        return self._next_range() or self._next_object()

    def turn(self) -> bool:
        """Hand over and take back what the finishing threads work on."""
        self._pull()
        self.dispatcher.turn()
        self._run.tick(listing_done=self.listing_done)
        return bool(self._backlog or self._again or self._open or self.dispatcher.pending or not self.listing_done)

    def tell(self, event: Event) -> None:
        """Pass on an event."""
        self._run.tell(event)

    @property
    def listing_done(self) -> bool:
        """Whether all objects have been named."""
        return self._listing.done if self._listing else self._entries is None or self._entries.done

    # What jobs tell.

    def listed(self, request: ListRequest, body: bytes) -> None:
        """Take a page of the list."""
        if self._listing is None:
            raise AssertionError("a page came although nothing is listed")
        found = self._listing.feed(request, body)
        self._pages -= 1
        for start in range(0, len(found), _ADMITTED):
            self._admit(found[start : start + _ADMITTED])
        if self._listing.done:
            self._run.listing_ended()

    def finish(self, job: WholeJob, size: int | None) -> None:
        """Have a whole body proved and delivered, where that costs least."""
        self.budget_refund()  # now: those that deliver it may be far behind the network
        self.dispatcher.finish(job, size)

    def check(self) -> None:
        """
        Return if the run may go on. Any thread.

        :raises S3StreamError: Stopped, DeadlineExceeded.
        """
        self._run.limits.check()

    def budget_refund(self) -> None:
        """Give the budget back a retry, for progress made."""
        self._run.loop.budget.refund()

    def judge(self, job: Job, error: BaseException) -> None:
        """Decide on a body that could not be finished: fetch it again, or give it up."""
        own = self.own(error)
        if isinstance(own, LocalError):
            raise own
        self._run.loop.retry(job, Failure(own))

    def count(self, level: str, size: int) -> None:
        """Count an object that has been delivered. Any thread."""
        self.tally.deliver(level, size)

    def too_large(self, get: Get, entry: ObjectEntry) -> bool:
        """Whether a body was stopped for being larger than the room made for it, and nothing else is wrong with it."""
        headers = get.headers if get.status == 200 else {}
        length, etag = headers.get("content-length", ""), etag_of(headers)
        expected = entry.size is None or (entry.etag and etag and etag != entry.etag)  # else a lie, not a new version
        return bool(expected) and length.isascii() and length.isdigit() and int(length) > get.limit

    def reconsider(self, entry: ObjectEntry, place: Any, get: Get) -> None:
        """Fetch again an object whose size is known now, or has changed since it was listed."""
        headers = get.headers
        size = int(headers["content-length"])
        if entry.size is not None:
            entry = entry._replace(etag=etag_of(headers), modified=0.0)
        self.memory.learn(size)
        self._again.append((entry._replace(size=size), place))
        if self._numbers is not None:
            self._again.sort(key=itemgetter(1))

    def failed(self, entry: ObjectEntry, place: Any, error: S3StreamError, *, general: bool) -> None:
        """
        Take note of an object that will not come.

        :raises S3StreamError: ``error``, where one is enough or nothing else would fare better.
        """
        error.op, error.target = error.op or "GetObject", error.target or f"s3://{self._run.bucket}/{entry.key}"
        self.tally.failed += 1
        self.destination.failed(entry, place, error)
        if general or self.options.on_error == "fail":
            raise error

    def large_ended(self, large: LargeObject) -> None:
        """Make room for another large object."""
        self._open.discard(large)
        if large in self._ranged:
            self._ranged.remove(large)

    def own(self, error: BaseException) -> S3StreamError:
        """Give an error of a finishing thread as one of ours; what is none is a bug and raised."""
        if isinstance(error, S3StreamError):
            return error
        raise error

    def complete(self) -> None:
        """
        See the writing process off, after all has been finished well.

        :raises LocalError: it did not end well.
        """
        self.dispatcher.complete(self._run.limits.check)

    def close(self) -> None:
        """End the finishing threads, drop large objects that are open, and give all memory back."""
        self._run.limits.abandon()  # a finishing thread may be reading gigabytes back
        with ExitStack() as ending:  # whatever fails on the way
            ending.callback(self.memory.close)
            for large in self._open:
                ending.callback(large.drop)
            ending.callback(self.dispatcher.close)
            if self._entries is not None:
                self._entries.close()

    # How the next thing is chosen.

    def _next_page(self) -> Job | None:
        if self._listing is None or len(self._backlog) + self._admitting + (self._pages + 1) * _PAGE > _AHEAD:
            return None
        request = self._listing.next_request()
        if request is None:
            return None
        self._pages += 1
        return PageJob(self, request)

    def _pull(self) -> None:
        if self._entries is None or self._pulled:
            return
        while len(self._backlog) + self._admitting < _NAMED_AHEAD and (some := self._entries.take()):
            if self._numbers is None:
                self._admit(some)
            else:
                self.tally.listed += len(some)
                self._backlog.extend(zip(some, self._numbers, strict=False))
        if self.listing_done:
            self._pulled = True
            self._run.listing_ended()

    def _admit(self, entries: list[ObjectEntry]) -> None:
        if self._admits is not None:
            entries = [entry for entry in entries if self._admits(entry)]
        self.tally.listed += len(entries)
        self._admitting += len(entries)
        self.dispatcher.add(Admission(self, entries))

    def admitted(self, count: int, accepted: list[tuple[ObjectEntry, Any]]) -> None:
        """Take back entries whose places are known."""
        self._admitting -= count
        self._backlog.extend(accepted)

    def _next_range(self) -> Job | None:
        for _ in range(len(self._ranged)):
            large = self._ranged[0]
            if large.exhausted:
                self._ranged.popleft()
                continue
            self._ranged.rotate(-1)
            job = large.next_range()
            if job is not None:
                return job
        return None

    def _next_object(self) -> Job | None:
        queue = self._again or self._backlog
        if not queue:
            return None
        entry, place = queue[0]
        large = entry.size is not None and entry.size > WHOLE
        if large and len(self._open) >= _LARGE:
            return None
        room = self.memory.reserve(entry, place)
        if room is None:
            return None
        del queue[0]
        if self._run.readers.by_boto3(entry.key):
            self.tally.boto3 += 1
        if not large:
            return WholeJob(self, entry, place, room)
        opened = LargeObject(self, entry, place, room)
        self._open.add(opened)
        self._ranged.append(opened)
        return HeadJob(opened)
