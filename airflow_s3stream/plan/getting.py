"""Settings and results of downloading or reading one object. Frozen, checked when built."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from airflow_s3stream.config import KiB, MiB, RetryPolicy, Timeouts, format_size
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.download import IfFileExists
from airflow_s3stream.plan.values import read_values

LEAST_PART_SIZE, MOST_PART_SIZE = 64 * KiB, 5 * 1024 * MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class GetOptions:
    """
    How one object is fetched.

    Memory, beyond the idle process. Of a file: at most 16 MiB, and 0.75 MiB per connection; it does not depend on the
    object's size. Of a stream: ``max_memory``, and 16 MiB.
    """

    connections: int = 16
    """Ranges under way at once. Of a stream, 1 means one GET and no reading ahead."""
    part_size: int | None = None
    """Bytes of a range. None: the object's size divided by ``connections``, between 8 and 64 MiB; for a stream, as much
    as ``max_memory`` allows."""
    max_memory: int = 128 * MiB
    """Ceiling of what a stream reads ahead. Its ranges are as large as this allows, and each waits for a round trip."""
    if_exists: IfFileExists = "overwrite"
    resume: bool = True
    """Go on where an earlier run was interrupted."""
    strict: bool = False
    """Refuse an object of which only the size can be proved."""
    min_speed: int | None = None
    """Bytes per second of one connection, below which it is dropped after 5 s and its range goes on over another. None:
    only what is far slower (a fifth) than the others."""
    max_bandwidth: int | None = None
    """Bytes per second over all connections; None: no limit."""
    progress_interval: float = 10.0
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)

    def __post_init__(self) -> None:
        if isinstance(self.connections, bool) or not 1 <= self.connections <= 1024:
            raise ConfigError(f"connections={self.connections!r} must be a whole number from 1 to 1024")
        if self.part_size is not None and not LEAST_PART_SIZE <= self.part_size <= MOST_PART_SIZE:
            raise ConfigError(
                f"part_size={self.part_size} bytes must be from {format_size(LEAST_PART_SIZE)} to "
                f"{format_size(MOST_PART_SIZE)}"
            )
        if self.max_memory < MiB:
            raise ConfigError(f"max_memory={self.max_memory} bytes must be at least {format_size(MiB)}")
        for name, value in (("max_bandwidth", self.max_bandwidth), ("min_speed", self.min_speed)):
            if value is not None and value <= 0:
                raise ConfigError(f"{name}={value} must be above 0 bytes per second")
        if not self.progress_interval > 0:
            raise ConfigError(f"progress_interval={self.progress_interval!r} must be a number of seconds above 0")
        if self.if_exists not in get_args(IfFileExists):
            raise ConfigError(f"if_exists={self.if_exists!r} must be one of {', '.join(get_args(IfFileExists))}")


@dataclass(frozen=True, slots=True, kw_only=True)
class GetResult:
    """What a download of one object did; JSON-ready through ``dataclasses.asdict``."""

    uri: str
    path: str
    status: Literal["downloaded", "unchanged"]
    """``unchanged``: the file was this version already."""
    size: int
    """Bytes of the object."""
    fetched: int
    """Bytes that came over the network now."""
    resumed: int
    """Bytes that an earlier, interrupted run had left."""
    seconds: float
    bytes_per_second: float
    """Of what was fetched now."""
    etag: str
    verification: str
    """What was proved: a checksum's name (``crc64nvme``, ...) for one of the whole object, ``crc32c-composite`` and the
    like for one of its parts, ``md5-etag``, or ``size``."""
    connections: int
    """Most that were under way at once."""
    part_size: int
    requests: int
    retries: int
    slow_dropped: int
    """Times a connection was dropped for being slow."""
    warnings: list[str]


def read_get_options(**given: Any) -> GetOptions:
    """
    Build :class:`GetOptions` from what users type: sizes as text or int, seconds as text or number.

    :raises ConfigError: an unknown option or a value that does not fit.
    """
    sizes, flags = ("part_size", "max_memory", "min_speed", "max_bandwidth"), ("resume", "strict")
    fields = GetOptions.__dataclass_fields__
    return GetOptions(**read_values(given, fields, sizes=sizes, numbers=("connections",), flags=flags))
