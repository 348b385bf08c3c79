"""The body of an HTTP answer, read into a buffer that the caller reuses."""

from __future__ import annotations

import http.client
import os
import socket
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

import urllib3

from airflow_s3stream.engine.httperrors import translated
from airflow_s3stream.exceptions import S3StreamError, SourceMisbehaved, SourceTruncated, Stopped

if TYPE_CHECKING:
    from collections.abc import Callable

    import requests

    from airflow_s3stream.plan.probe import Framing


class HttpBody:
    """
    A :class:`~airflow_s3stream.engine.protocols.Body` over a streamed answer.

    :param length: bytes the body must have; None: as many as its framing delivers.
    """

    def __init__(self, response: requests.Response, length: int | None, framing: Framing, target: str) -> None:
        self._response = response
        self._left = length
        self._framing = framing
        self._target = target
        self._read = _reader(response.raw)
        self._interruption: S3StreamError | None = None
        self._ended = length == 0 and framing == "length"
        self._lock = threading.Lock()
        self._open = True

    def readinto(self, view: memoryview) -> int:
        """Fill ``view`` from its start; 0 only at the proper end."""
        if self._ended:
            return 0
        want = len(view) if self._left is None else min(len(view), self._left)
        with translated("read", self._target, on_error=self.close):
            got = self._read(view[:want]) if want else self._check_end()
            if got and got == self._left and self._framing != "length":
                self._check_end()  # before the last bytes are handed over: a body that goes on is not the one announced
            # Checked after the read: what an interrupted TLS socket hands over may be undecrypted bytes.
            if self._interruption:
                raise self._interruption
            if not got:
                self._end()
            elif self._left is not None:
                self._left -= got
                self._ended = not self._left
        return got

    def _check_end(self) -> int:
        """Look for the end of a body of known length whose framing does not tell the length."""
        if self._read(memoryview(bytearray(1))):
            raise SourceMisbehaved("the source's body is longer than it announced")
        return 0

    def _end(self) -> None:
        if self._left:
            raise SourceTruncated(f"the source's body ended {self._left} bytes early")
        self._ended = True

    def close(self) -> None:
        """Give the connection back if all was read, else drop it."""
        with self._lock:
            if not self._open:
                return
            self._open = False
            whole = self._ended and not self._interruption
            if not whole:
                # One who reads on another thread holds a lock that closing waits for; and what it reads is no end.
                self._interruption = self._interruption or Stopped("the source's body was closed")
                self._shut_down()
        with suppress(OSError, http.client.HTTPException, urllib3.exceptions.HTTPError):
            if whole:
                self._response.raw.release_conn()
            else:
                self._response.close()

    def interrupt(self, error: S3StreamError) -> None:
        """Wake a blocked ``readinto``; it and all later ones raise ``error``."""
        with self._lock:
            if not self._open or self._interruption:
                return
            self._interruption = error
            self._shut_down()

    def _shut_down(self) -> None:
        """Have the socket tell whoever waits for it that nothing more comes."""
        with suppress(OSError, ValueError, RuntimeError):
            try:
                self._response.raw.shutdown()
            except ValueError:  # TLS to a proxy and TLS through it: urllib3's socket of that kind cannot
                connection = self._response.raw.connection
                number = connection.sock.fileno() if connection is not None and connection.sock is not None else -1
                if number >= 0:
                    with socket.socket(fileno=os.dup(number)) as twin:
                        twin.shutdown(socket.SHUT_RD)


def _reader(raw: urllib3.HTTPResponse) -> Callable[[memoryview], int]:
    """
    Give the cheapest way to read into a buffer.

    ``urllib3.HTTPResponse.readinto`` reads into new bytes and copies them, which plain http feels
    (``python -m benchmarks cpu-http``). http.client's own response, which urllib3 wraps, fills the buffer itself and
    decodes chunks.
    """
    inner = getattr(raw, "_fp", None)
    if isinstance(inner, http.client.HTTPResponse):
        return inner.readinto
    return raw.readinto
