"""The requests about multipart uploads left behind: pages of the list, parts, aborts; each retried, all stoppable."""

from __future__ import annotations

import time
from collections import deque
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import inf
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import unquote_plus

from botocore.exceptions import ClientError

from airflow_s3stream.config import CopyOptions
from airflow_s3stream.engine.run import Run
from airflow_s3stream.engine.s3errors import translated
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import SinkError, SinkUnavailable, UploadVanished
from airflow_s3stream.plan.uploads import FoundUpload, UploadOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.run import Chances

T = TypeVar("T")

_NEVER: Any = object()


class UploadStore:
    """The multipart uploads of one bucket below one prefix."""

    def __init__(
        self,
        client: S3Client,
        bucket: str,
        prefix: str,
        options: UploadOptions | None,
        *,
        stop: StopFlag | None = None,
        listener: Listener | None = None,
        chances: Chances | None = None,
    ) -> None:
        self.options = options or UploadOptions()
        self.uri = f"s3://{bucket}/{prefix}"
        self._client = client
        self._bucket = bucket
        self._prefix = prefix
        settings = CopyOptions(
            connections=self.options.connections,
            timeouts=self.options.timeouts,
            retry=self.options.retry,
            progress_interval=inf,  # what is told meanwhile are uploads, not bytes
        )
        self.run = Run(settings, stop or StopFlag(), listener, chances)

    def name_of(self, upload: FoundUpload) -> str:
        """``s3://bucket/key``."""
        return f"s3://{self._bucket}/{upload.key}"

    def pages(self) -> Iterator[list[FoundUpload]]:
        """
        Iterate over pages of the list.

        :raises SinkError: the store says that there is more, and not where.
        """
        after: dict[str, str] = {}
        while True:
            markers = after
            answer = self.run.call("listing the uploads", lambda: self._page(markers))  # noqa: B023 - called at once
            now = _clock_of(answer)
            decoded = unquote_plus if answer.get("EncodingType") == "url" else str
            yield [_found(item, decoded(item["Key"]), now) for item in answer.get("Uploads", ())]
            if not answer.get("IsTruncated"):
                return
            after = {"KeyMarker": decoded(answer.get("NextKeyMarker", ""))}
            if answer.get("NextUploadIdMarker"):
                after["UploadIdMarker"] = answer["NextUploadIdMarker"]
            if not after["KeyMarker"] or after == markers:
                raise SinkError(
                    "the store says that there are more uploads, and not where", op="ListMultipartUploads",
                    target=self.uri, retryable=True,
                )  # fmt: skip

    def _page(self, markers: dict[str, str]) -> Any:
        asked: dict[str, Any] = {
            "Bucket": self._bucket,
            **({"Prefix": self._prefix} if self._prefix else {}),
            **markers,
        }
        with translated("ListMultipartUploads", self.uri):
            try:
                return self._client.list_multipart_uploads(**asked)
            except ClientError as error:
                match error.response["Error"].get("Code"):
                    case "NoSuchUpload":
                        return {}  # how rclone says that the bucket never had one
                    case "500":
                        # What botocore makes of an answer that is no XML, perhaps because of a key with characters
                        # that XML cannot carry. Not asked for at first, because not every store that says it has
                        # encoded the keys has done so.
                        return self._client.list_multipart_uploads(**asked, EncodingType="url")
                raise

    def with_parts(self, upload: FoundUpload) -> FoundUpload:
        """
        Ask for the parts of an upload, all pages; any thread.

        :raises UploadVanished: it is not there any more.
        """
        count = size = unmarked = 0
        newest: datetime | None = None
        marker = 0
        while True:
            answer = self._parts(upload, PartNumberMarker=marker) if marker else self._parts(upload)
            for part in answer.get("Parts", ()):
                count += 1
                size += part.get("Size", 0)
                unmarked += "ChecksumCRC64NVME" not in part
                came = part.get("LastModified")
                newest = max(newest or came, came) if came else newest
            if not answer.get("IsTruncated"):
                return replace(upload, parts=count, bytes=size, unmarked_parts=unmarked, last_part=_utc(newest))
            following = int(answer.get("NextPartNumberMarker") or 0)
            if following <= marker:
                raise SinkError(
                    "the store says that there are more parts, and not where", op="ListParts",
                    target=self.name_of(upload), retryable=True,
                )  # fmt: skip
            marker = following

    def shows_parts(self, upload: FoundUpload) -> bool:
        """Whether the store still shows parts; any thread."""
        try:
            return bool(self._parts(upload, MaxParts=1).get("Parts"))
        except UploadVanished:
            return False

    def abort(self, upload: FoundUpload) -> None:
        """
        Abort an upload; any thread.

        :raises UploadVanished: it was not there any more, and not because an answer to this was lost.
        """
        doubt = False

        def attempt() -> None:
            nonlocal doubt
            try:
                with translated("AbortMultipartUpload", self.name_of(upload)):
                    self._client.abort_multipart_upload(Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id)
            except UploadVanished:
                if not doubt:
                    raise
            except SinkUnavailable:
                doubt = True
                raise

        self._call("aborting an upload", attempt)

    def _parts(self, upload: FoundUpload, **asked: Any) -> Any:
        def attempt() -> Any:
            with translated("ListParts", self.name_of(upload)):
                return self._client.list_parts(Bucket=self._bucket, Key=upload.key, UploadId=upload.upload_id, **asked)

        return self._call("listing the parts of an upload", attempt)

    def _call(self, what: str, attempt: Callable[[], T]) -> T:
        result = self.run.retrier.call(what, attempt)
        self.run.retrier.budget.refund()
        self.run.limiter.succeeded()
        return result

    def in_parallel(self, uploads: Sequence[FoundUpload], action: Callable[[FoundUpload], T]) -> list[T]:
        """
        Do something with each of some uploads, several at once.

        :returns: what came of each, in the order of ``uploads``.
        :raises BaseException: the first failure; a stop, or the deadline.
        """
        waiting = deque(enumerate(uploads))
        results: list[T] = [_NEVER] * len(uploads)
        limiter = self.run.limiter

        def work() -> None:
            while waiting:
                limiter.acquire()
                try:
                    self.run.limits.check()
                    index, upload = waiting.popleft()
                    results[index] = action(upload)
                except IndexError:
                    return  # another took the last
                finally:
                    limiter.release()

        self.run.crew([work] * min(self.options.connections, len(uploads)))
        return results


def _found(item: Any, key: str, now: datetime) -> FoundUpload:
    marks = (item.get("ChecksumAlgorithm") or "", item.get("ChecksumType") or "")
    return FoundUpload(
        key=key,
        upload_id=item["UploadId"],
        begun=item["Initiated"].astimezone(UTC),
        asked=now,
        storage_class=item.get("StorageClass") or "",
        checksum=" ".join(filter(None, marks)),
    )


def _clock_of(answer: Any) -> datetime:
    """Tell the store's time (RFC 9110, section 6.6.1); this machine's where it does not say."""
    date = answer.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date", "")
    try:
        return parsedate_to_datetime(date).astimezone(UTC)
    except (TypeError, ValueError):
        return datetime.fromtimestamp(time.time(), UTC)


def _utc(moment: datetime | None) -> datetime | None:
    return moment.astimezone(UTC) if moment else None
