"""The search for a setting, on links that exist only as a formula."""

from __future__ import annotations

import random
from math import inf
from statistics import mean, median

import pytest

from airflow_s3stream.config import GiB, MiB
from airflow_s3stream.plan.tunesearch import FullGrid, Search
from airflow_s3stream.plan.tuning import Grid, Setting, make_grid
from tests.support.links import MB, Link, drive, random_link, sample

DEFAULT = Setting(16, 64 * MiB)
GRID = make_grid("get", 100 * GiB)
FAT_AND_FAR = Link(latency=0.03, each=25 * MB)
THIN_AND_NEAR = Link(latency=0.001, each=1250 * MB, total=125 * MB)
CAPPED = Link(latency=0.02, each=10 * MB, total=200 * MB)


def like(link: Link, **about: object) -> Link:
    return Link(**{**{name: getattr(link, name) for name in ("latency", "each", "total")}, **about})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("link", "connections"), [(FAT_AND_FAR, 128), (THIN_AND_NEAR, 1), (CAPPED, 32)], ids=["far", "near", "capped"]
)
@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_it_finds_as_good_a_setting_as_the_grid_with_a_tenth_of_its_bytes(
    link: Link, connections: int, noise: float
) -> None:
    """On the three models of links, the search and the full grid agree on what is as good as the best."""
    shares = []
    for seed in range(40):
        tried = like(link, noise=noise, seed=seed)
        found = drive(Search(GRID, DEFAULT), tried)
        assert tried.speed(found) >= 0.95 * link.best(GRID), f"{found} with the noise of seed {seed}"
        if not noise:
            assert found.connections == connections
            assert drive(FullGrid(GRID, DEFAULT), like(link)).connections == connections
        shares.append(tried.bytes / link.grid_bytes(GRID))
    assert median(shares) <= 0.1, f"{median(shares):.3f} of the grid's bytes"
    assert max(shares) <= 0.2, f"{max(shares):.3f} of the grid's bytes"


@pytest.mark.parametrize("noise", [0.0, 0.01, 0.02])
def test_any_link_is_told_apart(noise: float) -> None:
    """Near and far, thin and fat, with and without noise: hardly ever is the setting found slower than it should be."""
    chance = random.Random(7)
    missed, shares, trials = [], [], []
    for _ in range(400):
        link = random_link(chance, noise=noise)
        found = drive(Search(GRID, DEFAULT), link)
        if link.speed(found) < 0.95 * link.best(GRID):
            missed.append((found, link.speed(found) / link.best(GRID), link.latency, link.each, link.total))
        shares.append(link.bytes / link.grid_bytes(GRID))
        trials.append(len(link.measured))
    assert len(missed) <= 400 * noise, missed  # without noise none at all
    assert all(share > 0.88 for _, share, *_ in missed), missed
    assert mean(shares) <= 0.1
    assert mean(trials) <= 9


@pytest.mark.parametrize("noise", [0.0, 0.05])
def test_what_this_machine_cannot_do_is_not_tried(noise: float) -> None:
    """Where the CPU is the limit, more connections cost more of it; their figures are the dearest of all."""
    for seed in range(20):
        link = like(FAT_AND_FAR, cpu=1000 * MB, noise=noise, seed=seed)
        found = drive(Search(GRID, DEFAULT), link)
        assert max(setting.connections for setting in link.measured) == 64
        assert link.speed(found) >= 0.95 * link.best(GRID)
        assert link.bytes <= 0.15 * link.grid_bytes(GRID)


def test_what_gains_nothing_twice_is_given_up() -> None:
    """However uncertain the figures are."""
    furthest = []
    for seed in range(40):
        link = like(THIN_AND_NEAR, noise=0.04, seed=seed)
        drive(Search(GRID, DEFAULT), link)
        furthest.append(max(setting.connections for setting in link.measured))
    assert median(furthest) <= 64


@pytest.mark.parametrize("noise", [0.0, 0.02])
@pytest.mark.parametrize("crowd", [1, 2, 4, 8, 16, 32, 64])
def test_more_connections_may_be_worse(crowd: int, noise: float) -> None:
    """Where a line breaks down under a crowd, it climbs down as it climbs up."""
    chance = random.Random(crowd)
    for fall in (0.15, 0.5, 1.0, 2.0):
        link = random_link(chance, crowd=crowd, fall=fall, noise=noise)
        found = drive(Search(GRID, DEFAULT), link)
        assert link.speed(found) >= (0.95 if not noise else 0.90) * link.best(GRID), (link, found)


