"""
Raw sockets: the same small objects with a fixed signature, nothing parsed but the length, nothing kept.

What the server can give, and the least that a Python program can take them for. Run as a process of its own:
``python -m benchmarks.rawget --base URL --objects N --connections C``.
"""

from __future__ import annotations

import argparse
import json
import select
import socket
import time
import zlib
from urllib.parse import urlsplit

from benchmarks.server.keyspace import KeySpace

# As long as what a signing client sends.
_SIGNED = (
    "Host: 127.0.0.1\r\nUser-Agent: raw\r\nAccept: */*\r\nX-Amz-Date: 20260801T000000Z\r\n"
    "X-Amz-Content-Sha256: e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855\r\n"
    "Authorization: AWS4-HMAC-SHA256 Credential=benchmark/20260801/us-east-1/s3/aws4_request, "
    f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={'0' * 64}\r\n\r\n"
)
_LENGTH = b"Content-Length: "


class RawGet:
    """Fetches keys over a number of connections, one request at a time on each."""

    def __init__(self, base: str, keys: list[str], connections: int, *, digest: bool = False) -> None:
        parts = urlsplit(base)
        self._address = (parts.hostname or "127.0.0.1", parts.port or 80)
        self._requests = (f"GET /bench/{key} HTTP/1.1\r\n{_SIGNED}".encode() for key in keys)
        self._epoll = select.epoll()
        self._socks = {sock.fileno(): sock for sock in (self._connect() for _ in range(connections))}
        self._partial: dict[int, bytes] = {}
        self._asked = dict.fromkeys(self._socks, b"")
        self._digest = digest
        self.objects = self.bytes = self.sum = 0

    def _connect(self) -> socket.socket:
        sock = socket.create_connection(self._address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._epoll.register(sock.fileno(), select.EPOLLIN)
        return sock

    def run(self) -> None:
        """Fetch all; raise if an answer is not 200."""
        open_ = sum([self._ask(sock) for sock in self._socks.values()])
        while open_:
            for fd, _event in self._epoll.poll():
                sock = self._socks[fd]
                if self._take(fd, sock.recv(65536)) and not self._ask(sock):
                    open_ -= 1

    def _ask(self, sock: socket.socket) -> bool:
        request = next(self._requests, None)
        if request is None:
            return False
        sock.send(request)
        if self._digest:
            self._asked[sock.fileno()] = request.split(b" ", 2)[1].removeprefix(b"/bench/")
        return True

    def _take(self, fd: int, got: bytes) -> bool:
        """Take what was received; tell whether the answer is whole."""
        answer = self._partial.pop(fd, b"") + got
        end = answer.find(b"\r\n\r\n") + 4
        if not got or not answer.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"answered {answer[:60]!r}")
        at = answer.find(_LENGTH) + len(_LENGTH)
        length = int(answer[at : answer.find(b"\r", at)]) if end > 3 else -1
        if length < 0 or len(answer) < end + length:
            self._partial[fd] = answer
            return False
        self.objects += 1
        self.bytes += length
        if self._digest:
            self.sum += zlib.crc32(answer[end:], zlib.crc32(self._asked[fd]))
        return True


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rawget", description=__doc__)
    parser.add_argument("--base", required=True, help="of the server")
    parser.add_argument("--objects", type=int, required=True)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--folders", action="store_true", help="the keys are in folders")
    parser.add_argument("--digest", action="store_true", help="prove what was fetched")
    options = parser.parse_args()
    keys = KeySpace(options.objects, 1, folders=options.folders)[:]
    start, cpu = time.perf_counter(), time.process_time()
    client = RawGet(options.base, keys, options.connections, digest=options.digest)
    client.run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    told = {"objects": client.objects, "bytes": client.bytes, "seconds": seconds, "cpu": cpu, "sum": client.sum}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
