"""What a tune measures and what it makes of it: the grid of settings, a sample of one, the choice between them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import hypot, log2
from typing import TYPE_CHECKING, Literal, NamedTuple

from airflow_s3stream.config import AWS_LIMITS, CopyOptions, GiB, MiB, S3Limits, format_size
from airflow_s3stream.exceptions import ConfigError, SourceRefused
from airflow_s3stream.plan.gaps import part_size_for
from airflow_s3stream.plan.getting import GetOptions
from airflow_s3stream.plan.parts import make_plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Kind = Literal["get", "copy"]

WITHIN = 0.05
"""What is not slower than the best by more than this share may be recommended for being cheaper. A link's own speed
changes by about as much from one minute to the next."""

# Each twice the one before: a step that can matter, and 128 are reached in seven. Beyond it a connection more costs its
# memory and its place at the store, and the links that need it are rare; whoever has one names them.
_CONNECTIONS = (1, 2, 4, 8, 16, 32, 64, 128)
MOST_CONNECTIONS = _CONNECTIONS[-1]
# Below 4 MiB even a near store's first byte takes a share of each range that shows; at 64 MiB it is below 2 % of one at
# 25 MB/s and 40 ms, and what a larger part could still gain is less than what it costs to fetch one again.
_GET_PARTS = (4 * MiB, 8 * MiB, 16 * MiB, 32 * MiB, 64 * MiB)
_COPY_PART = 8 * MiB  # S3 takes no part below 5 MiB
_COPY_PARTS = 4  # so many, each twice the one before

BUSY = 0.9
"""Share of the time in which a transfer may want the CPU before that is its limit: a tenth is what more could gain at
most, if it cost nothing."""
SAME_SPEED = 0.03
"""Share by which two figures may differ without meaning it, or without being worth a step."""
_SAME_MEMORY = 8 * MiB  # bytes; what a process's memory differs by from run to run
_SAME_CPU = 0.20  # share; what its CPU time differs by
_THROTTLES, _THROTTLED_SHARE = 2, 0.01


class Setting(NamedTuple):
    """One way to move an object: ``connections`` at once, ranges or parts of ``part_size`` bytes."""

    connections: int
    part_size: int

    def __str__(self) -> str:
        plural = "" if self.connections == 1 else "s"
        return f"{self.connections} connection{plural}, parts of {short_size(self.part_size)}"


def short_size(size: int) -> str:
    """Show a size as it would be typed: ``64 MiB`` where :func:`format_size` says ``64.0 MiB``."""
    return format_size(size).replace(".0 ", " ")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What was measured of one setting, once the warming up of its connections was cut off."""

    connections: int
    part_size: int
    bytes: int
    """Moved in ``seconds``."""
    seconds: float
    bytes_per_second: float
    error: float
    """The standard error of ``bytes_per_second``, as a share of it."""
    cpu_seconds_per_gib: float
    """Of this process, all its threads."""
    peak_memory: int | None
    """Bytes over the idle process; None where the system does not tell."""
    requests: int
    errors: int
    """Requests that failed, and were made again."""
    throttles: int
    """Those among them with which the store asked for less."""
    first_byte_seconds: float | None
    """From asking for a range to its first byte, the median; None where it was not seen."""
    busy: float
    """Share of the time in which this process could not have moved more: 1.0 is all of it."""

    @property
    def setting(self) -> Setting:
        """Which setting it is of."""
        return Setting(self.connections, self.part_size)

    @property
    def throttled(self) -> bool:
        """Whether the store asked for less so often that this setting is none."""
        return throttling(self.throttles, self.requests)

    def and_again(self, other: Sample) -> Sample:
        """Join two measurements of one setting, each counting as long as it took."""
        seconds = self.seconds + other.seconds
        count = self.bytes + other.bytes
        rate = count / seconds
        own = hypot(self.error * self.seconds, other.error * other.seconds) / seconds
        # Two figures further apart than their errors say that the errors were too small.
        apart = abs(self.bytes_per_second - other.bytes_per_second) / (2 * rate)
        memory = [sample.peak_memory for sample in (self, other) if sample.peak_memory is not None]
        firsts = [sample.first_byte_seconds for sample in (self, other) if sample.first_byte_seconds is not None]
        return replace(
            self,
            bytes=count,
            seconds=seconds,
            bytes_per_second=rate,
            error=max(own, apart),
            cpu_seconds_per_gib=(self.cpu_seconds_per_gib * self.bytes + other.cpu_seconds_per_gib * other.bytes)
            / max(count, 1),
            peak_memory=max(memory) if memory else None,
            requests=self.requests + other.requests,
            errors=self.errors + other.errors,
            throttles=self.throttles + other.throttles,
            first_byte_seconds=sum(firsts) / len(firsts) if firsts else None,
            busy=(self.busy * self.seconds + other.busy * other.seconds) / seconds,
        )


