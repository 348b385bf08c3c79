"""The picture of a tune: a heat map. The only place that knows matplotlib, which is loaded when a picture is wanted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.tunereport import counted, gain_of, speed
from airflow_s3stream.exceptions import LocalError
from airflow_s3stream.plan.tuning import Setting, short_size

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuneoptions import TuneResult

_DPI = 200
_INCHES_PER_COLUMN, _INCHES_PER_ROW = 0.88, 0.62
_LIGHT_FROM = 0.6  # of the colour scale; text on it is dark from there on
_PALE = 0.18  # opacity of what was worked out
_GREY, _INK = "#8a8f98", "#1c1f24"
_CHOSEN: dict[str, Any] = {"edgecolor": "#d62246", "linewidth": 2.6}
_DEFAULT: dict[str, Any] = {"linestyle": (0, (3, 2)), "linewidth": 1.2}
_LONGEST_URI = 60


def plot(result: TuneResult, path: str, *, date: str) -> None:
    """
    Draw speeds by connections (across) and part size (up).

    :param path: ends in .png, .svg or .pdf.
    :param date: of the measurement, as it is to be shown.
    :raises LocalError: it cannot be written.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    guessed = {Setting(one.connections, one.part_size): one.bytes_per_second for one in result.estimates}
    settings = {*guessed, *(sample.setting for sample in result.samples)}
    counts = sorted({setting.connections for setting in settings})
    parts = sorted({setting.part_size for setting in settings})
    width = 2.1 + _INCHES_PER_COLUMN * len(counts)
    with pyplot.rc_context({"font.family": "DejaVu Sans", "font.size": 10, "text.color": _INK}):
        figure, axes = pyplot.subplots(figsize=(max(width, 6.4), 2.0 + _INCHES_PER_ROW * len(parts)), dpi=_DPI)
        _cells(axes, result, guessed, counts, parts)
        _frame(axes, counts, parts)
        _titles(figure, axes, result, date, bool(guessed))
        try:
            figure.savefig(path, bbox_inches="tight", pad_inches=0.2, facecolor="white")
        except OSError as error:
            raise LocalError(f"the picture {path!r} cannot be written: {error.strerror}") from error
        finally:
            pyplot.close(figure)


def _cells(axes: Any, result: TuneResult, guessed: dict[Setting, float], counts: list[int], parts: list[int]) -> None:
    """Fill the grid: a colour and a number where something was measured, pale ones where it was worked out."""
    from matplotlib import colormaps
    from matplotlib.patches import Rectangle

    colours = colormaps["viridis"]
    measured = {sample.setting: sample.bytes_per_second for sample in result.samples}
    marks = {result.recommended.setting: "recommended"}
    if result.default is not None:
        marks.setdefault(result.default.setting, "default")
    for setting, rate in {**guessed, **measured}.items():
        across, up = counts.index(setting.connections), parts.index(setting.part_size)
        known = setting in measured
        share = min(rate / result.best.bytes_per_second, 1.0)
        ink = (_INK if share >= _LIGHT_FROM else "white") if known else _GREY
        axes.add_patch(
            Rectangle((across - 0.5, up - 0.5), 1, 1, facecolor=colours(share), alpha=1.0 if known else _PALE, lw=0)
        )
        axes.text(
            across, up, f"{'' if known else '~'}{number(rate)}", ha="center", va="center", color=ink,
            fontsize=11 if known else 9, fontweight="bold" if known else "normal",
        )  # fmt: skip
        if setting in marks:
            frame = _CHOSEN if marks[setting] == "recommended" else {**_DEFAULT, "edgecolor": ink}
            axes.add_patch(Rectangle((across - 0.46, up - 0.45), 0.92, 0.9, fill=False, zorder=3, **frame))
            axes.text(across, up - 0.33, marks[setting], ha="center", va="center", fontsize=6.5, color=ink)


def number(bytes_per_second: float) -> str:
    """Show a speed in MB/s."""
    rate = bytes_per_second / 1e6
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2g}"


def _frame(axes: Any, counts: list[int], parts: list[int]) -> None:
    axes.set_xlim(-0.5, len(counts) - 0.5)
    axes.set_ylim(-0.5, len(parts) - 0.5)
    axes.set_xticks(range(len(counts)), [str(count) for count in counts])
    axes.set_yticks(range(len(parts)), [short_size(part) for part in parts])
    axes.set_xlabel("connections", labelpad=8)
    axes.set_ylabel("part size", labelpad=8)
    axes.tick_params(length=0)
    for side in axes.spines.values():
        side.set_visible(False)


def _titles(figure: Any, axes: Any, result: TuneResult, date: str, guessed: bool) -> None:
    what = f"{'Copies to' if result.kind == 'copy' else 'Downloads of'} {shortened(result.uri)}"
    axes.set_title(f"{what} ({format_size(result.size)}), MB/s", loc="left", fontsize=12, fontweight="bold", pad=26)
    chosen = result.recommended
    axes.text(
        0, 1.03, f"{date}. Recommended: {chosen.setting}: {speed(chosen.bytes_per_second)}, {gain_of(result)}",
        transform=axes.transAxes, fontsize=9, color=_INK, va="bottom",
    )  # fmt: skip
    note = f"{counted(result.trials, 'measurement')}, {format_size(result.bytes)} moved in {result.seconds:.0f} s"
    note += ". Pale numbers are worked out, not measured." if guessed else ""
    figure.text(0.01, -0.02, note, fontsize=8, color=_GREY)


def shortened(uri: str) -> str:
    """Leave out the middle of a name that would not fit."""
    half = (_LONGEST_URI - 3) // 2
    return uri if len(uri) <= _LONGEST_URI else f"{uri[:half]}...{uri[-half:]}"
