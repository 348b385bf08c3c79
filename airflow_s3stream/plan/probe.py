"""What the first answer of a source taught, and whether a later answer is about the same thing."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Literal

from airflow_s3stream.exceptions import SourceChanged, SourceError, SourceMisbehaved
from airflow_s3stream.plan.ranges import ByteRange, ContentRange

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

Framing = Literal["length", "chunked", "close"]

# RFC 9110 section 8.8.2.2 lets a date serve as a strong validator when it is old enough against the
# server's own clock; 60 seconds is the margin RFC 7232 gave, and the safer of the two.
_STRONG_AGE = 60.0


@dataclass(frozen=True, slots=True)
class Validator:
    """A strong validator: names one version of the source's bytes (RFC 9110 section 8.8)."""

    kind: Literal["etag", "date"]
    value: str

    def condition(self) -> dict[str, str]:
        """Give the header that pins a ranged request to this version."""
        # If-Match is answered 412 by a changed source, without a body. A date has no such form that
        # every server knows, so it goes into If-Range, to which a changed source answers 200.
        return {"If-Match" if self.kind == "etag" else "If-Range": self.value}


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """What is known of a source. Sizes in bytes; None where the source did not say."""

    size: int | None
    span: ByteRange | None
    """The bytes that the answer's own body carries; None: all of them, however many."""
    accepts_ranges: bool
    validator: Validator | None
    etag: str | None
    last_modified: str | None
    content_type: str | None
    content_encoding: str | None
    framing: Framing

    @property
    def whole(self) -> bool:
        """Whether the answer's own body is the complete source."""
        return self.span is None or (self.span.start == 0 and self.span.stop == self.size)

    @property
    def relayable(self) -> bool:
        """Whether parallel ranges of one and the same version can be had (RFC 9110 sections 8.4, 13.1.5)."""
        return self.accepts_ranges and self.validator is not None and not self.content_encoding and bool(self.size)


def read_probe(status: int, headers: Mapping[str, str], *, ranged: bool) -> Probe | None:
    """
    Read a 200 or 206 answer to a GET of the whole source.

    :param headers: case-insensitive; repeated fields joined by ``", "``.
    :param ranged: whether the request carried ``Range: bytes=0-``.
    :returns: None when the 206 is of no use and the source must be asked again without a range.
    :raises SourceMisbehaved: the answer's framing cannot be trusted, or a 206 came unasked.
    """
    if status == 206 and not ranged:
        raise SourceMisbehaved("the source answered 206 Partial Content to a request without a range")
    framing, length = read_framing(headers)
    span, size = None, length
    if status == 206:
        content_range = ContentRange.parse(headers.get("Content-Range"))
        if content_range is None or content_range.total is None or content_range.span.start != 0:
            return None
        if length is not None and length != len(content_range.span):
            return None
        span, size = content_range.span, content_range.total
    return Probe(
        size=size,
        span=span,
        accepts_ranges=status == 206,
        validator=strong_validator(headers),
        etag=headers.get("ETag"),
        last_modified=headers.get("Last-Modified"),
        content_type=headers.get("Content-Type"),
        content_encoding=_encoding(headers),
        framing=framing,
    )


def _encoding(headers: Mapping[str, str]) -> str | None:
    encoding = headers.get("Content-Encoding", "").strip()
    return None if encoding.lower() in ("", "identity") else encoding


def read_framing(headers: Mapping[str, str]) -> tuple[Framing, int | None]:
    """
    Tell how the body's end is marked (RFC 9112 section 6.3) and its length if that was given.

    :raises SourceMisbehaved: the length is malformed or repeated with another value, or stands beside a transfer
        encoding; such an answer has two readings, and one of them is wrong.
    """
    lengths = {part.strip() for part in headers.get("Content-Length", "").split(",")} - {""}
    encodings = [part.strip().lower() for part in headers.get("Transfer-Encoding", "").split(",") if part.strip()]
    if encodings:
        if lengths:
            raise SourceMisbehaved("the source sent both Content-Length and Transfer-Encoding")
        if encodings != ["chunked"]:
            raise SourceMisbehaved(f"the source sent Transfer-Encoding {', '.join(encodings)}; only chunked is known")
        return "chunked", None
    if not lengths:
        return "close", None
    value = lengths.pop()
    if lengths or not (value.isascii() and value.isdigit()) or len(value) > 19:
        raise SourceMisbehaved(f"the source sent a bad Content-Length: {headers['Content-Length']!r}")
    return "length", int(value)


