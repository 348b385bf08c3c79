"""What people see of a tune: the table, the heat map, the verdict, the picture."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console
from rich.live import Live

from airflow_s3stream.cli.tuneplot import plot, shortened
from airflow_s3stream.cli.tuneshow import TuneDisplay
from airflow_s3stream.cli.tunetables import heat_map, marks_of, sample_table, usage_lines, verdict_lines
from airflow_s3stream.config import MiB
from airflow_s3stream.engine.events import Event
from airflow_s3stream.engine.reporting import describe
from airflow_s3stream.engine.tuneevents import TuneFinished
from airflow_s3stream.exceptions import LocalError
from airflow_s3stream.plan.tuneoptions import TuneResult
from tests.support.links import MB, Link
from tests.support.tuning import a_result

FREE = Link(latency=0.02, each=10 * MB, total=400 * MB)


def shown(*things: object, colour: bool = False) -> str:
    out = io.StringIO()
    console = Console(file=out, width=100, force_terminal=colour, color_system="truecolor" if colour else None)
    for thing in things:
        console.print(thing)
    return out.getvalue()


@pytest.fixture(scope="module")
def result() -> TuneResult:
    return a_result(FREE)


def test_the_heat_map_says_it_all_without_colours(result: TuneResult) -> None:
    lines = [line.rstrip() for line in shown(heat_map(result)).splitlines()]
    assert lines[0].split() == ["1", "2", "4", "8", "16", "32", "64", "128"]
    assert lines[1].split() == ["64", "MiB", "~10", "~20", "~40", "~80", "160", "319", "[400]", "400"]
    assert [line.split()[0] for line in lines[1:]] == ["64", "32", "16", "8", "4"]
    assert len({len(line) for line in lines[1:]}) == 1
    assert all(len(line) <= 80 for line in lines)


def test_with_colours_each_measured_cell_has_one(result: TuneResult) -> None:
    painted = shown(heat_map(result), colour=True)
    assert painted.count("\x1b[1;") >= 1
    assert painted.count("48;2;") == len(result.samples)


def test_what_is_not_known_is_a_dot() -> None:
    """On a line that is full with two connections, nothing can be worked out."""
    text = shown(heat_map(a_result(Link(latency=0.001, each=100 * MB, total=125 * MB))))
    assert "~" not in text
    assert "·" in text


def test_the_table_names_the_settings_that_matter(result: TuneResult) -> None:
    lines = [" ".join(line.split()) for line in shown(sample_table(result.samples, marks_of(result))).splitlines()]
    assert lines[0] == "connections parts MB/s CPU-s/GiB memory"
    assert "16 64 MiB 160 0.00 ? default" in lines
    assert any(line.endswith(("recommended, fastest", "recommended")) for line in lines)


def test_the_verdict_says_what_is_gained(result: TuneResult) -> None:
    head, speed, cost, whole = verdict_lines(result)
    assert head == "Recommended: 64 connections, parts of 64 MiB"
    assert speed == "  400 MB/s, 2.5 times the default's 160 MB/s"
    assert cost == "  0.00 CPU-s/GiB"
    assert whole == "  100.0 GiB in 4 min 28 s instead of 11 min 13 s"


@pytest.mark.parametrize(
    ("link", "said"),
    [
        (Link(latency=0.02, each=10 * MB, total=195 * MB), "22 % more than the default's 160 MB/s"),
        (Link(latency=0.001, each=50 * MB, total=125 * MB), "as fast as the default's 16 connections"),
        (Link(latency=0.02, each=10 * MB, total=165 * MB), "which is the default"),
        (Link(latency=0.02, each=10 * MB, crowd=8, fall=2.0), "2.0 times the default's 39.9 MB/s"),
    ],
    ids=["more", "as much", "the same", "twice"],
)
def test_gains_are_said_in_words(link: Link, said: str) -> None:
    result = a_result(link)
    assert verdict_lines(result)[1].endswith(said)
    assert f"{said}; " in describe(TuneFinished(result=result))


def test_it_says_what_to_type(result: TuneResult) -> None:
    assert usage_lines(result, None) == [
        "s3stream get s3://lake/big FILE --connections 64 --part-size 64MiB",
        'S3ObjectToLocalOperator(..., connections=64, part_size="64MiB")',
    ]
    assert usage_lines(result, "my tune.json") == [
        "s3stream get s3://lake/big FILE --profile 'my tune.json'",
        'S3ObjectToLocalOperator(..., profile="my tune.json")',
    ]


def test_a_pipe_gets_plain_lines(result: TuneResult) -> None:
    out = io.StringIO()
    TuneDisplay(Console(file=out, width=100), None, None)(TuneFinished(result=result))
    text = out.getvalue()
    assert "\x1b" not in text
    assert "Recommended: 64 connections" in text
    assert text.rstrip().endswith('part_size="64MiB")')


def test_a_terminal_gets_a_table_that_grows_and_goes() -> None:
    """What is left on the screen is the verdict."""
    out = io.StringIO()
    console = Console(file=out, width=100, height=30, force_terminal=True, color_system=None)
    with Live(console=console, transient=True, auto_refresh=False) as live:
        display = TuneDisplay(console, live, None)
        growing = []

        def hear(event: Event) -> None:
            display(event)
            live.refresh()
            growing.append(out.getvalue())

        a_result(FREE, listener=hear)
    first, second, *_, last = growing
    assert "Tuning downloads of s3://lake/big" in first
    assert "16 connections, parts of 64 MiB; nothing moved so far" in first
    assert "Measured" not in last
    assert "fastest so far" in second
    assert "32 connections, parts of 64 MiB; " in second
    assert last.count("Recommended: ") == 1


@pytest.mark.parametrize("name", ["tune.png", "tune.svg", "tune.pdf"])
def test_the_picture_is_drawn(tmp_path: Path, result: TuneResult, name: str) -> None:
    pytest.importorskip("matplotlib")
    plot(result, str(tmp_path / name), date="2026-11-21")
    start = (tmp_path / name).read_bytes()[:500]
    assert start.startswith((b"\x89PNG", b"<?xml", b"%PDF"))


def test_every_grid_can_be_drawn(tmp_path: Path) -> None:
    """A full one, one with two settings, one with parts of odd sizes."""
    pytest.importorskip("matplotlib")
    for result in (
        a_result(full_grid=True),
        a_result(connections=(16,), part_sizes=(8 * MiB, 64 * MiB)),
        a_result(size=100 * MiB),
        a_result(Link(throttles_at=0)),
    ):
        plot(result, str(tmp_path / "tune.png"), date="2026-11-21")
        shown(heat_map(result), sample_table(result.samples, marks_of(result)))


def test_a_picture_that_cannot_be_written_is_an_error_of_ours(tmp_path: Path, result: TuneResult) -> None:
    pytest.importorskip("matplotlib")
    with pytest.raises(LocalError, match=r"the picture '.*tune\.png' cannot be written: No such file"):
        plot(result, str(tmp_path / "none" / "tune.png"), date="2026-11-21")


def test_long_names_lose_their_middle() -> None:
    assert shortened("s3://lake/big") == "s3://lake/big"
    long = f"s3://lake/{'x' * 100}/big.csv"
    assert len(shortened(long)) <= 60
    assert shortened(long).startswith("s3://lake/x")
    assert shortened(long).endswith("x/big.csv")
