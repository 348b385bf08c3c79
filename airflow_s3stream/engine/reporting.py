"""Events in words: one line each, the same in the task log and on a terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.config import TransferResult, format_size
from airflow_s3stream.engine.events import (
    Event,
    Fetched,
    FetchFinished,
    FetchStarted,
    Finished,
    Noted,
    ObjectFinished,
    ObjectProgressed,
    ObjectStarted,
    Progressed,
    Retried,
    Started,
)
from airflow_s3stream.engine.tuneevents import Tried, TuneFinished, TuneStarted
from airflow_s3stream.engine.tunereport import describe_tune
from airflow_s3stream.exceptions import printable

if TYPE_CHECKING:
    from airflow_s3stream.plan.download import DownloadResult
    from airflow_s3stream.plan.getting import GetResult


def describe(event: Event) -> str:
    """Say an event in one line, without a character that a terminal would obey."""
    return printable(_described(event))


def _described(event: Event) -> str:
    match event:
        case Started():
            return _started(event)
        case Progressed():
            return _progressed(event)
        case Retried():
            return f"{event.what} will be tried again in {event.pause:.1f} s: {event.reason}"
        case Finished():
            return finished(event.result)
        case Noted():
            return event.text
        case FetchStarted():
            return f"Downloading {event.uri} to {event.destination}: {event.note}"
        case Fetched():
            return _fetched(event)
        case FetchFinished():
            return fetch_finished(event.result)
        case TuneStarted() | Tried() | TuneFinished():
            return describe_tune(event)
        case _:
            return _of_one_object(event)


def _of_one_object(event: ObjectStarted | ObjectProgressed | ObjectFinished) -> str:
    match event:
        case ObjectStarted():
            return _object_started(event)
        case ObjectProgressed():
            return _object_progressed(event)
        case ObjectFinished():
            return object_finished(event.result)


def _started(event: Started) -> str:
    probe, plan = event.probe, event.plan
    size = "size unknown" if probe.size is None else f"{format_size(probe.size)} ({probe.size} bytes)"
    version = f"ETag {probe.etag}" if probe.etag else f"Last-Modified {probe.last_modified}"
    if not (probe.etag or probe.last_modified):
        version = "no validator"
    how = event.note
    if plan.mode != "put":
        growing = " growing" if plan.size is None else ""
        how += f"; parts of {format_size(plan.part_size)}{growing}, {plan.connections} connections"
    kind = f", {probe.content_type}" if probe.content_type else ""
    return f"Copying {event.source} to {event.destination}: {size}, {version}{kind}; {how}"


def _progressed(event: Progressed) -> str:
    stored, rate = format_size(event.stored), f"{event.rate / 1e6:.1f} MB/s"
    if event.under_way > 0:
        rate = f"{format_size(event.under_way)} under way, {rate}"
    extra = f", {event.retries} retries" if event.retries else ""
    extra += f", {event.connections} connections"
    if event.size is None:
        return f"Stored {stored}, {rate}{extra}"
    percent = 100 * event.stored / event.size if event.size else 100.0
    left = "unknown" if event.seconds_left is None else duration(event.seconds_left)
    return f"Stored {stored} of {format_size(event.size)} ({percent:.0f} %), {rate}, ETA {left}{extra}"


def _fetched(event: Fetched) -> str:
    extra = "".join(
        f", {count} {name}"
        for count, name in ((event.skipped, "skipped"), (event.failed, "failed"), (event.retries, "retries"))
        if count
    )
    total = f"{event.listed}" if event.listing_done else f"{event.listed} listed so far"
    left = "" if event.seconds_left is None else f", ETA {duration(event.seconds_left)}"
    return (
        f"Fetched {event.objects} of {total} ({format_size(event.bytes)}), {event.objects_per_second:.0f} objects/s, "
        f"{event.bytes_per_second / 1e6:.1f} MB/s{left}{extra}, {event.connections} connections"
    )


def fetch_finished(result: DownloadResult) -> str:
    """Say the result of a download in one line."""
    proofs = ", ".join(f"{count} by {level}" for level, count in sorted(result.verification.items()))
    extra = "".join(
        f", {count} {name}"
        for count, name in ((result.skipped, "skipped"), (result.failed, "failed"), (result.retries, "retries"))
        if count
    )
    verified = f"; verified {proofs}" if proofs else ""
    return (
        f"Downloaded {result.objects} objects ({format_size(result.bytes)}) to {result.directory} in "
        f"{duration(result.seconds)}, {result.objects_per_second:.0f} objects/s{extra}{verified}; each is named in "
        f"{result.manifest}"
    )


def finished(result: TransferResult) -> str:
    """Say a result in one line."""
    if result.status == "skipped":
        return f"Skipped {result.uri}: {result.reason}"
    parts = "1 request" if result.parts == 1 else f"{result.parts} parts"
    extra = f", {result.retries} retries" if result.retries else ""
    return (
        f"Copied {format_size(result.bytes)} ({result.bytes} bytes) to {result.uri} in {duration(result.seconds)}, "
        f"{result.bytes_per_second / 1e6:.1f} MB/s, {parts}{extra}; verified by {result.verification}; "
        f"{result.checksum}"
    )


def _object_started(event: ObjectStarted) -> str:
    proof = f"will be verified by {event.proof}"
    if event.proof == "size":
        proof = "only its size can be verified, for the store keeps no checksum of it"
    return (
        f"Downloading {event.uri} to {event.path}: {format_size(event.size)} ({event.size} bytes), ETag {event.etag}; "
        f"{_by_an_earlier_run(event.resumed, event.size)}{event.connections} connections, "
        f"ranges of {format_size(event.part_size)}; {proof}"
    )


def _object_progressed(event: ObjectProgressed) -> str:
    percent = 100 * event.stored / event.size if event.size else 100.0
    left = "unknown" if event.seconds_left is None else duration(event.seconds_left)
    # None at this moment is nothing to be told: a bandwidth may be kept by pauses, or the disk be waited for.
    extra = "".join(
        f", {count} {name}" for count, name in ((event.retries, "retries"), (event.connections, "connections")) if count
    )
    resumed = f"; {format_size(event.resumed)} of it by an earlier run" if event.resumed else ""
    return (
        f"Downloaded {format_size(event.stored)} of {format_size(event.size)} ({percent:.0f} %), "
        f"{event.bytes_per_second / 1e6:.1f} MB/s, ETA {left}{extra}{resumed}"
    )


def object_finished(result: GetResult) -> str:
    """Say the result of downloading one object in one line."""
    path = "stdout" if result.path == "-" else result.path
    if result.status == "unchanged":
        return f"{path} is {result.uri} already, {format_size(result.size)}; nothing was fetched"
    extra = "".join(
        f", {count} {name}"
        for count, name in ((result.retries, "retries"), (result.slow_dropped, "slow connections replaced"))
        if count
    )
    return (
        f"Downloaded {result.uri} to {path}: {format_size(result.size)} ({result.size} bytes); "
        f"{_by_an_earlier_run(result.resumed, result.size)}{duration(result.seconds)}, "
        f"{result.bytes_per_second / 1e6:.1f} MB/s{extra}; verified by {result.verification}"
    )


def _by_an_earlier_run(resumed: int, size: int) -> str:
    return f"{format_size(resumed)} of it ({100 * resumed / size:.0f} %) by an earlier run; " if resumed else ""


def duration(seconds: float) -> str:
    """Show seconds as ``1.5 s``, ``4 min 10 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
