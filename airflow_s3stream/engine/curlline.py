"""One handle of libcurl: set up once, and used for one GET after another."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import pycurl

from airflow_s3stream import __version__
from airflow_s3stream.config import KiB
from airflow_s3stream.engine.curlerrors import translate
from airflow_s3stream.engine.reader import ANSWER_LIMIT, Get, status_of
from airflow_s3stream.exceptions import LocalError, S3StreamError

if TYPE_CHECKING:
    from airflow_s3stream.config import Timeouts
    from airflow_s3stream.engine.address import Address, Secrets

_PLAIN_BUFFER, _RANGE_BUFFER = 16 * KiB, 32 * KiB  # libcurl reads up to 200 buffers before it lets go
_LEAST_SPEED = KiB  # bytes per second; below it for stall_timeout, a GET has stalled
_DNS_SHUFFLE_ADDRESSES = 275  # CURLOPT_..., which pycurl has no name for


class Line:
    """One easy handle, set up once and used for one GET after another."""

    __slots__ = (
        "_begun", "_head", "_kind", "_limit", "_paused", "_plain", "_span", "address", "easy", "get", "waiting",
    )  # fmt: skip

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self.address = address
        self.get: Any = None  # the Get it works on; None while idle
        self.waiting: list[bytes] = []
        """What of the body has arrived and not been handed over."""
        self._head: list[bytes] = []
        self._begun = False
        self._paused = False
        self._kind: tuple[object, ...] = ()
        self._limit = 0
        self._span: tuple[int, int] | None = None
        self._plain: bool | None = None  # neither way yet
        self.easy = pycurl.Curl()
        _set_up(self.easy, address, timeouts)
        # A bound method of a list is called without running any Python code, some 65,000 times for a GiB.
        self.easy.setopt(pycurl.HEADERFUNCTION, self._head.append)
        self.easy.setopt(pycurl.WRITEFUNCTION, self.waiting.append)

    def load(self, get: Get, url: str, secrets: Secrets) -> None:
        """Point the handle at a GET, changing only what differs from the one before."""
        easy = self.easy
        self.get = get
        get.line = self
        easy.setopt(pycurl.URL, url)
        kind = (get.key is None, bool(get.query), get.etag, get.fields, get.head, secrets)
        if kind != self._kind:
            self._shape(get, secrets)
            self._kind = kind
        limit = 0 if get.head else max(get.limit, ANSWER_LIMIT)  # 0: none; a HEAD tells a length and has no body
        if limit != self._limit:
            easy.setopt(pycurl.MAXFILESIZE_LARGE, limit)
            self._limit = limit
        if get.span != self._span:
            if get.span is None:
                easy.unsetopt(pycurl.RANGE)
            else:
                easy.setopt(pycurl.RANGE, f"{get.span[0]}-{get.span[1] - 1}")
            self._span = get.span
        plain = get.write is None
        if plain != self._plain:
            easy.setopt(pycurl.BUFFERSIZE, _PLAIN_BUFFER if plain else _RANGE_BUFFER)
            self._plain = plain

    def pause(self) -> None:
        """Have libcurl take no more of the body."""
        self._paused = True
        with suppress(pycurl.error):  # not connected yet; it is paused again with the first bytes that come
            self.easy.pause(pycurl.PAUSE_RECV)

    def resume(self) -> None:
        """Have it go on."""
        self._paused = False
        with suppress(pycurl.error):
            self.easy.pause(pycurl.PAUSE_CONT)

    def hand_over(self) -> bool:
        """Pass on what of the body has arrived; False: the GET is to end here."""
        if self._paused:
            self.pause()
        get: Get = self.get
        try:
            if not self._begun and not self._begin(get):
                return False
            if not self._begun or get.write is None:
                return sum(map(len, self.waiting)) <= ANSWER_LIMIT  # an explanation is short
            pieces = self.waiting.copy()
            self.waiting.clear()
            return not get.write(pieces)
        except Exception as error:  # noqa: BLE001 - the one who asked gets it
            get.error = _as_own(error)
            return False

    def cut(self) -> Get:
        """Give the GET as it stands, for it ends here."""
        get: Get = self.get
        get.status = status_of(self._head)
        get.head_lines = self._head.copy()
        if not self._begun and get.error is None:
            get.body = self.waiting.copy()
        return get

    def finish(self, code: int, text: str) -> Get:
        """Give the GET its answer."""
        get, easy = self.get, self.easy
        if self.waiting and get.write is not None:
            self.hand_over()  # libcurl may end a transfer in the call in which its last bytes came
        get.status = easy.getinfo(pycurl.RESPONSE_CODE)
        get.head_lines = self._head.copy()
        if code == pycurl.E_FILESIZE_EXCEEDED and not self._begun and get.begin and get.status in (200, 206):
            get.error = get.begin(get)  # what is wrong with it says more than that it is too long
        if code and get.error is None and not (code == pycurl.E_FILESIZE_EXCEEDED and get.status not in (200, 206)):
            connected = bool(easy.getinfo(pycurl.PRETRANSFER_TIME))
            get.error = translate(code, text, connected=connected)
        if not self._begun and (get.write is None or get.status not in (200, 206)):
            get.body = self.waiting.copy()
        self.unload()
        finished: Get = get
        return finished

    def unload(self) -> None:
        """Make ready for the next."""
        if self.get is not None:
            self.get.line = None
            self.get = None
        self.waiting.clear()
        self._head.clear()
        self._begun = self._paused = False

    def _shape(self, get: Get, secrets: Secrets) -> None:
        # Signed by libcurl with the rest. Not for a list or attributes: AWS refuses x-amz headers that an operation
        # does not know.
        fields = [] if get.key is None or get.query else ["x-amz-checksum-mode: ENABLED"]
        fields += get.fields
        if secrets.token:
            fields.append(f"x-amz-security-token: {secrets.token}")
        if get.etag:
            fields.append(f'If-Match: "{get.etag}"')
        self.easy.setopt(pycurl.HTTPHEADER, fields)
        self.easy.setopt(pycurl.NOBODY, int(get.head))
        if not get.head:
            self.easy.setopt(pycurl.HTTPGET, 1)
        if secrets.access_key:
            self.easy.setopt(pycurl.USERNAME, secrets.access_key)
            self.easy.setopt(pycurl.PASSWORD, secrets.secret_key)

    def _begin(self, get: Get) -> bool:
        get.status = status_of(self._head)
        if get.status not in (200, 206):
            return True  # its body, an explanation, is kept until the end
        get.head_lines = self._head.copy()
        get.error = get.begin(get) if get.begin else None
        self._begun = get.error is None
        return self._begun


def _as_own(error: Exception) -> S3StreamError:
    return error if isinstance(error, S3StreamError) else LocalError(f"the body could not be written: {error}")


def _set_up(easy: Any, address: Address, timeouts: Timeouts) -> None:
    transport = address.transport
    options: dict[int, Any] = {
        pycurl.NOSIGNAL: 1,
        pycurl.PROTOCOLS: pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS,
        pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,
        pycurl.USERAGENT: f"airflow-s3stream/{__version__}",
        pycurl.CONNECTTIMEOUT_MS: math.ceil(timeouts.connect * 1000),
        pycurl.LOW_SPEED_LIMIT: _LEAST_SPEED,
        pycurl.LOW_SPEED_TIME: math.ceil(min(timeouts.read, timeouts.stall)),
        pycurl.TCP_KEEPALIVE: 1,
        # The name of a store has many addresses; the connections should not all go to the first.
        _DNS_SHUFFLE_ADDRESSES: 1,
        pycurl.PROXY: transport.proxy,
        pycurl.SSL_VERIFYPEER: int(bool(transport.verify)),
        pycurl.SSL_VERIFYHOST: 2 if transport.verify else 0,
    }
    if isinstance(transport.verify, str):
        options[pycurl.CAPATH if os.path.isdir(transport.verify) else pycurl.CAINFO] = transport.verify
    if transport.certificate:
        certificate, key = transport.certificate
        options[pycurl.SSLCERT] = certificate
        if key:
            options[pycurl.SSLKEY] = key
    if address.region:
        options[pycurl.AWS_SIGV4] = f"aws:amz:{address.region}:{address.service}"
    for option, value in options.items():
        easy.setopt(option, value)
