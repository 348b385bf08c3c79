"""What a failed transfer removes, and what it says when it cannot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.engine.stop import Limits, StopFlag
from airflow_s3stream.exceptions import S3StreamError

if TYPE_CHECKING:
    from airflow_s3stream.engine.protocols import Sink, Upload

_PATIENCE = 2.0  # seconds; a stop must be over in 3, and Airflow kills after 5
_ATTEMPTS = 2


def abort(sink: Sink, upload: Upload | None, because: BaseException | None = None) -> None:
    """
    Remove the multipart upload; tell in ``because`` what was done, or what is left and how to remove it.

    Runs on limits of its own, for those of the transfer are spent.
    """
    if upload is None:
        return
    limits = Limits(StopFlag(), _PATIENCE)
    failure: S3StreamError | None = None
    for _ in range(_ATTEMPTS):
        try:
            limits.call(lambda: sink.abort(upload))
        except S3StreamError as error:
            failure = error
        else:
            _tell(because, "Nothing was published; the multipart upload was aborted.")
            return
    _tell(
        because,
        f"Nothing was published, but multipart upload {upload.upload_id} could not be aborted "
        f"({failure.message if failure else 'no answer'}) and its parts are billed until it is: "
        f"{sink.how_to_abort(upload)}",
    )


def _tell(because: BaseException | None, text: str) -> None:
    if isinstance(because, S3StreamError):
        because.message = f"{because.message.rstrip('.')}. {text}"
    elif because is not None:
        because.add_note(text)