@pytest.mark.parametrize("bears", [1, 2, 8, 16, 32, 64])
def test_it_asks_a_store_that_throttles_for_less(bears: int) -> None:
    """A setting that makes the store throttle is not recommended, and nothing above it is tried."""
    link = like(FAT_AND_FAR, throttles_at=bears)
    found = drive(Search(GRID, DEFAULT), link)
    assert found.connections == bears
    assert link.speed(found) >= 0.95 * link.best(GRID)
    refused = [setting for setting in link.measured if not link.bears(setting)]
    assert len({setting.connections for setting in refused}) <= (1 if bears >= 16 else 5)
    assert all(setting.connections <= 2 * max(bears, 8) for setting in refused)


def test_a_store_that_throttles_everything_ends_the_search() -> None:
    """It comes down to one connection and recommends what was fastest, for want of better."""
    link = like(CAPPED, throttles_at=0)
    assert drive(Search(GRID, DEFAULT), link) in link.measured
    assert Setting(1, 64 * MiB) in link.measured
    assert len(link.measured) <= 7


@pytest.mark.parametrize("dislikes", [8 * MiB, 16 * MiB, 32 * MiB])
def test_smaller_parts_are_found_where_they_are_faster(dislikes: int) -> None:
    """A store that is slow with large ranges is found out, although the search begins with the largest."""
    for link in (FAT_AND_FAR, CAPPED, like(FAT_AND_FAR, total=1000 * MB)):
        slow = like(link, dislikes=dislikes)
        found = drive(Search(GRID, DEFAULT), slow)
        assert found.part_size <= dislikes
        assert slow.speed(found) >= 0.95 * slow.best(GRID)


def test_a_close_call_is_measured_again() -> None:
    """Where fewer connections would do or not by less than the error of a measurement, both are measured once more."""
    link = Link(latency=0.0, each=10 * MB, total=10.6 * MB, noise=0.01, seed=3)  # one connection: 94 % of two
    drive(Search(GRID, DEFAULT), link)
    assert link.measured.count(Setting(1, 64 * MiB)) > 1
    clear = Link(latency=0.0, each=10 * MB, total=14 * MB, noise=0.01, seed=3)
    drive(Search(GRID, DEFAULT), clear)
    assert len(set(clear.measured)) == len(clear.measured)


def test_the_default_is_measured_first_even_beside_the_grid() -> None:
    """What the default reaches is the measure of all gains."""
    default = Setting(12, 11 * MiB)
    link = like(CAPPED)
    search = Search(make_grid("get", 132 * MiB), default)
    drive(search, link)
    assert link.measured[0] == default
    assert all(setting in make_grid("get", 132 * MiB) for setting in link.measured[1:])


def test_the_full_grid_is_every_setting_once() -> None:
    link = like(CAPPED)
    grid = FullGrid(GRID, DEFAULT)
    drive(grid, link)
    assert link.measured[0] == DEFAULT
    assert sorted(link.measured) == GRID.settings()
    assert [known.setting for known in grid.samples] == link.measured


@pytest.mark.parametrize(
    "grid",
    [
        Grid((1,), (8 * MiB, 16 * MiB)),
        Grid((4, 8), (8 * MiB,)),
        Grid((64,), (8 * MiB,)),
        make_grid("get", 8 * MiB),
        make_grid("get", 64 * MiB),
        make_grid("copy", 900 * MiB),
    ],
    ids=str,
)
def test_small_and_narrow_grids_are_searched_within_their_bounds(grid: Grid) -> None:
    """Whatever is left of the grid, only its settings are measured, and the best of them is found."""
    default = min(grid.settings(), key=lambda setting: abs(setting.connections - 16))
    for link in (like(FAT_AND_FAR), like(THIN_AND_NEAR), like(CAPPED)):
        found = drive(Search(grid, default), link)
        assert set(link.measured) <= set(grid.settings())
        assert link.speed(found) >= 0.95 * link.best(grid)


def test_it_may_be_asked_for_its_samples_at_any_time() -> None:
    """A budget may end it after any trial; what is known then is what counts."""
    search = Search(GRID, DEFAULT)
    assert search.samples == []
    assert search.next() == DEFAULT
    search.tell(sample(DEFAULT, 100.0))
    assert [known.setting for known in search.samples] == [DEFAULT]
    assert search.next() is not None


def test_noise_does_not_keep_it_going() -> None:
    """Not even a link whose speed is anybody's guess."""
    for seed in range(50):
        link = Link(noise=0.3, seed=seed, total=inf)
        drive(Search(GRID, DEFAULT), link, most=30)
