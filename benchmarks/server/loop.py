"""
One thread, one epoll, hundreds of keep-alive connections: an HTTP server that costs less than its clients.

A thread per connection, as the server for large bodies has, spends more on switching threads than an answer of
1 KiB costs. Latency is a heap of answers that are not due yet, so that hundreds of them wait at once.
"""

from __future__ import annotations

import heapq
import select
import socket
import sys
import time
from abc import ABC, abstractmethod

HEAD = 4096
"""Bytes asked of the kernel at a time; one signed request fits."""
EVENTS = 512
_LONGEST = 64 * 1024
_END = b"\r\n\r\n"


class Connection:
    """One client."""

    __slots__ = ("ahead", "fd", "left", "sock")

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.fd = sock.fileno()
        self.ahead = b""
        """Received, and not yet a whole request."""
        self.left = memoryview(b"")
        """Of an answer that the kernel did not take at once."""


class Loop(ABC):
    """Serves a listening socket."""

    def __init__(self, listener: socket.socket) -> None:
        self._listener = listener
        self._epoll = select.epoll()
        self._connections: dict[int, Connection] = {}
        self._waiting: list[tuple[float, int, Connection, bytes]] = []
        self._number = 0
        self.most_waiting = 0
        """Most answers that have waited for their time at once: requests in flight, when there is a latency."""

    @abstractmethod
    def answer(self, request: bytes) -> tuple[float, bytes]:
        """Turn the head of a request into the seconds to wait and the whole answer."""

    def run(self) -> None:
        """Serve until standard input ends."""
        self._listener.setblocking(False)
        self._epoll.register(self._listener.fileno(), select.EPOLLIN)
        self._epoll.register(sys.stdin.fileno(), select.EPOLLIN)
        while True:
            for fd, event in self._events():
                connection = self._connections.get(fd)
                if connection is None:
                    if fd == sys.stdin.fileno():
                        return
                    self._accept()
                elif event & select.EPOLLOUT:
                    self._go_on(connection)
                else:
                    self._receive(connection)

    def _events(self) -> list[tuple[int, int]]:
        """Send what is due; give what has happened, or nothing if something becomes due first."""
        waiting = self._waiting
        if not waiting:
            return self._epoll.poll(-1, EVENTS)
        now = time.monotonic()
        while waiting and waiting[0][0] <= now:
            _due, _number, connection, answer = heapq.heappop(waiting)
            self._send(connection, answer)
        events = self._epoll.poll(0 if waiting else -1, EVENTS)
        if not events:
            # epoll waits whole milliseconds, 5 % of a latency of 20 ms; select waits microseconds.
            pause = waiting[0][0] - time.monotonic()
            if pause > 0:
                select.select([self._epoll], [], [], pause)
        return events

    def _accept(self) -> None:
        try:
            sock, _peer = self._listener.accept()
        except OSError:
            return  # It gave up before its turn came.
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = Connection(sock)
        self._connections[connection.fd] = connection
        self._epoll.register(connection.fd, select.EPOLLIN)

    def _receive(self, connection: Connection) -> None:
        try:
            got = connection.sock.recv(HEAD)
        except BlockingIOError:
            return
        except OSError:
            got = b""
        if not got:
            self._close(connection)
            return
        if connection.ahead:
            got = connection.ahead + got
            connection.ahead = b""
        if not got.endswith(_END):
            if len(got) > _LONGEST:
                self._close(connection)
            connection.ahead = got
            return
        wait, answer = self.answer(got)
        if not wait:
            self._send(connection, answer)
            return
        # Numbers decide between equal times: connections cannot be compared.
        self._number += 1
        heapq.heappush(self._waiting, (time.monotonic() + wait, self._number, connection, answer))
        if len(self._waiting) > self.most_waiting:
            self.most_waiting = len(self._waiting)

    def _send(self, connection: Connection, answer: bytes) -> None:
        try:
            sent = connection.sock.send(answer)
        except BlockingIOError:
            sent = 0
        except OSError:
            self._close(connection)
            return
        if sent < len(answer):
            connection.left = memoryview(answer)[sent:]
            self._epoll.modify(connection.fd, select.EPOLLOUT)

    def _go_on(self, connection: Connection) -> None:
        try:
            sent = connection.sock.send(connection.left)
        except BlockingIOError:
            return
        except OSError:
            self._close(connection)
            return
        connection.left = connection.left[sent:]
        if not connection.left:
            self._epoll.modify(connection.fd, select.EPOLLIN)

    def _close(self, connection: Connection) -> None:
        # Closing takes it out of the epoll; an answer that still waits for it will find it closed.
        if self._connections.pop(connection.fd, None):
            connection.sock.close()
