"""The read engine: libcurl's multi interface, driven by epoll, hundreds of connections on one thread.

libcurl signs (SigV4), keeps connections alive and parses HTTP in C; what is left to Python per GET is to name it and to
take its body. A key with a ``.`` or ``..`` segment cannot go this way: libcurl removes them from the path, and refuses
to sign with ``CURLOPT_PATH_AS_IS``.
"""

from __future__ import annotations

import math
import os
import re
import select
import threading
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pycurl

from airflow_s3stream import __version__
from airflow_s3stream.config import KiB
from airflow_s3stream.engine.curlerrors import translate
from airflow_s3stream.engine.reader import ANSWER_LIMIT, Get, status_of
from airflow_s3stream.exceptions import LocalError, S3StreamError

if TYPE_CHECKING:
    from airflow_s3stream.config import Timeouts
    from airflow_s3stream.engine.address import Address, Secrets

_PLAIN_BUFFER, _RANGE_BUFFER = 16 * KiB, 512 * KiB
_LEAST_SPEED = KiB  # bytes per second; below it for stall_timeout, a GET has stalled
_DNS_SHUFFLE_ADDRESSES = 275  # CURLOPT_..., which pycurl has no name for
_IN, _OUT = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR, select.EPOLLOUT
_PLAIN = re.compile(r"[A-Za-z0-9\-_.~/]*", re.ASCII)
_UNRESERVED = "-_.~/"  # with letters and digits what SigV4 leaves as it is in a path


def _quoted(key: str) -> str:
    return key if _PLAIN.fullmatch(key) else quote(key, _UNRESERVED)


def signable(key: str) -> bool:
    """Say whether libcurl can ask for this key."""
    return "." not in key or not any(step in (".", "..") for step in key.split("/"))


