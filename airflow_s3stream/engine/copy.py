"""Copy one source into one key: probe, plan, move, publish, verify."""

from __future__ import annotations

import uuid
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_s3stream.config import CopyOptions, TransferResult
from airflow_s3stream.engine.cleanup import add, clean_up, keep_upload
from airflow_s3stream.engine.events import Finished, Listener, Noted, Started
from airflow_s3stream.engine.handover import Handover, Resume
from airflow_s3stream.engine.move import Moved, Mover
from airflow_s3stream.engine.protocols import Body, ObjectHeaders, Sink, Source, StoredObject
from airflow_s3stream.engine.publish import MARKER
from airflow_s3stream.engine.run import Chances, Run
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    IntegrityError,
    SinkConflict,
    SinkDenied,
    SinkRejected,
    SourceRefused,
    UploadVanished,
)
from airflow_s3stream.plan.digests import COMBINABLE, Digest
from airflow_s3stream.plan.names import metadata_value
from airflow_s3stream.plan.parts import TransferPlan, make_plan
from airflow_s3stream.plan.resume import ResumeToken, new_token

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
    resume: Resume | None = None,
) -> TransferResult:
    """
    Copy all bytes of ``source`` to the key of ``sink``.

    Nothing is visible at the key but what was there before or the whole new object; a failure aborts the upload and
    says so, or what is left and how to remove it.

    Published on condition that the key is still as it was at the beginning, where the store checks that and lets us
    look. Of two copies at once one wins; the other succeeds too if it has the same bytes, else it is a SinkConflict.

    :param listener: is given events on the calling thread.
    :param stop: ends the transfer within about a second, with :class:`Stopped`.
    :param resume: where to find what an earlier try has left, and to leave it for the next.
    :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`; a ConfigError before any byte moves.
    """
    options = options or CopyOptions()
    expected = Digest.parse(options.expected_checksum) if options.expected_checksum else None
    stop = stop or StopFlag()
    run = Run(options, stop, listener, chances)
    try:
        return _Copy(run, source, sink, options, expected, resume).run()
    except UploadVanished as error:
        # A lifecycle rule, a person or another try has removed it; all of its parts must be sent again.
        run = Run(_within(options, run), stop, listener, chances)
        run.tell(Noted(text=f"{error.message.rstrip('.')}. The copy begins afresh, once."))
        return _Copy(run, source, sink, options, expected, resume).run()


def _within(options: CopyOptions, run: Run) -> CopyOptions:
    """Give the options for a second beginning: what is left of the deadline."""
    left = run.limits.remaining()
    if left is None:
        return options
    return replace(options, timeouts=replace(options.timeouts, deadline=max(left, 0.001)))


