"""A URL as a Source. The only place that knows the HTTP library."""

from __future__ import annotations

import time
from collections.abc import Mapping
from urllib.parse import urljoin, urlsplit

import requests
from requests.cookies import extract_cookies_to_jar
from requests.hooks import dispatch_hook
from requests.utils import default_user_agent

from airflow_s3stream import __version__
from airflow_s3stream.config import ConnectionPolicy, Timeouts
from airflow_s3stream.engine.gate import Gate, Resolve, origins_of, resolve
from airflow_s3stream.engine.httpbody import HttpBody
from airflow_s3stream.engine.httperrors import translated
from airflow_s3stream.engine.httpsession import Environment, check_bundle
from airflow_s3stream.engine.quietlog import hide_secrets
from airflow_s3stream.engine.tls import SharedTlsAdapter
from airflow_s3stream.exceptions import ConfigError, SourceChanged, SourceError, SourceMisbehaved, SourceRefused
from airflow_s3stream.plan.names import check_url, is_ambiguous, redact_url, same_host, unsigned
from airflow_s3stream.plan.probe import Probe, check_partial, read_framing, read_probe
from airflow_s3stream.plan.ranges import ByteRange
from airflow_s3stream.plan.retry import parse_retry_after, source_error

MAX_REDIRECTS = 5
_REDIRECTS = (301, 302, 303, 307, 308)
# identity: the stored bytes must be the source's own, and ranges count encoded bytes (RFC 9110 section 8.4).
_ENCODING = {"Accept-Encoding": "identity"}
_STRANGER = {"Accept": "*/*", "User-Agent": f"airflow-s3stream/{__version__}"}  # all that other hosts learn
_RESERVED = (
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
    "host",
)


