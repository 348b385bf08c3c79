"""Globs, sizes and ages."""

from __future__ import annotations

from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.objects import ObjectEntry
from airflow_s3stream.plan.selection import Selection, read_selection


def matches(glob: str, key: str) -> bool:
    return Selection([glob]).admits(ObjectEntry(key), key)


@pytest.mark.parametrize(
    ("glob", "yes", "no"),
    [
        ("*.csv", ["a.csv", "x/y/a.csv", ".csv"], ["a.csv.gz", "a.CSV", "a.csv/b"]),
        ("/*.csv", ["a.csv"], ["x/a.csv"]),
        ("x/*.csv", ["x/a.csv"], ["x/y/a.csv", "w/x/a.csv"]),
        ("x/**", ["x/a", "x/y/a"], ["x", "w/x/a"]),
        ("x/", ["x/a", "x/y/a"], ["x", "w/x/a"]),
        ("/x/", ["x/a"], ["w/x/a"]),
        ("**/x/a", ["x/a", "w/x/a", "v/w/x/a"], ["wx/a"]),
        ("a/**/b", ["a/b", "a/x/b", "a/x/y/b"], ["ab", "a/xb", "a/b/c"]),
        ("a**b", ["ab", "axb", "x/axb"], ["a/b/c"]),
        ("x/a**b", ["x/a/b", "x/ab"], ["a/b"]),
        ("**", ["a", "a/b", "\n"], []),
        ("*", ["a", "a/b"], []),
        ("/*", ["a", "\n"], ["a/b"]),
        ("year=20??/*", ["year=2024/a"], ["year=2024/a/b", "year=202/a"]),
        ("a?b", ["axb", "a.b"], ["a/b", "ab"]),
        ("[a-c]x", ["ax", "cx"], ["dx", "Ax"]),
        ("[!a-c]x", ["dx"], ["ax", "x"]),
        ("[^a]", ["b"], ["a"]),
        ("x/a[!b]c", ["x/adc"], ["x/a/c"]),
        ("[]]", ["]"], ["["]),
        ("[!]]", ["a"], ["]"]),
        ("[[]", ["["], ["]"]),
        (r"\*", ["*"], ["a"]),
        (r"[\]]", ["]"], ["\\"]),
        (r"[a\-c]", ["a", "-", "c"], ["b"]),
        (r"a\[b", ["a[b"], ["ab"]),
        ("a+(b).{c}$^|", ["a+(b).{c}$^|"], ["aab"]),
        ("[&&x]", ["&", "x"], ["y"]),
        ("\u00e9*", ["\u00e9a"], ["e\u0301a"]),
        ("a]", ["a]"], ["a"]),
    ],
)
def test_a_glob_takes_what_its_description_says(glob: str, yes: list[str], no: list[str]) -> None:
    """One star stays within a segment, two cross; without a slash any depth, with one from the prefix on."""
    assert [key for key in yes if not matches(glob, key)] == []
    assert [key for key in no if matches(glob, key)] == []


@given(glob=st.text("ab*?.", min_size=1, max_size=6), key=st.text("ab.", min_size=1, max_size=6))
def test_within_one_segment_a_glob_is_a_shell_glob(glob: str, key: str) -> None:
    """As the standard library's fnmatch reads it."""
    assert matches(glob, key) == fnmatchcase(key, glob)


@given(st.text(min_size=1))
def test_any_text_is_a_glob_or_a_clear_error(glob: str) -> None:
    """Never an error from the regular expressions underneath."""
    try:
        matches(glob, "a/b")
    except ConfigError as error:
        assert str(error).startswith("include=")


@pytest.mark.parametrize("glob", ["", "/", "//", "[a", "a\\", "[z-a]", "[]", "[!]", 3, None])
def test_what_is_no_glob_is_named(glob: Any) -> None:
    """With the field, for there are two."""
    with pytest.raises(ConfigError, match=r"^exclude="):
        read_selection(exclude=[glob])


def test_excluded_wins() -> None:
    """Whatever is included."""
    chosen = Selection(include=["*.csv", "*.txt"], exclude=["tmp/"])
    keys = ["a.csv", "x/a.txt", "tmp/a.csv", "x/tmp/a.csv", "a.gz"]
    assert [key for key in keys if chosen.admits(ObjectEntry(key), key)] == ["a.csv", "x/a.txt", "x/tmp/a.csv"]


def test_sizes_are_inclusive() -> None:
    """At both ends."""
    chosen = read_selection(min_bytes="1KiB", max_bytes=2048)
    assert chosen is not None
    sizes = [0, 1023, 1024, 2048, 2049]
    assert [size for size in sizes if chosen.admits(ObjectEntry("a", size), "a")] == [1024, 2048]
    nothing = read_selection(max_bytes=0)
    assert nothing is not None
    assert nothing.admits(ObjectEntry("a", 0), "a")
    assert not nothing.admits(ObjectEntry("a", 1), "a")


def test_adjacent_times_share_no_object_and_lose_none() -> None:
    """The first moment belongs to a time, the last does not."""
    noon = datetime(2024, 3, 1, 12, tzinfo=UTC)
    before, after = read_selection(modified_before=noon), read_selection(modified_after="2024-03-01T13:00:00+01:00")
    assert before is not None
    assert after is not None
    for seconds in (-1, 0, 1):
        entry = ObjectEntry("a", 1, modified=noon.timestamp() + seconds)
        assert before.admits(entry, "a") == (seconds < 0)
        assert after.admits(entry, "a") == (seconds >= 0)


def test_a_time_without_a_zone_is_utc() -> None:
    """As S3's own times are, wherever the worker stands."""
    chosen = read_selection(modified_after=datetime(2024, 3, 1), modified_before="2024-03-02")
    assert chosen is not None
    assert chosen.admits(ObjectEntry("a", modified=1709251200.0), "a")
    assert not chosen.admits(ObjectEntry("a", modified=1709251199.0), "a")
    assert not chosen.admits(ObjectEntry("a", modified=1709251200.0 + 86400), "a")


def test_nothing_to_check_is_no_selection() -> None:
    """So that a run without one pays nothing; empty text is what a template may render to."""
    assert read_selection() is None
    assert read_selection([], "", "", "", modified_after="", modified_before="") is None
    assert read_selection("*.csv") is not None


@pytest.mark.parametrize(
    ("bounds", "said"),
    [
        ({"min_bytes": 2, "max_bytes": 1}, "min_bytes=2 is above max_bytes=1"),
        ({"modified_after": 2.0, "modified_before": 2.0}, "modified_after=2.0 is not before"),
        ({"modified_after": "yesterday"}, "modified_after='yesterday'"),
        ({"modified_before": True}, "modified_before=True"),
        ({"max_bytes": "big"}, "max_bytes='big'"),
    ],
)
def test_bounds_that_select_nothing_are_an_error(bounds: dict[str, Any], said: str) -> None:
    """Before anything is listed."""
    with pytest.raises(ConfigError, match=said):
        read_selection(**bounds)


def test_bounds_on_what_a_list_does_not_tell_are_an_error() -> None:
    """Rather than a guess."""
    with pytest.raises(ConfigError, match="need the size of 'a'"):
        Selection(max_bytes=1).admits(ObjectEntry("a"), "a")
    with pytest.raises(ConfigError, match="need the time of 'a'"):
        Selection(modified_after=1.0).admits(ObjectEntry("a", 1), "a")
