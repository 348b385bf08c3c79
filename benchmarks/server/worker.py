"""One worker process: accepts connections from the shared sockets, a thread for each."""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks.server import origin
from benchmarks.server.s3 import BUCKET, S3
from benchmarks.server.tls import TlsSocket
from benchmarks.server.wire import Connection, Request

if TYPE_CHECKING:
    import ssl

    from benchmarks.server.link import Link
    from benchmarks.server.state import Counter, RemoteState


@dataclass(frozen=True, slots=True)
class Worker:
    """What all connections of a worker process have in common."""

    state: RemoteState
    link: Link
    check: bool
    sent: Counter

    def accept(self, listener: socket.socket, tls: ssl.SSLContext | None) -> None:
        """Serve every connection that comes in, until the process ends."""
        while True:
            sock, _peer = listener.accept()
            threading.Thread(target=self._converse, args=(sock, tls), daemon=True).start()

    def _converse(self, sock: socket.socket, tls: ssl.SSLContext | None) -> None:
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection = Connection(TlsSocket(sock, tls) if tls else sock, self.sent)
        except OSError:
            sock.close()
            return
        try:
            self._answer_all(connection)
        except OSError:
            pass  # The client went away; whether that was right is the client's benchmark row to tell.
        except (ValueError, LookupError) as error:
            # A request that cannot be read must be seen here, and fail there: it gets no answer.
            print(f"benchmarks.server: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
        finally:
            connection.close()

    def _answer_all(self, connection: Connection) -> None:
        s3 = S3(connection, self.state, self.link, check=self.check)
        while request := connection.read_request():
            if request.path in ("/_stats", "/_reset"):
                self._control(connection, request)
                continue
            self.state.ask("begin", request.method)
            received = 0
            try:
                time.sleep(self.link.latency)
                received = self._answer(connection, request, s3)
            finally:
                self.state.ask("end", request.method, received)
            if request.headers.get("connection", "").lower() == "close":
                return

    def _answer(self, connection: Connection, request: Request, s3: S3) -> int:
        """Answer a request; give the bytes of content that came with it."""
        if f"{request.path}/".startswith(f"/{BUCKET}/"):
            s3.serve(request)
            return s3.received
        if request.path.startswith(("/origin/", "/plain/", "/chunked/")):
            origin.serve(connection, request, self.link)
        else:
            connection.respond(404)
        return 0

    def _control(self, connection: Connection, request: Request) -> None:
        if request.path == "/_reset":
            self.state.ask("reset")
        connection.respond(200, {"Content-Type": "application/json"}, json.dumps(self.state.ask("stats")).encode())


def leave_with(parent_alive: int) -> None:
    """End the process when the parent, which alone holds the other end of this pipe, is gone."""
    os.read(parent_alive, 1)
    os._exit(0)