class HttpSource:
    """
    One http or https URL.

    :param url: absolute; user info in it is used for basic authentication and never shown.
    :param session: a session whose auth, headers, cookies, certificates and proxies apply to the URL's own host,
        as an Airflow HTTP connection gives it. Its ``trust_env`` is switched off: proxies and CA bundles from the
        environment are honoured here, ``.netrc`` is not. Its adapters are replaced by one that keeps to ``policy``.
    :param headers: sent to the URL's own host only.
    :param verify: False, True, or the path of a CA bundle, which wins over ``REQUESTS_CA_BUNDLE``; a session given has
        its own setting.
    :param policy: whom connections may reach, on every redirect too; None: public addresses on ports 80 and 443.
    :param trust_url: the URL's host and port were named by somebody with the say, and may be private. Where redirects
        lead is judged all the same.
    :param resolve: finds a host's addresses, once for each connection.
    :raises ConfigError: the URL is not absolute http or https, or a header is one that this class sets.
    """

    def __init__(
        self,
        url: str,
        *,
        session: requests.Session | None = None,
        headers: Mapping[str, str | None] | None = None,
        verify: bool | str = True,
        timeouts: Timeouts | None = None,
        connections: int = 16,
        policy: ConnectionPolicy | None = None,
        trust_url: bool = False,
        resolve: Resolve = resolve,
    ) -> None:
        hide_secrets()
        self._url = check_url(url)
        self._headers = _check_headers(headers or {})
        self._timeouts = timeouts or Timeouts()
        self._session = session or _new_session(verify)
        self._gate = Gate(policy or ConnectionPolicy(), trusted=self._origins() if trust_url else (), resolve=resolve)
        self._session.adapters.clear()
        adapter = SharedTlsAdapter(connections=connections, gate=self._gate)
        self._session.mount("http://", adapter)
        self._session.mount("https://", adapter)
        if self._session.headers.get("User-Agent") == default_user_agent():
            self._session.headers["User-Agent"] = _STRANGER["User-Agent"]
        self._environment = Environment(self._session)
        check_bundle(self._environment.verify)
        self._resolved: tuple[str, bool] | None = (
            None  # where redirects led, and whether to trust it; asked from then on
        )

    def _origins(self) -> set[tuple[str, int]]:
        with translated("open", self.name):
            prepared = requests.Request("GET", self._url).prepare()  # the host as it will be asked for
            return origins_of(prepared.url or self._url)

    @property
    def name(self) -> str:
        """The redacted URL."""
        return redact_url(self._url)

    @property
    def identity(self) -> str:
        """The URL without user info and signature."""
        return unsigned(self._url)

    def probe(self) -> tuple[Probe, HttpBody]:
        """Ask for everything as one open-ended range; without a range where that answer is of no use."""
        response = self._get({"Range": "bytes=0-"}, accept=(200, 206, 416))
        probe = None if response.status_code == 416 else self._read(response, ranged=True)
        if probe is None:
            response.close()
            return self.open_whole()
        return probe, HttpBody(response, len(probe.span) if probe.span else probe.size, probe.framing, self.name)

    def open_whole(self) -> tuple[Probe, HttpBody]:
        """Ask for everything without a range and without a condition."""
        response = self._get({}, accept=(200, 206))
        probe = self._read(response, ranged=False)
        if probe is None:  # read_probe gives None to ranged requests only
            raise SourceMisbehaved("the source sent an unreadable answer", op="open", target=self.name)
        return probe, HttpBody(response, probe.size, probe.framing, self.name)

    def open_range(self, probe: Probe, span: ByteRange) -> tuple[ByteRange, HttpBody]:
        """Open bytes of the version that ``probe`` saw."""
        condition = probe.validator.condition() if probe.validator else {}
        response = self._get({"Range": span.to_header(), **condition}, accept=(200, 206))
        with translated("range", self.name, on_error=response.close):
            carried = check_partial(probe, span, response.status_code, response.headers)
            if not isinstance(carried, ByteRange):
                raise carried
            framing, _ = read_framing(response.headers)
        return carried, HttpBody(response, len(carried), framing, self.name)

    def _read(self, response: requests.Response, *, ranged: bool) -> Probe | None:
        with translated("probe", self.name, on_error=response.close):
            return read_probe(response.status_code, response.headers, ranged=ranged)

    def _get(self, headers: dict[str, str], *, accept: tuple[int, ...]) -> requests.Response:
        resolved = self._resolved
        if resolved is not None:
            try:
                return self._follow(*resolved, headers, accept)
            except SourceError as error:
                if error.retryable or isinstance(error, SourceChanged):
                    raise
                self._resolved = None  # where a redirect leads may expire sooner than the URL itself
        return self._follow(self._url, True, headers, accept)

    def _follow(self, url: str, trusted: bool, headers: dict[str, str], accept: tuple[int, ...]) -> requests.Response:
        """Ask ``url`` and wherever it redirects. ``trusted``: no other host has had a say in where we are."""
        for _ in range(MAX_REDIRECTS + 1):
            trusted = trusted and same_host(self._url, url)
            response = self._send(url, headers, trusted=trusted)
            if response.status_code not in _REDIRECTS or "Location" not in response.headers:
                break
            response.close()
            url = self._redirected(url, response.headers["Location"])
        else:
            raise SourceRefused(f"more than {MAX_REDIRECTS} redirects", op="GET", target=self.name)
        if response.status_code not in accept:
            response.close()
            after = parse_retry_after(response.headers.get("Retry-After"), time.time())
            error = source_error(response.status_code, response.reason or "", after)
            error.op, error.target = "GET", redact_url(url)
            raise error
        if url != self._url:
            self._resolved = (url, trusted)
        return response

    def _send(self, url: str, headers: dict[str, str], *, trusted: bool) -> requests.Response:
        """Send one GET. ``trusted``: the caller's headers and credentials may go to this host."""
        with translated("GET", redact_url(url)):
            if trusted:
                request = requests.Request("GET", url, headers={**self._headers, **_ENCODING, **headers})
                prepared = self._session.prepare_request(request)
            else:
                prepared = requests.Request("GET", url, headers={**_STRANGER, **_ENCODING, **headers}).prepare()
            return self._exchange(prepared, trusted=trusted)

    def _exchange(self, prepared: requests.PreparedRequest, *, trusted: bool) -> requests.Response:
        # Not Session.send: even with redirects off it reads a redirect's whole body into memory, for the next hop.
        url = prepared.url or self._url
        options = {
            "stream": True,
            "timeout": (self._timeouts.connect, self._timeouts.read),
            "verify": self._environment.verify,
            "cert": self._session.cert if trusted else None,
            "proxies": self._environment.proxies_for(url),
        }
        response = self._session.get_adapter(url).send(prepared, **options)  # type: ignore[arg-type]
        if trusted:
            extract_cookies_to_jar(self._session.cookies, prepared, response.raw)  # type: ignore[no-untyped-call]
            # Authentication such as Digest answers a 401 from a response hook.
            response = dispatch_hook("response", prepared.hooks, response, **options)  # type: ignore[no-untyped-call]
        return response

    def _redirected(self, url: str, location: str) -> str:
        """Give the URL that a redirect leads to, if it may be followed."""
        try:
            # http.client reads headers as Latin-1; servers that send more send UTF-8.
            target = urljoin(url, location.encode("latin-1").decode())
            scheme = urlsplit(target).scheme.lower()
            if is_ambiguous(target):
                raise ValueError
        except ValueError:
            raise SourceMisbehaved("the source redirects to what is no URL", op="GET", target=self.name) from None
        if scheme not in ("http", "https"):
            raise SourceRefused(f"the source redirects to {scheme!r}, not http or https", op="GET", target=self.name)
        if urlsplit(url).scheme.lower() == "https" and scheme == "http":
            raise SourceRefused(
                f"the source redirects from https to {redact_url(target)}, which is not encrypted",
                op="GET",
                target=self.name,
            )
        return target


def _new_session(verify: bool | str) -> requests.Session:
    session = requests.Session()
    session.verify = verify
    return session


def _check_headers(headers: Mapping[str, str | None]) -> dict[str, str]:
    if not isinstance(headers, Mapping):
        raise ConfigError("headers must be a mapping of names to values")
    for name in headers:
        if name.lower() in _RESERVED:
            raise ConfigError(f"headers must not contain {name!r}; it is set for each request")
    return {name: str(value) for name, value in headers.items() if value is not None}
