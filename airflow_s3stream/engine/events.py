"""What a transfer tells while it runs. Frozen events, given to one listener on the thread that called."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_s3stream.engine.tuneevents import Tried, TuneFinished, TuneStarted

if TYPE_CHECKING:
    from airflow_s3stream.config import TransferResult
    from airflow_s3stream.plan.download import DownloadResult
    from airflow_s3stream.plan.getting import GetResult
    from airflow_s3stream.plan.parts import TransferPlan
    from airflow_s3stream.plan.probe import Probe


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """The source was probed and the plan is made; no byte has been sent to the store."""

    source: str
    destination: str
    probe: Probe
    plan: TransferPlan
    note: str
    """Why the source is read as it is, in words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progressed:
    """
    How far it is.

    ``stored`` counts bytes of parts the store has confirmed, so it never runs backwards. ``under_way`` counts those of
    parts not confirmed yet. ``rate`` is bytes per second since the event before, repeats included.
    """

    stored: int
    under_way: int
    size: int | None
    rate: float
    seconds_left: float | None
    retries: int
    connections: int
    """Allowed now; fewer than planned while a side throttles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retried:
    """Something failed and will be tried again after ``pause`` seconds."""

    what: str
    reason: str
    pause: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Noted:
    """Something a person should know that is not an error."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """The transfer ended well."""

    result: TransferResult


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchStarted:
    """A download of many objects begins."""

    uri: str
    destination: str
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """
    How far a download of many objects is.

    ``objects`` and ``bytes`` are proved and delivered, so they never run backwards; the rates are since the event
    before. ``listed`` grows until ``listing_done``; ``seconds_left`` is None before that.
    """

    objects: int
    bytes: int
    listed: int
    listing_done: bool
    skipped: int
    failed: int
    objects_per_second: float
    bytes_per_second: float
    seconds_left: float | None
    retries: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FetchFinished:
    """A download of many objects ended well, or as well as ``on_error`` lets it."""

    result: DownloadResult


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectStarted:
    """The download of one object begins, or goes on."""

    uri: str
    path: str
    size: int
    etag: str
    resumed: int
    """Bytes that an earlier run has left."""
    part_size: int
    connections: int
    proof: str
    """What will be proved at the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectProgressed:
    """How far the download of one object is. ``stored`` is in the file, ``resumed`` of it since an earlier run."""

    stored: int
    size: int
    resumed: int
    bytes_per_second: float
    seconds_left: float | None
    retries: int
    connections: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectFinished:
    """The download of one object ended well."""

    result: GetResult


Event = (
    Started
    | Progressed
    | Retried
    | Noted
    | Finished
    | FetchStarted
    | Fetched
    | FetchFinished
    | ObjectStarted
    | ObjectProgressed
    | ObjectFinished
    | TuneStarted
    | Tried
    | TuneFinished
)
Listener = Callable[[Event], None]
