"""What a failed transfer removes, and what it says when it cannot."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from airflow_s3stream.engine.publish import is_ours
from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.exceptions import S3StreamError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from threading import Thread

    from airflow_s3stream.engine.protocols import Sink, Upload
    from airflow_s3stream.engine.publish import Content

_PATIENCE = 1.5  # seconds; with what comes before, a stop must be over in 3, and Airflow kills after 5
_ATTEMPTS = 2
_STRAGGLE = 0.3  # seconds


@dataclass(frozen=True, slots=True)
class Left:
    """What :func:`clean_up` did, in words, and whether it could remove the upload."""

    text: str
    removed: bool = True


def clean_up(
    sink: Sink, upload: Upload | None, content: Content | None = None, stragglers: Sequence[Thread] = ()
) -> Left:
    """
    Remove the multipart upload; say what was done, or what is left and how to remove it.

    Runs on limits of its own, for those of the transfer are spent.

    :param content: what was being published when the failure came; None: publishing had not begun.
    :param stragglers: workers that may still be sending parts.
    """
    limits = Limits(StopFlag(), _PATIENCE)
    told = []
    failure = None
    if upload is not None:
        failure = _abort(sink, upload, limits)
        if stragglers and failure is None:
            # A part that arrives after the abort may stay (Amazon S3 API Reference, AbortMultipartUpload): abort again.
            ends = time.monotonic() + _STRAGGLE
            for thread in stragglers:
                thread.join(max(0.0, ends - time.monotonic()))
            failure = _abort(sink, upload, limits)
        told.append(
            "The multipart upload was aborted."
            if failure is None
            else f"Multipart upload {upload.upload_id} could not be aborted ({failure}) and its parts are billed "
            f"until it is: {sink.how_to_abort(upload)}"
        )
    if content is not None or told:
        told.insert(0, _visible(sink, content, limits))
    return Left(" ".join(told), removed=failure is None)


def keep_upload(sink: Sink, upload: Upload, content: Content | None, stored: int | None) -> Left:
    """
    Leave the upload to the next try, and say so; asks the store only if publishing had begun.

    :param stored: how many parts it has; None: that is not known.
    """
    told = [_visible(sink, content, Limits(StopFlag(), _PATIENCE))]
    parts = "" if stored is None else f", with {stored} parts stored"
    told.append(
        f"Multipart upload {upload.upload_id} is kept for the next try{parts}. "
        f"To remove it instead: {sink.how_to_abort(upload)}"
    )
    return Left(" ".join(told), removed=False)


def _abort(sink: Sink, upload: Upload, limits: Limits) -> str | None:
    """Abort; tell why it failed, or None."""
    failure = ""
    for _ in range(_ATTEMPTS):
        try:
            limits.call(lambda: sink.abort(upload))
        except S3StreamError as error:
            failure = error.message
        else:
            return None
    return failure


def _visible(sink: Sink, content: Content | None, limits: Limits) -> str:
    """Say what is at the key: a request to publish that was cut off may have been carried out all the same."""
    if content is None:
        return "Nothing was published."
    try:
        found = limits.call(sink.head)
    except S3StreamError:
        return "The object may have been published all the same; look at the key."
    if found is not None and is_ours(found, content):
        return "The whole object was published all the same."
    return "Nothing was published so far as the key shows; the last request to publish may still be under way."


def add(text: str, error: BaseException) -> None:
    """Put what was cleaned up into the error that a person will read."""
    if isinstance(error, S3StreamError) and text:
        error.message = f"{error.message.rstrip('.')}. {text}"
    elif text:
        error.add_note(text)
