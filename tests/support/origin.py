"""An HTTP/1.1 origin on raw sockets that is honest until told to misbehave, and remembers every request."""

from __future__ import annotations

import contextlib
import http.client
import socket
import ssl
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import BinaryIO

from tests.support import wire
from tests.support.faults import Fault
from tests.support.listener import Listener
from tests.support.resource import Redirect, Reply, Request, Resource


@dataclass(slots=True)
class Exchange:
    """One request and what became of it; in the order of arrival."""

    request: Request
    connection: int
    status: int = 0
    sent: int = 0
    """Bytes of the body handed to the kernel, those it is being handed included."""
    faults: list[str] = field(default_factory=list)

    @property
    def range(self) -> tuple[int, int | None] | None:
        return self.request.range

    def header(self, name: str) -> str | None:
        return self.request.header(name)


class Origin(Listener):
    """
    Serves ``resource`` at ``url``; each fault decides by itself which requests it spoils.

    Raw sockets, because ``http.server`` and its kin cannot send a false Content-Length.

    :param routes: further paths, e.g. redirects.
    """

    PATH = "/object.bin"

    def __init__(
        self, resource: Resource, *faults: Fault, tls: ssl.SSLContext | None = None,
        routes: dict[str, Resource | Redirect] | None = None,
    ) -> None:  # fmt: skip
        super().__init__(tls=tls)
        self.resource = resource
        self.faults = list(faults)
        self.routes = routes or {}
        self.exchanges: list[Exchange] = []
        self._counting = threading.Lock()
        self._met: Counter[int] = Counter()
        self._busy = 0
        self.peak_busy = 0
        """Most requests that were being answered at once."""
        self.sent = 0
        """Bytes of bodies handed to the kernel."""
        self._due: list[tuple[int, Callable[[], object]]] = []

    def url_of(self, path: str, host: str = "127.0.0.1") -> str:
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}{path}"

    @property
    def url(self) -> str:
        return self.url_of(self.PATH)

    @property
    def ranges(self) -> list[tuple[int, int | None] | None]:
        """The ranges asked for, in order of arrival."""
        return [exchange.range for exchange in self.exchanges]

    @property
    def statuses(self) -> list[int]:
        return [exchange.status for exchange in self.exchanges]

    def when_sent(self, count: int, action: Callable[[], object]) -> None:
        """Do something once, when ``count`` bytes of bodies have been sent from now on; on the thread that sends."""
        with self._counting:
            self._due.append((self.sent + count, action))

    def converse(self, sock: socket.socket, number: int) -> None:
        with sock.makefile("rb", 64 * 1024) as stream:
            while not self.stopping.is_set() and self._exchange(sock, stream, number):
                pass

    def _exchange(self, sock: socket.socket, stream: BinaryIO, connection: int) -> bool:
        head = wire.read_head(stream)
        if head is None:
            return False
        method, target, _ = head.start.split(" ", 2)
        with self._counting:
            self._busy += 1
            self.peak_busy = max(self.peak_busy, self._busy)
            request = Request(len(self.exchanges) + 1, method, target, head.headers, self._busy, connection)
            exchange = Exchange(request, connection)
            self.exchanges.append(exchange)
        try:
            for _ in wire.read_body(stream, head):
                pass
            reply = self._answer(request, exchange)
            exchange.status = reply.status
            return self._send(sock, request, reply, exchange)
        finally:
            with self._counting:
                self._busy -= 1

    def find(self, request: Request) -> Resource | Redirect | None:
        """Return what the request is for; None answers 404."""
        return self.resource if request.path == self.PATH else self.routes.get(request.path)

    def _answer(self, request: Request, exchange: Exchange) -> Reply:
        target = self.find(request)
        faults = [fault for fault in self.faults if self._strikes(fault, request)]
        exchange.faults = [fault.name for fault in faults]
        if target is None:
            return Reply(404, text=b"nothing here\n")
        for fault in faults:
            if fault.version and isinstance(target, Resource):
                target = fault.version(target)
        reply = target.answer(request)
        for fault in faults:
            if fault.spoil:
                fault.spoil(request, reply)
        return reply

    def _strikes(self, fault: Fault, request: Request) -> bool:
        if not fault.when(request):
            return False
        # Counted here and not in the fault, so that one fault may serve many tests.
        with self._counting:
            self._met[id(fault)] += 1
            nth, left_over = divmod(self._met[id(fault)], fault.every)
            return left_over == 0 and (fault.most is None or nth <= fault.most)

    def _send(self, sock: socket.socket, request: Request, reply: Reply, exchange: Exchange) -> bool:
        """Send the answer; True when the connection may carry another request."""
        if (reply.wait and self.stopping.wait(reply.wait)) or not self._held(sock, reply, -1):
            return False
        self._send_head(sock, reply)
        if request.method != "HEAD" and reply.status not in (204, 304):
            for piece, of_body in self._framed(reply):
                if not self._held(sock, reply, exchange.sent):
                    return False
                # Before, since a test may compare what its client has read before this thread runs on.
                exchange.sent += of_body
                try:
                    sock.sendall(piece)
                except OSError:
                    exchange.sent -= of_body
                    raise
                self._count(len(piece))
                if reply.drip and self.stopping.wait(reply.drip[1]):
                    return False
        if reply.ending == "reset":
            wire.reset(sock)
        elif reply.ending == "stall":
            wire.wait_for_close(sock, self.stopping)
        elif reply.ending == "fin" or reply.framing == "close" or request.header("Connection") == "close":
            wire.finish(sock)
        else:
            return True
        return False

    def _count(self, size: int) -> None:
        with self._counting:
            self.sent += size
            due = [action for count, action in self._due if count <= self.sent]
            self._due = [one for one in self._due if one[0] > self.sent]
        for action in due:
            action()

    def _held(self, sock: socket.socket, reply: Reply, sent: int) -> bool:
        """Wait where the answer is to be held; False if the client left or this server stops meanwhile."""
        if reply.hold is None or sent < reply.hold[0]:
            return True
        (_, event), reply.hold = reply.hold, None
        return wire.wait_for(event, sock, self.stopping)

    def _send_head(self, sock: socket.socket, reply: Reply) -> None:
        headers = list(reply.headers)
        named = {name.lower() for name, _ in headers}
        if not named & {"content-length", "transfer-encoding"}:
            if reply.framing == "length":
                headers.append(("Content-Length", str(reply.length)))
            elif reply.framing == "chunked":
                headers.append(("Transfer-Encoding", "chunked"))
        headers.append(("Connection", "close" if reply.framing == "close" else "keep-alive"))
        reason = http.client.responses.get(reply.status, "Odd")
        head = wire.Head(f"HTTP/1.1 {reply.status} {reason}", headers).encode()
        if not reply.head_drip:
            sock.sendall(head)
            return
        for line in head.splitlines(keepends=True):
            sock.sendall(line)
            if self.stopping.wait(reply.head_drip):
                return

    def _framed(self, reply: Reply) -> Iterator[tuple[memoryview | bytes, int]]:
        """Yield what goes over the wire, and how much of each piece is of the body."""
        left = reply.cut_after
        chunked = reply.framing == "chunked"
        for piece in reply.pieces():
            whole = len(piece)
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            if chunked:
                yield b"%x\r\n" % whole, 0
            if piece:
                yield piece, len(piece)
            if chunked and len(piece) == whole:
                yield b"\r\n", 0
            if left == 0:
                return
        if chunked:
            yield b"0\r\n\r\n", 0


@contextlib.contextmanager
def serving(size: int, *faults: Fault, tls: ssl.SSLContext | None = None, **about: object) -> Iterator[Origin]:
    """Run an origin of one resource: ``serving(10 * MiB, close_after(100).once(), etag=None)``."""
    with Origin(Resource(size, **about), *faults, tls=tls) as origin:  # type: ignore[arg-type]
        yield origin
