"""A tune in words: one line for each thing it tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.tuneevents import Tried, TuneFinished, TuneStarted

if TYPE_CHECKING:
    from airflow_s3stream.plan.tuneoptions import TuneResult
    from airflow_s3stream.plan.tuning import Sample


def describe_tune(event: TuneStarted | Tried | TuneFinished) -> str:
    """Say an event in one line."""
    match event:
        case TuneStarted():
            what = f"copies of {event.source} to {event.uri}" if event.source else f"downloads of {event.uri}"
            how = "measuring all" if event.full_grid else "searching among"
            return (
                f"Tuning {what} ({format_size(event.size)}): {how} {counted(event.settings, 'setting')}, within "
                f"{format_size(event.max_bytes)} and {event.max_seconds:g} s"
            )
        case Tried():
            again = " again" if event.again else ""
            return f"Measured{again} {event.sample.setting}: {figures(event.sample)}"
        case TuneFinished():
            return tune_finished(event.result)


def figures(sample: Sample) -> str:
    """Say a sample's figures."""
    memory = "" if sample.peak_memory is None else f", {sample.peak_memory / 2**20:.0f} MiB of memory"
    throttled = ", the store asked for less" if sample.throttles else ""
    return f"{speed(sample.bytes_per_second)}, {sample.cpu_seconds_per_gib:.2f} CPU-s/GiB{memory}{throttled}"


def counted(count: int, what: str) -> str:
    """Say how many."""
    return f"{count} {what}{'' if count == 1 else 's'}"


def speed(bytes_per_second: float) -> str:
    """Show a speed: ``391 MB/s``; ``1.25 MB/s`` where it is small."""
    rate = bytes_per_second / 1e6
    return f"{rate:.0f} MB/s" if rate >= 100 else f"{rate:.3g} MB/s"


def tune_finished(result: TuneResult) -> str:
    """Say the result in one line."""
    said = (
        f"Recommended: {result.recommended.setting}, {speed(result.recommended.bytes_per_second)}, {gain_of(result)}; "
        f"{counted(result.trials, 'measurement')} moved {format_size(result.bytes)} in {result.seconds:.0f} s"
    )
    return f"{said}. {result.left}" if result.left else said


def gain_of(result: TuneResult) -> str:
    """Say what the recommended setting gains over the default."""
    default = result.default
    if default is None or result.gain is None:
        return "the default was not measured"
    if default.setting == result.recommended.setting:
        return "which is the default"
    if result.gain >= 1.05:
        return (
            f"{result.gain:.1f} times the default's {speed(default.bytes_per_second)}"
            if result.gain >= 1.25
            else (f"{100 * (result.gain - 1):.0f} % more than the default's {speed(default.bytes_per_second)}")
        )
    if result.gain >= 0.95:
        fewer = default.connections > result.connections
        return f"as fast as the default's {default.connections} connections" if fewer else "as fast as the default"
    return f"{100 * (1 - result.gain):.0f} % less than the default's {speed(default.bytes_per_second)}"
