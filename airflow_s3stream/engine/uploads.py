"""Multipart uploads left behind below a prefix: listed page by page, and aborted one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.engine.uploadstore import UploadStore
from airflow_s3stream.engine.uploadtally import Outcome, Tally
from airflow_s3stream.exceptions import DeadlineExceeded, S3StreamError, SinkError, Stopped, UploadVanished
from airflow_s3stream.plan.uploads import UploadOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.run import Chances
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.uploads import AbortResult, FoundUpload

_ABORTS = 2  # a part that was on its way when its upload was aborted may stay


def list_uploads(
    client: S3Client,
    bucket: str,
    prefix: str = "",
    options: UploadOptions | None = None,
    *,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
    chances: Chances | None = None,
    others: dict[str, int] | None = None,
) -> Iterator[FoundUpload]:
    """
    Iterate over the multipart uploads below a prefix that are neither completed nor aborted, by key.

    :param others: counts those that ``options`` leave out, by the reason.
    :raises S3StreamError: the list cannot be read, once the retries are spent.
    """
    options = options or UploadOptions()
    store = UploadStore(client, bucket, prefix, options, stop=stop, listener=listener, chances=chances)

    def wanted(upload: FoundUpload) -> bool:
        reason = (upload.missing_mark if options.only_own else "") or options.too_young(upload)
        if reason and others is not None:
            others[reason] = others.get(reason, 0) + 1
        return not reason

    def with_parts(upload: FoundUpload) -> FoundUpload | None:
        try:
            return store.with_parts(upload)
        except UploadVanished:  # since it was listed
            return None

    for page in store.pages():
        found = [upload for upload in page if wanted(upload)]
        if options.sizes:
            looked_at = store.in_parallel(found, with_parts)
            found = [upload for upload in looked_at if upload is not None and wanted(upload)]
        yield from found


def abort_uploads(
    client: S3Client,
    bucket: str,
    prefix: str = "",
    options: UploadOptions | None = None,
    *,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
    chances: Chances | None = None,
) -> AbortResult:
    """
    Abort the multipart uploads below a prefix that ``options`` mean; what is left, is left for a reason that is told.

    One that cannot be aborted does not keep the others from it: it is among the ``failures`` of the result; see
    :func:`~airflow_s3stream.engine.uploadtally.failure_of`.

    :raises S3StreamError: the list cannot be read, the sweep was stopped, or a hundred uploads in a row failed. The
        message says what was done until then.
    """
    return _Sweep(UploadStore(client, bucket, prefix, options, stop=stop, listener=listener, chances=chances)).run()


class _Sweep:
    """One run of :func:`abort_uploads`."""

    def __init__(self, store: UploadStore) -> None:
        self._store = store
        self._options = store.options
        self._tally = Tally(store)

    def run(self) -> AbortResult:
        """Go through all pages."""
        try:
            # One page ahead: some stores go on after a marker only as long as the upload that it names is there.
            for page in _one_ahead(self._store.pages()):
                self._store.in_parallel(page, self._deal_with)
                self._tally.report()
        except S3StreamError as error:
            self._tally.explain(error)
            raise
        return self._tally.finish()

    def _deal_with(self, upload: FoundUpload) -> None:
        """Abort one upload, or find out why not."""
        self._tally.take(self._outcome(upload))

    def _outcome(self, upload: FoundUpload) -> Outcome:
        options = self._options
        try:
            reason = self._reason(upload)
            if not reason:
                upload = self._store.with_parts(upload)
                reason = self._reason(upload)
            if reason:
                return Outcome("left", upload, reason)
            if not options.dry_run:
                self._abort(upload)
        except UploadVanished:
            return Outcome("vanished", upload)
        except (Stopped, DeadlineExceeded):
            raise
        except S3StreamError as error:
            return Outcome("failed", upload, error=error)
        return Outcome("aborted", upload)

    def _reason(self, upload: FoundUpload) -> str:
        """Say why an upload is to be left; empty if it is not."""
        return (upload.missing_mark if self._options.only_own else "") or self._options.too_young(upload)

    def _abort(self, upload: FoundUpload) -> None:
        """
        Abort, and look whether the parts are gone.

        A part that arrives after the abort may stay, so it may take more than one (Amazon S3 API Reference,
        AbortMultipartUpload).
        """
        for number in range(_ABORTS):
            try:
                self._store.abort(upload)
            except UploadVanished:
                if not number:
                    raise
            if not self._store.shows_parts(upload):
                return
        raise SinkError(
            f"the store still shows parts of it after {_ABORTS} aborts; something may still be sending them",
            op="ListParts",
            target=self._store.name_of(upload),
            retryable=True,
        )


def _one_ahead(pages: Iterator[list[FoundUpload]]) -> Iterator[list[FoundUpload]]:
    before: list[FoundUpload] = []
    for page in pages:
        if before:
            yield before
        before = page
    yield before
