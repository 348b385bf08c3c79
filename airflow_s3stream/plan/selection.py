"""Which of the objects below a prefix are wanted: globs, sizes and ages.

A glob is compared with the key below the prefix, whole and case-sensitive:

- ``*`` is any number of characters but ``/``; ``?`` one character but ``/``; ``[a-z]`` and ``[!a-z]`` one of, or
  none of, these characters, never ``/``. A backslash takes the next character as it is.
- ``**`` is any number of characters, ``/`` included; as a whole segment (``a/**/b``) also none: ``a/b``.
- A glob without ``/`` is compared with the last segment, at any depth: ``*.csv`` is ``a.csv`` and ``x/y/a.csv``.
- A glob with ``/`` is compared from the prefix on: ``x/*.csv`` is ``x/a.csv``, not ``w/x/a.csv``. A leading ``/``
  says no more than that: ``/*.csv`` is ``a.csv`` alone.
- A glob that ends in ``/`` is everything below: ``tmp/`` is ``tmp/**``.

What an ``exclude`` matches is out, whatever ``include`` says. Without ``include`` everything else is in.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.values import optional_size, texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_s3stream.plan.objects import ObjectEntry

# One token of a glob. "**/" may be nothing at all, "**" any text; a bracket's first member may be "]".
_TOKEN = re.compile(
    r"(?P<folders>(?:(?<=/)|\A)\*\*/)|(?P<all>\*\*+)|(?P<star>\*)|(?P<one>\?)"
    r"|\[(?P<set>[!^]?+(?:\\.|[^\\])(?:\\.|[^\]\\])*)\]"
    r"|\\(?P<plain>.)|(?P<other>.)",
    re.DOTALL,
)


class Selection:
    """
    A filter over objects.

    :param min_bytes: size bounds are inclusive.
    :param modified_after: seconds since the epoch; inclusive, so that adjacent times share no object ...
    :param modified_before: ... with this, which is exclusive.
    :raises ConfigError: a glob cannot be read, or bounds leave nothing between them.
    """

    def __init__(
        self,
        include: Iterable[str] = (),
        exclude: Iterable[str] = (),
        min_bytes: int | None = None,
        max_bytes: int | None = None,
        modified_after: float | None = None,
        modified_before: float | None = None,
    ) -> None:
        include, exclude = list(include), list(exclude)
        self._shown = (include, exclude, min_bytes, max_bytes, modified_after, modified_before)
        self._include = _compile("include", include)
        self._exclude = _compile("exclude", exclude)
        if min_bytes is not None and max_bytes is not None and min_bytes > max_bytes:
            raise ConfigError(f"min_bytes={min_bytes} is above max_bytes={max_bytes}; no object can be selected")
        if modified_after is not None and modified_before is not None and modified_after >= modified_before:
            raise ConfigError(
                f"modified_after={modified_after} is not before modified_before={modified_before}; "
                "no object can be selected"
            )
        self._sizes = None if min_bytes is max_bytes is None else (min_bytes or 0, max_bytes)
        self._times = None if modified_after is modified_before is None else (modified_after or 0.0, modified_before)

    def __repr__(self) -> str:
        """Show what was asked for; equal for equal filters."""
        return f"Selection{self._shown!r}"

    def __bool__(self) -> bool:
        """Whether there is anything to check."""
        return any(part is not None for part in (self._include, self._exclude, self._sizes, self._times))

    @property
    def needs_sizes(self) -> bool:
        """Whether the size of an object must be known."""
        return self._sizes is not None

    @property
    def needs_times(self) -> bool:
        """Whether the time of an object's last change must be known."""
        return self._times is not None

    def admits(self, entry: ObjectEntry, relative_key: str) -> bool:
        """
        Tell whether an object is wanted.

        :raises ConfigError: it depends on the size or the time, and the list of keys does not tell it.
        """
        if self._exclude is not None and self._exclude(relative_key):
            return False
        if self._include is not None and not self._include(relative_key):
            return False
        if self._sizes is not None and not self._fits(entry):
            return False
        return self._times is None or self._is_of_time(entry)

    def _fits(self, entry: ObjectEntry) -> bool:
        assert self._sizes is not None  # noqa: S101 - for mypy; admits() has looked
        least, most = self._sizes
        if entry.size is None:
            raise ConfigError(f"min_bytes and max_bytes need the size of {entry.key!a}, which the list does not tell")
        return entry.size >= least and (most is None or entry.size <= most)

    def _is_of_time(self, entry: ObjectEntry) -> bool:
        assert self._times is not None  # noqa: S101 - for mypy; admits() has looked
        after, before = self._times
        if not entry.modified:
            raise ConfigError(
                f"modified_after and modified_before need the time of {entry.key!a}, which the list does not tell"
            )
        return entry.modified >= after and (before is None or entry.modified < before)