def throttling(throttles: int, requests: int) -> bool:
    """Tell a store that does not bear so many requests from one that now and then refuses one, as Amazon's do."""
    return throttles >= _THROTTLES and throttles > _THROTTLED_SHARE * requests


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings that may be measured: ``connections`` x ``part_sizes``, less those the object is too small for."""

    connections: tuple[int, ...]
    part_sizes: tuple[int, ...]
    size: int | None = None
    """Bytes of the object, where a setting must have a part for each of its connections; None: it need not."""

    def __contains__(self, setting: object) -> bool:
        return (
            isinstance(setting, Setting)
            and setting.connections in self.connections
            and setting.part_size in self.part_sizes
            and (self.size is None or setting.connections * setting.part_size <= self.size)
        )

    def settings(self) -> list[Setting]:
        """Name them all, the cheapest first."""
        every = (Setting(count, part) for count in self.connections for part in self.part_sizes)
        return [setting for setting in every if setting in self]

    def at(self, connections: int, part_size: int) -> Setting | None:
        """Give the setting of so many connections whose parts are nearest to ``part_size`` from below; None: none."""
        fitting = [part for part in self.part_sizes if part <= part_size and Setting(connections, part) in self]
        return Setting(connections, max(fitting)) if fitting else None

    def nearest(self, wanted: Setting) -> Setting:
        """Give the setting whose connections, then whose parts, are nearest to those wanted."""
        return min(
            self.settings(),
            key=lambda setting: (
                abs(log2(setting.connections / wanted.connections)),
                abs(log2(setting.part_size / wanted.part_size)),
            ),
        )


def default_setting(kind: Kind, size: int) -> Setting:
    """Tell what is used where nothing is set, for an object of ``size`` bytes."""
    if kind == "copy":
        plan = make_plan(CopyOptions(), size, ranges=True)
        return Setting(plan.connections, plan.part_size)
    connections = GetOptions().connections
    part = part_size_for(size, connections)
    return Setting(min(connections, max(-(-size // part), 1)), part)


def make_grid(
    kind: Kind,
    size: int,
    connections: Sequence[int] | None = None,
    part_sizes: Sequence[int] | None = None,
    limits: S3Limits = AWS_LIMITS,
) -> Grid:
    """
    Lay out the settings for an object of ``size`` bytes.

    :param connections: instead of 1 to 128, :param part_sizes: instead of 4 MiB to 64 MiB (a copy's: 8 MiB to 64 MiB,
        or more where S3's number of parts asks for it). Given both, the object may be too small for some.
    :raises ConfigError: no setting is left.
    :raises SourceRefused: the object is too small to tell one setting from another.
    """
    least = -(-size // limits.max_parts) if kind == "copy" else 0
    if part_sizes is None:
        own = _copy_parts(least, limits) if kind == "copy" else _GET_PARTS
    else:
        own = _ordered(part_sizes)
        wrong = [part for part in own if kind == "copy" and not max(least, limits.min_part) <= part <= limits.max_part]
        if wrong or not own or own[0] <= 0:
            low = max(least, limits.min_part) if kind == "copy" else 1
            raise ConfigError(
                f"part_sizes={list(part_sizes)} must be sizes from {format_size(low)} to {format_size(limits.max_part)}"
            )
    counts = _CONNECTIONS if connections is None else _ordered(connections)
    if not counts or not 1 <= counts[0] <= counts[-1] <= 512:
        raise ConfigError(f"connections={list(connections or ())} must be whole numbers from 1 to 512")
    grid = Grid(counts, own, None if connections is not None and part_sizes is not None else size)
    if len(grid.settings()) < 2 and (connections is None or part_sizes is None):
        raise SourceRefused(
            f"the object has {format_size(size)}, too few to tell one setting from another; tune with one of at least "
            f"{format_size(2 * own[0])}, better of {format_size(GiB)}"
        )
    return grid


def _copy_parts(least: int, limits: S3Limits) -> tuple[int, ...]:
    first = _COPY_PART
    while first < least:
        first *= 2
    return tuple(part for part in (first << step for step in range(_COPY_PARTS)) if part <= limits.max_part)


def _ordered(given: Iterable[int]) -> tuple[int, ...]:
    return tuple(sorted(set(given)))


class Choice(NamedTuple):
    """Of all that was measured: the fastest, and the cheapest of those that are as fast but for :data:`WITHIN`."""

    best: Sample
    recommended: Sample


def choose(samples: Iterable[Sample]) -> Choice:
    """
    Choose among samples, one of each setting, at least one in all.

    Cheapest is: the fewest connections, for each is paid for by everybody: memory and a thread's attention here, a
    place at the store and in every firewall between, a share of the line that others wanted. Among settings of as many
    connections: the least memory, then the least CPU, then the greatest speed, each where they differ by more than they
    do from run to run; and at last the largest parts, which are the fewest requests. A setting that made the store
    throttle is not chosen while there is one that did not.
    """
    every = list(samples)
    calm = [sample for sample in every if not sample.throttled] or every
    best = max(calm, key=lambda sample: sample.bytes_per_second)
    near = [sample for sample in calm if sample.bytes_per_second >= (1 - WITHIN) * best.bytes_per_second]
    fewest = min(sample.connections for sample in near)
    near = [sample for sample in near if sample.connections == fewest]
    if all(sample.peak_memory is not None for sample in near):
        most = min(sample.peak_memory or 0 for sample in near) + _SAME_MEMORY
        near = [sample for sample in near if (sample.peak_memory or 0) <= most]
    dearest = min(sample.cpu_seconds_per_gib for sample in near) * (1 + _SAME_CPU)
    near = [sample for sample in near if sample.cpu_seconds_per_gib <= dearest]
    fastest = max(sample.bytes_per_second for sample in near) * (1 - SAME_SPEED)
    near = [sample for sample in near if sample.bytes_per_second >= fastest]
    return Choice(best, max(near, key=lambda sample: sample.part_size))
