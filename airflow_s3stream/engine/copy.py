"""Copy one source into one key: probe, plan, move, publish, verify."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_s3stream.config import CopyOptions, TransferResult
from airflow_s3stream.engine.cleanup import add, clean_up
from airflow_s3stream.engine.events import Finished, Listener, Noted, Started
from airflow_s3stream.engine.move import Moved, Mover
from airflow_s3stream.engine.protocols import Body, ObjectHeaders, Sink, Source, StoredObject
from airflow_s3stream.engine.publish import MARKER
from airflow_s3stream.engine.run import Chances, Run
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import IntegrityError, SinkConflict, SourceRefused
from airflow_s3stream.plan.digests import COMBINABLE, Digest
from airflow_s3stream.plan.names import metadata_value
from airflow_s3stream.plan.parts import TransferPlan, make_plan

if TYPE_CHECKING:
    from airflow_s3stream.plan.probe import Probe

SOURCE, SOURCE_ETAG, SOURCE_MODIFIED = (
    "s3stream-source",
    "s3stream-source-etag",
    "s3stream-source-last-modified",
)


def copy(
    source: Source,
    sink: Sink,
    options: CopyOptions | None = None,
    *,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    chances: Chances | None = None,
) -> TransferResult:
    """
    Copy all bytes of ``source`` to the key of ``sink``.

    Nothing is visible at the key but what was there before or the whole new object; a failure aborts the upload and
    says so, or what is left and how to remove it.

    :param listener: is given events on the calling thread.
    :param stop: ends the transfer within about a second, with :class:`Stopped`.
    :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`; a ConfigError before any byte moves.
    """
    options = options or CopyOptions()
    expected = Digest.parse(options.expected_checksum) if options.expected_checksum else None
    run = Run(options, stop or StopFlag(), listener, chances)
    return _Copy(run, source, sink, options, expected).run()


class _Copy:
    def __init__(self, run: Run, source: Source, sink: Sink, options: CopyOptions, expected: Digest | None) -> None:
        self._run = run
        self._source = source
        self._sink = sink
        self._options = options
        self._expected = expected
        self._marker = uuid.uuid4().hex
        self._began = run.clock()

    def run(self) -> TransferResult:
        self._run.limits.check()
        existing = self._look()
        if existing is not None and self._options.if_exists == "skip":
            return self._skipped("the key exists", existing)
        probe, body = self._run.retrier.call("probing the source", lambda: self._run.open(self._source.probe))
        try:
            reason = self._reason_to_skip(probe, existing)
            if reason:
                return self._skipped(reason, existing, probe)
            probe, plan, note = self._decide(probe)
            moved = self._move(probe, plan, note, body)
        finally:
            body.close()
        return moved if isinstance(moved, TransferResult) else self._copied(probe, plan, moved)

    def _look(self) -> StoredObject | None:
        """Look at the key where the setting asks for it."""
        if self._options.if_exists == "overwrite":
            return None
        existing = self._run.call("looking at the key", self._sink.head)
        if existing is not None and self._options.if_exists == "fail":
            raise SinkConflict("the key exists, and if_exists is 'fail'", op="HeadObject", target=self._sink.name)
        return existing

    def _reason_to_skip(self, probe: Probe, existing: StoredObject | None) -> str | None:
        options = self._options
        if (
            options.if_exists == "skip_unchanged"
            and existing is not None
            and _unchanged(self._source.name, probe, existing)
        ):
            return "the source has not changed since the object was written"
        return None if probe.size is None else self._outside(probe.size)

    def _outside(self, size: int) -> str | None:
        """Tell why a size is outside the bounds, where that means to skip; fail where it means that."""
        low, high = self._options.min_bytes, self._options.max_bytes
        said = None
        if low is not None and size < low:
            said = f"the source has {size} bytes, below min_bytes={low}"
        elif high is not None and size > high:
            said = f"the source has {size} bytes, above max_bytes={high}"
        if said and self._options.if_size_outside == "fail":
            raise SourceRefused(said, op="probe", target=self._source.name)
        return said

    def _decide(self, probe: Probe) -> tuple[Probe, TransferPlan, str]:
        """Choose how to read; a probe without a size is given the expected one."""
        options, expected = self._options, self._expected
        if options.expected_size is not None:
            if probe.size not in (None, options.expected_size):
                raise IntegrityError(
                    f"the source has {probe.size} bytes, expected_size is {options.expected_size}",
                    op="probe",
                    target=self._source.name,
                )
            probe = replace(probe, size=options.expected_size)
        elif probe.size is None and probe.framing == "close" and expected is None:
            raise SourceRefused(
                "the source gives no length and marks the end by closing, which looks the same as breaking off; "
                "give expected_size or expected_checksum",
                op="probe",
                target=self._source.name,
            )
        in_order = expected is not None and expected.algorithm not in COMBINABLE
        plan = make_plan(options, probe.size, ranges=probe.relayable and not in_order)
        return probe, plan, _why(probe, plan, expected if in_order else None)

    def _move(self, probe: Probe, plan: TransferPlan, note: str, body: Body) -> Moved | TransferResult:
        self._run.tell(
            Started(source=self._source.name, destination=self._sink.name, probe=probe, plan=plan, note=note)
        )
        self._run.meter.start(probe.size)
        self._run.limiter.plan(plan.connections)
        mover = Mover(self._run, self._source, self._sink, probe, plan, self._expected, self._headers(probe))
        try:
            mover.move(body)
            reason = self._outside(mover.size)
            if reason:
                left = clean_up(self._sink, mover.upload)
                if left:
                    self._run.tell(Noted(text=left))
                return self._skipped(reason, None, probe)
            return mover.publish(self._marker, create_only=self._options.if_exists == "fail")
        except BaseException as error:
            left = clean_up(self._sink, mover.upload, mover.publishing, stragglers=self._run.stragglers)
            if mover.too_long and self._options.if_size_outside == "skip" and isinstance(error, SourceRefused):
                return self._skipped(f"{error.message}. {left}".strip(), None, probe)
            add(left, error)
            raise

    def _headers(self, probe: Probe) -> ObjectHeaders:
        told = {
            MARKER: self._marker,
            SOURCE: self._source.name,
            SOURCE_ETAG: probe.etag,
            SOURCE_MODIFIED: probe.last_modified,
        }
        return ObjectHeaders(
            content_type=probe.content_type,
            content_encoding=probe.content_encoding,
            metadata={name: metadata_value(value) for name, value in told.items() if value},
        )

    def _copied(self, probe: Probe, plan: TransferPlan, moved: Moved) -> TransferResult:
        seconds = self._run.clock() - self._began
        result = self._result(
            probe,
            status="copied",
            bytes=moved.size,
            etag=moved.stored.etag.strip('"'),
            version_id=moved.stored.version_id,
            checksum=moved.checksum,
            verification=moved.verification,
            parts=moved.parts,
            part_size=plan.part_size,
            connections=plan.connections,
            seconds=round(seconds, 6),
            bytes_per_second=round(moved.size / seconds, 1) if seconds else 0.0,
        )
        self._run.tell(Finished(result=result))
        return result

    def _skipped(self, reason: str, existing: StoredObject | None, probe: Probe | None = None) -> TransferResult:
        result = self._result(
            probe,
            status="skipped",
            reason=reason,
            etag=(existing.etag if existing else "").strip('"'),
            version_id=existing.version_id if existing else None,
            seconds=round(self._run.clock() - self._began, 6),
        )
        self._run.tell(Finished(result=result))
        return result

    def _result(self, probe: Probe | None, **values: object) -> TransferResult:
        blank = TransferResult(
            uri=self._sink.name, status="skipped", reason="", bytes=0, etag="", version_id=None, checksum=None,
            verification="", parts=0, part_size=0, connections=0, seconds=0.0, bytes_per_second=0.0,
            retries=self._run.retrier.budget.spent, resumed_parts=0, source=self._source.name,
            source_etag=probe.etag if probe else None,
            source_last_modified=probe.last_modified if probe else None,
        )  # fmt: skip
        return replace(blank, **values)  # type: ignore[arg-type]


def _unchanged(source: str, probe: Probe, existing: StoredObject) -> bool:
    """Whether the object was made from the source as it is now: by its ETag, else by Last-Modified and length."""
    metadata = existing.metadata or {}
    if metadata.get(SOURCE) != metadata_value(source):
        return False  # two sources may well have the same ETag: nginx makes it of time and size alone
    same_size = probe.size is None or existing.size == probe.size
    if probe.etag and SOURCE_ETAG in metadata:
        return metadata[SOURCE_ETAG] == metadata_value(probe.etag) and same_size
    if probe.last_modified and SOURCE_MODIFIED in metadata:
        return metadata[SOURCE_MODIFIED] == metadata_value(probe.last_modified) and same_size and probe.size is not None
    return False


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
