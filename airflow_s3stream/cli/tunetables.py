"""What a tune looks like in a terminal: a table of what was measured, a heat map, and what to type now."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.reporting import duration
from airflow_s3stream.engine.tunereport import gain_of, speed
from airflow_s3stream.plan.tuning import Setting, short_size

if TYPE_CHECKING:
    from collections.abc import Iterable

    from airflow_s3stream.plan.tuneoptions import TuneResult
    from airflow_s3stream.plan.tuning import Sample

_SHOWN_ERROR = 0.02  # share; below it a figure is as good as it looks
# From slow to fast: dark blue, teal, green, yellow, as the plot's (viridis), and readable with the text below.
_RAMP = ("#440154", "#46327e", "#365c8d", "#277f8e", "#1fa187", "#4ac16d", "#a0da39", "#fde725")
_DARK_TEXT_FROM = 4  # of the ramp


def sample_table(samples: Iterable[Sample], marks: dict[Setting, str]) -> Table:
    """Show samples as rows. ``marks`` are words beside some of them."""
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 3, 0, 0))
    for name in ("connections", "parts", "MB/s", "", "CPU-s/GiB", "memory"):
        table.add_column(name, justify="left" if not name else "right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for sample in samples:
        error = f"±{100 * sample.error:.0f} %" if sample.error > _SHOWN_ERROR else ""
        memory = "?" if sample.peak_memory is None else f"{sample.peak_memory / 2**20:.0f} MiB"
        mark = marks.get(sample.setting, "")
        if sample.throttled:
            mark = "the store asked for less"
        table.add_row(
            str(sample.connections),
            short_size(sample.part_size),
            number(sample.bytes_per_second),
            error,
            f"{sample.cpu_seconds_per_gib:.2f}",
            memory,
            mark,
            style="bold" if "recommended" in mark else None,
        )
    return table


def number(bytes_per_second: float) -> str:
    """Show a speed in MB/s, with two or three digits."""
    rate = bytes_per_second / 1e6
    return f"{rate:.0f}" if rate >= 10 else f"{rate:.2g}"


def marks_of(result: TuneResult) -> dict[Setting, str]:
    """Say which settings are what."""
    marks: dict[Setting, list[str]] = {}
    for name, sample in (("recommended", result.recommended), ("fastest", result.best), ("default", result.default)):
        if sample is not None:
            marks.setdefault(sample.setting, []).append(name)
    return {setting: ", ".join(words) for setting, words in marks.items()}


def heat_map(result: TuneResult) -> Table:
    """
    Show speeds by connections (across) and part size (down).

    Numbers alone say it all; where the terminal has colours, they help.
    """
    measured = {sample.setting: sample.bytes_per_second for sample in result.samples}
    guessed = {
        Setting(estimate.connections, estimate.part_size): estimate.bytes_per_second for estimate in result.estimates
    }
    cells = {**guessed, **measured}
    most = max(measured.values())
    table = Table(box=None, pad_edge=False, padding=0, show_header=True, header_style="bold")
    table.add_column("", justify="right", no_wrap=True)
    counts = sorted({setting.connections for setting in cells})
    for count in counts:
        table.add_column(f"{count} ", justify="right", no_wrap=True)
    for part in sorted({setting.part_size for setting in cells}, reverse=True):
        row: list[Text] = [Text(f"{short_size(part)}  ")]
        for count in counts:
            setting = Setting(count, part)
            rate = cells.get(setting)
            if rate is None:
                row.append(Text("· ".rjust(7), style="dim"))
                continue
            text = number(rate)
            if setting not in measured:
                row.append(Text(f"~{text} ".rjust(7), style="dim"))
                continue
            chosen = setting == result.recommended.setting
            row.append(Text((f"[{text}]" if chosen else f"{text} ").rjust(7), style=_shade(rate / most, chosen)))
        table.add_row(*row)
    return table


def _shade(share: float, chosen: bool) -> str:
    at = min(int(share * len(_RAMP)), len(_RAMP) - 1)
    text = "black" if at >= _DARK_TEXT_FROM else "white"
    return f"{'bold ' if chosen else ''}{text} on {_RAMP[at]}"


def verdict_lines(result: TuneResult) -> list[str]:
    """Say what is recommended, what it gains and costs."""
    chosen = result.recommended
    memory = "" if chosen.peak_memory is None else f", {chosen.peak_memory / 2**20:.0f} MiB of memory"
    lines = [
        f"Recommended: {chosen.setting}",
        f"  {speed(chosen.bytes_per_second)}, {gain_of(result)}",
        f"  {chosen.cpu_seconds_per_gib:.2f} CPU-s/GiB{memory}",
    ]
    whole = f"  {format_size(result.size)} in {duration(result.size / chosen.bytes_per_second)}"
    default = result.default
    if default and default.bytes_per_second and result.gain and not 0.95 < result.gain < 1.05:
        whole += f" instead of {duration(result.size / default.bytes_per_second)}"
    return [*lines, whole]


def usage_lines(result: TuneResult, saved: str | None) -> list[str]:
    """Say what to type now."""
    options = f"--connections {result.connections} --part-size {short_size(result.part_size).replace(' ', '')}"
    arguments = f'connections={result.connections}, part_size="{short_size(result.part_size).replace(" ", "")}"'
    if saved:
        options, arguments = f"--profile {shlex.quote(saved)}", f'profile="{saved}"'
    if result.kind == "get":
        command, operator = f"s3stream get {shlex.quote(result.uri)} FILE", "S3ObjectToLocalOperator"
    else:
        command = f"s3stream copy {shlex.quote(result.source)} {shlex.quote(result.uri)}"
        operator = "UrlToS3Operator"
    return [f"{command} {options}", f"{operator}(..., {arguments})"]
