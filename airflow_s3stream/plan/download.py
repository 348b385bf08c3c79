"""Settings and results of downloads. Frozen, checked when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, get_args

from airflow_s3stream.config import KiB, MiB, RetryPolicy, Timeouts, format_size
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.values import read_values

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_s3stream.plan.objects import ObjectEntry
    from airflow_s3stream.plan.selection import Selection

IfFileExists = Literal["overwrite", "skip_same", "fail"]
OnError = Literal["fail", "continue"]
Layout = Literal["paths", "flatten"]
SinkKind = Literal["files", "tar"]

WHOLE = 8 * MiB
"""Bytes; an object up to this size is one GET, a larger one is split into ranges of it."""
START_CONNECTIONS, MOST_CONNECTIONS = 128, 512


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadOptions:
    """
    How many objects are fetched.

    Memory, beyond the idle process: ``max_memory`` for bodies (each counted with 2 KiB for its bookkeeping), about
    11 KiB per connection over plain http and more over TLS, and at most 4,000 entries waiting to be fetched, however
    many there are in all.
    """

    connections: int | None = None
    """GETs under way at once; None: 128 to begin with, up to 512 while more of them help."""
    max_memory: int = 64 * MiB
    on_error: OnError = "fail"
    strict: bool = False
    """Refuse an object of which only the size can be proved."""
    max_bandwidth: int | None = None
    """Bytes per second over all connections; None: no limit."""
    progress_interval: float = 10.0
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        count = self.connections
        if count is not None and (isinstance(count, bool) or not 1 <= count <= 4096):
            raise ConfigError(f"connections={count!r} must be a whole number from 1 to 4096")
        if self.max_memory < MiB:
            raise ConfigError(f"max_memory={self.max_memory} bytes must be at least {format_size(MiB)}")
        if self.max_bandwidth is not None and self.max_bandwidth <= 0:
            raise ConfigError(f"max_bandwidth={self.max_bandwidth} must be above 0 bytes per second")
        if not self.progress_interval > 0:
            raise ConfigError(f"progress_interval={self.progress_interval!r} must be a number of seconds above 0")
        _one_of("on_error", self.on_error, OnError)


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadOptions(ReadOptions):
    """How objects become files."""

    layout: Layout = "paths"
    """``paths``: what follows the prefix is the path; ``flatten``: only the key's last step is kept."""
    sink: SinkKind = "files"
    shard_size: int = 256 * MiB
    """Bytes at which a tar shard is closed and the next begun."""
    if_exists: IfFileExists = "overwrite"
    fail_if_empty: bool = False
    results: str | None = None
    """Path of the results manifest; None: ``.s3stream/results.jsonl`` in the directory."""

    def __post_init__(self) -> None:
        # Not super(): dataclass slots make a new class, to which a bare super() does not belong.
        ReadOptions.__post_init__(self)
        _one_of("layout", self.layout, Layout)
        _one_of("sink", self.sink, SinkKind)
        _one_of("if_exists", self.if_exists, IfFileExists)
        if self.shard_size < MiB:
            raise ConfigError(f"shard_size={self.shard_size} bytes must be at least {format_size(MiB)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """
    What to fetch: the keys of a prefix, or those that are named.

    ``entries`` are keys from a list or manifest; None: the prefix is listed, from ``start_after`` (exclusive) to
    ``last_key`` (inclusive). Paths are what follows ``prefix`` either way.
    """

    prefix: str = ""
    entries: Iterable[ObjectEntry] | None = None
    start_after: str = ""
    last_key: str | None = None
    selection: Selection | None = None
    retries: str | None = None
    """Path of the results manifest whose failures are ``entries``. Where the new results take its place, what did not
    fail in it is kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DownloadResult:
    """
    What a download did; JSON-ready through ``dataclasses.asdict``. The objects themselves are named in ``manifest``.

    ``verification`` counts the objects fetched by what was proved about them: a checksum's name (``crc64nvme``, ...)
    where the store sent one for the whole object, ``md5-etag``, or ``size``.
    """

    uri: str
    directory: str
    status: Literal["downloaded", "incomplete"]
    """``incomplete``: some objects failed, and ``on_error`` is ``continue``."""
    objects: int
    """Fetched now."""
    bytes: int
    """Fetched now."""
    skipped: int
    """Left alone: the same file is there, or a directory marker."""
    failed: int
    """Not fetched, refused keys included; the manifest says why."""
    listed: int
    """Objects considered, after the selection."""
    seconds: float
    objects_per_second: float
    bytes_per_second: float
    listing_seconds: float
    requests: int
    retries: int
    connections: int
    """Most that were under way at once."""
    verification: dict[str, int]
    boto3_objects: int
    """Read through boto3, since libcurl cannot ask for them."""
    shards: int
    manifest: str
    warnings: list[str]


def read_read_options(**given: Any) -> ReadOptions:
    """Build :class:`ReadOptions` from what users type: sizes as text or int, seconds as text or number."""
    return ReadOptions(**_read(given, ReadOptions))


def read_download_options(**given: Any) -> DownloadOptions:
    """
    Build :class:`DownloadOptions` from what users type: sizes as text or int, seconds as text or number.

    :raises ConfigError: an unknown option or a value that does not fit.
    """
    return DownloadOptions(**_read(given, DownloadOptions))


def _read(given: dict[str, Any], kind: type[ReadOptions]) -> dict[str, Any]:
    sizes, flags = ("max_memory", "max_bandwidth", "shard_size"), ("strict", "fail_if_empty")
    return read_values(given, kind.__dataclass_fields__, sizes=sizes, numbers=("connections",), flags=flags)


def _one_of(name: str, value: object, kind: Any) -> None:
    if value not in get_args(kind):
        raise ConfigError(f"{name}={value!r} must be one of {', '.join(get_args(kind))}")


BOOKKEEPING = 2 * KiB
"""Bytes that a small body costs beside itself, as counted against ``max_memory``."""
