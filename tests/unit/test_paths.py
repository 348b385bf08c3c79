"""Keys as paths: contained, injective, or refused by name."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.exceptions import KeyRefused
from airflow_s3stream.plan.objects import ObjectEntry
from airflow_s3stream.plan.paths import is_directory_marker, path_of, relative_key

# Pieces that make a path dangerous, more often than any text would.
HOSTILE = st.lists(
    st.one_of(st.sampled_from(["/", "..", ".", "", "\0", "a", "\\", ".s3stream", "//", "\u202e", "\ud800"]), st.text()),
    max_size=8,
).map("".join)
PREFIXES = st.sampled_from(["", "p/", "p/q", "p", "/", "a/../", "p//"])


def path_or_none(key: str, prefix: str) -> str | None:
    try:
        return path_of(key, prefix)
    except KeyRefused:
        return None


@given(prefix=PREFIXES, rest=HOSTILE)
def test_every_path_is_below_the_root_and_can_be_written(prefix: str, rest: str) -> None:
    """What is not refused is a plain relative path, as any reader of paths sees it."""
    path = path_or_none(prefix + rest, prefix)
    if path is not None:
        assert os.path.normpath(os.path.join("/base", path)) == f"/base/{path}"
        assert "\0" not in path
        assert len(path.encode()) < 4096
        assert all(1 <= len(segment) <= 255 for segment in path.encode().split(b"/"))


@given(prefix=PREFIXES, first=HOSTILE, second=HOSTILE)
def test_two_keys_never_share_a_path(prefix: str, first: str, second: str) -> None:
    """The layout "paths" is injective, so nothing is lost without a clash on the disk."""
    one, two = path_or_none(prefix + first, prefix), path_or_none(prefix + second, prefix)
    if first != second and one is not None:
        assert one != two


@given(HOSTILE)
def test_flatten_gives_one_name(rest: str) -> None:
    """The last segment of an acceptable key, and nothing of the folders; unless it has the state folder's name."""
    path = path_or_none(rest, "")
    if path is not None and path_or_none(path.rpartition("/")[2], "") is not None:
        assert path_of(rest, "", "flatten") == path.rpartition("/")[2]
    elif path is not None:
        with pytest.raises(KeyRefused, match="reserved"):
            path_of(rest, "", "flatten")


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("p/../../escape", r"'\.\.' is not a name"),
        ("p/..", r"'\.\.' is not a name"),
        ("p/../p/a", r"'\.\.' is not a name"),
        ("p/./a", r"'\.' is not a name"),
        ("p/.", r"'\.' is not a name"),
        ("p//a", "absolute"),
        ("p/a//b", "empty segment"),
        ("p/", "nothing is left"),
        ("p/a/", "ends in '/'"),
        ("p/a\0b", "NUL"),
        ("p/" + "x" * 256, "segment of 256 bytes"),
        ("p/d/" + "\u00e9" * 128, "segment of 256 bytes"),
        ("p/" + "/".join(["x" * 200] * 21), "has 4220 bytes"),
        ("p/\ud800", "UTF-8"),
        ("q/a", "not below the prefix"),
        ("p/.s3stream/lock", "reserved"),
        ("p/.s3stream", "reserved"),
        ("p/.S3Stream/lock", "reserved"),
        ("p/.s3\u017ftream/lock", "reserved"),
        ("p/.s3\u200dstream/lock", "reserved"),
        ("p/\u200d.s3stream/lock", "reserved"),
        ("p/\u2024s3stream/lock", "reserved"),
        ("p/a/.s3stream-0f-1.tmp", "reserved"),
        ("p/a/.S3STREAM-0F-1.TMP", "reserved"),
    ],
)
def test_a_key_without_a_path_is_refused_with_the_reason(key: str, why: str) -> None:
    """By name, in text that any log can carry."""
    with pytest.raises(KeyRefused, match=why) as caught:
        path_of(key, "p/")
    assert ascii(key) in str(caught.value)
    assert str(caught.value).isascii()


@pytest.mark.parametrize(
    "name",
    ["a\\b", "C:\\a", "a\nb", "\x01", "~", "-rf", "...", ".hidden", "a b", "\u202e", "e\u0301", "\u00e9", "\x7f", "*",
     "x" * 255, "\u00e9" * 127, ".s3streams", "a/.s3stream", "a/..b", "a/b..", ".s3stream-x.tmp", "NUL", "a."],
)  # fmt: skip
def test_what_is_a_name_on_linux_is_kept_as_it_is(name: str) -> None:
    """Nothing is replaced or escaped, so a path can be read back as the key."""
    assert path_of(f"p/{name}", "p/") == name


@pytest.mark.parametrize(
    ("prefix", "key", "path"),
    [
        ("", "a/b", "a/b"),
        ("logs/2024-", "logs/2024-01/a", "2024-01/a"),
        ("logs", "logs/a", "logs/a"),
        ("logs", "logs2/a", "logs2/a"),
        ("a/b", "a/b", "b"),
    ],
)
def test_a_prefix_is_cut_off_at_its_last_slash(prefix: str, key: str, path: str) -> None:
    """Never in the middle of a name."""
    assert path_of(key, prefix) == relative_key(key, prefix) == path


@pytest.mark.parametrize(("size", "marker"), [(0, True), (1, False), (None, False)])
def test_only_an_empty_object_marks_a_folder(size: int | None, marker: bool) -> None:
    """One with bytes, or of unknown size, is not passed over but refused by path_of."""
    assert is_directory_marker(ObjectEntry("p/a/", size)) is marker
    assert not is_directory_marker(ObjectEntry("p/a", size))
