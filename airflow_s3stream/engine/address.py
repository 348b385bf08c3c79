"""Where and how boto3 would send a GET to a bucket: learnt by letting it build one that is never sent."""

from __future__ import annotations

import io
import re
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urlsplit

from botocore.awsrequest import AWSResponse
from botocore.compat import HTTPHeaders
from botocore.httpsession import get_cert_path

from airflow_s3stream.engine.s3errors import translated
from airflow_s3stream.exceptions import SourceDenied

if TYPE_CHECKING:
    from collections.abc import Callable

    from mypy_boto3_s3 import S3Client

_PROBE = "s3stream-address-probe"  # a key; no request for it leaves this process
_SCOPE = re.compile(
    r"AWS4-HMAC-SHA256 Credential=[^/]+(?:/[^/,]+)*/\d{8}/([^/,]+)/(s3|s3-outposts|s3-object-lambda)/aws4_request"
)
_RENEW = 20.0  # seconds after which credentials are asked for again; boto3 renews them 15 minutes before they expire


class Secrets(NamedTuple):
    """Credentials at one moment; all empty for unsigned requests."""

    access_key: str = ""
    secret_key: str = ""
    token: str = ""

    def __repr__(self) -> str:
        """Tell nothing."""
        return "Secrets(...)"


@dataclass(frozen=True, slots=True)
class Transport:
    """TLS and proxy settings of a client. ``verify`` is False or the path of a CA bundle."""

    verify: bool | str
    certificate: tuple[str, str | None] | None = None
    proxy: str = field(default="", repr=False)  # its URL may have a password


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """
    How to reach one bucket.

    ``base`` is the URL that a slash and a quoted key may follow. ``obstacle`` says why only boto3 can talk to it, "" if
    a plain SigV4 client can.
    """

    base: str
    region: str
    service: str
    credentials: Keeper
    transport: Transport
    obstacle: str = ""


@dataclass(slots=True, eq=False)
class Keeper:
    """
    Current credentials, renewed by boto3 on a thread of their own, for a renewal may take long and nobody should wait.

    ``ask`` blocks while boto3 renews; ``secrets`` never does.
    """

    ask: Callable[[], Secrets]
    clock: Callable[[], float] = time.monotonic
    secrets: Secrets = field(init=False)
    _asked: float = field(init=False)
    _asking: bool = False

    def __post_init__(self) -> None:
        self.secrets = self.ask()
        self._asked = self.clock()

    def look(self, *, now: bool = False) -> Secrets:
        """Give the credentials; see to it that they are renewed in time, or at once because a store refused them."""
        if not self._asking and (now or self.clock() - self._asked > _RENEW):
            self._asking = True
            threading.Thread(target=self._renew, name="s3stream-credentials", daemon=True).start()
        return self.secrets

    def _renew(self) -> None:
        try:
            self.secrets = self.ask()
        except Exception:  # noqa: BLE001 - the old ones are used until the store refuses them; boto3 has logged it
            pass
        finally:
            self._asked = self.clock()
            self._asking = False


def find_address(client: S3Client, bucket: str) -> Address:
    """
    Ask boto3 for the URL, region, scheme of signing and credentials of a GET.

    :raises S3StreamError: no credentials, or a bucket name that cannot be.
    """
    seen: dict[str, Any] = {}

    def before_sign(request: Any, request_signer: Any, signature_version: Any, **_: Any) -> None:
        if request.url.endswith(_PROBE):
            seen.update(signer=request_signer, version=signature_version)

    def before_send(request: Any, **_: Any) -> Any:  # annotated None in botocore's stubs
        if not request.url.partition("?")[0].endswith(_PROBE):
            return None
        seen.update(url=request.url, authorization=_text(request.headers.get("Authorization", "")))
        return AWSResponse(request.url, 200, HTTPHeaders(), _Nothing())

    events = client.meta.events
    events.register("before-sign.s3.GetObject", before_sign)
    events.register("before-send.s3.GetObject", before_send)
    try:
        with translated("address", f"s3://{bucket}"):
            client.get_object(Bucket=bucket, Key=_PROBE)
            return _read(client, seen)
    finally:
        events.unregister("before-sign.s3.GetObject", before_sign)
        events.unregister("before-send.s3.GetObject", before_send)


def _read(client: S3Client, seen: dict[str, Any]) -> Address:
    base = seen["url"].partition("?")[0].removesuffix("/" + _PROBE)
    transport = _transport(client, base)
    # What was signed tells the scope, for an access point has a region of its own. No header: unsigned requests.
    authorization = seen["authorization"]
    scope = _SCOPE.match(authorization)
    obstacle = ""
    if transport is None:
        obstacle = "this botocore does not show its TLS settings"
    elif authorization and not scope:
        obstacle = f"its requests are signed by {seen['version']}"
    region, service = (scope[1], scope[2]) if scope and not obstacle else ("", "")

    def ask() -> Secrets:
        found = seen["signer"].get_auth_instance("s3", region, "s3v4").credentials
        if found is None:
            raise SourceDenied("no usable AWS credentials: Unable to locate credentials")
        return Secrets(found.access_key, found.secret_key, found.token or "")

    return Address(
        base=base,
        region=region,
        service=service,
        credentials=Keeper(ask if region else Secrets),
        transport=transport or Transport(verify=True),
        obstacle=obstacle,
    )


def _transport(client: S3Client, base: str) -> Transport | None:
    # botocore has no public way to tell these; where its insides have changed, boto3 itself does the reading.
    session = getattr(getattr(client, "_endpoint", None), "http_session", None)
    try:
        verify, proxies = session._verify, session._proxy_config  # type: ignore[union-attr]
        certificate = (session._cert_file, session._key_file) if session._cert_file else None  # type: ignore[union-attr]
        if urlsplit(base).scheme == "https" and proxies.settings:
            return None
        trust = get_cert_path(verify) or False
        return Transport(verify=trust, certificate=certificate, proxy=proxies.proxy_url_for(base) or "")
    except AttributeError:
        return None


def _text(header: str | bytes) -> str:
    return header.decode("latin-1") if isinstance(header, bytes) else header


class _Nothing(io.BytesIO):
    def stream(self, *_: Any, **__: Any) -> list[bytes]:
        return []
