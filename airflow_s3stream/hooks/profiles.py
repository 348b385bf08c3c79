"""Profiles for the hook: from a file, an Airflow Variable, or as a mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow.sdk import Variable

from airflow_s3stream.engine.profilefile import find_profile
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.profile import with_profile

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuning import Kind


def settled(options: dict[str, Any], kind: Kind, *, stream: bool = False) -> dict[str, Any]:
    """
    Take ``profile`` out of options and lay the rest over what it says.

    :raises ConfigError: there is no such profile, or it was measured for the other kind of transfer.
    """
    given = dict(options)
    profile = find_profile(given.pop("profile", None), read_variable)
    return with_profile(given, profile, kind, stream=stream)


def read_variable(name: str) -> object:
    """
    Give the value of an Airflow Variable.

    :raises ConfigError: there is none.
    """
    try:
        value = Variable.get(name, default=None)
    except Exception as error:
        raise ConfigError(f"profile={name!r}: the Airflow Variable cannot be read: {error}") from error
    if value is None:
        raise ConfigError(
            f"profile={name!r} is no Airflow Variable; if a file is meant, give its path with a / or a name that ends "
            "in .json"
        )
    return value