class CurlReader:
    """
    A :class:`~airflow_s3stream.engine.reader.Reader` over libcurl.

    :param address: where and how; it must have no obstacle.
    :param connections: GETs that will be under way at once at most; more may be submitted and are sent too.
    """

    def __init__(self, address: Address, *, connections: int, timeouts: Timeouts) -> None:
        self._timeouts = timeouts
        self.move(address)
        self._epoll = select.epoll()
        self._watched: dict[int, int] = {}  # registered with epoll, and for what
        self._alarm: float | None = None  # when libcurl wants to be called for its own timers
        self._waking = threading.Lock()
        self._wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._wake, select.EPOLLIN)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_MAXCONNECTS, connections + 16)
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._watch)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._set_alarm)
        self._lines: list[_Line] = []  # all of them: a connection may outlive its handle's work, but not the handle
        self._idle: list[_Line] = []
        self._busy: dict[Any, _Line] = {}  # by easy handle

    def move(self, address: Address) -> None:
        """Send what is submitted from now on to another address."""
        self._address = address
        self._url = address.base + "/"
        self._list_url = address.base + ("?" if urlsplit(address.base).path else "/?")

    def submit(self, get: Get) -> None:
        """Begin a GET."""
        while self._idle:
            line = self._idle.pop()
            if line.address is self._address:
                break
        else:
            line = _Line(self._address, self._timeouts)
            self._lines.append(line)
        url = self._list_url + get.query if get.key is None else self._url + _quoted(get.key)
        line.load(get, url, self._address.credentials.look())
        self._busy[line.easy] = line
        self._multi.add_handle(line.easy)

    def poll(self, timeout: float) -> list[Get]:
        """Drive all transfers; give those that ended."""
        now = time.monotonic()
        wait = timeout if self._alarm is None else min(timeout, self._alarm - now)
        action = self._multi.socket_action
        for fd, mask in self._epoll.poll(max(wait, 0.0)):
            if fd == self._wake:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            elif fd in self._watched:
                action(fd, (pycurl.CSELECT_IN if mask & _IN else 0) | (pycurl.CSELECT_OUT if mask & _OUT else 0))
        if self._alarm is not None and time.monotonic() >= self._alarm:
            self._alarm = None
            action(pycurl.SOCKET_TIMEOUT, 0)
        return self._reap()

    def cancel(self, get: Get) -> None:
        """Drop a GET and the connection it used."""
        line: _Line | None = get.line
        if line is not None and self._busy.pop(line.easy, None) is not None:
            self._multi.remove_handle(line.easy)
            line.unload()
            self._idle.append(line)

    def wake(self) -> None:
        """Make ``poll`` return."""
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Drop everything, and close all connections. Once is enough; more do no harm."""
        if self._wake < 0:
            return
        for line in self._busy.values():
            self._multi.remove_handle(line.easy)
            line.unload()
        self._idle.clear()
        self._busy.clear()
        self._multi.close()  # closes the connections, which call back to the handles that made them
        for line in self._lines:
            line.easy.close()
        self._lines.clear()
        with self._waking:  # a late thread must not write into a descriptor that is somebody else's by then
            wake, self._wake = self._wake, -1
            os.close(wake)
        self._epoll.close()

    def _reap(self) -> list[Get]:
        ended: list[Get] = []
        while True:
            left, good, bad = self._multi.info_read()
            ended += [self._finish(easy, 0, "") for easy in good]
            ended += [self._finish(easy, code, text) for easy, code, text in bad]
            if not left:
                return ended

    def _finish(self, easy: Any, code: int, text: str) -> Get:
        line = self._busy.pop(easy)
        self._multi.remove_handle(easy)
        get = line.finish(code, text)
        self._idle.append(line)
        return get

    def _watch(self, event: int, fd: int, _multi: object, _assigned: object) -> None:
        if event == pycurl.POLL_REMOVE:
            if self._watched.pop(fd, None) is not None:
                with suppress(OSError):  # libcurl may have closed it by now
                    self._epoll.unregister(fd)
            return
        mask = (select.EPOLLIN if event & pycurl.POLL_IN else 0) | (select.EPOLLOUT if event & pycurl.POLL_OUT else 0)
        if fd not in self._watched:
            self._epoll.register(fd, mask)
        elif self._watched[fd] != mask:
            self._epoll.modify(fd, mask)
        self._watched[fd] = mask

    def _set_alarm(self, milliseconds: int) -> None:
        self._alarm = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000


class _Line:
    """One easy handle, set up once and used for one GET after another."""

    __slots__ = ("_begun", "_body", "_head", "_kind", "_limit", "_plain", "_span", "address", "easy", "get")

    def __init__(self, address: Address, timeouts: Timeouts) -> None:
        self.address = address
        self.get: Any = None  # the Get it works on; None while idle
        self._body: list[bytes] = []
        self._head: list[bytes] = []
        self._begun = False
        self._kind: tuple[object, ...] = ()
        self._limit = 0
        self._span: tuple[int, int] | None = None
        self._plain: bool | None = None  # neither way yet
        self.easy = pycurl.Curl()
        _set_up(self.easy, address, timeouts)
        # A bound method of a list is called without running any Python code.
        self.easy.setopt(pycurl.HEADERFUNCTION, self._head.append)

    def load(self, get: Get, url: str, secrets: Secrets) -> None:
        """Point the handle at a GET, changing only what differs from the one before."""
        easy = self.easy
        self.get = get
        get.line = self
        easy.setopt(pycurl.URL, url)
        kind = (get.key is None, get.etag, get.head, secrets)
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
            easy.setopt(pycurl.WRITEFUNCTION, self._body.append if plain else self._write)
            easy.setopt(pycurl.BUFFERSIZE, _PLAIN_BUFFER if plain else _RANGE_BUFFER)
            self._plain = plain

    def finish(self, code: int, text: str) -> Get:
        """Give the GET its answer."""
        get, easy = self.get, self.easy
        get.status = easy.getinfo(pycurl.RESPONSE_CODE)
        get.head_lines = self._head.copy()
        if code and get.error is None and not (code == pycurl.E_FILESIZE_EXCEEDED and get.status not in (200, 206)):
            connected = bool(easy.getinfo(pycurl.PRETRANSFER_TIME))
            get.error = translate(code, text, connected=connected)
        if not self._begun and (get.write is None or get.status not in (200, 206)):
            get.body = self._body.copy()
        self.unload()
        finished: Get = get
        return finished

    def unload(self) -> None:
        """Make ready for the next."""
        if self.get is not None:
            self.get.line = None
            self.get = None
        self._body.clear()
        self._head.clear()
        self._begun = False

    def _shape(self, get: Get, secrets: Secrets) -> None:
        # Signed by libcurl with the rest. Not for the list: AWS refuses x-amz headers that an operation does not know.
        fields = [] if get.key is None else ["x-amz-checksum-mode: ENABLED"]
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

    def _write(self, chunk: bytes) -> int | None:
        """Pass on a piece of a body; anything but None makes libcurl end the transfer."""
        get = self.get
        try:
            if not self._begun:
                get.status = status_of(self._head)  # getinfo is not allowed here
                if get.status not in (200, 206):
                    self._body.append(chunk)
                    return None
                get.head_lines = self._head.copy()
                get.error = get.begin(get)
                if get.error is not None:
                    return 0
                self._begun = True
            get.write(chunk)
        except Exception as error:  # noqa: BLE001 - libcurl is in between; the one who asked gets it
            get.error = _as_own(error)
            return 0
        return None


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
