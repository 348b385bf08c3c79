"""What settings that were not measured would reach."""

from __future__ import annotations

import pytest

from airflow_s3stream.config import GiB, MiB
from airflow_s3stream.plan.tuneestimate import estimate
from airflow_s3stream.plan.tuning import Sample, Setting, make_grid
from tests.support.links import MB, Link, sample

GRID = make_grid("get", 100 * GiB)
LINK = Link(latency=0.03, each=25 * MB, total=1000 * MB)


def measured(link: Link, *settings: Setting, **about: object) -> list[Sample]:
    return [
        sample(setting, link.speed(setting), **{"first_byte_seconds": link.latency, **about}) for setting in settings
    ]


def at(count: int, part: int = 64) -> Setting:
    return Setting(count, part * MiB)


def estimates(samples: list[Sample]) -> dict[Setting, float]:
    return {Setting(one.connections, one.part_size): one.bytes_per_second for one in estimate(GRID, samples)}


def test_what_waits_and_flows_is_worked_out() -> None:
    """Of a link on which connections do not get in each other's way, within 3 %."""
    found = estimates(measured(LINK, at(16), at(32), at(64)))
    for setting, rate in found.items():
        if setting.connections <= 32:
            assert rate == pytest.approx(LINK.speed(setting), rel=0.03), setting
    assert found[at(1, 4)] < found[at(1, 64)]


def test_a_full_line_is_the_most_there_is() -> None:
    """Between a free and a full line, something between."""
    link = Link(latency=0.02, each=10 * MB, total=200 * MB)
    found = estimates(measured(link, at(4), at(8), at(64)))
    assert max(found.values()) <= 200 * MB * 1.0001
    assert found[at(64, 4)] == pytest.approx(200 * MB)
    assert 80 * MB < found[at(16)] <= 200 * MB


def test_what_was_measured_is_not_estimated() -> None:
    known = (at(16), at(32), at(32, 8))
    found = estimates(measured(LINK, *known))
    assert not set(known) & set(found)
    assert len(found) == 6 * 5 - len(known)


def test_beyond_what_was_measured_nothing_is_said() -> None:
    """There may be a cliff."""
    assert max(setting.connections for setting in estimates(measured(LINK, at(16), at(32)))) == 32


@pytest.mark.parametrize(
    "samples",
    [
        measured(Link(latency=0.001, each=1250 * MB, total=125 * MB), at(16), at(32), at(2)),
        measured(LINK, at(16), at(32), first_byte_seconds=None),
        measured(LINK, at(16)),
        [],
    ],
    ids=["the line is full everywhere", "copies", "one setting", "nothing"],
)
def test_where_it_would_be_guessing_it_says_nothing(samples: list[Sample]) -> None:
    assert estimate(GRID, samples) == []


def test_what_throttled_or_broke_is_no_base() -> None:
    broken = sample(at(64), 0.0, bytes=0)
    throttled = sample(at(128), 5.0 * MB, throttles=50)
    found = estimates([*measured(LINK, at(16), at(32)), broken, throttled])
    assert found == {
        setting: rate for setting, rate in estimates(measured(LINK, at(16), at(32))).items() if setting != at(64)
    }
