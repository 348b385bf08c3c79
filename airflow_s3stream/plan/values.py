"""Values as users type them, or as a template renders them: text where a number is meant, empty where nothing is."""

from __future__ import annotations

import ast
from typing import Any

from airflow_s3stream.config import parse_size
from airflow_s3stream.exceptions import ConfigError


def optional_size(value: int | str | None, name: str) -> int | None:
    """Read a size in bytes; None and empty text mean none."""
    return None if value is None or value == "" else parse_size(value, name)


def flag(value: object, name: str) -> bool:
    """Read True or False, also as text."""
    if isinstance(value, bool):
        return value
    known = {"true": True, "false": False, "": False, "none": False}
    if str(value).strip().lower() not in known:
        raise ConfigError(f"{name}={value!r} must be True or False")
    return known[str(value).strip().lower()]


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
