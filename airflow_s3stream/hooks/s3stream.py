"""The hook: Airflow connections in, transfers out."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseHook
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.events import Event, Retried
from airflow_s3stream.engine.httpsession import check_bundle
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.engine.reporting import describe
from airflow_s3stream.engine.s3client import transfer_config
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.engine.tls import SharedTlsAdapter
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.names import check_url, parse_s3_uri, redact_url, same_host
from airflow_s3stream.plan.options import read_copy_options

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.config import CopyOptions, TransferResult


class S3StreamHook(BaseHook):
    """
    Move bytes between URLs and S3 in a fixed amount of memory.

    :param aws_conn_id: the AWS connection; None: boto3's default credential chain.
    :param http_conn_id: an HTTP connection whose host, credentials, headers, proxies and certificates are used for
        the source; None: the URL alone.
    :param region_name: overrides the connection's region.
    :param verify: TLS verification of the store: False, True, or the path of a CA bundle.
    :param botocore_config: arguments of :class:`botocore.config.Config`; retries and pool size are the hook's own.
    """

    def __init__(
        self,
        aws_conn_id: str | None = "aws_default",
        http_conn_id: str | None = None,
        *,
        region_name: str | None = None,
        verify: bool | str | None = None,
        botocore_config: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self.aws_conn_id = aws_conn_id
        self.http_conn_id = http_conn_id
        self.region_name = region_name
        self.verify = verify
        self.botocore_config = botocore_config
        self._stop = StopFlag()

    def copy_url(
        self,
        url: str,
        s3_key: str,
        s3_bucket: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> TransferResult:
        """
        Copy what is at ``url`` to an S3 key, never holding more than a fixed amount of it in memory.

        :param url: absolute http or https URL, or a path below the HTTP connection.
        :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
        :param headers: sent to the URL's own host, and to no other it redirects to.
        :param options: see :func:`~airflow_s3stream.plan.options.read_copy_options`; sizes in bytes or as ``"64MiB"``,
            times in seconds.
        :returns: what was stored and what was proved about it.
        :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`; ConfigError before any byte moves.
        """
        bucket, key = parse_s3_uri(s3_key, s3_bucket)
        settings = read_copy_options(**options)
        source = self._source(url, headers, settings)
        sink = S3Sink(self._client(settings), bucket, key, options=settings.object)
        return copy(source, sink, settings, listener=self._report, stop=self._stop)

    def stop(self, reason: str) -> None:
        """
        End what this hook is doing, within about a second, with :class:`Stopped`.

        Only sets a flag, so it may be called from a signal handler such as ``on_kill``. The hook is of no use after.
        Airflow calls nothing on a killed ``@task`` function: there, use the operator if it must leave nothing behind.
        """
        self._stop.request(reason)

    def _report(self, event: Event) -> None:
        level = self.log.warning if isinstance(event, Retried) else self.log.info
        level("%s", describe(event))

    def _source(self, url: str, headers: dict[str, str] | None, settings: CopyOptions) -> HttpSource:
        session = None
        if self.http_conn_id is not None:
            url, session = self._below_connection(url, settings.connections)
        return HttpSource(
            url,
            session=session,
            headers=headers,
            timeouts=settings.timeouts,
            connections=settings.connections,
        )

    def _below_connection(self, url: str, connections: int) -> tuple[str, Any]:
        adapter = SharedTlsAdapter(connections=connections)
        http = HttpHook(method="GET", http_conn_id=self.http_conn_id or "", adapter=adapter)
        session = http.get_conn()
        session.mount("http://", adapter)  # HttpHook mounts it for the connection's own scheme only
        session.mount("https://", adapter)
        base = http.base_url
        if "://" not in url:
            return f"{base.rstrip('/')}/{url.lstrip('/')}", session
        if not same_host(base, check_url(url)):
            raise ConfigError(
                f"url={redact_url(url)!r} is not on {redact_url(base)}, the host of {self.http_conn_id!r}, "
                "whose credentials must not go elsewhere; leave out http_conn_id, or give a path below it"
            )
        return url, session

    def _client(self, settings: CopyOptions) -> S3Client:
        aws = self._aws
        check_bundle(aws.verify)
        config = transfer_config(aws.config, connections=settings.connections, timeouts=settings.timeouts)
        return aws.get_client_type(region_name=self.region_name, config=config)

    def _given_config(self) -> Config | None:
        try:
            return Config(**self.botocore_config) if self.botocore_config else None
        except (TypeError, ValueError, BotoCoreError) as error:
            raise ConfigError(f"botocore_config={self.botocore_config!r} is not one: {error}") from None

    @cached_property
    def _aws(self) -> AwsGenericHook[Any]:
        return AwsGenericHook(
            aws_conn_id=self.aws_conn_id,
            client_type="s3",
            region_name=self.region_name,
            verify=self.verify,
            config=self._given_config(),
        )
