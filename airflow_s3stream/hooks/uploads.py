"""The hook's methods for multipart uploads left behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.engine.uploads import abort_uploads, list_uploads
from airflow_s3stream.hooks.base import TransferHook
from airflow_s3stream.plan.names import parse_s3_prefix
from airflow_s3stream.plan.uploads import read_abort_options, read_upload_options

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import timedelta

    from airflow_s3stream.plan.uploads import AbortResult, FoundUpload


class UploadsHook(TransferHook):
    """List and abort them; :class:`~airflow_s3stream.hooks.s3stream.S3StreamHook` is what people use."""

    def list_uploads(
        self,
        s3_prefix: str | None,
        s3_bucket: str | None = None,
        *,
        older_than: float | str | timedelta | None = None,
        only_own: bool | str = True,
        sizes: bool | str = False,
        **options: Any,
    ) -> Iterator[FoundUpload]:
        """
        Iterate over the multipart uploads below a prefix that are neither completed nor aborted.

        :param older_than: only those of at least this age: seconds, text such as ``"2d"``, or a timedelta.
        :param only_own: only those that look as this package begins them;
            see :attr:`~airflow_s3stream.plan.uploads.FoundUpload.missing_mark`.
        :param sizes: count their parts and bytes, which takes a request for each upload.
        :param options: ``connections``, ``connect_timeout``, ``read_timeout``, ``deadline``, ``retry_attempts``,
            ``retry_budget``.
        :raises S3StreamError: the list cannot be read.
        """
        settings = read_upload_options(older_than, only_own=only_own, sizes=sizes, **options)
        bucket, prefix = parse_s3_prefix(s3_prefix, s3_bucket)
        client = self._client(settings.connections, settings.timeouts)
        return list_uploads(client, bucket, prefix, settings, stop=self._stop, listener=self._report)

    def abort_uploads(
        self,
        s3_prefix: str | None,
        s3_bucket: str | None = None,
        *,
        older_than: float | str | timedelta | None = None,
        only_own: bool | str = True,
        dry_run: bool | str = False,
        **options: Any,
    ) -> AbortResult:
        """
        Abort multipart uploads left behind below a prefix, which frees what was sent of them.

        One that looks as this package begins them may be another's, and may be under way: let ``older_than`` be more
        than any transfer, with its tries and the waits between them, can take.

        :param older_than: least age, since an upload was begun and since its newest part came; None: two days.
        :param only_own: False: whoever began them.
        :param dry_run: abort nothing; the result says what would be aborted.
        :param options: as for :meth:`list_uploads`; ``progress_interval``.
        :returns: counts, and the first hundred of each kind by name. Uploads that could not be aborted do not raise
            here: they are its ``failures``.
        :raises S3StreamError: the list cannot be read, the sweep was stopped, or a hundred in a row failed.
        """
        settings = read_abort_options(older_than, only_own=only_own, dry_run=dry_run, **options)
        bucket, prefix = parse_s3_prefix(s3_prefix, s3_bucket)
        client = self._client(settings.connections, settings.timeouts)
        return abort_uploads(client, bucket, prefix, settings, stop=self._stop, listener=self._report)
