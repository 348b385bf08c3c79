"""List a prefix by several listers at once: which pages to ask for, and which keys of each answer are new."""

from __future__ import annotations

from operator import attrgetter
from typing import TYPE_CHECKING

from airflow_s3stream.plan.listfrontier import Frontier, Stretch
from airflow_s3stream.plan.listpage import KeyRange, ListPage, ListRequest, check_prefix, parse_page
from airflow_s3stream.plan.listxml import misbehaved

if TYPE_CHECKING:
    from airflow_s3stream.plan.objects import ObjectEntry

_EMPTY_PAGES = 1000  # in a row, each with a token to go on from: more than a store has reason to send


class Listing:
    """
    The keys that begin with ``prefix``, are above ``start_after`` and not above ``last``, each exactly once.

    Send what :meth:`next_request` gives, at most ``listers`` at once, and give each answer to :meth:`feed`, in any
    order. An answer to a request that was answered before does no harm.

    The first page is asked for alone: most prefixes have no second. After it, whenever a lister has nothing to do, the
    stretch with the most keys left, as far as can be told, is cut in two where the model expects its middle. The page
    asked for there is the probe and the beginning of the new half's listing in one. All that is kept is what is not
    listed yet: as many stretches as there are listers.

    Pages follow each other by ``start-after``, which does not expire as a token does. A store that takes no notice of
    it is listed by tokens, one page after the other.
    """

    def __init__(
        self, prefix: str, *, start_after: str = "", last: str | None = None, listers: int = 16, page_size: int = 1000
    ) -> None:
        self.pages = 0
        self.found = 0
        self._prefix = prefix
        self._listers = listers
        self._page_size = page_size
        self._frontier = Frontier(prefix, start_after, last, page_size)
        self._under_way: set[ListRequest] = set()
        self._chain: _Chain | None = None

    @property
    def done(self) -> bool:
        """Whether every key was handed out. Answers that are still under way will hold nothing new."""
        return not self._frontier.stretches

    def next_request(self) -> ListRequest | None:
        """Give the next request to send; None: every possible one is under way, or the listing is done."""
        if self.done or len(self._under_way) >= self._listers:
            return None
        request = self._chain.next_request() if self._chain else self._next_of_stretch()
        if request:
            self._under_way.add(request)
        return request

    def _next_of_stretch(self) -> ListRequest | None:
        stretch = self._idle()
        if stretch is None:
            return None
        stretch.asked = ListRequest(self._prefix, stretch.after, stretch.token, self._page_size)
        return stretch.asked

    def _idle(self) -> Stretch | None:
        stretches = self._frontier.stretches
        idle = [stretch for stretch in stretches if stretch.asked is None]
        if idle:
            return max(idle, key=attrgetter("expected"))
        if self.pages and len(stretches) < self._listers:
            return self._frontier.split()
        return None

    def feed(self, request: ListRequest, body: bytes) -> list[ObjectEntry]:
        """
        Take the answer to ``request``; give the entries that no earlier answer gave.

        :raises SourceMisbehaved: the answer cannot be trusted.
        """
        return self.take(request, parse_page(body))

    def take(self, request: ListRequest, page: ListPage) -> list[ObjectEntry]:
        """Take an answer that is parsed already; see :meth:`feed`."""
        check_prefix(self._prefix, page)
        self.pages += 1
        self._under_way.discard(request)
        if self._chain:
            covered = self._chain.take(request, page)
        elif page.entries and page.entries[0].key <= request.start_after:
            # What is open stays open; the pages of the chain are compared with it like any others.
            self._chain = _Chain(self._prefix, self._page_size)
            covered = None
        else:
            covered = self._covered(request, page)
        new = self._frontier.cross_off(covered, page.entries) if covered else []
        if not self._chain:
            self._frontier.judge(request.start_after, useful=bool(new))
        self.found += len(new)
        return new

    def _covered(self, request: ListRequest, page: ListPage) -> KeyRange | None:
        """Tell which keys are known after this page: those above the request's start, as far as it goes."""
        asker = next((stretch for stretch in self._frontier.stretches if stretch.asked == request), None)
        if asker:
            asker.asked = None
        if not page.truncated:
            return KeyRange(request.start_after)
        if page.entries:
            return KeyRange(request.start_after, page.entries[-1].key)
        if asker:
            asker.empties += 1
            asker.token = _token_after(page, request.token, asker.empties)
        return None


class _Chain:
    """A listing by continuation tokens, from the prefix's beginning."""

    def __init__(self, prefix: str, page_size: int) -> None:
        self._request = ListRequest(prefix, max_keys=page_size)
        self._under_way = False
        self._last = ""
        self._empties = 0

    def next_request(self) -> ListRequest | None:
        if self._under_way:
            return None
        self._under_way = True
        return self._request

    def take(self, request: ListRequest, page: ListPage) -> KeyRange | None:
        """Note where to go on; tell up to which key everything is known."""
        if request != self._request or not self._under_way:
            return None  # asked for before the chain began, or answered twice
        self._under_way = False
        if page.entries:
            if page.entries[0].key <= self._last:
                raise misbehaved("neither start-after nor the token of the page before makes it go on")
            self._last, self._empties = page.entries[-1].key, 0
        else:
            self._empties += 1
        if not page.truncated:
            return KeyRange()
        token = _token_after(page, request.token, self._empties)
        self._request = ListRequest(request.prefix, token=token, max_keys=request.max_keys)
        return KeyRange(last=self._last) if page.entries else None


def _token_after(page: ListPage, token: str, empties: int) -> str:
    if not page.token:
        raise misbehaved("IsTruncated is true, but it names nothing to go on from: no key, no token")
    if page.token == token or empties > _EMPTY_PAGES:
        raise misbehaved("IsTruncated is true, but its pages do not go on")
    return page.token
