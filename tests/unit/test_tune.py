"""A whole tune on simulated links: budgets, failures, what is told and what is left behind."""

from __future__ import annotations

import json
import resource
from dataclasses import asdict
from typing import Any

import pytest

from airflow_s3stream.config import GiB, MiB
from airflow_s3stream.engine.events import Event
from airflow_s3stream.engine.run import Chances
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.engine.tune import Tuning
from airflow_s3stream.engine.tuneevents import Tried, TuneFinished, TuneStarted
from airflow_s3stream.engine.tuneplace import Place
from airflow_s3stream.exceptions import (
    ConfigError,
    SinkDenied,
    SinkUnavailable,
    SourceChanged,
    SourceStalled,
    SourceUnavailable,
    Stopped,
)
from airflow_s3stream.plan.tuneoptions import TuneOptions, TuneResult, read_tune_options
from airflow_s3stream.plan.tuning import Setting, make_grid
from tests.support.links import MB, Link
from tests.support.tuning import STEP, Clock, Machine, NoMemory, SimulatedTrials

DEFAULT = Setting(16, 64 * MiB)


class Rig:
    """A tune over a simulated link."""

    def __init__(
        self, link: Link, size: int = 100 * GiB, *, about: dict[str, Any] | None = None, **options: Any
    ) -> None:
        self.clock = Clock()
        self.stop = StopFlag()
        self.events: list[Event] = []
        self.machine = Machine()
        chances = Chances(clock=self.clock, sleep=self.clock.sleep, draw=lambda: 0.5)
        self.place = Place(TuneOptions(**options), self.stop, self.events.append, chances)
        self.trials = SimulatedTrials(link, self.place, self.clock, size, **(about or {}))

    def run(self) -> TuneResult:
        return Tuning(self.trials, self.place, memory=NoMemory(), processors=self.machine).result()


def far(**about: Any) -> Link:
    return Link(**{"latency": 0.02, "each": 10 * MB, "total": 200 * MB, **about})


class TestFinding:
    def test_it_says_what_to_set_what_it_gains_and_what_it_knows(self) -> None:
        rig = Rig(far())
        result = rig.run()
        assert (result.connections, result.part_size) == (32, 64 * MiB)
        assert result.recommended.setting == Setting(32, 64 * MiB)
        assert result.default is not None
        assert result.default.setting == DEFAULT == rig.trials.measured[0]
        assert result.gain == pytest.approx(200 / 159.5, rel=0.02)
        assert result.recommended.bytes_per_second == pytest.approx(200 * MB, rel=0.01)  # its slow start left out
        assert (result.kind, result.uri, result.size, result.stopped_by) == (
            "get",
            "s3://lake/big",
            100 * GiB,
            "converged",
        )
        assert result.bytes == rig.trials.bytes
        assert result.trials == len(rig.trials.measured)
        assert result.seconds == pytest.approx(sum(rig.trials.lasted))
        assert result.requests == sum(setting.connections for setting in rig.trials.measured)
        assert result.warnings == []
        assert rig.trials.closed == 1

    def test_the_result_is_json(self) -> None:
        told = json.loads(json.dumps(asdict(Rig(far()).run())))
        assert told["samples"][0]["connections"] == 16
        assert told["recommended"]["bytes_per_second"] > told["default"]["bytes_per_second"]

    def test_a_trial_of_a_search_ends_when_it_is_sure(self) -> None:
        """On an even link after half a second beyond the slow start, of one connection after two seconds."""
        rig = Rig(far(each=1000 * MB, total=125 * MB))
        rig.run()
        for setting, seconds in zip(rig.trials.measured, rig.trials.lasted, strict=True):
            least = max(2.0 / setting.connections, 0.5)
            assert least <= seconds - rig.trials.warm_up <= least + 0.5, setting

    def test_credit_that_a_link_lends_does_not_count(self) -> None:
        result = Rig(far(), about={"credit": 3.0}).run()
        assert result.recommended.bytes_per_second == pytest.approx(200 * MB, rel=0.02)

    def test_a_search_moves_a_tenth_of_what_the_full_grid_moves(self) -> None:
        for link in ({"latency": 0.03, "each": 25 * MB, "total": 3e9}, {}, {"each": 1250 * MB, "total": 125 * MB}):
            search, grid = Rig(far(**link)), Rig(far(**link), full_grid=True, max_bytes=1000 * GiB)
            found, best = search.run(), grid.run()
            assert search.trials.bytes <= 0.1 * grid.trials.bytes
            speed = search.trials.link.speed
            assert speed(found.recommended.setting) >= 0.95 * speed(best.best.setting)

    def test_events_tell_the_story(self) -> None:
        rig = Rig(far())
        result = rig.run()
        started, *tried, finished = rig.events
        assert isinstance(started, TuneStarted)
        assert isinstance(finished, TuneFinished)
        assert (started.settings, started.first, started.max_bytes, started.max_seconds) == (
            40,
            DEFAULT,
            10 * GiB,
            60.0,
        )
        assert finished.result == result
        following: list[Setting | None] = [started.first]
        for number, event in enumerate(tried, 1):
            assert isinstance(event, Tried)
            assert event.number == number
            assert event.sample.setting == following[-1]
            following.append(event.next)
        assert following[-1] is None

    def test_what_was_measured_again_counts_as_one(self) -> None:
        # One connection has 94.3 % of the line, and every trial finds it a little faster or slower.
        rig = Rig(Link(latency=0.0, each=10 * MB, total=10.6 * MB), about={"flutter": 0.05})
        result = rig.run()
        twice = {setting for setting in rig.trials.measured if rig.trials.measured.count(setting) > 1}
        assert twice
        assert any(isinstance(event, Tried) and event.again for event in rig.events)
        assert len({sample.setting for sample in result.samples}) == len(result.samples) < result.trials
        assert all(sample.seconds > 1.0 for sample in result.samples if sample.setting in twice)


