"""A TCP server on a free loopback port, one thread per connection, that always stops and closes everything."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

from tests.support import wire


class Listener:
    """
    Accepts connections and hands each to :meth:`converse` in a thread of its own.

    A connection is served until ``converse`` returns; leaving the context closes every socket and joins every
    thread, so that no test leaves one behind.
    """

    address = ("127.0.0.1", 0)
    """Where to listen; port 0: a free one."""

    def __init__(self, *, tls: ssl.SSLContext | None = None) -> None:
        self.stopping = threading.Event()
        self._tls = tls
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self.port = 0
        """Known from entering on, and still after leaving."""
        self.connections = 0
        """Accepted since the start."""
        self.peak = 0
        """Most connections that were open at once."""

    def converse(self, sock: socket.socket, number: int) -> None:
        """Serve one connection, the ``number``-th; the socket may be closed inside."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._listening.bind(self.address)
        self._listening.listen(512)
        self.port = int(self._listening.getsockname()[1])
        self._spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopping.set()
        with contextlib.suppress(OSError):
            # close() alone does not wake a thread that waits in accept().
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        with self._lock:
            still_open = list(self._open)
        for sock in still_open:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
        for thread in list(self._threads):
            thread.join(10)
            assert not thread.is_alive(), f"{thread.name} did not stop"

    @contextlib.contextmanager
    def _closed_at_the_end(self, sock: socket.socket) -> Iterator[None]:
        """Have a socket to somewhere else shut down too, in case its other side never answers."""
        with self._lock:
            self._open.add(sock)
        try:
            if self.stopping.is_set():
                raise OSError("stopping")
            yield
        finally:
            with self._lock:
                self._open.discard(sock)

    def _spawn(self, target: Callable[..., None], *args: object) -> None:
        name = f"{type(self).__name__}:{target.__name__}"
        thread = threading.Thread(target=target, args=args, name=name, daemon=True)
        with self._lock:
            self._threads = [known for known in self._threads if known.is_alive() or known.ident is None]
            self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopping.is_set():
            try:
                sock, _ = self._listening.accept()
            except OSError:
                return
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                if self.stopping.is_set():
                    sock.close()  # __exit__ has already closed all it knew of
                    return
                self.connections += 1
                self._open.add(sock)
                self.peak = max(self.peak, len(self._open))
                number = self.connections
            self._spawn(self._serve, sock, number)

    def _serve(self, accepted: socket.socket, number: int) -> None:
        sock = accepted
        try:
            if self._tls:
                sock = self._wrap(accepted, self._tls)
            self.converse(sock, number)
        except (OSError, wire.Broken):
            pass  # the client left, was cut off on purpose, or refused our certificate
        finally:
            with self._lock:
                self._open.discard(accepted)
                self._open.discard(sock)
            sock.close()
            accepted.close()

    def _wrap(self, accepted: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
        accepted.settimeout(10)
        wrapped = tls.wrap_socket(accepted, server_side=True, suppress_ragged_eofs=True)
        wrapped.settimeout(None)
        with self._lock:
            # wrap_socket took over the descriptor, so this one is what has to be closed on stop.
            self._open.discard(accepted)
            self._open.add(wrapped)
        return wrapped
