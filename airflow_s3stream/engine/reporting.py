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
    Progressed,
    Retried,
    Started,
)

if TYPE_CHECKING:
    from airflow_s3stream.plan.download import DownloadResult


def describe(event: Event) -> str:
    """Say an event in one line."""
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


def duration(seconds: float) -> str:
    """Show seconds as ``1.5 s``, ``4 min 10 s`` or ``2 h 5 min``."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
