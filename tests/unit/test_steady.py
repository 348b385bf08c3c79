"""The figure of a running transfer: warming up, noise, and when it is sure."""

from __future__ import annotations

import random

import pytest

from airflow_s3stream.plan.steady import SURE, WINDOW, Steady


def fed(rates: list[float], connections: int = 16) -> tuple[Steady, int | None]:
    """Feed rates window by window; tell after how many it was sure first."""
    steady, sure = Steady(connections), None
    for number, rate in enumerate(rates, 1):
        steady.add(round(rate * WINDOW), WINDOW)
        if steady.sure and sure is None:
            sure = number
    return steady, sure


def test_an_even_flow_is_sure_after_half_a_second() -> None:
    steady, sure = fed([1e8] * 10)
    assert sure == 5
    assert (steady.skipped, steady.error, steady.counted) == (0, 0.0, 10)


@pytest.mark.parametrize(("connections", "windows"), [(1, 20), (2, 10), (3, 7), (4, 5), (128, 5)])
def test_few_connections_are_watched_for_longer(connections: int, windows: int) -> None:
    """Each break between two ranges weighs more."""
    assert fed([1e8] * 30, connections)[1] == windows


def test_warming_up_does_not_count() -> None:
    """Nothing, then a slow start, then what it is."""
    steady, sure = fed([0.0, 1e6, 5e6, 3e7, 8e7] + [1e8, 1.01e8, 0.99e8] * 4)
    assert steady.skipped == 5
    assert sure is not None
    assert sure >= 10  # as many windows count as were cut off, and five at least


def test_lent_credit_does_not_count() -> None:
    """Some links let a burst through first."""
    steady, _ = fed([5e8, 5e8, 3e8] + [1e8, 1.02e8, 0.98e8] * 4)
    assert steady.skipped == 3


def test_what_keeps_growing_is_not_sure() -> None:
    assert fed([1e6 * 1.2**step for step in range(30)])[1] is None


def test_noise_takes_longer() -> None:
    """And is sure of the right figure."""
    chance = random.Random(5)
    lengths = []
    for spread in (0.01, 0.05, 0.10):
        rates = [1e8 * chance.gauss(1, spread) for _ in range(200)]
        steady, sure = fed(rates)
        assert sure is not None
        lengths.append(sure)
        kept = rates[steady.skipped :]
        assert sum(kept) / len(kept) == pytest.approx(1e8, rel=3 * SURE)
    assert lengths == sorted(lengths)
    assert lengths[-1] > lengths[0]
    assert fed([1e8 * chance.gauss(1, 0.3) for _ in range(20)])[1] is None


def test_of_little_the_error_cannot_be_told() -> None:
    assert Steady(1).error == 1.0
    assert fed([1e8])[0].error == 1.0
    assert fed([1e8] * 4)[0].error == 0.1
    assert fed([1e8] * 4, 128)[1] is None
    assert fed([0.0] * 30)[0].error == 1.0  # a stall is no steady state
    assert fed([0.0] * 30)[1] is None
