"""Profiles: made of a result, read, and laid under what people set."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.profilefile import check_writable, find_profile, load_profile, save_profile
from airflow_s3stream.exceptions import ConfigError, LocalError
from airflow_s3stream.plan.profile import Profile, make_profile, read_profile, with_profile
from tests.support.tuning import a_result

MADE = make_profile(a_result(), "2026-11-21T10:00:00+01:00")
KNOWN = Profile("profile", "get", 32, 64 * MiB)


class TestFormat:
    def test_it_says_what_to_set_and_what_speaks_for_it(self) -> None:
        assert MADE["s3stream_profile"] == 1
        assert (MADE["kind"], MADE["connections"], MADE["part_size"]) == ("get", 32, 64 * MiB)
        assert MADE["measured"] == {
            "uri": "s3://lake/big", "endpoint": "http://127.0.0.1:9", "size": 100 * 1024 * MiB,
            "date": "2026-11-21T10:00:00+01:00",
        }  # fmt: skip
        assert MADE["recommended"]["bytes_per_second"] > MADE["default"]["bytes_per_second"]
        assert len(MADE["samples"]) >= 3

    def test_it_survives_json(self) -> None:
        assert read_profile(json.dumps(MADE)) == read_profile(MADE) == KNOWN

    def test_one_written_by_hand_needs_three_things(self) -> None:
        by_hand = {"s3stream_profile": 1, "kind": "copy", "connections": 8, "part_size": 16 * MiB}
        assert read_profile(by_hand, "mine") == Profile("mine", "copy", 8, 16 * MiB)

    @pytest.mark.parametrize(
        ("changes", "said"),
        [
            ({"s3stream_profile": 2}, "of version 2, and this s3stream reads 1"),
            ({"kind": "download"}, "kind='download' must be one of get, copy"),
            ({"connections": "8"}, "connections='8' must be a whole number above 0"),
            ({"connections": True}, "connections=True must be"),
            ({"part_size": 0}, "part_size=0 must be"),
            ({"part_size": None}, "part_size=None must be"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_named(self, changes: dict[str, Any], said: str) -> None:
        with pytest.raises(ConfigError, match=said) as caught:
            read_profile({**MADE, **changes}, "tune.json")
        assert "profile tune.json" in str(caught.value)

    @pytest.mark.parametrize("given", [{}, {"connections": 4}, "[]", "4", "null", [1]], ids=str)
    def test_other_json_is_none(self, given: object) -> None:
        with pytest.raises(ConfigError, match="was not made by `s3stream tune`"):
            read_profile(given)

    @pytest.mark.parametrize("given", ["", "connections: 4", b"\xff\xfe"], ids=repr)
    def test_other_text_is_not_json(self, given: str | bytes) -> None:
        with pytest.raises(ConfigError, match="is not JSON"):
            read_profile(given)


class TestApplying:
    def test_what_somebody_set_wins(self) -> None:
        given = {"connections": 4, "part_size": "", "strict": True, "max_memory": None}
        assert with_profile(given, KNOWN, "get") == {
            "connections": 4, "part_size": 64 * MiB, "strict": True, "max_memory": None
        }  # fmt: skip

    def test_without_a_profile_nothing_changes(self) -> None:
        given = {"connections": None}
        assert with_profile(given, None, "get") is given

    def test_a_stream_takes_the_connections_alone(self) -> None:
        """Its ranges must fit into max_memory, all of them at once."""
        assert with_profile({"part_size": 5}, KNOWN, "get", stream=True) == {"connections": 32, "part_size": 5}
        assert with_profile({}, KNOWN, "get", stream=True) == {"connections": 32}

    def test_one_for_downloads_is_none_for_copies(self) -> None:
        with pytest.raises(ConfigError) as caught:
            with_profile({}, Profile("tune.json", "get", 4, MiB), "copy")
        assert str(caught.value) == (
            "profile tune.json was measured for downloads, and this is one of the copies of URLs into S3; "
            "make another with `s3stream tune URL s3://BUCKET/KEY --save FILE`"
        )

    def test_nor_the_other_way_round(self) -> None:
        with pytest.raises(ConfigError) as caught:
            with_profile({}, Profile("tune.json", "copy", 4, MiB), "get")
        assert str(caught.value) == (
            "profile tune.json was measured for copies of URLs into S3, and this is one of the downloads; "
            "make another with `s3stream tune s3://BUCKET/KEY --save FILE`"
        )


class TestFiles:
    def test_what_was_saved_is_found(self, tmp_path: Path) -> None:
        path = tmp_path / "tune"
        save_profile(MADE, path)
        assert load_profile(path).part_size == 64 * MiB
        assert find_profile(str(path)) == find_profile(path) == Profile(repr(str(path)), "get", 32, 64 * MiB)
        assert os.listdir(tmp_path) == ["tune"]

    def test_it_takes_the_place_of_an_older_one(self, tmp_path: Path) -> None:
        """And has the permissions of any new file."""
        path = tmp_path / "tune.json"
        path.write_text("old")
        before = os.umask(0o027)
        try:
            save_profile(MADE, path)
        finally:
            os.umask(before)
        assert stat.S_IMODE(path.stat().st_mode) == 0o640
        assert load_profile(path).connections == 32

    def test_what_cannot_be_written_leaves_nothing(self, tmp_path: Path) -> None:
        path = tmp_path / "tune.json"
        path.mkdir()
        with pytest.raises(LocalError, match=r"cannot write the profile 'tune\.json'"):
            save_profile(MADE, path)
        assert os.listdir(tmp_path) == ["tune.json"]

    def test_what_cannot_be_said_in_json_leaves_the_old_one(self, tmp_path: Path) -> None:
        path = tmp_path / "tune.json"
        path.write_text("old")
        with pytest.raises(TypeError):
            save_profile({"not": object()}, path)
        assert path.read_text() == "old"
        assert os.listdir(tmp_path) == ["tune.json"]

    def test_a_name_without_a_slash_is_a_variable_where_there_are_any(self, tmp_path: Path) -> None:
        asked = []

        def read_variable(name: str) -> str:
            asked.append(name)
            return json.dumps(MADE)

        assert find_profile("lake_tune", read_variable) == Profile("in the Variable 'lake_tune'", "get", 32, 64 * MiB)
        assert asked == ["lake_tune"]
        for path in ("./lake_tune", "lake_tune.json"):
            with pytest.raises(ConfigError, match="cannot be read: No such file"):
                find_profile(path, read_variable)
        assert asked == ["lake_tune"]
        with pytest.raises(ConfigError, match="cannot be read: No such file"):
            find_profile("lake_tune")

    def test_a_mapping_is_the_profile_and_nothing_is_none(self) -> None:
        assert find_profile(MADE) == KNOWN
        assert find_profile(None) is None
        assert find_profile("") is None
        for wrong in (4, ["tune.json"], b"tune.json"):
            with pytest.raises(ConfigError, match="must be the path of a file, the name of a Variable, or a mapping"):
                find_profile(wrong)

    def test_a_file_that_is_none_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "tune.json"
        path.write_text("{}")
        with pytest.raises(ConfigError, match=r"tune\.json' was not made by"):
            load_profile(path)
        with pytest.raises(ConfigError, match="Is a directory"):
            load_profile(tmp_path)

    def test_a_place_that_cannot_be_written_to_is_found_before_measuring(self, tmp_path: Path) -> None:
        check_writable(tmp_path / "new.json", "--save")
        check_writable("new.json", "--save")
        with pytest.raises(ConfigError, match=r"--save='.*' is a directory"):
            check_writable(tmp_path, "--save")
        with pytest.raises(ConfigError, match="there is no directory"):
            check_writable(tmp_path / "none" / "new.json", "--save")
