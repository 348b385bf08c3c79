"""Trials that move nothing: a link that is a formula, and time that passes as it would."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from airflow_s3stream.config import GiB
from airflow_s3stream.engine.events import Listener
from airflow_s3stream.engine.run import Chances
from airflow_s3stream.engine.trial import Trial
from airflow_s3stream.engine.trialcost import PeakMemory, Processors, Spent
from airflow_s3stream.engine.tune import Tuning
from airflow_s3stream.engine.tuneplace import Place
from airflow_s3stream.plan.tuneoptions import TuneOptions, TuneResult
from airflow_s3stream.plan.tuning import Kind, Setting
from tests.support.links import MB, Link

STEP = 0.02
"""Seconds between two looks at a trial."""


class Clock:
    """Time that passes when somebody sleeps or moves bytes."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.slept.append(seconds)


@dataclass
class SimulatedTrials:
    """
    Trials over a link that is a formula.

    :ivar warm_up: seconds in which connections get there, evenly faster.
    :ivar credit: for 0.3 s after that, times the speed that the link lends.
    :ivar failing: what a setting raises, if it raises; ``late``: after it has moved bytes.
    :ivar flutter: share by which each step differs from the link's speed, for 0.2 s up and 0.2 s down.
    """

    link: Link
    place: Place
    clock: Clock
    size: int
    kind: Kind = "get"
    warm_up: float = 0.2
    flutter: float = 0.0
    credit: float = 1.0
    late: bool = False
    failing: Callable[[Setting], Exception | None] = lambda setting: None
    uri: str = "s3://lake/big"
    source: str = ""
    endpoint: str = "http://127.0.0.1:9"
    warnings: list[str] = field(default_factory=list)
    measured: list[Setting] = field(default_factory=list)
    lasted: list[float] = field(default_factory=list)
    """Seconds of each trial."""
    closed: int = 0
    bytes: int = 0

    def measure(self, trial: Trial) -> None:
        self.measured.append(trial.setting)
        began, rate = self.clock.now, self.link.measure(trial.setting).bytes_per_second
        trial.requests = trial.setting.connections
        trial.first_bytes = [self.link.latency] if self.kind == "get" else []
        error = self.failing(trial.setting)
        if error is not None and not self.late:
            raise error
        if not self.link.bears(trial.setting):
            trial.errors = trial.throttles = 10
        try:
            while True:
                self.clock.now += STEP
                self.place.limits.check()
                share = min((self.clock.now - began) / self.warm_up, 1.0) if self.warm_up else 1.0
                if self.warm_up <= self.clock.now - began < self.warm_up + 0.3:
                    share *= self.credit
                share *= 1 + self.flutter * (1 if (self.clock.now - began) % 0.4 < 0.2 else -1)
                self.bytes += round(rate * STEP * share)
                trial.moved(round(rate * STEP * share))
                if trial.look(under_way=self.clock.now - began >= self.warm_up):
                    if error is not None:
                        raise error
                    return
        finally:
            self.lasted.append(self.clock.now - began)

    def close(self) -> str:
        self.closed += 1
        return "It was put away." if self.kind == "copy" else ""


class NoMemory(PeakMemory):
    """A system that does not tell."""

    def __init__(self) -> None:
        pass

    def begin(self) -> None:
        pass

    def peak(self) -> int | None:
        return None


class Machine(Processors):
    """A processor of which a transfer wants some share of the time."""

    def __init__(self, share: float = 0.1) -> None:
        self.share = share

    def read(self) -> Spent:
        return Spent(0.0, 0.0, 0.0)

    def busy(self, since: Spent, now: Spent, seconds: float) -> float:
        return self.share


def a_result(
    link: Link | None = None, size: int = 100 * GiB, listener: Listener | None = None, **options: Any
) -> TuneResult:
    """Tune on a simulated link: 20 ms, 10 MB/s per connection, 200 MB/s in all."""
    clock = Clock()
    place = Place(TuneOptions(**options), None, listener, Chances(clock=clock, sleep=clock.sleep))
    trials = SimulatedTrials(link or Link(latency=0.02, each=10 * MB, total=200 * MB), place, clock, size)
    return Tuning(trials, place, memory=NoMemory(), processors=Machine()).result()
