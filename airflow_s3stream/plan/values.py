"""Values as users type them, or as a template renders them: text where a number is meant, empty where nothing is."""

from __future__ import annotations

import ast
import re
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import RetryPolicy, Timeouts, parse_size
from airflow_s3stream.exceptions import ConfigError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_AGE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([smhdw]?)\s*", re.ASCII | re.IGNORECASE)
_AGES = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_TIMEOUTS = {"connect_timeout": "connect", "read_timeout": "read", "stall_timeout": "stall", "deadline": "deadline"}


def optional_size(value: int | str | None, name: str) -> int | None:
    """Read a size in bytes; None and empty text mean none."""
    return None if value is None or value == "" else parse_size(value, name)


def flag(value: object, name: str, default: bool = False) -> bool:
    """Read True or False, also as text; None, and what a template makes of it, is the default."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False}
    if _is_nothing(value):
        return default
    if str(value).strip().lower() not in known:
        raise ConfigError(f"{name}={value!r} must be True or False")
    return known[str(value).strip().lower()]


def _is_nothing(value: object) -> bool:
    return value is None or (isinstance(value, str) and value.strip().lower() in ("", "none"))


def whole_number(value: int | str, name: str) -> int:
    """Read a whole number."""
    try:
        return int(value) if not isinstance(value, bool | float) else int("")
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={value!r} must be a whole number") from None


def seconds(value: Any, name: str) -> float:
    """Read a number of seconds."""
    try:
        return float(value) if not isinstance(value, bool) else float("")
    except (TypeError, ValueError):
        raise ConfigError(f"{name}={value!r} must be a number of seconds") from None


def age(value: Any, name: str) -> float:
    """
    Read an age in seconds: a number of them, a timedelta, or text such as ``90s``, ``30m``, ``12h``, ``2d``, ``1w``.

    :raises ConfigError: it is none, or negative.
    """
    found = value.total_seconds() if isinstance(value, timedelta) else value
    match = _AGE.fullmatch(found) if isinstance(found, str) else None
    if match:
        return float(match[1]) * _AGES[match[2].lower()]
    if isinstance(found, bool) or not isinstance(found, int | float) or not found >= 0:
        raise ConfigError(f'{name}={value!r} is not an age; give seconds, or text like "30m", "12h" or "2d"')
    return float(found)


def texts(value: str) -> list[str]:
    """
    Read one text, or the text of a list of texts, which is what a template makes of a list.

    A glob such as ``[abc].csv`` is no such list.
    """
    if value.lstrip().startswith("[") and value.rstrip().endswith("]"):
        try:
            found = ast.literal_eval(value.strip())
        except (ValueError, SyntaxError):
            return [value]
        if isinstance(found, list) and all(isinstance(item, str) for item in found):
            return found
    return [value]


def read_values(
    given: dict[str, Any],
    fields: Iterable[str],
    *,
    sizes: Sequence[str] = (),
    numbers: Sequence[str] = (),
    flags: Sequence[str] = (),
) -> dict[str, Any]:
    """
    Read options of which each may be text.

    :param fields: those that are known, ``timeouts`` and ``retry`` among them, which users give as ``read_timeout``,
        ``retry_attempts`` and the like.
    :param sizes: fields that are sizes; ``numbers``: whole numbers; ``flags``: True or False.
    :raises ConfigError: an unknown option, or a value of the wrong kind.
    """
    # An empty text is what a template leaves where a value was not given, or "None" where it was None.
    read = {
        name: value
        for name, value in given.items()
        if not (_is_nothing(value) if name in flags else value is None or value == "")
    }
    known = {*fields, *_TIMEOUTS, "retry_attempts", "retry_budget"} - {"timeouts", "retry"}
    for name in read:
        if name not in known:
            raise ConfigError(f"{name} is not an option here; known are {', '.join(sorted(known))}")
    timeouts = {field: seconds(read.pop(name), name) for name, field in _TIMEOUTS.items() if name in read}
    retry = {name: whole_number(read.pop(f"retry_{name}"), f"retry_{name}") for name in ("attempts", "budget")
             if f"retry_{name}" in read}  # fmt: skip
    for names, parse in (
        (sizes, parse_size),
        (numbers, whole_number),
        (flags, flag),
        (("progress_interval",), seconds),
    ):
        for name in names:
            if name in read:
                read[name] = parse(read[name], name)
    return {**read, "timeouts": Timeouts(**timeouts), "retry": RetryPolicy(**retry)}
