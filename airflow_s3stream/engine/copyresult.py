"""Puts the result of a copy together, and tells it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_s3stream.config import TransferResult
from airflow_s3stream.engine.events import Finished

if TYPE_CHECKING:
    from airflow_s3stream.engine.move import Moved
    from airflow_s3stream.engine.protocols import StoredObject
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.plan.parts import TransferPlan
    from airflow_s3stream.plan.probe import Probe
    from airflow_s3stream.plan.resume import ResumeToken


class Results:
    """
    Makes the results of one copy. Each method also hands it to the listener.

    :param source: the redacted URL. :param uri: ``s3://bucket/key``.
    """

    def __init__(self, run: Run, source: str, uri: str) -> None:
        self._run = run
        self._source = source
        self._uri = uri
        self._began = run.clock()

    def copied(self, probe: Probe, plan: TransferPlan, moved: Moved) -> TransferResult:
        """Tell of a copy; the speed is that of the bytes sent by this try."""
        seconds = self._run.clock() - self._began
        return self._told(
            probe,
            status="copied",
            bytes=moved.size,
            etag=moved.stored.etag.strip('"'),
            version_id=moved.stored.version_id,
            checksum=moved.checksum,
            verification=moved.verification,
            parts=moved.parts,
            resumed_parts=moved.resumed_parts,
            part_size=plan.part_size,
            connections=plan.connections,
            seconds=round(seconds, 6),
            bytes_per_second=round((moved.size - moved.resumed_bytes) / seconds, 1) if seconds else 0.0,
        )

    def taken(self, probe: Probe, existing: StoredObject, earlier: ResumeToken) -> TransferResult:
        """Tell of an object that an earlier try has published."""
        size = existing.size or 0
        parts = -(-size // earlier.part_size) if earlier.part_size else 1
        return self._told(
            probe,
            status="copied",
            bytes=size,
            etag=existing.etag.strip('"'),
            version_id=existing.version_id,
            checksum=f"crc64nvme:{existing.checksum}" if existing.checksum else None,
            verification="crc64nvme" if earlier.checksums and existing.checksum else "size",
            parts=parts,
            resumed_parts=parts,
            part_size=earlier.part_size,
            seconds=round(self._run.clock() - self._began, 6),
        )

    def skipped(self, reason: str, existing: StoredObject | None, probe: Probe | None = None) -> TransferResult:
        """Tell why nothing was copied."""
        return self._told(
            probe,
            status="skipped",
            reason=reason,
            etag=(existing.etag if existing else "").strip('"'),
            version_id=existing.version_id if existing else None,
            seconds=round(self._run.clock() - self._began, 6),
        )

    def _told(self, probe: Probe | None, **values: object) -> TransferResult:
        blank = TransferResult(
            uri=self._uri, status="skipped", reason="", bytes=0, etag="", version_id=None, checksum=None,
            verification="", parts=0, part_size=0, connections=0, seconds=0.0, bytes_per_second=0.0,
            retries=self._run.retrier.budget.spent, resumed_parts=0, source=self._source,
            source_etag=probe.etag if probe else None,
            source_last_modified=probe.last_modified if probe else None,
        )  # fmt: skip
        result = replace(blank, **values)  # type: ignore[arg-type]
        self._run.tell(Finished(result=result))
        return result
