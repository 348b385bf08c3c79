"""What one try of a copy tells the next: a token under 1 KB, and whether it still fits what is wanted now."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from airflow_s3stream.config import CopyOptions
    from airflow_s3stream.plan.parts import Part, TransferPlan
    from airflow_s3stream.plan.probe import Probe

MAX_TOKEN = 1000
"""Bytes of a token's text; Airflow's task state store is for small values."""
_FORMAT = 1
_TEXTS = ("destination", "source", "request", "validator", "marker", "upload_id")
_LONGEST = 300  # bytes of a text that is kept as it is; of a longer one only its digest


@dataclass(frozen=True, slots=True, kw_only=True)
class ResumeToken:
    """
    What must be known to go on with a multipart upload. The parts themselves are known to the store (ListParts).

    Nothing secret is in it: the source and the settings are named by their digests.
    """

    destination: str
    """``s3://bucket/key``, or the digest of a long one, by which only a copy to the same key knows it."""
    source: str
    """Digest of the URL without user info and signature: a presigned one differs in each try."""
    request: str
    """Digest of what is stored with the object and what it must be."""
    size: int | None
    validator: str
    """Strong validator of the source; "" where it has none, so that nothing can be taken over."""
    marker: str
    """The transfer's random name, in the object's metadata."""
    began: float
    """Seconds since the epoch, by the clock of the worker."""
    upload_id: str = ""
    """"" while the upload is being begun."""
    part_size: int = 0
    relayed: bool = False
    """Whether parts are ranges of the source, so that any of them can be taken over."""
    checksums: bool = False
    """Whether the store keeps each part's CRC-64/NVME, without which the whole object's cannot be known."""

    @property
    def resumable(self) -> bool:
        """Whether another try can go on with the upload, rather than only remove it."""
        return bool(self.upload_id and self.validator and self.relayed and self.checksums)

    @property
    def place(self) -> str | None:
        """``s3://bucket/key`` of the upload; None where only a digest was kept."""
        return self.destination if self.destination.startswith("s3://") else None

    def goes_to(self, name: str) -> bool:
        """Whether the upload is to ``name``, ``s3://bucket/key``, of whatever length."""
        return self.destination in (name, digest(name))

    def to_text(self) -> str:
        """Give it as JSON of at most :data:`MAX_TOKEN` bytes; "" if it does not fit."""
        for token in (self, replace(self, destination=digest(self.destination))):
            text = json.dumps({"format": _FORMAT, **asdict(token)}, separators=(",", ":"))
            if len(text.encode()) <= MAX_TOKEN:
                return text
        return ""

    @classmethod
    def from_text(cls, text: object) -> ResumeToken | None:
        """Read what :meth:`to_text` wrote; None for anything else, which is no reason to fail a copy."""
        try:
            fields = json.loads(text) if isinstance(text, str) else {}
            if fields.pop("format") != _FORMAT:
                return None
            token = cls(**fields)
            return token if _sound(token) else None
        except (TypeError, ValueError, KeyError, AttributeError):
            return None

    def misfit(self, wanted: ResumeToken) -> str:
        """Say in words why an upload begun under this token is not what is wanted now; "" if it is."""
        if not self.goes_to(wanted.destination):
            return "the destination is another one"
        if self.source != wanted.source:
            return "the source is another one"
        if self.request != wanted.request:
            return "the object's settings, or what is expected of it, are others"
        if self.size != wanted.size:
            return f"the source had {self.size} bytes and has {wanted.size}"
        if self.validator != wanted.validator:
            return f"the source has changed: its {self.validator or 'version'} is now {wanted.validator or 'unknown'}"
        return ""


def new_token(
    *, source: str, destination: str, settings: object, probe: Probe, options: CopyOptions, marker: str, began: float
) -> ResumeToken:
    """
    Describe a transfer before its upload is begun.

    :param source: the URL without user info and signature; see :func:`~airflow_s3stream.plan.names.unsigned`.
    :param settings: whatever goes with the object when it is created, but for the marker; its ``repr`` counts.
    """
    expected = (options.expected_size, options.expected_checksum, options.object, settings)
    validator = f"{probe.validator.kind} {probe.validator.value}" if probe.validator else ""
    return ResumeToken(
        destination=destination if len(destination.encode()) <= _LONGEST else digest(destination),
        source=digest(source),
        request=digest(repr(expected)),
        size=probe.size,
        validator=validator if len(validator.encode()) <= _LONGEST else digest(validator),
        marker=marker,
        began=began,
    )


@dataclass(frozen=True, slots=True)
class Rest:
    """The parts of a plan that are still to be moved."""

    plan: TransferPlan
    done: Collection[int]
    """Numbers of the parts that the store has."""

    @property
    def connections(self) -> int:
        """As many as there are parts left, at most the plan's."""
        left = sum(1 for _ in self.parts())
        return min(self.plan.connections, left)

    def parts(self) -> Iterator[Part]:
        """Name them in order."""
        return (part for part in self.plan.parts() if part.number not in self.done)


def fitting(plan: TransferPlan, listed: Iterable[tuple[int, int]]) -> set[int]:
    """
    Tell which stored parts are parts of the plan: those with its number and exactly its size.

    :param listed: (number, size in bytes).
    """
    stored = dict(listed)
    return {part.number for part in plan.parts() if stored.get(part.number) == len(part.span)}


def _sound(token: ResumeToken) -> bool:
    """Whether what was read has the types that were written; a person may have edited it."""
    fields: dict[str, object] = asdict(token)
    texts = all(isinstance(fields[name], str) for name in _TEXTS)
    flags = all(isinstance(fields[name], bool) for name in ("relayed", "checksums"))
    whole = type(fields["part_size"]) is int and type(fields["size"]) in (int, type(None))
    return texts and flags and whole and isinstance(fields["began"], int | float)


def digest(text: str) -> str:
    """Name a text by what tells nothing of it."""
    return "sha256:" + hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:32]