class TestBudgets:
    def test_the_full_grid_gives_each_setting_three_seconds(self) -> None:
        rig = Rig(far(), full_grid=True)
        result = rig.run()
        assert [sample.setting for sample in result.samples] == [
            DEFAULT, *(setting for setting in make_grid("get", 100 * GiB).settings() if setting != DEFAULT)
        ]  # fmt: skip
        assert all(seconds == pytest.approx(3.2, abs=0.15) for seconds in rig.trials.lasted)
        assert (result.connections, result.stopped_by, result.estimates) == (32, "converged", [])

    def test_the_full_grid_takes_shorter_looks_where_time_is_short(self) -> None:
        rig = Rig(far(), full_grid=True, max_seconds=60.0)
        result = rig.run()
        assert len(result.samples) == 40
        assert result.seconds <= 60.0
        assert result.connections == 32

    def test_and_where_bytes_are_few(self) -> None:
        rig = Rig(far(), full_grid=True, max_bytes=8 * GiB)
        result = rig.run()
        assert len(result.samples) == 40
        assert rig.trials.bytes <= 8 * GiB + 200 * MB * STEP * 40

    @pytest.mark.parametrize("full_grid", [False, True])
    @pytest.mark.parametrize("seconds", [2.0, 3.7, 5.0])
    def test_time_is_never_exceeded(self, seconds: float, full_grid: bool) -> None:
        rig = Rig(far(), max_seconds=seconds, full_grid=full_grid, about={"warm_up": 0.8})
        result = rig.run()
        assert result.seconds <= seconds + STEP
        assert result.stopped_by == "max_seconds"
        assert any(warning.startswith(f"max_seconds={seconds:g} was reached") for warning in result.warnings)
        assert result.recommended.setting in rig.trials.measured

    @pytest.mark.parametrize("full_grid", [False, True])
    @pytest.mark.parametrize("most", [16 * MiB, 100 * MiB, 350 * MiB])
    def test_bytes_are_hardly_exceeded(self, most: int, full_grid: bool) -> None:
        """By what is on its way at that moment; of a simulation, what one step carries."""
        rig = Rig(far(), max_bytes=most, full_grid=full_grid)
        result = rig.run()
        assert rig.trials.bytes <= most + 200 * MB * STEP * 2
        assert result.stopped_by == "max_bytes"
        assert any(warning.startswith("max_bytes=") for warning in result.warnings)

    def test_what_ends_in_the_middle_counts_if_it_was_sure(self) -> None:
        """A trial cut off by the clock after enough windows is a sample, one cut off before is none."""
        cut = Rig(far(), max_seconds=2.0, connections=(1,))  # which wants 2 s after its warm-up
        assert [sample.setting.connections for sample in cut.run().samples] == [1]
        sooner = Rig(far(), max_seconds=2.0, connections=(1,), about={"warm_up": 1.9})
        with pytest.raises(SourceStalled, match="not one setting could be measured"):
            sooner.run()

    def test_a_fast_line_gets_no_trial_that_is_too_short_to_tell(self) -> None:
        """10 GiB at 8 GB/s are little more than a second: better few settings than many figures that mean nothing."""
        rig = Rig(Link(latency=0.0, each=250 * MB, total=8_000 * MB))
        result = rig.run()
        assert result.stopped_by == "max_bytes"
        assert all(sample.error <= 0.1 for sample in result.samples)


