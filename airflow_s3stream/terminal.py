"""How the command shows a transfer: a bar in a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.events import (
    Event,
    Fetched,
    FetchFinished,
    FetchStarted,
    Finished,
    ObjectFinished,
    ObjectProgressed,
    ObjectStarted,
    Progressed,
    Started,
)
from airflow_s3stream.engine.reporting import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.config import CopyOptions
    from airflow_s3stream.plan.download import ReadOptions
    from airflow_s3stream.plan.getting import GetOptions

    T = TypeVar("T", bound=CopyOptions | ReadOptions | GetOptions)

_BAR_INTERVAL = 0.25  # seconds


class Display:
    """A listener that shows events. ``bar`` is None where there is no terminal."""

    def __init__(self, console: Console | None, bar: Progress | None) -> None:
        self._console = console
        self._bar = bar
        self._shown = 0
        self._task = TaskID(0)

    def adjust(self, options: T, *, chosen: bool) -> T:
        """Ask for progress as often as it can be shown, unless the user chose."""
        return options if chosen or self._bar is None else replace(options, progress_interval=_BAR_INTERVAL)

    def __call__(self, event: Event) -> None:
        if self._console is None:
            return
        if self._bar is not None and self._moved(event, self._bar):
            return
        self._console.print(describe(event), highlight=False, markup=False, soft_wrap=True)

    def _moved(self, event: Event, bar: Progress) -> bool:
        """Show an event by the bar; False if it needs a line."""
        match event:
            case Started():
                self._begin(bar, event.probe.size)
            case FetchStarted():
                self._begin(bar, None)
            case Progressed():
                # Bytes under way are taken back when a part fails; a bar must not run backwards.
                self._shown = max(self._shown, event.stored + event.under_way)
                size = "?" if event.size is None else format_size(event.size)
                amount, rate = f"{format_size(self._shown)} of {size}", f"{event.rate / 1e6:.1f} MB/s"
                bar.update(self._task, completed=self._shown, amount=amount, rate=rate)
                return True
            case Fetched():
                done = event.objects + event.skipped + event.failed
                total = event.listed if event.listing_done else None
                amount = f"{done} of {event.listed}{'' if event.listing_done else ' listed so far'}"
                rate = f"{event.objects_per_second:.0f} objects/s, {event.bytes_per_second / 1e6:.1f} MB/s"
                bar.update(self._task, completed=done, total=total, amount=amount, rate=rate)
                return True
            case ObjectStarted():
                # What an earlier run did must not count as speed.
                self._begin(bar, event.size, event.resumed)
            case ObjectProgressed():
                amount = f"{format_size(event.stored)} of {format_size(event.size)}"
                retries = f", {event.retries} retries" if event.retries else ""
                rate = f"{event.bytes_per_second / 1e6:.1f} MB/s{retries}"
                bar.update(self._task, completed=event.stored, amount=amount, rate=rate)
                return True
            case Finished() | FetchFinished() | ObjectFinished():
                bar.update(self._task, visible=False)
        return False

    def _begin(self, bar: Progress, total: int | None, completed: int = 0) -> None:
        self._task = bar.add_task("", total=total, completed=completed, amount="", rate="")


@contextmanager
def show(*, quiet: bool, to_stderr: bool) -> Iterator[Display]:
    """
    Give a display.

    :param quiet: show nothing.
    :param to_stderr: keep stdout for the machine.
    """
    if quiet:
        yield Display(None, None)
        return
    console = Console(file=sys.stderr if to_stderr else sys.stdout)
    if not console.is_terminal:
        yield Display(console, None)
        return
    columns = (
        BarColumn(),
        TextColumn("{task.fields[amount]}"),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Display(console, bar)
