"""The operator that aborts multipart uploads left behind."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_s3stream.operators.transfer import Transfer

# Nothing heavy here: a DAG file must parse without loading boto3. See execute.

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from airflow.sdk import Context

_OPTIONS = (
    "older_than", "only_own", "connections", "connect_timeout", "read_timeout", "deadline",
    "retry_attempts", "retry_budget", "progress_interval",
)  # fmt: skip


class S3AbortUploadsOperator(Transfer, BaseOperator):
    """
    Abort multipart uploads below a prefix that nobody will complete: what was sent of them is invisible, and billed.

    Only those that look as this package begins them, unless told otherwise. S3 lists no metadata of an upload, so that
    is a likeness (:attr:`airflow_s3stream.plan.uploads.FoundUpload.missing_mark`) and no proof, and a transfer that is
    under way looks the same: let ``older_than`` be more than any transfer, with its tries and the waits between them,
    can take.

    :param s3_prefix: ``s3://bucket/prefix/``, or a prefix beside ``s3_bucket``; may be empty.
    :param s3_bucket: the bucket, where ``s3_prefix`` does not name it.
    :param older_than: least age, since an upload was begun and since its newest part came: seconds, text such as
        ``"12h"`` or ``"2d"``, or a timedelta; by the store's clock.
    :param only_own: False: whoever began them.
    :param dry_run: abort nothing; the result says what would be aborted.
    :param connections: uploads dealt with at once.
    :param aws_conn_id: the AWS connection.
    :param region_name: overrides the connection's region.
    :param verify: TLS verification of the store: False, True, or the path of a CA bundle.
    :param botocore_config: arguments of :class:`botocore.config.Config`.
    :param connect_timeout: seconds to establish a connection.
    :param read_timeout: seconds without a byte received.
    :param deadline: seconds for the whole; None: no limit.
    :param retry_attempts: of each request.
    :param retry_budget: retries of all requests together; each request that succeeds gives one back.
    :param progress_interval: seconds between progress lines in the task log.

    :returns: the :class:`~airflow_s3stream.plan.uploads.AbortResult` as a dict, the XCom: counts, and of each kind the
        first hundred uploads by name.
    :raises AirflowFailException: a retry cannot help: bad arguments, no such bucket, access denied; the cause is the
        typed error. What could be aborted has been.
    :raises S3StreamError: anything else, so that Airflow's retries decide.
    """

    template_fields: Sequence[str] = (
        "s3_prefix", "s3_bucket", "aws_conn_id", "region_name", "verify", "botocore_config", "is_dry_run", *_OPTIONS,
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"botocore_config": "json"}
    ui_color = "#f7efd7"

    def __init__(
        self,
        *,
        s3_prefix: str | None = None,
        s3_bucket: str | None = None,
        older_than: float | str | timedelta = "2d",
        only_own: bool | str = True,
        dry_run: bool | str = False,
        connections: int | str = 16,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        connect_timeout: float | str = 10,
        read_timeout: float | str = 60,
        deadline: float | str | None = None,
        retry_attempts: int | str = 8,
        retry_budget: int | str = 100,
        progress_interval: float | str = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_prefix = s3_prefix
        self.s3_bucket = s3_bucket
        self.older_than = older_than
        self.only_own = only_own
        self.is_dry_run = dry_run  # for BaseOperator has a method of the other name
        self.connections = connections
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.deadline = deadline
        self.retry_attempts = retry_attempts
        self.retry_budget = retry_budget
        self.progress_interval = progress_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Abort what is meant; return the result as JSON."""
        from airflow_s3stream.engine.uploadtally import failure_of
        from airflow_s3stream.operators.errors import failing_fast

        hook = self._open_hook()
        with failing_fast():
            result = hook.abort_uploads(
                self.s3_prefix, self.s3_bucket or None, dry_run=self.is_dry_run, **self._given(_OPTIONS)
            )
            error = failure_of(result)
            if error is not None:
                raise error
        return asdict(result)