class TestTrouble:
    def test_a_stop_ends_it_at_once_and_leaves_nothing(self) -> None:
        rig = Rig(far(), about={"kind": "copy"})

        def stop(setting: Setting) -> None:
            if setting.connections > 16:
                rig.stop.request("Ctrl-C")

        rig.trials.failing = stop
        with pytest.raises(Stopped, match=r"Ctrl-C\. It was put away\."):
            rig.run()
        assert rig.trials.closed == 1

    @pytest.mark.parametrize("error", [SourceChanged, SinkDenied])
    def test_what_no_other_setting_mends_ends_it(self, error: type[Exception]) -> None:
        rig = Rig(far(), about={"kind": "copy", "failing": lambda setting: error("no") if setting != DEFAULT else None})
        with pytest.raises(error, match=r"no\. It was put away\."):
            rig.run()
        assert rig.trials.closed == 1

    def test_an_error_of_our_own_leaves_nothing_either(self) -> None:
        rig = Rig(far(), about={"kind": "copy", "failing": lambda setting: ValueError("a bug")})
        with pytest.raises(ValueError, match="a bug") as caught:
            rig.run()
        assert caught.value.__notes__ == ["It was put away."]

    def test_a_listener_that_fails_leaves_nothing(self) -> None:
        rig = Rig(far(), about={"kind": "copy"})
        place = Place(rig.place.options, None, lambda event: 1 / 0, Chances(clock=rig.clock, sleep=rig.clock.sleep))  # type: ignore[arg-type,return-value]
        with pytest.raises(ZeroDivisionError):
            Tuning(rig.trials, place).result()
        assert rig.trials.closed == 1

    def test_a_store_that_is_down_is_said_at_once(self) -> None:
        """The first setting is the default, which every store bears."""
        rig = Rig(far(), about={"failing": lambda setting: SourceUnavailable("refused")})
        with pytest.raises(SourceUnavailable, match="refused"):
            rig.run()
        assert rig.trials.measured == [DEFAULT]

    @pytest.mark.parametrize("late", [False, True])
    def test_a_setting_that_breaks_is_not_recommended(self, late: bool) -> None:
        """More connections than a firewall allows, say."""

        def broken(setting: Setting) -> Exception | None:
            return SinkUnavailable("reset by peer") if setting.connections > 32 else None

        rig = Rig(Link(latency=0.03, each=25 * MB), about={"failing": broken, "late": late})
        result = rig.run()
        assert result.connections == 32
        assert any("64 connections, parts of 64 MiB did not work: reset by peer" in text for text in result.warnings)
        assert max(setting.connections for setting in rig.trials.measured) == 64

    def test_a_store_that_throttles_is_left_in_peace_for_a_moment(self) -> None:
        rig = Rig(Link(latency=0.03, each=25 * MB, throttles_at=32))
        result = rig.run()
        assert result.connections == 32
        assert sum(rig.clock.slept) == pytest.approx(1.0)
        assert "the store asked for less (SlowDown) at 64 connections, so fewer were chosen" in result.warnings
        throttled = rig.trials.measured.index(Setting(64, 64 * MiB))
        assert rig.trials.lasted[throttled] <= 0.1  # nothing is gained by going on

    @pytest.mark.parametrize("warm_up", [0.36, 0.38, 0.40, 0.42, 0.44, 0.46, 0.48])
    def test_there_may_be_no_time_left_to_leave_it_in_peace(self, warm_up: float) -> None:
        link = Link(latency=0.03, each=25 * MB, throttles_at=16)
        result = Rig(link, max_seconds=2.0, about={"warm_up": warm_up}).run()
        assert (result.connections, result.stopped_by) == (16, "max_seconds")

    def test_a_store_that_always_throttles(self) -> None:
        result = Rig(far(throttles_at=0)).run()
        assert any("whatever was tried" in text for text in result.warnings)

    def test_nothing_moves(self) -> None:
        """Every setting is given up after 10 seconds without a byte."""
        rig = Rig(far(each=0.0001, total=0.0001), about={"kind": "copy"})
        with pytest.raises(
            SourceStalled, match=r"not one setting could be measured: 0 bytes came in 60 s\. It was put"
        ):
            rig.run()
        assert all(seconds <= 10 + STEP for seconds in rig.trials.lasted)

    def test_few_open_files_mean_few_connections(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (140, hard))
        try:
            result = Rig(Link(latency=0.03, each=25 * MB)).run()
            with pytest.raises(ConfigError, match="limit on open files"):
                Rig(far(), connections=(512,)).run()
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert result.connections <= 64
        assert any("the limit on open files" in text for text in result.warnings)


