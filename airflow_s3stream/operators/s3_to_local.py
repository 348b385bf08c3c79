"""The operators that download to local disk: a prefix or many named objects, and one object of any size."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.sdk import BaseOperator

from airflow_s3stream.operators.transfer import Transfer

# Nothing heavy here: a DAG file must parse without loading boto3 or libcurl. See execute.

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from airflow.sdk import Context

_PREFIX_OPTIONS = (
    "keys", "manifest", "retry_failed", "start_after", "last_key", "include", "exclude", "min_bytes", "max_bytes",
    "modified_after", "modified_before", "layout", "sink", "shard_size", "connections", "max_memory", "if_exists",
    "on_error", "fail_if_empty", "strict", "results", "max_bandwidth", "connect_timeout", "read_timeout",
    "stall_timeout", "deadline", "retry_attempts", "retry_budget", "progress_interval",
)  # fmt: skip
_OBJECT_OPTIONS = (
    "connections", "part_size", "if_exists", "resume", "strict", "min_speed", "profile", "max_bandwidth",
    "connect_timeout", "read_timeout", "stall_timeout", "deadline", "retry_attempts", "retry_budget",
    "progress_interval",
)  # fmt: skip


class S3PrefixToLocalOperator(Transfer, BaseOperator):
    """
    Download many S3 objects into a directory, in parallel, in a fixed amount of memory; none wrong, none lost silently.

    A try that failed or was killed leaves finished files, and the next try on the same disk fetches the rest.
    Sizes are bytes or text such as ``"64MiB"``, times are seconds. Nothing is checked or opened before ``execute``.

    :param s3_prefix: ``s3://bucket/prefix/``, or a prefix beside ``s3_bucket``.
    :param directory: made if it is missing. Objects go where what follows the prefix's last ``/`` says.
    :param s3_bucket: the bucket, where ``s3_prefix`` does not name it.
    :param keys: whole keys or ``s3://bucket/key``, to fetch instead of all below the prefix.
    :param manifest: a file that names them, local or ``s3://``: text, CSV (S3 Inventory too) or JSON lines.
    :param retry_failed: the results manifest of an earlier download; what failed there is fetched.
    :param start_after: keys of the prefix up to this one are left out.
    :param last_key: keys of the prefix after this one are left out.
    :param include: globs of what is wanted (:mod:`airflow_s3stream.plan.selection`). Without ``/`` they match the
        last step of a path (``*.csv``), else the path below the prefix (``2024/**/*.csv``).
    :param exclude: globs of what is left out, whatever ``include`` says.
    :param min_bytes: least size of an object.
    :param max_bytes: greatest size of an object.
    :param modified_after: objects last modified at or after this ISO time; without a zone it is UTC.
    :param modified_before: objects last modified before this.
    :param layout: ``paths``, or ``flatten`` to keep only the last step of each key.
    :param sink: ``files``, or ``tar`` for shards ``shard-00000.tar``, ...
    :param shard_size: of those.
    :param connections: GETs under way at once; None: 128 to begin with, up to 512 while more of them help.
    :param max_memory: ceiling of the bodies under way.
    :param if_exists: ``overwrite``; ``skip_same``: leave a file that is the object already; ``fail``.
    :param on_error: ``fail`` at the first object that cannot be had, or ``continue`` with the rest; the result then
        says how many failed, and the manifest which.
    :param fail_if_empty: fail where there is nothing to download.
    :param strict: fail objects of which only the size can be proved.
    :param results: path of the results manifest; None: ``.s3stream/results.jsonl`` in the directory.
    :param aws_conn_id: the AWS connection.
    :param region_name: overrides the connection's region.
    :param verify: TLS verification of the store: False, True, or the path of a CA bundle.
    :param botocore_config: arguments of :class:`botocore.config.Config`.
    :param max_bandwidth: bytes per second over all connections.
    :param connect_timeout: to establish a connection.
    :param read_timeout: without a byte received.
    :param stall_timeout: at less than 1 KiB per second.
    :param deadline: for the whole download; None: no limit.
    :param retry_attempts: of each request.
    :param retry_budget: retries of all requests together; each object delivered gives one back.
    :param progress_interval: between progress lines in the task log.

    :returns: the :class:`~airflow_s3stream.plan.download.DownloadResult` as a dict, the XCom; ``manifest`` says where
        each object is named.
    :raises AirflowFailException: a retry cannot help: bad arguments, no such bucket or object, access denied, a key
        that cannot be a file; the cause is the typed error.
    :raises S3StreamError: anything else, so that Airflow's retries decide.
    """

    template_fields: Sequence[str] = (
        "s3_prefix", "directory", "s3_bucket", "aws_conn_id", "region_name", "verify", "botocore_config",
        *_PREFIX_OPTIONS,
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"botocore_config": "json", "keys": "json"}
    ui_color = "#d7f7e8"

    def __init__(
        self,
        *,
        s3_prefix: str | None = None,
        directory: str,
        s3_bucket: str | None = None,
        keys: Sequence[str] | None = None,
        manifest: str | None = None,
        retry_failed: str | None = None,
        start_after: str = "",
        last_key: str | None = None,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        min_bytes: int | str | None = None,
        max_bytes: int | str | None = None,
        modified_after: str | None = None,
        modified_before: str | None = None,
        layout: str = "paths",
        sink: str = "files",
        shard_size: int | str = "256MiB",
        connections: int | str | None = None,
        max_memory: int | str = "64MiB",
        if_exists: str = "overwrite",
        on_error: str = "fail",
        fail_if_empty: bool | str = False,
        strict: bool | str = False,
        results: str | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        max_bandwidth: int | str | None = None,
        connect_timeout: float | str = 10,
        read_timeout: float | str = 60,
        stall_timeout: float | str = 60,
        deadline: float | str | None = None,
        retry_attempts: int | str = 8,
        retry_budget: int | str = 100,
        progress_interval: float | str = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_prefix = s3_prefix
        self.directory = directory
        self.s3_bucket = s3_bucket
        self.keys = keys
        self.manifest = manifest
        self.retry_failed = retry_failed
        self.start_after = start_after
        self.last_key = last_key
        self.include = include
        self.exclude = exclude
        self.min_bytes = min_bytes
        self.max_bytes = max_bytes
        self.modified_after = modified_after
        self.modified_before = modified_before
        self.layout = layout
        self.sink = sink
        self.shard_size = shard_size
        self.connections = connections
        self.max_memory = max_memory
        self.if_exists = if_exists
        self.on_error = on_error
        self.fail_if_empty = fail_if_empty
        self.strict = strict
        self.results = results
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.max_bandwidth = max_bandwidth
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.stall_timeout = stall_timeout
        self.deadline = deadline
        self.retry_attempts = retry_attempts
        self.retry_budget = retry_budget
        self.progress_interval = progress_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Download; return the result as JSON."""
        from airflow_s3stream.operators.errors import failing_fast

        hook = self._open_hook()
        with failing_fast():
            result = hook.download_prefix(
                self.s3_prefix, self.directory, self.s3_bucket or None, **self._given(_PREFIX_OPTIONS)
            )
        return asdict(result)


