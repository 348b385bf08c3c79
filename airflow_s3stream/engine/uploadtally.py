"""What a sweep over uploads has done so far: counted, named up to a limit, and told."""

from __future__ import annotations

import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from airflow_s3stream import exceptions
from airflow_s3stream.config import format_size
from airflow_s3stream.engine.events import Noted
from airflow_s3stream.engine.reporting import duration
from airflow_s3stream.exceptions import S3StreamError, printable
from airflow_s3stream.plan.uploads import NAMED, AbortResult

if TYPE_CHECKING:
    from airflow_s3stream.engine.uploadstore import UploadStore
    from airflow_s3stream.plan.uploads import FoundUpload

Kind = Literal["aborted", "vanished", "left", "failed"]

_MOST_FAILURES = 100  # in a row; then the store or the permissions are at fault, not the uploads


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one upload."""

    kind: Kind
    upload: FoundUpload
    reason: str = ""
    """Why it was left."""
    error: S3StreamError | None = None


class Tally:
    """Counts outcomes. They come from any thread; what is told is told by the thread that called."""

    def __init__(self, store: UploadStore) -> None:
        self._store = store
        self._clock = store.run.clock
        self._began = self._told_at = self._clock()
        self._lock = threading.Lock()
        self._counts: Counter[Kind] = Counter()  # this and what follows under _lock
        self._because: Counter[str] = Counter()
        self._named: dict[Kind, list[dict[str, Any]]] = {"aborted": [], "vanished": [], "left": [], "failed": []}
        self._parts = 0
        self._bytes = 0
        self._in_a_row = 0
        self._lines: list[str] = []  # not told yet

    def take(self, outcome: Outcome) -> None:
        """
        Count one; any thread.

        :raises S3StreamError: that of the outcome, if too many have failed in a row.
        """
        with self._lock:
            self._counts[outcome.kind] += 1
            if outcome.kind == "left":
                self._because[outcome.reason] += 1
            elif outcome.kind == "aborted":
                self._parts += outcome.upload.parts or 0
                self._bytes += outcome.upload.bytes or 0
            self._name(outcome)
            self._in_a_row = self._in_a_row + 1 if outcome.kind == "failed" else 0
            if outcome.error and self._in_a_row >= _MOST_FAILURES:
                raise outcome.error

    def _name(self, outcome: Outcome) -> None:
        named, error = self._named[outcome.kind], outcome.error
        if len(named) >= NAMED:
            return
        entry = outcome.upload.to_json()
        if outcome.reason:
            entry["reason"] = outcome.reason
        if error:
            entry |= {"error": error.message, "kind": type(error).__name__, "retryable": error.retryable}
        named.append(entry)
        self._lines.append(self._line(outcome))
        if len(named) == NAMED:
            self._lines.append(f"(further uploads that are {outcome.kind} are counted, and not named)")

    def _line(self, outcome: Outcome) -> str:
        upload = outcome.upload
        name = f"{printable(self._store.name_of(upload))}, upload {printable(upload.upload_id)}"
        about = f"begun {duration(upload.age)} ago"
        match outcome.kind:
            case "aborted":
                verb = "Would abort" if self._store.options.dry_run else "Aborted"
                return f"{verb} {name}: {upload.parts} parts, {format_size(upload.bytes or 0)}, {about}"
            case "vanished":
                return f"Gone already: {name}"
            case "left":
                return f"Left {name}: {outcome.reason}; {about}"
            case "failed":
                return f"Could not abort {name}: {outcome.error}"

    def report(self) -> None:
        """Tell what has happened since; calling thread only."""
        with self._lock:
            lines, self._lines = self._lines, []
        now = self._clock()
        if not lines and now - self._told_at >= self._store.options.progress_interval:
            lines = [f"So far: {self.summary()}"]
        if lines:
            self._told_at = now
        for line in lines:
            self._store.run.tell(Noted(text=line))

    def summary(self) -> str:
        """Say the counts in one line."""
        with self._lock:
            counts, because = self._counts.copy(), self._because.copy()
            size = f" ({self._parts} parts, {format_size(self._bytes)})"
        verb = "would be aborted" if self._store.options.dry_run else "aborted"
        said = [f"{counts['aborted']} {verb}{size if counts['aborted'] else ''}"]
        said += [f"{count} left: {reason}" for reason, count in sorted(because.items())]
        said += [f"{counts[kind]} {text}" for kind, text in _RARE.items() if counts[kind]]
        return f"{counts.total()} uploads below {printable(self._store.uri)}; {'; '.join(said)}"

    def explain(self, error: S3StreamError) -> None:
        """Put what was done until then into an error that ends the sweep."""
        self.report()
        error.message = f"{error.message.rstrip('.')}. Until then: {self.summary()}"

    def finish(self) -> AbortResult:
        """Tell the end, and give the result."""
        self.report()
        self._store.run.tell(Noted(text=self.summary()))
        options, counts = self._store.options, self._counts
        return AbortResult(
            uri=self._store.uri,
            dry_run=options.dry_run,
            older_than=options.older_than,
            only_own=options.only_own,
            found=counts.total(),
            aborted=counts["aborted"],
            parts=self._parts,
            bytes=self._bytes,
            vanished=counts["vanished"],
            left=counts["left"],
            left_because=dict(self._because),
            failed=counts["failed"],
            aborted_uploads=self._named["aborted"],
            left_uploads=self._named["left"],
            failures=self._named["failed"],
            seconds=self._clock() - self._began,
            retries=self._store.run.retrier.budget.spent,
        )


_RARE: dict[Kind, str] = {"vanished": "gone already", "failed": "could not be aborted"}


def failure_of(result: AbortResult) -> S3StreamError | None:
    """
    Make one error of what could not be aborted; None if nothing failed.

    It is of the class of the first failure that a retry may mend, or of the first of all, and says which and how many.
    """
    if not result.failures:
        return None
    first = next((failure for failure in result.failures if failure["retryable"]), result.failures[0])
    kind, upload_id = getattr(exceptions, first["kind"], S3StreamError), printable(first["upload_id"])
    error: S3StreamError = kind(
        f"{result.failed} of {result.found} uploads below {printable(result.uri)} could not be aborted, "
        f"{result.aborted} were; the first: {printable(first['key'])}, upload {upload_id}: {first['error']}",
        retryable=first["retryable"],
    )
    return error