def strong_validator(headers: Mapping[str, str]) -> Validator | None:
    """Pick the validator that can pin a version: a strong ETag, else a Last-Modified old enough, else None."""
    etag = headers.get("ETag", "").strip()
    if len(etag) > 2 and etag.startswith('"') and etag.endswith('"'):
        return Validator("etag", etag)
    modified, now = _date(headers.get("Last-Modified")), _date(headers.get("Date"))
    if etag or modified is None or now is None or (now - modified).total_seconds() < _STRONG_AGE:
        return None
    return Validator("date", headers["Last-Modified"])


def _date(value: str | None) -> datetime | None:
    try:
        date = parsedate_to_datetime(value) if value else None
    except (ValueError, OverflowError):
        return None
    return date.replace(tzinfo=UTC) if date is not None and date.tzinfo is None else date


def check_partial(probe: Probe, asked: ByteRange, status: int, headers: Mapping[str, str]) -> SourceError | ByteRange:
    """
    Check an answer to one pinned range of a source probed before.

    :param status: 200 or 206.
    :returns: the range that the body carries, which starts where asked and may end sooner (RFC 9110 section
        15.3.7 allows that), or the error that the answer amounts to.
    """
    if status != 206:
        return SourceChanged("the source answered 200 with its whole body to a range it would have honoured before")
    changed = _changed(probe, headers)
    if changed:
        return SourceChanged(changed)
    content_range = ContentRange.parse(headers.get("Content-Range"))
    if content_range is None:
        return SourceMisbehaved(f"the source sent a 206 with Content-Range {headers.get('Content-Range')!r}")
    if content_range.total not in (None, probe.size):
        return SourceChanged(f"the source was {probe.size} bytes long and is now {content_range.total}")
    span = content_range.span
    if span.start != asked.start or span.stop > asked.stop:
        return SourceMisbehaved(
            f"the source sent bytes {span.start}-{span.stop - 1} when asked for {asked.start}-{asked.stop - 1}"
        )
    _, length = read_framing(headers)
    if length is not None and length != len(span):
        return SourceMisbehaved(f"the source announced {length} bytes for a range of {len(span)}")
    if _encoding(headers) != probe.content_encoding:
        return SourceMisbehaved(f"the source encoded a range as {_encoding(headers)}, and not as the whole")
    return span


def check_same(was: Probe, now: Probe) -> SourceError | None:
    """Tell the error that a new answer to a GET of the whole source amounts to, if it is about another version."""
    # The validators as they were sent, weak ones too: whether a date counts as strong changes as it grows old.
    for what, before, after in (
        ("ETag", was.etag, now.etag),
        ("Last-Modified", was.last_modified, now.last_modified),
        ("Content-Encoding", was.content_encoding, now.content_encoding),
        ("length", was.size, was.size if now.size is None else now.size),
    ):
        if before != after and (what != "length" or before is not None):
            return SourceChanged(f"the source's {what} was {before} and is now {after}")
    return None


def _changed(probe: Probe, headers: Mapping[str, str]) -> str | None:
    if probe.validator is None:
        return "the source has no validator to check a range against"
    if probe.validator.kind == "etag":
        etag = headers.get("ETag", "").strip()
        if etag != probe.validator.value:
            return f"the source's ETag was {probe.validator.value} and is now {etag or 'absent'}"
        return None
    # A 206 to If-Range may leave Last-Modified out (RFC 9110 section 15.3.7); when it is there, it counts.
    modified = headers.get("Last-Modified", probe.validator.value)
    if modified != probe.validator.value:
        return f"the source's Last-Modified was {probe.validator.value} and is now {modified}"
    return None
