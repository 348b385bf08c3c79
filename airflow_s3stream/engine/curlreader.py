"""The read engine: libcurl's multi interface, driven by epoll, hundreds of connections on one thread.

libcurl signs (SigV4), keeps connections alive and parses HTTP in C; what is left to Python per GET is to name it and to
take its body. A key with a ``.`` or ``..`` segment cannot go this way: libcurl removes them from the path, and refuses
to sign with ``CURLOPT_PATH_AS_IS``.
"""

from __future__ import annotations

import os
import re
import select
import sys
import threading
import time
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

import pycurl

from airflow_s3stream.engine.curlline import Line
from airflow_s3stream.exceptions import Stopped

if TYPE_CHECKING:
    from airflow_s3stream.config import Timeouts
    from airflow_s3stream.engine.address import Address
    from airflow_s3stream.engine.reader import Get

_AT_ONCE = 8  # connections that are served between two looks at everything else, where each may bring megabytes
_IN, _OUT = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR, select.EPOLLOUT
_ABORTED = 11  # CURLM_ABORTED_BY_CALLBACK
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
        self._lines: list[Line] = []  # all of them: a connection may outlive its handle's work, but not the handle
        self._idle: list[Line] = []
        self._busy: dict[Any, Line] = {}  # by easy handle
        self._flowing: set[Line] = set()  # whose bodies are handed over as they arrive
        self._cut: list[Get] = []  # ended from here, not by libcurl
        self._printed: BaseException | None = getattr(sys, "last_value", None)

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
            line = Line(self._address, self._timeouts)
            self._lines.append(line)
        url = self._list_url + get.query if get.key is None else self._url + _quoted(get.key)
        if get.key is not None and get.query:
            url += f"?{get.query}"
        line.load(get, url, self._address.credentials.look())
        try:
            self._multi.add_handle(line.easy)
        except pycurl.error as error:
            if error.args[0] != _ABORTED:
                raise
            raise Stopped("a signal's handler raised inside libcurl, which does not tell what") from error
        self._busy[line.easy] = line
        if get.write is not None:
            self._flowing.add(line)

    def poll(self, timeout: float) -> list[Get]:
        """Drive all transfers; give those that ended."""
        now = time.monotonic()
        wait = timeout if self._alarm is None else min(timeout, self._alarm - now)
        action = self._multi.socket_action
        for fd, mask in self._epoll.poll(max(wait, 0.0), _AT_ONCE if self._flowing else -1):
            if fd == self._wake:
                with suppress(BlockingIOError):
                    os.eventfd_read(self._wake)
            elif fd in self._watched:
                action(fd, (pycurl.CSELECT_IN if mask & _IN else 0) | (pycurl.CSELECT_OUT if mask & _OUT else 0))
                if self._flowing:  # at once: one action may have read megabytes
                    self._hand_over()
        if self._alarm is not None and time.monotonic() >= self._alarm:
            self._alarm = None
            action(pycurl.SOCKET_TIMEOUT, 0)
            if self._flowing:
                self._hand_over()
        self._raise_swallowed()
        return self._reap()

    def _raise_swallowed(self) -> None:
        """
        Raise what a signal's handler has raised inside a callback, such as execution_timeout: it is raised once.

        Before 7.48, pycurl prints it and goes on, though the callback has not done its work.
        """
        printed = getattr(sys, "last_value", None)
        if printed is self._printed:
            return
        self._printed = printed
        # No Exception: a callback here raises none of those.
        here = threading.current_thread() is threading.main_thread()
        if printed is not None and not isinstance(printed, Exception) and here:
            raise printed

    def cancel(self, get: Get) -> None:
        """Drop a GET and the connection it used."""
        line: Line | None = get.line
        if line is not None and self._busy.pop(line.easy, None) is not None:
            self._retire(line)

    def pause(self, get: Get) -> None:
        """Take no more of its body for now, but for what is on its way to us."""
        if get.line is not None:
            get.line.pause()

    def resume(self, get: Get) -> None:
        """Go on with it."""
        if get.line is not None:
            get.line.resume()

    def wake(self) -> None:
        """Make ``poll`` return."""
        with self._waking:
            if self._wake >= 0:
                os.eventfd_write(self._wake, 1)

    def close(self) -> None:
        """Drop everything, and close all connections. Once is enough; more do no harm."""
        if self._wake < 0:
            return
        with ExitStack() as ending:  # whatever fails on the way
            ending.callback(self._epoll.close)
            ending.callback(self._close_wake)
            for line in self._lines:
                ending.callback(line.easy.close)
            ending.callback(self._multi.close)  # closes the connections, which call back to the handles that made them
            for line in self._busy.values():
                with suppress(pycurl.error):  # there may be an error that must not be hidden
                    self._multi.remove_handle(line.easy)
                line.unload()
            self._idle.clear()
            self._busy.clear()
            self._flowing.clear()

    def _close_wake(self) -> None:
        with self._waking:  # a late thread must not write into a descriptor that is somebody else's by then
            wake, self._wake = self._wake, -1
            os.close(wake)

    def _hand_over(self) -> None:
        for line in [line for line in self._flowing if line.waiting]:
            if not line.hand_over():
                self._cut.append(line.cut())
                del self._busy[line.easy]
                self._retire(line)

    def _retire(self, line: Line) -> None:
        self._multi.remove_handle(line.easy)
        self._flowing.discard(line)
        line.unload()
        self._idle.append(line)

    def _reap(self) -> list[Get]:
        ended, self._cut = self._cut, []
        while True:
            left, good, bad = self._multi.info_read()
            ended += [self._finish(easy, 0, "") for easy in good]
            ended += [self._finish(easy, code, text) for easy, code, text in bad]
            if not left:
                return ended

    def _finish(self, easy: Any, code: int, text: str) -> Get:
        line = self._busy.pop(easy)
        self._multi.remove_handle(easy)
        self._flowing.discard(line)
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
