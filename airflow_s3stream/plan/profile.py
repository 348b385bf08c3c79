"""Profiles: what a tune recommends, as JSON that hooks, operators and commands take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, get_args

from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.tuning import Kind

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuneoptions import TuneResult
    from airflow_s3stream.plan.tuning import Sample

_VERSION = 1
_MARK = "s3stream_profile"
_FOR = {"get": "downloads", "copy": "copies of URLs into S3"}
_MADE_BY = {"get": "s3stream tune s3://BUCKET/KEY", "copy": "s3stream tune URL s3://BUCKET/KEY"}


@dataclass(frozen=True, slots=True)
class Profile:
    """A setting that was found by measuring. ``name`` is where it comes from, for people."""

    name: str
    kind: Kind
    connections: int
    part_size: int


def make_profile(result: TuneResult, date: str) -> dict[str, Any]:
    """
    Make a profile of what a tune found, with the figures that speak for it.

    :param date: of the measurement, ISO 8601.
    """
    about = {"uri": result.uri, "source": result.source, "endpoint": result.endpoint, "size": result.size, "date": date}
    return {
        _MARK: _VERSION,
        "kind": result.kind,
        "connections": result.connections,
        "part_size": result.part_size,
        "measured": {name: value for name, value in about.items() if value},
        "recommended": _figures(result.recommended),
        "default": _figures(result.default) if result.default else None,
        "samples": [_figures(sample) for sample in result.samples],
        "warnings": result.warnings,
    }


def _figures(sample: Sample) -> dict[str, Any]:
    figures = asdict(sample)
    for name in ("seconds", "bytes_per_second", "error", "cpu_seconds_per_gib", "first_byte_seconds", "busy"):
        if figures[name] is not None:
            figures[name] = round(figures[name], 1 if name == "bytes_per_second" else 4)
    return figures


def read_profile(given: object, name: str = "profile") -> Profile:
    """
    Read a profile: a mapping, or the text of one.

    :param name: where it comes from, for error texts.
    :raises ConfigError: it is no profile, or of a version that is not known.
    """
    if isinstance(given, str | bytes):
        try:
            given = json.loads(given)
        except ValueError as error:
            raise ConfigError(f"profile {name} is not JSON: {error}") from None
    if not isinstance(given, Mapping) or _MARK not in given:
        raise ConfigError(f"profile {name} was not made by `s3stream tune`; `s3stream tune ... --save FILE` writes one")
    if given[_MARK] != _VERSION:
        raise ConfigError(
            f"profile {name} is of version {given[_MARK]!r}, and this s3stream reads {_VERSION}; make a new one with "
            "`s3stream tune ... --save FILE`"
        )
    kind: Any = given.get("kind")
    if kind not in get_args(Kind):
        raise ConfigError(f"profile {name}: kind={kind!r} must be one of {', '.join(get_args(Kind))}")
    return Profile(name, kind, _number(given, "connections", name), _number(given, "part_size", name))


def _number(given: Mapping[str, Any], field: str, name: str) -> int:
    value = given.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(f"profile {name}: {field}={value!r} must be a whole number above 0")
    return value


def with_profile(given: dict[str, Any], profile: Profile | None, kind: Kind, *, stream: bool = False) -> dict[str, Any]:
    """
    Lay options that somebody set over those of a profile. What is None or empty text is not set.

    :param stream: of a download, the object is read in order: then ``max_memory`` decides on the size of ranges, and
        the profile on connections alone.
    :raises ConfigError: the profile was measured for the other kind of transfer.
    """
    if profile is None:
        return given
    if profile.kind != kind:
        raise ConfigError(
            f"profile {profile.name} was measured for {_FOR[profile.kind]}, and this is one of the {_FOR[kind]}; make "
            f"another with `{_MADE_BY[kind]} --save FILE`"
        )
    found: dict[str, Any] = {"connections": profile.connections}
    if not stream:
        found["part_size"] = profile.part_size
    return {**found, **{name: value for name, value in given.items() if name not in found or value not in (None, "")}}
