"""The operator that copies a URL into S3."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_s3stream.operators.transfer import Transfer

# Nothing heavy here: a DAG file must parse without loading boto3 or requests. See execute.

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

_OPTIONS = (
    "part_size", "connections", "max_memory", "if_exists", "min_bytes", "max_bytes", "if_size_outside",
    "expected_size", "expected_checksum", "strict", "content_type", "metadata", "tags", "storage_class",
    "server_side_encryption", "kms_key_id", "allow_private", "allowed_hosts", "max_bandwidth", "connect_timeout",
    "read_timeout", "stall_timeout", "deadline", "retry_attempts", "retry_budget", "progress_interval", "profile",
)  # fmt: skip


class UrlToS3Operator(Transfer, BaseOperator):
    """
    Copy a URL into S3: streamed by parallel parts, in fixed memory, with no disk, and never a wrong object.

    Sizes are bytes or text such as ``"64MiB"``, times are seconds. Nothing is checked or opened before ``execute``.

    :param url: absolute http or https URL, or a path below the connection ``http_conn_id``.
    :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
    :param s3_bucket: the bucket, where ``s3_key`` does not name it.
    :param http_conn_id: an HTTP connection for the source's host, credentials, headers, proxies; None: none.
    :param aws_conn_id: the AWS connection.
    :param region_name: overrides the connection's region.
    :param verify: TLS verification of the store: False, True, or the path of a CA bundle.
    :param botocore_config: arguments of :class:`botocore.config.Config`.
    :param headers: sent to the URL's own host, and to no other it redirects to.
    :param part_size: of each part, 5 MiB to 5 GiB; None: the profile's, else chosen from the object's size.
    :param connections: parts under way at once; None: the profile's, else 16.
    :param max_memory: ceiling of the part buffers, where the source has no ranges to relay.
    :param resume: go on where an earlier try of this task was: with a source that gives ranges and a store that keeps
        CRC-64/NVME, parts that are stored are not sent again. The upload of a failed try is kept while a try is left,
        and aborted when none is. Needs Airflow 3.3; before, each try begins afresh.
    :param if_exists: ``overwrite``; ``skip``; ``skip_unchanged``: skip if the source is still what the object was made
        from; ``fail``: and let nobody overwrite in between, where the store checks that.
    :param min_bytes: least size of the source.
    :param max_bytes: greatest size of the source.
    :param if_size_outside: ``fail`` or ``skip`` when the size is outside those.
    :param expected_size: exact size of the source.
    :param expected_checksum: ``algorithm:value`` of the source, hex or base64; md5, sha1, sha256, sha512, crc32,
        crc32c or crc64nvme. Checked before the object is visible. All but the CRCs make the source one stream.
    :param strict: fail where only the size of the stored object can be proved.
    :param content_type: of the object; None: what the source says.
    :param metadata: user metadata of the object.
    :param tags: tags of the object.
    :param storage_class: of the object.
    :param server_side_encryption: ``AES256``, ``aws:kms`` or ``aws:kms:dsse``.
    :param kms_key_id: the KMS key for the latter two.
    :param allow_private: networks (``10.0.0.0/8``) that the URL and its redirects may lead to though they are not
        public, on any port; a list, or text with commas. A host that an HTTP connection names needs no such leave.
    :param allowed_hosts: the only hosts that may be asked: ``example.org``, ``*.example.org``, ``example.org:8443``;
        a list, or text with commas. None: any.
    :param max_bandwidth: bytes per second over all connections.
    :param connect_timeout: to establish a connection.
    :param read_timeout: without a byte received.
    :param stall_timeout: for one read to complete.
    :param deadline: for the whole transfer; None: no limit.
    :param retry_attempts: of each request.
    :param retry_budget: retries of all requests together; each part stored gives one back.
    :param progress_interval: between progress lines in the task log.
    :param profile: settings that ``s3stream tune`` measured and saved: the path of the file (with a ``/``, or ending in
        ``.json``), the name of an Airflow Variable that holds its text, or the mapping itself. Arguments win over it.

    :returns: the :class:`~airflow_s3stream.config.TransferResult` as a dict, the XCom.
    :raises AirflowFailException: a retry cannot help: bad arguments, nothing at the URL, access denied; the cause is
        the typed error.
    :raises S3StreamError: anything else, so that Airflow's retries decide.
    """

    template_fields: Sequence[str] = (
        "url", "s3_key", "s3_bucket", "http_conn_id", "aws_conn_id", "region_name", "verify", "botocore_config",
        "headers", "resume", *_OPTIONS,
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "botocore_config": "json",
        "headers": "json",
        "metadata": "json",
        "profile": "json",
        "tags": "json",
    }
    ui_color = "#d7e8f7"

    def __init__(
        self,
        *,
        url: str,
        s3_key: str,
        s3_bucket: str | None = None,
        http_conn_id: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        headers: dict[str, str] | None = None,
        part_size: int | str | None = None,
        connections: int | str | None = None,
        max_memory: int | str = "64MiB",
        if_exists: str = "overwrite",
        min_bytes: int | str | None = None,
        max_bytes: int | str | None = None,
        if_size_outside: str = "fail",
        expected_size: int | str | None = None,
        expected_checksum: str | None = None,
        strict: bool | str = False,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
        storage_class: str | None = None,
        server_side_encryption: str | None = None,
        kms_key_id: str | None = None,
        allow_private: Sequence[str] | str | None = None,
        allowed_hosts: Sequence[str] | str | None = None,
        max_bandwidth: int | str | None = None,
        connect_timeout: float | str = 10,
        read_timeout: float | str = 60,
        stall_timeout: float | str = 60,
        deadline: float | str | None = None,
        retry_attempts: int | str = 8,
        retry_budget: int | str = 100,
        progress_interval: float | str = 10,
        profile: str | Mapping[str, Any] | None = None,
        resume: bool | str = True,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.url = url
        self.s3_key = s3_key
        self.s3_bucket = s3_bucket
        self.http_conn_id = http_conn_id
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.headers = headers
        self.part_size = part_size
        self.connections = connections
        self.max_memory = max_memory
        self.if_exists = if_exists
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.if_size_outside = if_size_outside
        self.expected_size = expected_size
        self.expected_checksum = expected_checksum
        self.strict = strict
        self.content_type = content_type
        self.metadata = metadata
        self.tags = tags
        self.storage_class = storage_class
        self.server_side_encryption = server_side_encryption
        self.kms_key_id = kms_key_id
        self.allow_private = allow_private
        self.allowed_hosts = allowed_hosts
        self.max_bandwidth = max_bandwidth
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.stall_timeout = stall_timeout
        self.deadline = deadline
        self.retry_attempts = retry_attempts
        self.retry_budget = retry_budget
        self.progress_interval = progress_interval
        self.profile = profile
        self.resume = resume

    def execute(self, context: Context) -> dict[str, Any]:
        """Copy; return the result as JSON."""
        from airflow_s3stream.operators.errors import failing_fast
        from airflow_s3stream.plan.values import flag

        hook = self._open_hook(self.http_conn_id)
        with failing_fast():
            result = hook.copy_url(
                self.url,
                self.s3_key,
                self.s3_bucket or None,
                headers=self.headers,
                context=context if flag(self.resume, "resume", default=True) else None,
                **self._given(_OPTIONS),
            )
        return asdict(result)
