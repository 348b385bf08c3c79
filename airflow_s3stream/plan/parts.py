"""How a body is cut into parts. Pure arithmetic over sizes in bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from airflow_s3stream.config import CopyOptions, MiB, S3Limits, format_size
from airflow_s3stream.exceptions import ConfigError, LimitExceeded
from airflow_s3stream.plan.ranges import ByteRange

if TYPE_CHECKING:
    from collections.abc import Iterator

Mode = Literal["put", "relay", "spool"]

SMALL = 8 * MiB
"""A body of at most this many bytes goes up in one PutObject."""
_RELAY_PART = (8 * MiB, 64 * MiB)
_SPOOL_PART = 8 * MiB
_GROW_EVERY = 250  # parts of one size before it doubles, when the length is unknown


@dataclass(frozen=True, slots=True)
class Part:
    """One UploadPart: its number (1-based, S3's word) and the bytes of the object it carries."""

    number: int
    span: ByteRange


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferPlan:
    """
    How one body travels.

    ``put``: read whole, one PutObject. ``relay``: ranges straight into UploadParts, nothing held but a chunk
    per connection. ``spool``: one reader fills part buffers, ``connections`` uploaders empty them.
    """

    mode: Mode
    size: int | None
    part_size: int
    """Of the first part; all parts but the last have it when the size is known."""
    max_part_size: int
    """Where growing stops when the size is not known."""
    connections: int
    limits: S3Limits

    def parts(self) -> Iterator[Part]:
        """Cut the object into parts; those of an unknown length run to the longest object that fits."""
        start = 0
        for number in range(1, self.limits.max_parts + 1):
            stop = start + self.size_of(number)
            if self.size is not None:
                stop = min(stop, self.size)
            yield Part(number, ByteRange(start, stop))
            if stop == self.size:
                return
            start = stop

    def size_of(self, number: int) -> int:
        """Tell how many bytes part ``number`` may hold."""
        if self.size is not None:
            return self.part_size
        return min(self.part_size << (number - 1) // _GROW_EVERY, self.max_part_size)

    @property
    def capacity(self) -> int:
        """The longest body, in bytes, that the parts can carry."""
        if self.size is not None:
            return self.size
        return min(sum(map(self.size_of, range(1, self.limits.max_parts + 1))), self.limits.max_object)


def make_plan(options: CopyOptions, size: int | None, *, ranges: bool) -> TransferPlan:
    """
    Choose mode, part size and connections.

    :param size: bytes, or None when the source does not say.
    :param ranges: whether pinned parallel ranges may be used.
    :raises LimitExceeded: S3's limits, or ``max_memory`` where parts are buffered, cannot hold the object.
    :raises ConfigError: a part of the size asked for does not fit ``max_memory``.
    """
    limits = options.limits
    if size is not None and size > limits.max_object:
        raise LimitExceeded(f"the source is {format_size(size)} long; S3's limit is {format_size(limits.max_object)}")
    if size is not None and size <= min(SMALL, options.max_memory, options.part_size or SMALL):
        return _plan(options, "put", size, part_size=max(size, 1), connections=1)
    if ranges and size is not None:
        part_size = _relay_part(options, size)
        connections = min(options.connections, -(-size // part_size))
        return _plan(options, "relay", size, part_size=part_size, connections=connections)
    return _spool(options, size)


def _plan(
    options: CopyOptions,
    mode: Mode,
    size: int | None,
    *,
    part_size: int,
    connections: int,
    max_part_size: int = 0,
) -> TransferPlan:
    return TransferPlan(
        mode=mode,
        size=size,
        part_size=part_size,
        max_part_size=max(max_part_size, part_size),
        connections=connections,
        limits=options.limits,
    )


def _least_part(size: int, limits: S3Limits) -> int:
    """Give the smallest part, in whole MiB, with which ``size`` fits the number of parts allowed."""
    least = -(-size // limits.max_parts)
    return min(max(-(-least // MiB) * MiB, limits.min_part), limits.max_part)


def _relay_part(options: CopyOptions, size: int) -> int:
    least = _least_part(size, options.limits)
    if options.part_size is not None:
        return max(options.part_size, least)
    low, high = _RELAY_PART
    # As few rounds as the largest part allows, since each costs a round trip; and all rounds full, since a connection
    # that is idle in the last one costs more.
    rounds = -(-size // (options.connections * high))
    even = -(-size // (options.connections * rounds))
    return max(min(max(-(-even // MiB) * MiB, low), high), least)


def _spool(options: CopyOptions, size: int | None) -> TransferPlan:
    limits, memory = options.limits, options.max_memory
    wanted = options.part_size or max(min(_SPOOL_PART, memory // 4), limits.min_part)
    if wanted > memory:
        raise ConfigError(
            f"part_size={wanted} bytes does not fit max_memory={memory} bytes; this source is read as one stream, "
            "so its parts are held in memory"
        )
    if size is None:
        largest = min(max(memory // 2, wanted), limits.max_part)
        uploads = max(1, min(options.connections, memory // wanted - 1))
        return _plan(options, "spool", None, part_size=wanted, connections=uploads, max_part_size=largest)
    part_size = max(wanted, _least_part(size, limits))
    if part_size > memory:
        raise LimitExceeded(
            f"the source is {format_size(size)} long and gives no ranges to read in parallel; S3's "
            f"{limits.max_parts} parts then need max_memory of at least {format_size(2 * part_size)}, "
            f"and it is {format_size(memory)}"
        )
    uploads = max(1, min(options.connections, memory // part_size - 1, -(-size // part_size)))
    return _plan(options, "spool", size, part_size=part_size, connections=uploads)
