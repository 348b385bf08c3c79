"""What all transfers of the hook share: the Airflow connections, the log, and the way to stop them."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.amazon.aws.hooks.base_aws import AwsGenericHook
from airflow.providers.http.hooks.http import HttpHook
from airflow.sdk import BaseHook
from botocore.config import Config
from botocore.exceptions import BotoCoreError

from airflow_s3stream.engine.events import Event, Retried
from airflow_s3stream.engine.httpsession import check_bundle
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.engine.reporting import describe
from airflow_s3stream.engine.s3client import check_endpoint, transfer_config
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.hooks.masking import mask_request, mask_session
from airflow_s3stream.plan.names import check_url, redact_text, redact_url, same_host

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.config import CopyOptions, Timeouts


class TransferHook(BaseHook):
    """
    Makes sources and S3 clients of Airflow connections, logs what happens, and can be stopped.

    The arguments are described where people look for them: :class:`~airflow_s3stream.hooks.s3stream.S3StreamHook`.
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
        mask_request(url, headers)
        session = None
        if self.http_conn_id is not None:
            url, session = self._below_connection(url)
        return HttpSource(
            url,
            session=session,
            headers=headers,
            timeouts=settings.timeouts,
            connections=settings.connections,
            policy=settings.policy,
            # Whoever made the connection has said where it leads. A URL alone may come from anywhere.
            trust_url=session is not None,
        )

    def _below_connection(self, url: str) -> tuple[str, Any]:
        http = HttpHook(method="GET", http_conn_id=self.http_conn_id or "")
        session = http.get_conn()
        mask_session(session)
        base = http.base_url
        mask_request(base)
        if "://" not in url:
            return f"{base.rstrip('/')}/{url.lstrip('/')}", session
        if not same_host(base, check_url(url)):
            raise ConfigError(
                f"url={redact_url(url)!r} is not on {redact_url(base)}, the host of {self.http_conn_id!r}, "
                "whose credentials must not go elsewhere; leave out http_conn_id, or give a path below it"
            )
        return url, session

    def _client(self, connections: int, timeouts: Timeouts) -> S3Client:
        mask_request(setting=self.botocore_config)
        aws = self._aws
        check_bundle(aws.verify)
        config = transfer_config(aws.config, connections=connections, timeouts=timeouts)
        client: S3Client = aws.get_client_type(region_name=self.region_name, config=config)
        check_endpoint(client.meta.endpoint_url)
        return client

    def _given_config(self) -> Config | None:
        try:
            return Config(**self.botocore_config) if self.botocore_config else None
        except (TypeError, ValueError, BotoCoreError) as error:
            # Its values are not shown: a proxy's URL has a password.
            said = f"botocore_config with {', '.join(map(str, self.botocore_config or ()))} is not one"
            raise ConfigError(f"{said}: {redact_text(str(error))}") from None

    @cached_property
    def _aws(self) -> AwsGenericHook[Any]:
        return AwsGenericHook(
            aws_conn_id=self.aws_conn_id,
            client_type="s3",
            region_name=self.region_name,
            verify=self.verify,
            config=self._given_config(),
        )
