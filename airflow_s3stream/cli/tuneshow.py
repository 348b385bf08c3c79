"""How the command shows a tune: a table that grows in a terminal, plain lines otherwise, and the verdict."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from airflow_s3stream.cli.tunetables import heat_map, marks_of, sample_table, usage_lines, verdict_lines
from airflow_s3stream.config import format_size
from airflow_s3stream.engine.reporting import describe
from airflow_s3stream.engine.tuneevents import Tried, TuneFinished, TuneStarted
from airflow_s3stream.plan.tuning import choose

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.plan.tuneoptions import TuneResult
    from airflow_s3stream.plan.tuning import Setting

_ROWS = 12  # of the table while it grows: the last ones, so that it fits any window


class TuneDisplay:
    """A listener that shows a tune. ``live`` is None where there is no terminal."""

    def __init__(self, console: Console | None, live: Live | None, saved: str | None) -> None:
        self._console = console
        self._live = live
        self._saved = saved
        self._spinner = Spinner("dots")

    def __call__(self, event: Event) -> None:
        if self._console is None:
            return
        if isinstance(event, TuneStarted):
            self._print(Text(describe(event)))
            self._show(Text(), event.first, "nothing moved")
        elif isinstance(event, Tried):
            self._tried(event)
        elif isinstance(event, TuneFinished):
            self._finish(event.result)
        else:
            self._print(Text(describe(event)))

    def _tried(self, event: Tried) -> None:
        if self._live is None:
            self._print(Text(describe(event)))
            return
        best, chosen = choose(event.samples)
        marks = {best.setting: "fastest so far"}
        if chosen is not best:
            marks[chosen.setting] = "as fast with less"
        moved = f"{format_size(event.bytes)} moved in {event.seconds:.0f} s"
        self._show(sample_table(event.samples[-_ROWS:], marks), event.next, moved)

    def _show(self, table: RenderableType, doing: Setting | None, moved: str) -> None:
        if self._live is not None:
            self._spinner.update(text=Text(f"{doing or 'done'}; {moved} so far", style="dim"))
            self._live.update(Group(table, self._spinner))

    def _finish(self, result: TuneResult) -> None:
        if self._live is not None:
            self._live.update(Text())
            self._live.stop()
        samples = sorted(result.samples, key=lambda sample: sample.setting)
        self._print(Text(), sample_table(samples, marks_of(result)), Text())
        about = "MB/s by connections (across) and part size (down)"
        self._print(
            Text(f"{about}; ~ is worked out, not measured" if result.estimates else about), heat_map(result), Text()
        )
        head, *rest = verdict_lines(result)
        self._print(Text(head, style="bold"), *map(Text, rest))
        for warning in result.warnings:
            self._print(Text(f"  Note: {warning}", style="yellow"))
        if result.left:
            self._print(Text(f"  {result.left}"))
        self._print(Text(), *(Text(f"  {line}") for line in usage_lines(result, self._saved)))

    def _print(self, *things: RenderableType) -> None:
        if self._console is not None:
            for thing in things:
                self._console.print(thing, highlight=False, soft_wrap=isinstance(thing, Text))


@contextmanager
def show_tune(*, quiet: bool, to_stderr: bool, saved: str | None) -> Iterator[TuneDisplay]:
    """
    Give a display.

    :param quiet: show nothing.
    :param to_stderr: keep stdout for the machine.
    :param saved: the profile's path, if there will be one.
    """
    if quiet:
        yield TuneDisplay(None, None, saved)
        return
    console = Console(file=sys.stderr if to_stderr else sys.stdout)
    if not console.is_terminal:
        yield TuneDisplay(console, None, saved)
        return
    with Live(console=console, transient=True, refresh_per_second=8) as live:
        yield TuneDisplay(console, live, saved)
