"""Copy one source into one key: probe, plan, move, publish, verify."""

from __future__ import annotations

import uuid
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from airflow_s3stream.config import CopyOptions, TransferResult
from airflow_s3stream.engine.beginning import Beginning
from airflow_s3stream.engine.cleanup import add, clean_up, keep_upload
from airflow_s3stream.engine.copyresult import Results
from airflow_s3stream.engine.decide import decide
from airflow_s3stream.engine.events import Listener, Noted, Started
from airflow_s3stream.engine.handover import Handover, Resume
from airflow_s3stream.engine.move import Moved, Mover
from airflow_s3stream.engine.provenance import is_of, is_unchanged, object_headers
from airflow_s3stream.engine.run import Chances, Run
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    S3StreamError,
    SinkConflict,
    SinkDenied,
    SinkRejected,
    SourceRefused,
    UploadVanished,
)
from airflow_s3stream.plan.digests import Digest
from airflow_s3stream.plan.resume import ResumeToken, new_token

if TYPE_CHECKING:
    from airflow_s3stream.engine.protocols import Body, Sink, Source, StoredObject
    from airflow_s3stream.plan.parts import TransferPlan
    from airflow_s3stream.plan.probe import Probe

_PUBLISHED = "An earlier try has published the whole object already; nothing was sent again"


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
    first = _Copy(run, source, sink, options, expected, resume)
    try:
        return first.run()
    except UploadVanished as error:
        # A lifecycle rule, a person or another try has removed it; all of its parts must be sent again.
        run = Run(_within(options, run), stop, listener, chances)
        run.tell(Noted(text=f"{error.message.rstrip('.')}. The copy begins afresh, once."))
        return _Copy(run, source, sink, options, expected, resume, gone=first.token).run()


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
        *,
        gone: ResumeToken | None = None,
    ) -> None:
        self._run = run
        self._source = source
        self._sink = sink
        self._options = options
        self._expected = expected
        self._handover = Handover(run, sink, resume)
        self._earlier: ResumeToken | None = None
        self._gone = gone
        self.token: ResumeToken | None = None
        """What was being gone on with, or was begun, when it failed."""
        self._marker = uuid.uuid4().hex
        self._results = Results(run, source.name, sink.name)

    def run(self) -> TransferResult:
        self._run.limits.check()
        self._earlier = self._handover.load()
        try:
            # Without a state, the try before in this process may still have been this transfer's: its upload is gone,
            # for instance because another worker that shares it has published the object.
            result = self._try(self._earlier or self._gone)
        except BaseException as error:
            add(self._leave(error), error)
            add(self._handover.left, error)
            raise
        self._leave(None)
        return result

    def _leave(self, error: BaseException | None) -> str:
        """See to what an earlier try has left, where this one ended before it could make use of it; say what."""
        earlier, self._earlier = self._earlier, None
        if earlier is None or (error is not None and not earlier.upload_id):
            return ""
        if error is not None and self._handover.keeps(error, earlier):
            return f"Multipart upload {earlier.upload_id} of an earlier try is kept for the next."
        if self._handover.drop(earlier, "it is of no use any more"):
            self._handover.clear()
        return ""

    def _try(self, earlier: ResumeToken | None) -> TransferResult:
        # Where nothing can be in the way, the source is asked first: a copy fails more often for it than for the store.
        first = self._options.if_exists != "overwrite"
        existing, replaces = self._look() if first else (None, None)
        ours = _is_ours(existing, earlier)
        if existing is not None and not ours:
            in_the_way = self._in_the_way()
            if in_the_way:
                return self._results.skipped(in_the_way, existing)
        probe, body = self._run.retrier.call("probing the source", lambda: self._run.open(self._source.probe))
        try:
            if not first:
                existing, replaces = self._look()
                ours = _is_ours(existing, earlier)
            token = self._token(probe)
            if earlier is not None:
                if existing is not None and ours and self._done_before(existing, earlier, token):
                    self._earlier = None
                    self._handover.clear()
                    self._run.tell(Noted(text=_PUBLISHED))
                    return self._results.taken(probe, existing, earlier)
                earlier = None if earlier is self._gone else self._fit(earlier, token)
            reason = (self._in_the_way() if existing is not None else None) or self._reason_to_skip(probe, existing)
            if reason:
                return self._results.skipped(reason, existing, probe)
            part_size = earlier.part_size if earlier else None  # parts of another size would fit none that is stored
            probe, plan, note = decide(probe, self._options, self._expected, self._source.name, part_size=part_size)
            if earlier is not None and (plan.mode, plan.part_size) != ("relay", earlier.part_size):
                self._handover.drop(earlier, "the settings of memory or connections do not let parts be taken over")
                self._earlier = earlier = None
            moved = self._move(probe, plan, note, body, (token, earlier), replaces)
        finally:
            body.close()
        return moved if isinstance(moved, TransferResult) else self._results.copied(probe, plan, moved)

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
            source=self._source.identity,
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

    def _fit(self, earlier: ResumeToken, token: ResumeToken) -> ResumeToken | None:
        """Give the earlier try's token if its upload can be gone on with; else remove that."""
        reason = earlier.misfit(token)
        other = self._expected is not None and self._expected.algorithm != "crc64nvme"
        if not reason and earlier.resumable and not other:
            return earlier
        if not reason and earlier.upload_id:
            reason = "this source and store, or the checksum expected, do not let parts be taken over"
        self._handover.drop(earlier, reason)
        self._earlier = None
        return None

    def _reason_to_skip(self, probe: Probe, existing: StoredObject | None) -> str | None:
        options = self._options
        if (
            options.if_exists == "skip_unchanged"
            and existing is not None
            and is_unchanged(self._source, probe, existing)
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

    def _move(
        self, probe: Probe, plan: TransferPlan, note: str, body: Body,
        tokens: tuple[ResumeToken, ResumeToken | None], replaces: str | None,
    ) -> Moved | TransferResult:  # fmt: skip
        self._run.tell(
            Started(source=self._source.name, destination=self._sink.name, probe=probe, plan=plan, note=note)
        )
        self._run.meter.start(probe.size)
        self._run.limiter.plan(plan.connections)
        beginning = Beginning(
            self._run, self._sink, plan, self._handover, *tokens, partial(object_headers, self._source, probe)
        )
        mover = Mover(self._run, self._source, self._sink, probe, plan, self._expected, beginning)
        try:
            self._earlier = None  # from here on it is the mover's
            mover.move(body)
            reason = self._outside(mover.size)
            if reason:
                left = self._remove(mover)
                if left:
                    self._run.tell(Noted(text=left))
                return self._results.skipped(reason, None, probe)
            moved = mover.publish(replaces=replaces)
        except BaseException as error:
            left = self._settle(mover, error)
            if mover.too_long and self._options.if_size_outside == "skip" and isinstance(error, SourceRefused):
                return self._results.skipped(f"{error.message}. {left}".strip(), None, probe)
            add(left, error)
            raise
        if not mover.leaves_upload:  # else whoever clears the task, or runs the command again, removes it
            self._handover.clear()
        return moved

    def _settle(self, mover: Mover, error: BaseException) -> str:
        """Keep what the next try can go on with, remove it otherwise; say which."""
        self.token = mover.beginning.token
        if mover.published and (not isinstance(error, S3StreamError) or error.retryable):
            return "The object is published, but could not be verified."  # the next try knows it by the state
        upload = mover.beginning.upload
        if upload is not None and self._handover.keeps(error, mover.beginning.token):
            return keep_upload(self._sink, upload, mover.publishing, mover.stored).text
        return self._remove(mover)

    def _remove(self, mover: Mover) -> str:
        left = clean_up(self._sink, mover.beginning.upload, mover.publishing, stragglers=self._run.stragglers)
        if mover.beginning.unknown:  # a later try looks for what may have been begun
            return f"{left.text} An upload may have been begun all the same, with no parts.".strip()
        if left.removed:
            self._handover.clear()
        return left.text


def _is_ours(existing: StoredObject | None, earlier: ResumeToken | None) -> bool:
    """Whether an earlier try has published the object, and died before it could say so: no other writer's object."""
    return existing is not None and earlier is not None and is_of(existing, earlier)
