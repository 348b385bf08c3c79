"""How the command shows a transfer: a bar in a terminal, plain lines otherwise."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from airflow_s3stream.engine.events import Event, Finished, Progressed, Started
from airflow_s3stream.engine.reporting import describe

if TYPE_CHECKING:
    from collections.abc import Iterator

    from airflow_s3stream.config import CopyOptions

_BAR_INTERVAL = 0.25  # seconds


class Display:
    """A listener that shows events. ``bar`` is None where there is no terminal."""

    def __init__(self, console: Console | None, bar: Progress | None) -> None:
        self._console = console
        self._bar = bar
        self._shown = 0
        self._task = bar.add_task("", rate="", start=False, visible=False) if bar else None

    def adjust(self, options: CopyOptions, *, chosen: bool) -> CopyOptions:
        """Ask for progress as often as it can be shown, unless the user chose."""
        return options if chosen or self._bar is None else replace(options, progress_interval=_BAR_INTERVAL)

    def __call__(self, event: Event) -> None:
        if self._console is None:
            return
        if self._bar is not None and self._task is not None:
            if isinstance(event, Progressed):
                # Bytes under way are taken back when a part fails; a bar must not run backwards.
                self._shown = max(self._shown, event.stored + event.under_way)
                self._bar.update(self._task, completed=self._shown, rate=f"{event.rate / 1e6:.1f} MB/s")
                return
            if isinstance(event, Started):
                self._bar.update(self._task, total=event.probe.size, visible=True)
                self._bar.start_task(self._task)
            if isinstance(event, Finished):
                self._bar.update(self._task, visible=False)
        self._console.print(describe(event), highlight=False, markup=False, soft_wrap=True)


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
        DownloadColumn(binary_units=True),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Display(console, bar)
