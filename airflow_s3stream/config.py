"""Settings of a transfer, units, and S3's limits as data. Frozen, checked when built."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import ip_network
from math import inf
from typing import TYPE_CHECKING, Literal, get_args

from airflow_s3stream.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

KiB = 1024
MiB = 1024 * KiB
GiB = 1024 * MiB
TiB = 1024 * GiB

IfExists = Literal["overwrite", "skip", "skip_unchanged", "fail"]
IfSizeOutside = Literal["fail", "skip"]
Encryption = Literal["AES256", "aws:kms", "aws:kms:dsse"]

_UNITS = {
    "": 1, "b": 1,
    "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": KiB, "m": MiB, "g": GiB, "t": TiB,
    "kib": KiB, "mib": MiB, "gib": GiB, "tib": TiB,
}  # fmt: skip
_HOST = re.compile(r"(?:\*\.)?(?:[a-z0-9_-]+\.)*[a-z0-9_-]+(?::\d{1,5})?|\[[0-9a-f:.]+\](?::\d{1,5})?", re.IGNORECASE)
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", re.ASCII)


def parse_size(value: int | str, name: str) -> int:
    """
    Turn ``"64MiB"``, ``"1GB"`` or an int of bytes into bytes.

    KiB, MiB, GiB, TiB (and K, M, G, T) are powers of 1024; kB, MB, GB, TB powers of 1000; case does not matter.

    :raises ConfigError: the value is negative, not a size, or not a whole number of bytes.
    """
    wrong = ConfigError(f'{name}={value!r} is not a size; give bytes as an int, or text like "64MiB" or "1GB"')
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise wrong
    if isinstance(value, int):
        if value < 0:
            raise wrong
        return value
    match = _SIZE.fullmatch(value)
    if not match or match[2].lower() not in _UNITS:
        raise wrong
    size = float(match[1]) * _UNITS[match[2].lower()] if "." in match[1] else int(match[1]) * _UNITS[match[2].lower()]
    if size != int(size):
        raise wrong
    return int(size)


def format_size(size: float) -> str:
    """Show bytes with a binary unit: ``1.5 GiB``."""
    for unit, name in ((TiB, "TiB"), (GiB, "GiB"), (MiB, "MiB"), (KiB, "KiB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return f"{size:.0f} B"


@dataclass(frozen=True, slots=True, kw_only=True)
class S3Limits:
    """
    What S3 allows (Amazon S3 User Guide, "Amazon S3 multipart upload limits", and PutObject).

    Data rather than constants, since S3-compatible stores differ.
    """

    min_part: int = 5 * MiB
    """Bytes; every part but the last."""
    max_part: int = 5 * GiB
    """Bytes."""
    max_parts: int = 10_000
    max_object: int = 10_000 * 5 * GiB
    """Bytes: 48.8 TiB."""
    max_key: int = 1024
    """Bytes of UTF-8."""


AWS_LIMITS = S3Limits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeouts:
    """Seconds. A connection breaks any of these and it is dropped and opened anew."""

    connect: float = 10.0
    """To establish TCP and TLS."""
    read: float = 60.0
    """Without one byte received, or to hand one write to the kernel."""
    stall: float = 60.0
    """For one read of at most 1 MiB to complete: catches a source that drips."""
    deadline: float | None = None
    """For the whole transfer; None: no limit."""

    def __post_init__(self) -> None:
        for name in ("connect", "read", "stall", "deadline"):
            value = getattr(self, name)
            if value is None and name == "deadline":
                continue
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < inf:
                field_name = name if name == "deadline" else f"{name}_timeout"
                raise ConfigError(f"{field_name}={value!r} must be a number of seconds above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """
    How often and how patiently a request is repeated. The client libraries themselves never retry.

    A request is tried ``attempts`` times. All requests of a transfer share ``budget`` retries; each part
    stored gives one back, so a long transfer survives scattered faults while a broken side fails soon.
    Delays are drawn from 0 to ``base * 2**n`` seconds, at most ``cap`` ("full jitter"); Retry-After is
    waited for in full up to ``retry_after_cap``.
    """

    attempts: int = 8
    budget: int = 100
    base: float = 0.25
    cap: float = 20.0
    retry_after_cap: float = 120.0

    def __post_init__(self) -> None:
        for name, least in (("attempts", 1), ("budget", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ConfigError(f"retry_{name}={value!r} must be a whole number of at least {least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectOptions:
    """What is stored with the object. None leaves the store's default."""

    content_type: str | None = None
    """None: what the source says."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)
    storage_class: str | None = None
    server_side_encryption: Encryption | None = None
    kms_key_id: str | None = None

    def __post_init__(self) -> None:
        sse = self.server_side_encryption
        if sse is not None and sse not in get_args(Encryption):
            raise ConfigError(f"server_side_encryption={sse!r} must be one of {', '.join(get_args(Encryption))}")
        if self.kms_key_id and sse not in ("aws:kms", "aws:kms:dsse"):
            raise ConfigError(
                f"kms_key_id={self.kms_key_id!r} needs server_side_encryption='aws:kms' or 'aws:kms:dsse'"
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class ConnectionPolicy:
    """
    Whom a copy may ask: checked on the address of every connection, wherever redirects lead.

    Without settings: public addresses, on ports 80 and 443. Addresses where clouds serve metadata and credentials are
    refused whatever is set (:mod:`airflow_s3stream.plan.addresses`).
    """

    allow_private: tuple[str, ...] = ()
    """Networks (``10.0.0.0/8``, ``fd12:3456::/32``, one address) that may be reached too, on any port: a data centre's
    origin rarely listens on 80."""
    allowed_hosts: tuple[str, ...] = ()
    """The only hosts that may be asked, the URL's own included: ``example.org``, ``*.example.org`` for all below it,
    each also as ``host:port``, which allows that port. Empty: any. Their addresses are judged all the same."""

    def __post_init__(self) -> None:
        for network in self.allow_private:
            try:
                ip_network(network)
            except ValueError as wrong:
                raise ConfigError(
                    f"allow_private={network!r} is not a network such as 10.0.0.0/8 or fd12:3456::/32: {wrong}"
                ) from None
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise ConfigError(
                    f"allowed_hosts={host!r} is not a host; write example.org, *.example.org or example.org:8443, in "
                    "ASCII and without a scheme"
                )


@dataclass(frozen=True, slots=True, kw_only=True)
class CopyOptions:
    """
    How one URL is copied into S3.

    Memory, beyond the idle process: with a ranged source ``connections`` x 1 MiB, whatever the object or part
    size; with any other source ``max_memory``, which holds the part buffers, + 1 MiB. Both plus what the
    client libraries keep per connection, which a test bounds at 32 MiB for 16 connections.
    """

    part_size: int | None = None
    """Bytes, 5 MiB to 5 GiB; None: chosen from the object's size."""
    connections: int = 16
    max_memory: int = 64 * MiB
    if_exists: IfExists = "overwrite"
    min_bytes: int | None = None
    max_bytes: int | None = None
    if_size_outside: IfSizeOutside = "fail"
    expected_size: int | None = None
    expected_checksum: str | None = None
    """``algorithm:value``; md5, sha1, sha256, sha512, crc32, crc32c or crc64nvme; hex or base64."""
    strict: bool = False
    """Refuse to call an object done whose verification is only ``size`` or ``none``."""
    max_bandwidth: int | None = None
    """Bytes per second over all connections of this transfer; None: no limit."""
    progress_interval: float = 10.0
    """Seconds between progress events."""
    object: ObjectOptions = field(default_factory=ObjectOptions)
    policy: ConnectionPolicy = field(default_factory=ConnectionPolicy)
    timeouts: Timeouts = field(default_factory=Timeouts)
    retry: RetryPolicy = field(default_factory=RetryPolicy)
    limits: S3Limits = AWS_LIMITS

    def __post_init__(self) -> None:
        limits = self.limits
        if self.part_size is not None and not limits.min_part <= self.part_size <= limits.max_part:
            raise ConfigError(
                f"part_size={self.part_size} bytes must be between {format_size(limits.min_part)} "
                f"and {format_size(limits.max_part)}"
            )
        if isinstance(self.connections, bool) or not 1 <= self.connections <= 512:
            raise ConfigError(f"connections={self.connections!r} must be a whole number from 1 to 512")
        if self.max_memory < limits.min_part:
            raise ConfigError(
                f"max_memory={self.max_memory} bytes must be at least {format_size(limits.min_part)}, one part of S3"
            )
        if self.if_exists not in get_args(IfExists):
            raise ConfigError(f"if_exists={self.if_exists!r} must be one of {', '.join(get_args(IfExists))}")
        if self.if_size_outside not in get_args(IfSizeOutside):
            raise ConfigError(
                f"if_size_outside={self.if_size_outside!r} must be one of {', '.join(get_args(IfSizeOutside))}"
            )
        if self.min_bytes is not None and self.max_bytes is not None and self.min_bytes > self.max_bytes:
            raise ConfigError(f"min_bytes={self.min_bytes} must not be above max_bytes={self.max_bytes}")
        if self.expected_size is not None and self.expected_size > limits.max_object:
            raise ConfigError(
                f"expected_size={self.expected_size} bytes is over S3's limit of {format_size(limits.max_object)}"
            )
        if self.max_bandwidth is not None and self.max_bandwidth <= 0:
            raise ConfigError(f"max_bandwidth={self.max_bandwidth} must be above 0 bytes per second")
        if not self.progress_interval > 0:
            raise ConfigError(f"progress_interval={self.progress_interval!r} must be a number of seconds above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TransferResult:
    """
    What a copy did; JSON-ready through ``dataclasses.asdict``.

    ``verification`` says what was proved about the stored object: ``crc64nvme`` (the store holds the same
    full-object CRC-64/NVME that was computed from the bytes read), ``md5-etag`` (its ETag is the MD5 of those bytes,
    or the ETags of all its parts are the MD5s of theirs), ``size`` (only the length), ``none``; ``""`` when skipped.
    """

    uri: str
    status: Literal["copied", "skipped"]
    reason: str
    """Why it was skipped; empty when copied."""
    bytes: int
    etag: str
    version_id: str | None
    checksum: str | None
    """``crc64nvme:`` and the base64 form S3 shows; of the bytes read."""
    verification: str
    parts: int
    """UploadParts of the object; 1 for a single PutObject, 0 when skipped."""
    part_size: int
    """Bytes of the first part."""
    connections: int
    seconds: float
    """From the probe to the verified end."""
    bytes_per_second: float
    retries: int
    resumed_parts: int
    source: str
    """The URL with user info and query values removed."""
    source_etag: str | None
    source_last_modified: str | None
