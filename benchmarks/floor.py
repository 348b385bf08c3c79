"""
The floor: the same bytes over raw sockets, with nothing else around them.

A few threads, each with one connection to the origin and one to the store, receive ranges into one reused
buffer, take the CRC64NVME and send it on with a plain Content-Length. No HTTP library, no signature, no
retry: what Python's sockets and its ssl module cost at least. Run as a process of its own:
``python -m benchmarks.floor --source URL --endpoint URL --key KEY --size BYTES``.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import re
import socket
import ssl
import threading
import time
from urllib.parse import urlsplit

from awscrt import checksums

CHUNK = 2**20
"""Bytes in hand at a time. Smaller ones cost more system calls, larger ones no longer less."""
PART = 64 * 2**20


class Peer:
    """One connection that answers are read from."""

    def __init__(self, url: str, trust: ssl.SSLContext) -> None:
        parts = urlsplit(url)
        host, port = parts.hostname or "127.0.0.1", parts.port or 80
        self.host = parts.netloc
        self.sock = socket.create_connection((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        # One call fills the whole chunk; TLS gives a record of 16 KiB per call, whatever is asked.
        self.flags = int(socket.MSG_WAITALL)
        if parts.scheme == "https":
            self.sock = trust.wrap_socket(self.sock, server_hostname=host)
            self.flags = 0

    def cipher(self) -> str | None:
        return self.sock.cipher()[0] if isinstance(self.sock, ssl.SSLSocket) else None  # type: ignore[index]

    def ask(self, method: str, target: str, length: int = 0, extra: str = "") -> None:
        self.sock.sendall(
            f"{method} {target} HTTP/1.1\r\nHost: {self.host}\r\nContent-Length: {length}\r\n{extra}\r\n".encode()
        )

    def head(self) -> bytes:
        """Read an answer's head and not one byte more, so that the body can go straight into the buffer."""
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            byte = self.sock.recv(1)
            if not byte:
                raise ConnectionError("closed before its answer")
            answer += byte
        status = int(answer.split(b" ", 2)[1])
        if status not in (200, 206):
            raise ConnectionError(f"answered {status}")
        return answer

    def fill(self, view: memoryview) -> None:
        have = 0
        while have < len(view):
            count = self.sock.recv_into(view[have:], 0, self.flags)
            if not count:
                raise ConnectionError("closed in the middle of a body")
            have += count

    def answer(self) -> bytes:
        match = re.search(rb"(?i)content-length: *(\d+)", self.head())
        body = bytearray(int(match[1]) if match else 0)
        self.fill(memoryview(body))
        return bytes(body)


def relay(options: argparse.Namespace, trust: ssl.SSLContext, upload_id: str, parts: queue.SimpleQueue[int]) -> None:
    """Carry parts until none is left."""
    source, sink = Peer(options.source, trust), Peer(options.endpoint, trust)
    path = urlsplit(options.source).path
    buffer = bytearray(CHUNK)
    view = memoryview(buffer)
    while True:
        try:
            number = parts.get_nowait()
        except queue.Empty:
            return
        start = (number - 1) * PART
        left = min(PART, options.size - start)
        source.ask("GET", path, extra=f"Range: bytes={start}-{start + left - 1}\r\n")
        source.head()
        sink.ask("PUT", f"/bench/{options.key}?partNumber={number}&uploadId={upload_id}", left)
        crc = 0
        while left:
            piece = view if left >= CHUNK else view[:left]
            source.fill(piece)
            crc = checksums.crc64nvme(buffer if len(piece) == CHUNK else bytes(piece), crc)
            sink.sock.sendall(piece)
            left -= len(piece)
        sink.answer()


def copy(options: argparse.Namespace) -> str | None:
    """Copy the object as one multipart upload; give the TLS cipher."""
    trust = ssl.create_default_context(cafile=options.ca)
    control = Peer(options.endpoint, trust)
    control.ask("POST", f"/bench/{options.key}?uploads=")
    match = re.search(rb"<UploadId>(.+)</UploadId>", control.answer())
    upload_id = match[1].decode() if match else ""
    count = -(-options.size // PART)
    parts: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in range(1, count + 1):
        parts.put(number)
    threads = [threading.Thread(target=relay, args=(options, trust, upload_id, parts)) for _ in range(options.threads)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    listed = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in range(1, count + 1))
    control.ask("POST", f"/bench/{options.key}?uploadId={upload_id}", len(listed))
    control.sock.sendall(listed.encode())
    control.answer()
    return control.cipher()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.floor", description=__doc__)
    parser.add_argument("--source", required=True, help="URL of a ranged object")
    parser.add_argument("--endpoint", required=True, help="base URL of the S3 endpoint")
    parser.add_argument("--key", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ca", default=os.environ.get("AWS_CA_BUNDLE"))
    options = parser.parse_args()
    start, cpu = time.perf_counter(), time.process_time()
    cipher = copy(options)
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"bytes": options.size, "seconds": seconds, "cpu": cpu, "cipher": cipher}))


if __name__ == "__main__":
    main()
