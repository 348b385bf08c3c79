"""The keys of a bucket: listed by several requests at once, or split into ranges for others to list."""

from __future__ import annotations

import threading
from contextlib import closing
from queue import SimpleQueue
from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.engine.fetchrun import FetchRun
from airflow_s3stream.engine.jobs import PageJob
from airflow_s3stream.plan.download import ReadOptions
from airflow_s3stream.plan.keyranges import Splitting
from airflow_s3stream.plan.listing import Listing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.loop import Job
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.listpage import KeyRange, ListRequest
    from airflow_s3stream.plan.objects import ObjectEntry

LISTERS = 16
"""Pages asked for at once."""
_AHEAD = 24  # pages under way or waiting for whoever iterates


class _Asks(Protocol):
    """What a listing and a splitting have in common."""

    @property
    def done(self) -> bool: ...

    def next_request(self) -> ListRequest | None: ...

    def feed(self, request: ListRequest, body: bytes) -> list[ObjectEntry]: ...


class _Pages:
    """A supply of pages and nothing else."""

    def __init__(self, run: FetchRun, asks: _Asks) -> None:
        self.uri = run.uri
        self.pages: SimpleQueue[list[ObjectEntry] | None] = SimpleQueue()
        """The last is followed by None."""
        self._run = run
        self._asks = asks
        self._under_way = 0

    def next_job(self) -> Job | None:
        """Give the next page to ask for, unless enough wait to be taken."""
        if self._under_way + self.pages.qsize() >= _AHEAD:
            return None
        request = self._asks.next_request()
        if request is None:
            return None
        self._under_way += 1
        return PageJob(self, request)

    def listed(self, request: ListRequest, body: bytes) -> None:
        """Take a page."""
        found = self._asks.feed(request, body)
        self._under_way -= 1
        self._run.tally.listed += len(found)
        self._run.loop.budget.refund()
        if found:
            self.pages.put(found)

    def turn(self) -> bool:
        """Say whether there is more to come."""
        return not self._asks.done

    def tell(self, event: Event) -> None:
        """Pass on an event."""
        self._run.tell(event)


def list_objects(
    client: S3Client,
    bucket: str,
    prefix: str = "",
    *,
    start_after: str = "",
    last_key: str | None = None,
    listers: int = LISTERS,
    options: ReadOptions | None = None,
    stop: StopFlag | None = None,
) -> Iterator[ObjectEntry]:
    """
    Iterate over the objects below a prefix; every key once, in no order unless ``listers`` is 1.

    Memory is constant: at most 24 pages of 1,000 keys are read ahead.

    :param start_after: keys up to this one are left out.
    :param last_key: keys after this one are left out; None: none are.
    :raises S3StreamError: the list cannot be read, once the retries are spent.
    """
    for page in list_pages(
        client,
        bucket,
        prefix,
        start_after=start_after,
        last_key=last_key,
        listers=listers,
        options=options,
        stop=stop,
    ):
        yield from page


def list_pages(
    client: S3Client,
    bucket: str,
    prefix: str = "",
    *,
    start_after: str = "",
    last_key: str | None = None,
    listers: int = LISTERS,
    options: ReadOptions | None = None,
    stop: StopFlag | None = None,
) -> Iterator[list[ObjectEntry]]:
    """Iterate over pages of objects, as :func:`list_objects` does over objects."""
    options = options or ReadOptions(connections=listers)
    run = FetchRun(client, bucket, f"s3://{bucket}/{prefix}", options, stop=stop)
    supply = _Pages(run, Listing(prefix, start_after=start_after, last=last_key, listers=listers))
    failures: list[BaseException] = []

    def work() -> None:
        try:
            with closing(run.readers):
                run.drive(supply)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            failures.append(error)
        finally:
            supply.pages.put(None)

    thread = threading.Thread(target=work, name="s3stream-list", daemon=True)
    thread.start()
    try:
        while (page := supply.pages.get()) is not None:
            yield page
            run.readers.wake()  # it may have been waiting for this page to be taken
        if failures:
            raise failures[0]
    finally:
        run.limits.abandon()
        if threading.current_thread() is not thread:  # the garbage collector may run there
            run.readers.wake()
            thread.join()


def split_prefix(
    client: S3Client,
    bucket: str,
    prefix: str = "",
    *,
    pieces: int,
    options: ReadOptions | None = None,
    stop: StopFlag | None = None,
) -> list[KeyRange]:
    """
    Find about ``pieces`` ranges of keys of similar size that cover a prefix without gap or overlap.

    :raises S3StreamError: the bucket cannot be listed.
    """
    options = options or ReadOptions(connections=LISTERS)
    run = FetchRun(client, bucket, f"s3://{bucket}/{prefix}", options, stop=stop)
    splitting = Splitting(prefix, pieces=pieces)
    try:
        run.drive(_Pages(run, splitting))
    finally:
        run.readers.close()
    return splitting.ranges