def read_selection(
    include: Iterable[str] | str | None = None,
    exclude: Iterable[str] | str | None = None,
    min_bytes: int | str | None = None,
    max_bytes: int | str | None = None,
    *,
    modified_after: datetime | float | str | None = None,
    modified_before: datetime | float | str | None = None,
) -> Selection | None:
    """
    Make a filter of what users write, or None where there is nothing to check.

    Sizes are bytes or text such as ``"1MiB"``; times a datetime, seconds since the epoch or ISO 8601 text, all in UTC
    where they name no zone. Empty text is as good as None, since a template may render to nothing.

    :raises ConfigError: naming the field that is wrong.
    """
    made = Selection(
        _globs(include),
        _globs(exclude),
        optional_size(min_bytes, "min_bytes"),
        optional_size(max_bytes, "max_bytes"),
        _moment(modified_after, "modified_after"),
        _moment(modified_before, "modified_before"),
    )
    return made if made else None


def _globs(value: Iterable[str] | str | None) -> list[str]:
    if not value:
        return []
    return texts(value) if isinstance(value, str) else list(value)


def _moment(value: datetime | float | str | None, field: str) -> float | None:
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            raise ConfigError(f"{field}={value!r} is not a time; write for example '2024-03-01T00:00:00Z'") from None
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{field}={value!r} is not a time; give a datetime, seconds since the epoch or ISO 8601 text")
    return float(value)


def _compile(field: str, globs: Iterable[str]) -> Callable[[str], object] | None:
    patterns = [_pattern(field, glob) for glob in globs]
    return re.compile("|".join(patterns), re.DOTALL).fullmatch if patterns else None


def _pattern(field: str, glob: object) -> str:
    """Translate a glob to a regular expression for the whole relative key."""
    if not isinstance(glob, str) or not glob.strip("/"):
        raise ConfigError(f"{field}={glob!r} is not a glob; write for example '*.csv' or 'year=2024/**'")
    anchored = "/" in glob.rstrip("/")
    rest = glob.removeprefix("/")
    if rest.endswith("/"):
        anchored, rest = True, rest + "**"
    pieces = []
    for token in _TOKEN.finditer(rest):
        kind, text = token.lastgroup or "", token[token.lastgroup or 0]
        if kind == "other" and text in "[\\":
            what = "is never closed" if text == "[" else "has nothing after it"
            raise ConfigError(f"{field}={glob!r} is not a glob: {text!r} at {token.start()} {what}; write \\{text}")
        pieces.append(_piece(kind, text, field, glob))
    return f"(?:{'' if anchored else '(?:.*/)?'}{''.join(pieces)})"


def _piece(kind: str, text: str, field: str, glob: str) -> str:
    fixed = {"folders": "(?:.*/)?", "all": ".*", "star": "[^/]*", "one": "[^/]"}.get(kind)
    if fixed is not None:
        return fixed
    if kind != "set":
        return re.escape(text)
    negated, members = text[0] in "!^", text[1:] if text[0] in "!^" else text
    escaped = re.sub(r"\\(.)|([\[\]^&~|])", lambda member: re.escape(member[1] or member[2]), members, flags=re.DOTALL)
    pattern = f"(?!/)[{'^' if negated else ''}{escaped}]"
    try:
        re.compile(pattern)
    except re.error as error:
        raise ConfigError(f"{field}={glob!r} is not a glob: [{text}] cannot be read ({error.msg})") from None
    return pattern
