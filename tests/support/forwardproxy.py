"""A forward proxy that resolves by itself, as they do, and misbehaves when told to."""

from __future__ import annotations

import base64
import contextlib
import selectors
import socket
from typing import Literal
from urllib.parse import urlsplit

from tests.support import wire
from tests.support.listener import Listener

Fault = Literal["407", "reset", "lie"]


class ForwardProxy(Listener):
    """
    Takes plain requests in absolute form, and CONNECT.

    :param target: the port on this machine to which all names lead.
    :param credentials: ``user:password`` that it wants, if any.
    :param fault: ``407`` whatever is asked; ``reset`` the connection; ``lie``: say 200 and send a page of its own.
    """

    def __init__(self, target: int, *, credentials: str = "", fault: Fault | None = None) -> None:
        super().__init__()
        self._target = target
        self._credentials = credentials
        self._fault = fault
        self.asked: list[str] = []
        """The request lines, in order of arrival."""

    @property
    def url(self) -> str:
        return f"http://{self._credentials and self._credentials + '@'}127.0.0.1:{self.port}"

    def converse(self, sock: socket.socket, number: int) -> None:
        with sock.makefile("rb", 0) as stream:
            head = wire.read_head(stream)
        if head is None:
            return
        self.asked.append(head.start)
        if self._fault == "reset":
            wire.reset(sock)
        elif self._fault == "407" or not self._is_known(head):
            sock.sendall(wire.Head("HTTP/1.1 407 Proxy Authentication Required", [("Content-Length", "0")]).encode())
        elif self._fault == "lie":
            page = b"<html>Please log in</html>"
            sock.sendall(wire.Head("HTTP/1.1 200 OK", [("Content-Length", str(len(page)))]).encode())
            if head.start.startswith("CONNECT"):
                sock.recv(1 << 16)  # the beginning of TLS, which this is the answer to
            sock.sendall(page)
            while sock.recv(1 << 16):
                pass  # what is left unread when a socket is closed becomes a reset
        else:
            self._pass_on(sock, head)

    def _is_known(self, head: wire.Head) -> bool:
        wanted = base64.b64encode(self._credentials.encode()).decode()
        return not self._credentials or head.get("Proxy-Authorization") == f"Basic {wanted}"

    def _pass_on(self, sock: socket.socket, head: wire.Head) -> None:
        method, target, _ = head.start.split(" ", 2)
        with socket.create_connection(("127.0.0.1", self._target), timeout=10) as onward:
            if method == "CONNECT":
                sock.sendall(wire.Head("HTTP/1.1 200 Connection established", []).encode())
            else:
                parts = urlsplit(target)
                path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
                kept = wire.without(head.headers, "Proxy-Authorization", "Connection")
                onward.sendall(wire.Head(f"{method} {path} HTTP/1.1", [*kept, ("Connection", "close")]).encode())
            self._relay(sock, onward)

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        with selectors.DefaultSelector() as selector, contextlib.suppress(OSError):
            selector.register(one, selectors.EVENT_READ, other)
            selector.register(other, selectors.EVENT_READ, one)
            while not self.stopping.is_set():
                for key, _ in selector.select(0.1):
                    piece = key.fileobj.recv(1 << 16)  # type: ignore[union-attr]
                    if not piece:
                        return
                    key.data.sendall(piece)
