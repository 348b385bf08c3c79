"""The grid of settings, and the choice among samples."""

from __future__ import annotations

import pytest

from airflow_s3stream.config import GiB, MiB, TiB
from airflow_s3stream.exceptions import ConfigError, SourceRefused
from airflow_s3stream.plan.tuning import Grid, Setting, choose, make_grid
from tests.support.links import sample

A, B, C = Setting(1, 8 * MiB), Setting(2, 8 * MiB), Setting(4, 8 * MiB)


def recommended(*samples: object) -> Setting:
    return choose(samples).recommended.setting  # type: ignore[arg-type]


class TestGrid:
    def test_a_large_object_has_the_whole_grid(self) -> None:
        grid = make_grid("get", 100 * GiB)
        assert len(grid.settings()) == 40
        assert grid.settings()[0] == Setting(1, 4 * MiB)
        assert Setting(128, 64 * MiB) in grid
        assert Setting(3, 64 * MiB) not in grid
        assert (128, 64 * MiB) not in grid  # only a Setting is one

    def test_each_connection_has_a_part(self) -> None:
        """A setting of which a download of this object could not use all connections is not one."""
        grid = make_grid("get", 100 * MiB)
        assert max(grid.settings()) == Setting(16, 4 * MiB)
        assert Setting(8, 8 * MiB) in grid
        assert Setting(8, 16 * MiB) not in grid
        assert grid.at(8, 64 * MiB) == Setting(8, 8 * MiB)
        assert grid.at(1, 64 * MiB) == Setting(1, 64 * MiB)
        assert grid.at(32, 64 * MiB) is None

    def test_who_names_both_gets_both(self) -> None:
        grid = make_grid("get", 8 * MiB, connections=[64, 2, 64], part_sizes=[MiB, 64 * MiB])
        assert grid.settings() == [
            Setting(2, MiB), Setting(2, 64 * MiB), Setting(64, MiB), Setting(64, 64 * MiB)
        ]  # fmt: skip

    def test_parts_of_a_copy_obey_s3(self) -> None:
        assert make_grid("copy", GiB).part_sizes[0] == 8 * MiB
        assert make_grid("copy", 10 * TiB).part_sizes[0] == 2 * GiB  # 10,000 parts of 1 GiB do not hold it
        assert make_grid("copy", 10 * TiB).part_sizes[-1] <= 5 * GiB

    @pytest.mark.parametrize(
        "given",
        [
            {"connections": []},
            {"connections": [0, 4]},
            {"connections": [1000]},
            {"part_sizes": []},
            {"part_sizes": [0, 8 * MiB]},
            {"kind": "copy", "part_sizes": [4 * MiB]},
            {"kind": "copy", "part_sizes": [6 * GiB]},
            {"kind": "copy", "part_sizes": [5 * MiB], "size": TiB},  # 10,000 of them do not hold it
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused(self, given: dict[str, object]) -> None:
        with pytest.raises(ConfigError, match=r"connections=|part_sizes="):
            make_grid(**{"kind": "get", "size": GiB, **given})  # type: ignore[arg-type]

    def test_an_object_may_be_too_small(self) -> None:
        assert len(make_grid("get", 8 * MiB).settings()) == 3
        with pytest.raises(SourceRefused, match=r"7\.0 MiB, too few to tell"):
            make_grid("get", 7 * MiB)
        with pytest.raises(SourceRefused, match="too few"):
            make_grid("get", 16 * MiB, connections=[32])


class TestChoice:
    def test_the_fewest_connections_within_5_percent(self) -> None:
        assert recommended(sample(A, 94), sample(B, 95.5), sample(C, 100)) == B
        assert recommended(sample(A, 95), sample(B, 110), sample(C, 100)) == B
        assert choose([sample(A, 95), sample(B, 110)]).best.setting == B

    def test_then_the_least_memory(self) -> None:
        other = Setting(1, 64 * MiB)
        assert recommended(sample(A, 96, peak_memory=20 * MiB), sample(other, 100, peak_memory=40 * MiB)) == A
        assert recommended(sample(A, 99, peak_memory=20 * MiB), sample(other, 100, peak_memory=22 * MiB)) == other
        assert recommended(sample(A, 99, peak_memory=None), sample(other, 100, peak_memory=90 * MiB)) == other

    def test_then_the_least_cpu(self) -> None:
        other = Setting(1, 64 * MiB)
        assert recommended(sample(A, 96, cpu_seconds_per_gib=1.0), sample(other, 100, cpu_seconds_per_gib=1.3)) == A
        assert (
            recommended(sample(A, 99, cpu_seconds_per_gib=1.0), sample(other, 100, cpu_seconds_per_gib=1.15)) == other
        )

    def test_then_the_fastest_and_then_the_largest_parts(self) -> None:
        other = Setting(1, 64 * MiB)
        assert recommended(sample(A, 100), sample(other, 96)) == A
        assert recommended(sample(A, 100), sample(other, 98)) == other

    def test_not_what_makes_the_store_throttle(self) -> None:
        assert recommended(sample(A, 50), sample(B, 100, throttles=2)) == A
        assert choose([sample(A, 50), sample(B, 100, throttles=2)]).best.setting == A
        assert recommended(sample(A, 50), sample(B, 100, throttles=1)) == B  # Amazon's do that now and then
        assert recommended(sample(A, 50), sample(B, 100, throttles=4, requests=1000)) == B
        assert recommended(sample(A, 50, throttles=3), sample(B, 100, throttles=2)) == B


class TestSamples:
    def test_two_of_one_setting_count_as_long_as_they_took(self) -> None:
        one = sample(A, 100.0, bytes=100, seconds=1.0, error=0.02, cpu_seconds_per_gib=1.0, errors=1, busy=1.0)
        two = sample(A, 110.0, bytes=330, seconds=3.0, error=0.02, cpu_seconds_per_gib=2.0, throttles=2, busy=0.0)
        both = one.and_again(two)
        assert (both.bytes, both.seconds, both.bytes_per_second) == (430, 4.0, 107.5)
        assert (both.errors, both.throttles, both.requests) == (1, 2, 20)
        assert both.busy == 0.25
        assert 1.7 < both.cpu_seconds_per_gib < 1.8
        # Further apart than their errors allow.
        assert both.error == pytest.approx(10 / 2 / 107.5)
        assert one.and_again(sample(A, 100.0, bytes=100, error=0.02)).error == pytest.approx(0.01414, abs=1e-4)

    def test_memory_is_the_greatest_that_is_known(self) -> None:
        assert sample(A, 1, peak_memory=None).and_again(sample(A, 1, peak_memory=5)).peak_memory == 5
        assert sample(A, 1, peak_memory=9).and_again(sample(A, 1, peak_memory=5)).peak_memory == 9
        assert sample(A, 1, peak_memory=None).and_again(sample(A, 1, peak_memory=None)).peak_memory is None

    def test_the_first_byte_likewise(self) -> None:
        assert sample(A, 1).and_again(sample(A, 1)).first_byte_seconds is None
        both = sample(A, 1, first_byte_seconds=0.1).and_again(sample(A, 1, first_byte_seconds=0.3))
        assert both.first_byte_seconds == pytest.approx(0.2)


def test_settings_are_said_in_words() -> None:
    assert str(Setting(1, 8 * MiB)) == "1 connection, parts of 8 MiB"
    assert str(Setting(2, 8 * MiB)) == "2 connections, parts of 8 MiB"


def test_a_grid_without_a_size_has_all_settings() -> None:
    assert len(Grid((1, 512), (GiB,)).settings()) == 2