class _Copy:
    def __init__(
        self,
        run: Run,
        source: Source,
        sink: Sink,
        options: CopyOptions,
        expected: Digest | None,
        resume: Resume | None,
    ) -> None:
        self._run = run
        self._source = source
        self._sink = sink
        self._options = options
        self._expected = expected
        self._handover = Handover(run, sink, resume)
        self._marker = uuid.uuid4().hex
        self._began = run.clock()

    def run(self) -> TransferResult:
        self._run.limits.check()
        earlier = self._handover.load()
        existing, replaces = self._look()
        # What an earlier try has published, and died before it could say so, is no other writer's object.
        ours = earlier is not None and existing is not None and _marked(existing, earlier)
        if existing is not None and not ours:
            in_the_way = self._in_the_way()
            if in_the_way:
                return self._skipped(in_the_way, existing)
        probe, body = self._run.retrier.call("probing the source", lambda: self._run.open(self._source.probe))
        try:
            token = self._token(probe)
            if earlier is not None:
                if existing is not None and ours and self._done_before(existing, earlier, token):
                    return self._taken(probe, existing, earlier)
                earlier = self._fit(earlier, token)
            reason = (self._in_the_way() if existing is not None else None) or self._reason_to_skip(probe, existing)
            if reason:
                return self._skipped(reason, existing, probe)
            probe, plan, note = self._decide(probe, earlier)
            if earlier is not None and (plan.mode, plan.part_size) != ("relay", earlier.part_size):
                self._handover.drop(earlier, "the settings of memory or connections do not let parts be taken over")
                earlier = None
            moved = self._move(probe, plan, note, body, (token, earlier), replaces)
        finally:
            body.close()
        return moved if isinstance(moved, TransferResult) else self._copied(probe, plan, moved)

    def _look(self) -> tuple[StoredObject | None, str | None]:
        """
        Look at the key; tell also what may be replaced by the new object: nothing else than what was seen.

        Who may only write is not told what is there, so nothing is made a condition.
        """
        try:
            existing = self._run.call("looking at the key", self._sink.head)
        except (SinkDenied, SinkRejected):
            if self._options.if_exists != "overwrite":
                raise
            return None, None
        if existing is None or self._options.if_exists in ("skip", "fail"):
            return existing, ""
        return existing, existing.etag or None

    def _in_the_way(self) -> str:
        """Tell why an object at the key means to skip; fail where it means that."""
        if self._options.if_exists == "fail":
            raise SinkConflict("the key exists, and if_exists is 'fail'", op="HeadObject", target=self._sink.name)
        return "the key exists" if self._options.if_exists == "skip" else ""

    def _token(self, probe: Probe) -> ResumeToken:
        """Describe this transfer, to be compared with an earlier try's and saved for a later one."""
        return new_token(
            source=self._source.name,
            destination=self._sink.name,
            settings=(probe.content_type, probe.content_encoding),
            probe=probe,
            options=self._options,
            marker=self._marker,
            began=self._handover.clock(),
        )

    def _done_before(self, existing: StoredObject, earlier: ResumeToken, token: ResumeToken) -> bool:
        """Whether the object at the key is what an earlier try was to make, and this one is."""
        proved = earlier.checksums and existing.checksum is not None
        return not earlier.misfit(token) and existing.size == token.size and (proved or not self._options.strict)

    def _taken(self, probe: Probe, existing: StoredObject, earlier: ResumeToken) -> TransferResult:
        """Tell of an object that an earlier try has published."""
        self._handover.clear()
        self._run.tell(Noted(text="An earlier try has published the whole object already; nothing was sent again"))
        proved = earlier.checksums and existing.checksum is not None
        size = existing.size or 0
        parts = -(-size // earlier.part_size) if earlier.part_size else 1
        result = self._result(
            probe, status="copied", bytes=size, etag=existing.etag.strip('"'), version_id=existing.version_id,
            checksum=f"crc64nvme:{existing.checksum}" if existing.checksum else None,
            verification="crc64nvme" if proved else "size", parts=parts, resumed_parts=parts,
            part_size=earlier.part_size, seconds=round(self._run.clock() - self._began, 6),
        )  # fmt: skip
        self._run.tell(Finished(result=result))
        return result

    def _fit(self, earlier: ResumeToken, token: ResumeToken) -> ResumeToken | None:
        """Give the earlier try's token if its upload can be gone on with; else remove that."""
        reason = earlier.misfit(token)
        other = self._expected is not None and self._expected.algorithm != "crc64nvme"
        if not reason and earlier.resumable and not other:
            return earlier
        if not reason and earlier.upload_id:
            reason = "this source and store, or the checksum expected, do not let parts be taken over"
        self._handover.drop(earlier, reason)
        return None

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

    def _decide(self, probe: Probe, earlier: ResumeToken | None) -> tuple[Probe, TransferPlan, str]:
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
        if earlier is not None:  # parts of another size would fit none of those that are stored
            options = replace(options, part_size=earlier.part_size)
        plan = make_plan(options, probe.size, ranges=probe.relayable and not in_order)
        return probe, plan, _why(probe, plan, expected if in_order else None)

    def _move(
        self, probe: Probe, plan: TransferPlan, note: str, body: Body,
        tokens: tuple[ResumeToken, ResumeToken | None], replaces: str | None,
    ) -> Moved | TransferResult:  # fmt: skip
        self._run.tell(
            Started(source=self._source.name, destination=self._sink.name, probe=probe, plan=plan, note=note)
        )
        self._run.meter.start(probe.size)
        self._run.limiter.plan(plan.connections)
        token, earlier = tokens
        headers = self._headers(probe, (earlier or token).marker)
        mover = Mover(
            self._run, self._source, self._sink, probe, plan, self._expected, headers, self._handover, token, earlier
        )
        try:
            mover.move(body)
            reason = self._outside(mover.size)
            if reason:
                left = self._remove(mover)
                if left:
                    self._run.tell(Noted(text=left))
                return self._skipped(reason, None, probe)
            moved = mover.publish(replaces=replaces)
        except BaseException as error:
            left = self._settle(mover, error)
            if mover.too_long and self._options.if_size_outside == "skip" and isinstance(error, SourceRefused):
                return self._skipped(f"{error.message}. {left}".strip(), None, probe)
            add(left, error)
            raise
        self._handover.clear()
        return moved

    def _settle(self, mover: Mover, error: BaseException) -> str:
        """Keep what the next try can go on with, remove it otherwise; say which."""
        if mover.upload is not None and self._handover.keeps(error, mover.token):
            return keep_upload(self._sink, mover.upload, mover.publishing, mover.stored).text
        return self._remove(mover)

    def _remove(self, mover: Mover) -> str:
        left = clean_up(self._sink, mover.upload, mover.publishing, stragglers=self._run.stragglers)
        if mover.beginning:  # a later try looks for what may have been begun
            return f"{left.text} An upload may have been begun all the same, with no parts.".strip()
        if left.removed:
            self._handover.clear()
        return left.text

    def _headers(self, probe: Probe, marker: str) -> ObjectHeaders:
        told = {
            MARKER: marker,
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
        sent = moved.size - moved.resumed_bytes
        result = self._result(
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
            bytes_per_second=round(sent / seconds, 1) if seconds else 0.0,
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


def _marked(existing: StoredObject, token: ResumeToken) -> bool:
    return (existing.metadata or {}).get(MARKER) == token.marker


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