class S3ObjectToLocalOperator(Transfer, BaseOperator):
    """
    Download one S3 object of any size to a local file, over many connections, in a fixed amount of memory.

    A try that failed or was killed, at any moment, leaves what it has beside the file under a hidden name, and the next
    try on the same disk fetches the rest; an object that changed meanwhile is fetched afresh. The file appears whole
    and verified, or not at all; until then an earlier one stays as it was.
    Sizes are bytes or text such as ``"64MiB"``, times are seconds. Nothing is checked or opened before ``execute``.

    :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
    :param path: of the file. A directory, or a path that ends in ``/``, gets a file named by what follows the key's
        last ``/``. Missing directories are made.
    :param s3_bucket: the bucket, where ``s3_key`` does not name it.
    :param connections: ranges under way at once; None: the profile's, else 16.
    :param part_size: of a range; None: the profile's, else the object's size divided by ``connections``, between 8 and
        64 MiB.
    :param if_exists: ``overwrite``; ``skip_same``: leave a file that is the object already; ``fail``.
    :param resume: go on with what an earlier try or run left; False: begin afresh.
    :param strict: fail where only the size can be proved.
    :param min_speed: bytes per second below which a connection is given up, and its range goes on over another; None:
        only those far slower than the others.
    :param profile: settings that ``s3stream tune`` measured and saved: the path of the file (with a ``/``, or ending in
        ``.json``), the name of an Airflow Variable that holds its text, or the mapping itself. Arguments win over it.
    :param aws_conn_id: the AWS connection.
    :param region_name: overrides the connection's region.
    :param verify: TLS verification of the store: False, True, or the path of a CA bundle.
    :param botocore_config: arguments of :class:`botocore.config.Config`.
    :param max_bandwidth: bytes per second over all connections.
    :param connect_timeout: to establish a connection.
    :param read_timeout: without a byte received.
    :param stall_timeout: at less than 1 KiB per second.
    :param deadline: for the whole download; None: no limit.
    :param retry_attempts: of each range.
    :param retry_budget: retries of all ranges together; each range that is there gives one back.
    :param progress_interval: between progress lines in the task log.

    :returns: the :class:`~airflow_s3stream.plan.getting.GetResult` as a dict, the XCom; ``path`` is the file.
    :raises AirflowFailException: a retry cannot help: bad arguments, no such bucket or object, access denied, a file
        that must not be replaced; the cause is the typed error.
    :raises S3StreamError: anything else, so that Airflow's retries decide.
    """

    template_fields: Sequence[str] = (
        "s3_key", "path", "s3_bucket", "aws_conn_id", "region_name", "verify", "botocore_config", *_OBJECT_OPTIONS,
    )  # fmt: skip
    template_fields_renderers: ClassVar[dict[str, str]] = {"botocore_config": "json", "profile": "json"}
    ui_color = "#d7f7e8"

    def __init__(
        self,
        *,
        s3_key: str,
        path: str,
        s3_bucket: str | None = None,
        connections: int | str | None = None,
        part_size: int | str | None = None,
        if_exists: str = "overwrite",
        resume: bool | str = True,
        strict: bool | str = False,
        min_speed: int | str | None = None,
        profile: str | Mapping[str, Any] | None = None,
        aws_conn_id: str | None = "aws_default",
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
        max_bandwidth: int | str | None = None,
        connect_timeout: float | str = 10,
        read_timeout: float | str = 60,
        stall_timeout: float | str = 60,
        deadline: float | str | None = None,
        retry_attempts: int | str = 8,
        retry_budget: int | str = 100,
        progress_interval: float | str = 10,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.s3_key = s3_key
        self.path = path
        self.s3_bucket = s3_bucket
        self.connections = connections
        self.part_size = part_size
        self.if_exists = if_exists
        self.resume = resume
        self.strict = strict
        self.min_speed = min_speed
        self.profile = profile
        self.aws_conn_id = aws_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self.max_bandwidth = max_bandwidth
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.stall_timeout = stall_timeout
        self.deadline = deadline
        self.retry_attempts = retry_attempts
        self.retry_budget = retry_budget
        self.progress_interval = progress_interval

    def execute(self, context: Context) -> dict[str, Any]:
        """Download; return the result as JSON."""
        from airflow_s3stream.operators.errors import failing_fast

        hook = self._open_hook()
        with failing_fast():
            result = hook.download_object(
                self.s3_key, self.path, self.s3_bucket or None, **self._given(_OBJECT_OPTIONS)
            )
        return asdict(result)
