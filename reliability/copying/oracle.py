"""What must be true of a copy that went through faults, in the order of what matters."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from airflow_s3stream.config import TransferResult
from airflow_s3stream.exceptions import S3StreamError
from tests.support.content import Content
from tests.support.stores import Store
from tests.support.trystate import KeptState

OLD = b"what lay there before"
KEY = "key"
SLACK = 5.0
"""Seconds beyond a deadline and a tenth of it: the rig shares two cores with a server that is slow."""


@dataclass(slots=True)
class Try:
    """One try of a copy and what came of it."""

    result: TransferResult | None = None
    error: BaseException | None = None
    seconds: float = 0.0

    @property
    def said(self) -> str:
        return f"{type(self.error).__name__}: {self.error}" if self.error else "success"


@dataclass(slots=True)
class Judge:
    """Looks at the store after each try."""

    store: Store
    state: KeptState
    versions: list[Content] = field(default_factory=list)
    """What the source has been, the newest last."""
    old: bool = True
    """Whether something lay at the key."""

    def wrong(self, tried: Try, deadline: float | None) -> str:
        """Say what is wrong after a try, in one sentence; "" if nothing is."""
        return self._bytes(tried) or self._visible(tried) or self._uploads(tried) or self._late(tried, deadline)

    @property
    def published(self) -> bool:
        """Whether the key holds a version of the source."""
        found = self._content()
        return any(found == version.bytes() for version in self.versions)

    def wrong_at_the_end(self) -> str:
        """Say what is left when the last try, which met no fault, is over."""
        left = self.store.uploads()
        if left:
            return f"uploads are left at the end: {left}"
        return "" if self.state.text is None else "the state was not cleared"

    def _content(self) -> bytes | None:
        there = self.store.keys()
        return self.store.get(KEY) if KEY in there else None

    def _bytes(self, tried: Try) -> str:
        if tried.result is None:
            return ""
        found = self._content()
        if tried.result.status != "copied":
            return f"it was {tried.result.status}: {tried.result.reason}"
        if found is None or all(found != version.bytes() for version in self.versions):
            return "reported as done, with other bytes"
        return ""

    def _visible(self, tried: Try) -> str:
        if tried.error is None:
            return ""
        if not isinstance(tried.error, S3StreamError):
            return f"an error of another kind: {tried.said}"
        found = self._content()
        before = OLD if self.old else None
        if found == before or any(found == version.bytes() for version in self.versions):
            return ""
        return f"after a failure ({tried.said}) something wrong is visible"

    def _uploads(self, tried: Try) -> str:
        """Every upload must be known: to the state, or to a person who reads the error."""
        known = self.state.token.upload_id if self.state.text else ""
        said = str(tried.error or "")
        if self.state.text and not known:
            return ""  # begun, and not answered: the next try looks for it
        lost = [one for one in self.store.uploads() if one != known and one not in said]
        return f"uploads that nobody knows of after {tried.said}: {lost}" if lost else ""

    def _late(self, tried: Try, deadline: float | None) -> str:
        most = None if deadline is None else deadline * 1.1 + SLACK
        if most is not None and tried.seconds > most:
            return f"it took {tried.seconds:.1f} s under a deadline of {deadline:g} s"
        return ""


def attempt(action: Callable[[], TransferResult]) -> Try:
    """Try once; whatever is raised is kept."""
    tried, began = Try(), time.monotonic()
    try:
        tried.result = action()
    except Exception as error:  # noqa: BLE001 - to be judged
        tried.error = error
    tried.seconds = time.monotonic() - began
    return tried


def kind_of(tried: Try) -> str:
    """Name the outcome so that it can be counted."""
    return re.sub(r"Error$", "", type(tried.error).__name__) if tried.error else "copied"
