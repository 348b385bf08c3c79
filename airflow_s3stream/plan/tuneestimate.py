"""What settings that were not measured would reach, worked out from those that were."""

from __future__ import annotations

from itertools import pairwise
from math import log2
from typing import TYPE_CHECKING

from airflow_s3stream.plan.tuneoptions import Estimate

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuning import Grid, Sample, Setting

_FREE = 0.85  # of twice the speed with twice the connections: they do not get in each other's way


def estimate(grid: Grid, samples: list[Sample]) -> list[Estimate]:
    """
    Fill the grid between the measurements, where that takes no guessing.

    A connection waits for the first byte of each range, then its bytes flow: so much can be told of connections that
    do not get in each other's way, which shows in twice of them being twice as fast. Where they do, what was measured
    at as many connections is the most there is, whatever the part size. Beyond the most connections that were measured
    anything may happen, so nothing is said of it; nor of anything where no first byte was timed, as in copies, or where
    the line was full with the fewest connections already.
    """
    known = [sample for sample in samples if sample.bytes and not sample.throttled]
    waits = sorted(sample.first_byte_seconds for sample in known if sample.first_byte_seconds is not None)
    most: dict[int, float] = {}
    for sample in known:
        most[sample.connections] = max(sample.bytes_per_second, most.get(sample.connections, 0.0))
    free = [
        sample
        for few, many in pairwise(sorted(most))
        for sample in known
        if most[many] / most[few] >= _FREE * many / few and sample.connections == few
    ]
    if not waits or not free:
        return []
    wait = waits[0]  # of those that wait for more than the store, a full line, say, nothing is to be learnt here
    flow = max(_flow(sample, wait) for sample in free)
    measured = {sample.setting for sample in samples}
    return [
        Estimate(
            connections=setting.connections,
            part_size=setting.part_size,
            bytes_per_second=min(_alone(setting, wait, flow), _between(most, setting.connections)),
        )
        for setting in grid.settings()
        if setting not in measured and setting.connections <= max(most)
    ]


def _flow(sample: Sample, wait: float) -> float:
    """Give the bytes per second of one connection while its bytes flow."""
    seconds = sample.connections / sample.bytes_per_second
    return 1 / max(seconds - wait / sample.part_size, seconds / 2)


def _alone(setting: Setting, wait: float, flow: float) -> float:
    """Give the speed of connections that do not get in each other's way."""
    return setting.connections / (wait / setting.part_size + 1 / flow)


def _between(most: dict[int, float], count: int) -> float:
    """Find the most there is at ``count`` connections between its neighbours; below them all, that of the fewest."""
    below = max((known for known in most if known <= count), default=min(most))
    above = min(known for known in most if known >= count)
    if below >= above:
        return most[above]
    way = log2(count / below) / log2(above / below)
    return float(most[below] ** (1 - way) * most[above] ** way)