class TestNarrowing:
    def test_only_what_was_named_is_recommended(self) -> None:
        """The default is measured all the same, for comparison, and last: nobody allowed bytes for it."""
        rig = Rig(far(), connections=(20, 24), part_sizes=(32 * MiB, 16 * MiB))
        result = rig.run()
        assert rig.trials.measured[-1] == DEFAULT
        assert DEFAULT not in rig.trials.measured[:-1]
        assert result.connections == 20
        assert result.gain == pytest.approx(198.0 / 159.5, rel=0.02)

    def test_few_bytes_are_spent_on_what_was_named(self) -> None:
        result = Rig(
            far(each=300 * MB, total=900 * MB), connections=(20,), part_sizes=(32 * MiB,), max_bytes=256 * MiB
        ).run()
        assert [sample.setting for sample in result.samples] == [Setting(20, 32 * MiB)]
        assert (result.default, result.gain, result.stopped_by) == (None, None, "converged")

    def test_even_if_the_default_is_better(self) -> None:
        assert Rig(far(), connections=(1, 20), part_sizes=(MiB,)).run().connections == 20
        assert Rig(far(each=300 * MB, latency=0.05), connections=(24,), part_sizes=(MiB,)).run().connections == 24

    def test_fewer_connections_than_the_default_are_not_exceeded(self) -> None:
        """Whoever allows no more than 8 has a reason."""
        rig = Rig(far(), connections=(4, 8))
        result = rig.run()
        assert max(setting.connections for setting in rig.trials.measured) == 8
        assert (result.default, result.gain, result.connections) == (None, None, 8)


class TestWarnings:
    def test_a_small_object_is_read_several_times(self) -> None:
        rig = Rig(far(), 200 * MiB)
        assert any("was read" in text and "cache" in text for text in rig.run().warnings)
        assert not any("cache" in text for text in Rig(far()).run().warnings)

    def test_an_unsteady_speed_is_said(self) -> None:
        assert any("up and down by" in text for text in Rig(far(), about={"flutter": 0.7}).run().warnings)
        assert not any("up and down by" in text for text in Rig(far(), about={"flutter": 0.05}).run().warnings)

    def test_the_cpu_may_be_the_limit(self) -> None:
        rig = Rig(far())
        rig.machine.share = 0.97
        assert any(text.startswith("the CPU was the limit, not the network: 16 conn") for text in rig.run().warnings)


def test_options_are_read_as_people_type_them() -> None:
    options = read_tune_options(
        connections="8, 16,32", part_sizes=["8MiB", 16 * MiB], max_bytes="1GB", max_seconds="20", full_grid="true",
        retry_attempts="3",
    )  # fmt: skip
    assert (options.connections, options.part_sizes) == ((8, 16, 32), (8 * MiB, 16 * MiB))
    assert (options.max_bytes, options.max_seconds, options.full_grid, options.retry.attempts) == (10**9, 20.0, True, 3)
    assert read_tune_options(connections=4, part_sizes="['8MiB', '1GiB']").part_sizes == (8 * MiB, GiB)
    assert read_tune_options(connections="", part_sizes=None, max_bytes="") == TuneOptions()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"connections": "a few"}, "connections='a few'"),
        ({"part_sizes": "8 potatoes"}, "part_sizes='8 potatoes'"),
        ({"max_bytes": "1MiB"}, "max_bytes="),
        ({"max_seconds": "1"}, "max_seconds="),
        ({"deadline": "10"}, "deadline=10 is no option of a tune; max_seconds is its end"),
        ({"max_seconds": "soon"}, "max_seconds='soon'"),
        ({"max_speed": 1}, "max_speed is not an option"),
    ],
    ids=str,
)
def test_bad_options_are_named(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_tune_options(**given)
