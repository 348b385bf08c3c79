"""Links that exist only as a formula: what a setting would reach on them, with noise."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from math import exp, inf, log

from airflow_s3stream.config import MiB
from airflow_s3stream.plan.tunesearch import Order
from airflow_s3stream.plan.tuning import Grid, Sample, Setting, choose

MB = 1_000_000
# Seconds that a trial takes, its warming up included: in a search, which ends it when its figure is sure, and in a full
# grid, which gives every setting the same.
SEARCH_TRIAL, GRID_TRIAL = 0.8, 3.3


@dataclass(kw_only=True)
class Link:
    """
    A link to a store. Rates are bytes per second.

    :ivar latency: seconds to the first byte of each range.
    :ivar cpu: bytes per second at which this machine can do no more.
    :ivar crowd: connections beyond which each makes all of them slower, by the power ``fall``.
    :ivar throttles_at: connections beyond which the store answers SlowDown.
    :ivar dislikes: part size beyond which the store is slow.
    :ivar noise: of a measurement: its standard deviation, as a share.
    """

    latency: float = 0.03
    each: float = 25 * MB
    total: float = inf
    cpu: float = inf
    crowd: int = 1000
    fall: float = 0.0
    throttles_at: int = 1000
    dislikes: int = 1 << 60
    noise: float = 0.0
    seed: int = 0
    measured: list[Setting] = field(default_factory=list)
    seconds: float = SEARCH_TRIAL
    bytes: float = 0.0
    """Moved so far."""

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def speed(self, setting: Setting) -> float:
        """Tell the truth."""
        count, part = setting
        rate = min(self.total, self.cpu, count * part / (self.latency + part / self.each))
        if count > self.crowd:
            rate *= (self.crowd / count) ** self.fall
        return rate * (0.6 if part > self.dislikes else 1.0)

    def bears(self, setting: Setting) -> bool:
        return setting.connections <= self.throttles_at

    def best(self, grid: Grid) -> float:
        return max(self.speed(setting) for setting in grid.settings() if self.bears(setting))

    def measure(self, setting: Setting) -> Sample:
        rate = self.speed(setting) * max(self._random.gauss(1.0, self.noise), 0.1)
        self.measured.append(setting)
        self.bytes += rate * self.seconds
        busy = min(self.speed(setting) / self.cpu, 1.0)
        return sample(setting, rate, error=self.noise, busy=busy, throttles=0 if self.bears(setting) else 5)

    def grid_bytes(self, grid: Grid) -> float:
        return sum(map(self.speed, grid.settings())) * GRID_TRIAL


def sample(setting: Setting, rate: float, **about: object) -> Sample:
    known: dict[str, object] = {
        "connections": setting.connections, "part_size": setting.part_size, "bytes": round(rate), "seconds": 1.0,
        "bytes_per_second": rate, "error": 0.0, "cpu_seconds_per_gib": 1.0, "peak_memory": 16 * MiB, "requests": 10,
        "errors": 0, "throttles": 0, "first_byte_seconds": None, "busy": 0.1,
    }  # fmt: skip
    return Sample(**{**known, **about})  # type: ignore[arg-type]


def drive(order: Order, link: Link, most: int = 60) -> Setting:
    """Measure what is asked for until nothing is; return the recommendation."""
    for _ in range(most):
        setting = order.next()
        if setting is None:
            return choose(order.samples).recommended.setting
        order.tell(link.measure(setting))
    raise AssertionError(f"it does not end: {link.measured}")


def random_link(chance: random.Random, **about: object) -> Link:
    """Draw a link: from 0.5 to 250 ms, from 1 to 300 MB/s per connection, full from 1 to 300 connections on."""

    def between(low: float, high: float) -> float:
        return exp(chance.uniform(log(low), log(high)))

    each = between(1 * MB, 300 * MB)
    known: dict[str, object] = {
        "latency": between(0.0005, 0.25), "each": each, "total": each * between(1, 300), "seed": chance.random(),
    }  # fmt: skip
    return Link(**{**known, **about})  # type: ignore[arg-type]
