"""TLS in whole pieces: encrypts as much as is sent at once, and makes one system call of it."""

from __future__ import annotations

import socket
import ssl
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Buffer

RECEIVE = 256 * 1024
"""Bytes of records asked of the kernel at a time."""


class TlsSocket:
    """
    The server's end of a TLS connection.

    An ``ssl.SSLSocket`` makes a system call for every record of 16 KiB, and over the loopback each of them runs the
    receiver's half of TCP too: a third of what a server of large bodies costs. Here OpenSSL writes to memory.
    """

    def __init__(self, sock: socket.socket, context: ssl.SSLContext) -> None:
        self._sock = sock
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        while True:
            try:
                self._tls.do_handshake()
                break
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    raise ConnectionError("closed during the handshake") from None
        self._flush()

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._sock.sendall(self._outgoing.read())

    def _receive(self) -> bool:
        got = self._sock.recv(RECEIVE)
        self._incoming.write(got)
        return bool(got)

    def recv(self, count: int) -> bytes:
        """Receive what is there, at most ``count`` bytes; nothing if the client has closed."""
        buffer = bytearray(count)
        return bytes(buffer[: self.recv_into(buffer)])

    def recv_into(self, buffer: Buffer) -> int:
        """Receive what is there, at most the buffer's length; 0 if the client has closed."""
        while True:
            try:
                # The length of what was read, since there is a buffer.
                return int(self._tls.read(memoryview(buffer).nbytes, buffer))  # type: ignore[call-overload]
            except ssl.SSLWantReadError:
                self._flush()
                if not self._receive():
                    return 0
            except ssl.SSLZeroReturnError:
                return 0

    def sendall(self, piece: Buffer) -> None:
        self._tls.write(piece)
        self._flush()

    def close(self) -> None:
        self._sock.close()
