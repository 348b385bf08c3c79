"""The multipart upload of one copy: taken over from an earlier try, or begun; and its id made safe before the parts."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.events import Noted
from airflow_s3stream.engine.handover import with_upload
from airflow_s3stream.engine.protocols import Upload
from airflow_s3stream.engine.publish import LINGER
from airflow_s3stream.exceptions import S3StreamError, SinkDenied, SinkUnavailable, UploadVanished

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.handover import Handover
    from airflow_s3stream.engine.protocols import CompletedPart, ObjectHeaders, Sink
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.plan.parts import TransferPlan
    from airflow_s3stream.plan.resume import ResumeToken

_log = logging.getLogger(__name__)

_WEAK = "The store keeps no CRC64NVME, so only the object's size will be proved; strict proves its parts by their MD5"


class Beginning:
    """
    The beginning of one copy's upload.

    :param headers: gives what is stored with the object, by the transfer's random name.
    :param token: of this transfer; ``earlier``: of the try whose upload is to be gone on with.
    """

    def __init__(
        self,
        run: Run,
        sink: Sink,
        plan: TransferPlan,
        handover: Handover,
        token: ResumeToken,
        earlier: ResumeToken | None,
        headers: Callable[[str], ObjectHeaders],
    ) -> None:
        self._run = run
        self._sink = sink
        self._plan = plan
        self._handover = handover
        self._earlier = earlier
        self._headers = headers
        self._fresh = token
        self.token = earlier or token
        """As the state has it."""
        self.upload = Upload(upload_id=earlier.upload_id, checksums=earlier.checksums) if earlier else None
        """What is to be kept or aborted on failure; None while there is nothing. The earlier try's is so at once."""
        self.unknown = False
        """Whether an upload may have been begun whose id is not known."""
        self.unlisted = earlier is not None
        """Whether an upload was taken over and it is not known which parts it has."""
        self.resumed: list[CompletedPart] = []
        """The parts that an earlier try has left."""

    def headers(self) -> ObjectHeaders:
        """Give what is stored with the object."""
        return self._headers(self.token.marker)

    def go_on(self) -> Upload | None:
        """Take over the upload of the earlier try; None when there is none, or no more."""
        earlier = self._earlier
        if earlier is None:
            return None
        try:
            self.resumed = self._handover.parts(earlier, self._plan)
        except (UploadVanished, SinkDenied) as error:
            if error.retryable:  # credentials that have expired: a later try may well list the parts
                raise
            if isinstance(error, UploadVanished):
                self._note(f"The earlier try's multipart upload {earlier.upload_id} is gone: beginning afresh")
            else:
                self._handover.drop(earlier, "its parts may not be listed (s3:ListMultipartUploadParts)")
            self.token, self.upload, self.unlisted = self._fresh, None, False
            return None
        self.unlisted = False
        size, count = sum(part.size for part in self.resumed), sum(1 for _ in self._plan.parts())
        self._run.meter.resume(size)
        self._note(
            f"Going on with multipart upload {earlier.upload_id}: {len(self.resumed)} of {count} parts "
            f"({format_size(size)}) are stored and will not be sent again"
        )
        return self.upload

    def begin(self) -> Upload:
        """Begin a new upload."""
        limits, sink, headers, lost = self._run.limits, self._sink, self.headers(), []
        limits.check()
        began = self._run.clock()
        self.unknown = True
        # Said before, so that the next try looks for an upload that was begun by a process that died at once; but not
        # over the name of one that could not be removed.
        if not self._handover.left:
            self._handover.save(self.token)

        def begin() -> Upload:
            try:
                # A stop waits for the answer, or for an answer that comes too late to abort what it began.
                return limits.call(lambda: sink.begin(headers), discard=self._undo, linger=LINGER)
            except SinkUnavailable as error:
                lost.append(error)
                raise

        def sweep() -> None:
            if lost:
                self._handover.sweep(self._run.clock() - began, keep=self.upload)

        try:
            self.upload = self._run.retrier.call("beginning the upload", begin)
        except Exception:
            sweep()
            raise
        # Before the id is saved: a stop in the midst of it must not hide what is still to be looked for. What a signal
        # raises is not kept waiting; the next try looks.
        sweep()
        self.unknown = False
        self.token = with_upload(self.token, self.upload, self._plan)
        self._handover.save(self.token)
        if not self.upload.checksums:
            self._note(_WEAK)
        return self.upload

    def _undo(self, upload: Upload) -> None:
        """Abort an upload whose id came when nobody waited for it any more."""
        try:
            self._sink.abort(upload)
        except S3StreamError as error:
            _log.warning("An upload begun after the stop is left, %s: %s", error, self._sink.how_to_abort(upload))

    def _note(self, text: str) -> None:
        self._run.tell(Noted(text=text))
