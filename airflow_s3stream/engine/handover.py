"""Handing an unfinished upload over from one try to the next."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.engine.cleanup import clean_up
from airflow_s3stream.engine.events import Noted
from airflow_s3stream.engine.protocols import CompletedPart, Upload
from airflow_s3stream.exceptions import S3StreamError, SinkError, Stopped, UploadVanished
from airflow_s3stream.plan.resume import ResumeToken, fitting

if TYPE_CHECKING:
    from collections.abc import Callable

    from airflow_s3stream.engine.protocols import ListedPart, Sink
    from airflow_s3stream.engine.run import Run
    from airflow_s3stream.plan.parts import TransferPlan

_SKEW = 120.0  # seconds by which the clocks of two workers may differ
_SLOW = 5.0  # seconds between the store's note of when an upload began and our own


class StateStore(Protocol):
    """Where one small text outlives a try. Only the thread that copies calls it."""

    def load(self) -> object:
        """Give what was saved last; None if nothing was."""

    def save(self, text: str) -> None:
        """Replace it; it must be safe when this returns."""

    def clear(self) -> None:
        """Forget it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resume:
    """
    How a copy is to be gone on with.

    :param again: whether another try will follow a failure, so that the upload is worth keeping. It is asked when it
        matters; the upload of the last try is aborted.
    """

    store: StateStore
    again: Callable[[], bool] = lambda: True


class Handover:
    """
    The token of one transfer: read from the try before, written before the first part, cleared at a good end.

    A state store that fails costs the resumption, never the copy.
    """

    def __init__(self, run: Run, sink: Sink, resume: Resume | None, *, wall: Callable[[], float] = time.time) -> None:
        self._run = run
        self._sink = sink
        self._resume = resume
        self._wall = wall
        self._saved = False
        self._undropped: ResumeToken | None = None
        self.left = ""
        """What is left of an earlier try because it could not be removed, in words."""

    def clock(self) -> float:
        """Tell the time of day, for the token."""
        return self._wall()

    def load(self) -> ResumeToken | None:
        """Give the token of an earlier try."""
        if self._resume is None:
            return None
        try:
            found = self._resume.store.load()
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of whatever kind
            self._note(
                f"The state of an earlier try could not be read ({_told(error)}): it is left, and all begins afresh"
            )
            self._resume = None  # what could not be read may name an upload: it is not written over
            return None
        token = None if found is None else ResumeToken.from_text(found)
        if found is not None and token is None:
            self._note("The state that was found is not one of an earlier try, so this one begins afresh")
        self._saved = token is not None
        return token

    def save(self, token: ResumeToken) -> None:
        """Make the token safe, if it can be; a stop is noticed before and after."""
        if self._resume is None:
            return
        text = token.to_text()
        self._saved = False
        try:
            if not text:
                raise ValueError(f"upload id {token.upload_id[:40]}... is too long for it")
            self._resume.store.save(text)
            self._saved = True
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of whatever kind
            self._note(f"The state could not be saved ({_told(error)}), so a later try would begin afresh")

    def clear(self) -> None:
        """Forget the token: nothing of this transfer is left; but where an earlier upload is, name that."""
        if self._resume is None:
            return
        if self._undropped is not None:
            self.save(self._undropped)
            self._saved = False  # it is not the upload that this try may keep
            return
        self._saved = False
        try:
            self._resume.store.clear()
        except Exception as error:  # noqa: BLE001 - a store of the caller's, of whatever kind
            self._note(f"The state could not be cleared ({_told(error)}); a later try will find it outdated")

    def keeps(self, error: BaseException, token: ResumeToken | None) -> bool:
        """Whether an upload is left to the next try: there is one, it can go on, and it may succeed."""
        if self._resume is None or token is None or not (self._saved and token.resumable):
            return False
        hopeless = isinstance(error, S3StreamError) and not error.retryable and not isinstance(error, Stopped)
        return not hopeless and not isinstance(error, UploadVanished) and self._resume.again()

    def parts(self, token: ResumeToken, plan: TransferPlan) -> list[CompletedPart]:
        """
        Name the parts of an earlier try that are parts of the plan, with the checksums that the store tells.

        :raises UploadVanished: the upload is gone.
        """
        upload = Upload(upload_id=token.upload_id, checksums=token.checksums)
        listed = self._run.call("listing the parts", lambda: self._sink.list_parts(upload))
        return taken_over(plan, listed)

    def drop(self, token: ResumeToken, reason: str) -> bool:
        """Remove what an earlier try has left and this one cannot use; False if it is still there."""
        sink = self._sink
        if token.upload_id:
            here = token.goes_to(sink.name)
            if token.place is None and not here:  # another key, too long to be kept
                self._note(f"{reason}. The earlier multipart upload {token.upload_id} is left to a lifecycle rule")
                return True
            if token.place is not None and not here:
                sink = sink.elsewhere(token.place)
            left = clean_up(sink, Upload(upload_id=token.upload_id, checksums=token.checksums))
            self._note(f"The upload of an earlier try is not gone on with: {reason}. {left.text}")
            if not left.removed:
                self._undropped, self.left = token, left.text
            return left.removed
        elif token.goes_to(sink.name):
            self.sweep(self._wall() - token.began + _SKEW, marked=True)
        return True

    def sweep(self, within: float, keep: Upload | None = None, *, marked: bool = False) -> None:
        """
        Abort empty uploads to this key that were begun in the last ``within`` seconds and whose ids nobody knows.

        The answer to a CreateMultipartUpload was lost, or its id was not saved before the process died. An upload that
        another transfer has begun at the same moment cannot be told from ours; that transfer notices, and begins anew.

        :param keep: the one whose id is known.
        :param marked: leave those without the marks of this package, since much time has passed.
        """
        try:
            for upload in self._run.call("looking for lost uploads", self._sink.list_uploads):
                known = Upload(upload_id=upload.upload_id, checksums=upload.checksums)
                ours = keep is not None and upload.upload_id == keep.upload_id
                if ours or (marked and not upload.checksums) or not -_SLOW <= upload.age <= within + _SLOW:
                    continue
                if not self._run.call("looking into a lost upload", lambda known=known: self._sink.list_parts(known)):  # type: ignore[misc]
                    self._run.call("removing a lost upload", lambda known=known: self._sink.abort(known))  # type: ignore[misc]
        except SinkError as error:
            self._note(
                f"An upload that was begun and not answered may be left, empty ({error}); "
                "`s3stream uploads list` shows it, a lifecycle rule removes it"
            )

    def _note(self, text: str) -> None:
        self._run.tell(Noted(text=text))


def taken_over(plan: TransferPlan, listed: list[ListedPart]) -> list[CompletedPart]:
    """Choose the stored parts that need not be moved again, in order."""
    known = {part.number: part for part in listed if part.crc is not None and part.etag}
    numbers = fitting(plan, [(part.number, part.size) for part in known.values()])
    return [
        CompletedPart(number=number, size=known[number].size, etag=known[number].etag, crc=known[number].crc or 0)
        for number in sorted(numbers)
    ]


def with_upload(token: ResumeToken, upload: Upload, plan: TransferPlan) -> ResumeToken:
    """Note in a token the upload that was begun."""
    return replace(
        token,
        upload_id=upload.upload_id,
        part_size=plan.part_size,
        relayed=plan.mode == "relay",
        checksums=upload.checksums,
    )


def _told(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
