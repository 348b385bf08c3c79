"""Byte ranges: half-open inside, HTTP's inclusive form only at the wire."""

from __future__ import annotations

import re
from dataclasses import dataclass

_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.IGNORECASE | re.ASCII)


@dataclass(frozen=True, slots=True)
class ByteRange:
    """The bytes from ``start`` up to, but not including, ``stop``."""

    start: int
    stop: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.stop:
            raise ValueError(f"not a range: [{self.start}, {self.stop})")

    def __len__(self) -> int:
        return self.stop - self.start

    def to_header(self) -> str:
        """Write the Range header's value (RFC 9110 section 14.1.2), which counts the last byte in."""
        if not len(self):
            raise ValueError("HTTP has no empty range")
        return f"bytes={self.start}-{self.stop - 1}"


@dataclass(frozen=True, slots=True)
class ContentRange:
    """A Content-Range header (RFC 9110 section 14.4): which bytes these are, of how many (None: ``*``)."""

    span: ByteRange
    total: int | None

    @classmethod
    def parse(cls, value: str | None) -> ContentRange | None:
        """Read the header; None when it is absent, malformed, or contradicts itself."""
        match = _CONTENT_RANGE.fullmatch(value.strip()) if value else None
        if match is None:
            return None
        first, last = int(match[1]), int(match[2])
        total = None if match[3] == "*" else int(match[3])
        if last < first or (total is not None and last >= total):
            return None
        return cls(ByteRange(first, last + 1), total)
