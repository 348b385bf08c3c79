"""How a source is read: as parallel ranges or as one stream, in parts of which size, and why."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_s3stream.exceptions import IntegrityError, SourceRefused
from airflow_s3stream.plan.digests import COMBINABLE, Digest
from airflow_s3stream.plan.parts import TransferPlan, make_plan

if TYPE_CHECKING:
    from airflow_s3stream.config import CopyOptions
    from airflow_s3stream.plan.probe import Probe


def decide(
    probe: Probe, options: CopyOptions, expected: Digest | None, source: str, *, part_size: int | None = None
) -> tuple[Probe, TransferPlan, str]:
    """
    Choose how to read; a probe without a size is given the expected one.

    :param source: the redacted URL, for errors.
    :param part_size: that of an upload which is gone on with; None: what the options say.
    :returns: the probe, the plan, and the reason in words.
    :raises IntegrityError: the source has another size than the expected one.
    :raises SourceRefused: nothing would tell the source's end from its breaking off.
    """
    if options.expected_size is not None:
        if probe.size not in (None, options.expected_size):
            raise IntegrityError(
                f"the source has {probe.size} bytes, expected_size is {options.expected_size}",
                op="probe",
                target=source,
            )
        probe = replace(probe, size=options.expected_size)
    elif probe.size is None and probe.framing == "close" and expected is None:
        raise SourceRefused(
            "the source gives no length and marks the end by closing, which looks the same as breaking off; "
            "give expected_size or expected_checksum",
            op="probe",
            target=source,
        )
    in_order = expected is not None and expected.algorithm not in COMBINABLE
    if part_size is not None:
        options = replace(options, part_size=part_size)
    plan = make_plan(options, probe.size, ranges=probe.relayable and not in_order)
    return probe, plan, _why(probe, plan, expected if in_order else None)


def _why(probe: Probe, plan: TransferPlan, in_order: Digest | None) -> str:
    """Say in words why the source is read as it is."""
    if plan.mode == "put":
        return "small: one request"
    if plan.mode == "relay":
        return f"ranges pinned to {'ETag' if probe.validator and probe.validator.kind == 'etag' else 'Last-Modified'}"
    if in_order is not None and probe.relayable:
        return f"one stream: {in_order.algorithm} must see the bytes in order"
    if probe.content_encoding:
        return f"one stream: the source is encoded as {probe.content_encoding}"
    if not probe.accepts_ranges:
        return "one stream: the source has no ranges"
    return "one stream: the source has no strong validator to pin ranges to"
