"""Profiles in files."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.localerrors import local_error
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.profile import Profile, read_profile

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_LARGEST = MiB  # bytes; one of a full grid has 30 KiB


def find_profile(given: object, read_variable: Callable[[str], object] | None = None) -> Profile | None:
    """
    Find the profile that somebody means.

    :param given: the path of a file, which has a ``/`` or ends in ``.json``; else the name of an Airflow Variable,
        where there are any; a mapping is the profile; None and empty text are none.
    :param read_variable: gives the value of a Variable; None: there are none, and every text is a path.
    :raises ConfigError: there is no such file, or it is no profile.
    """
    if given is None or given == "":
        return None
    if isinstance(given, Mapping):
        return read_profile(given)
    path = os.fspath(given) if isinstance(given, str | os.PathLike) else None
    if not isinstance(path, str):
        raise ConfigError(f"profile={given!r} must be the path of a file, the name of a Variable, or a mapping")
    if read_variable is None or "/" in path or path.endswith(".json"):
        return load_profile(path)
    return read_profile(read_variable(path), f"in the Variable {path!r}")


def load_profile(path: str | Path) -> Profile:
    """
    Read a profile from a file.

    :raises ConfigError: it cannot be read, or is none.
    """
    try:
        with open(path, "rb") as file:
            text = file.read(_LARGEST)
    except OSError as error:
        raise ConfigError(f"profile {str(path)!r} cannot be read: {error.strerror}") from None
    return read_profile(text, repr(str(path)))


def check_writable(path: str | Path, what: str) -> None:
    """
    See, before anything is measured, whether a file can be written.

    :raises ConfigError: it is a directory, or its directory is not there or may not be written to.
    """
    directory = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise ConfigError(f"{what}={str(path)!r} is a directory; name a file")
    if not os.path.isdir(directory) or not os.access(directory, os.W_OK):
        raise ConfigError(f"{what}={str(path)!r}: there is no directory {directory!r} that may be written to")


def save_profile(profile: dict[str, Any], path: str | Path) -> None:
    """
    Write a profile: the whole of it, or not at all.

    :raises LocalError: it cannot be written.
    """
    directory, name = os.path.split(path)
    temporary = os.path.join(directory, f".{name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8") as file:
            json.dump(profile, file, indent=1)
            file.write("\n")
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(error, OSError):
            raise local_error(error, directory or ".", f"write the profile {name!r}") from error
        raise
