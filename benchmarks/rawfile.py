"""
Raw sockets: one object in ranges into a file, with the CRC64NVME taken, and nothing else around it.

What the server can give, and what Python's sockets and its ssl module cost for it. Nothing is signed, retried or
checked but the status. Run as a process of its own:
``python -m benchmarks.rawfile --base URL --key KEY --size BYTES --path FILE``.
"""

from __future__ import annotations

import argparse
import json
import os
import ssl
import time

from awscrt import checksums

from benchmarks.floor import CHUNK, Peer
from benchmarks.many.task import in_threads

PART = 16 * 2**20


class RawFile:
    """Fetches ranges, one at a time over each connection."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._trust = ssl.create_default_context(cafile=options.ca)
        self._peers = [Peer(options.base, self._trust) for _ in range(options.connections)]
        self._crcs: dict[int, int] = {}
        self._file = os.open(options.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        if options.size:
            os.posix_fallocate(self._file, 0, options.size)

    def run(self) -> int:
        """Fetch all; give the object's CRC64NVME."""
        in_threads(self._fetch, iter(range(0, self._options.size, PART)), self._options.connections)
        os.close(self._file)
        crc = 0
        for start, its in sorted(self._crcs.items()):
            crc = checksums.combine_crc64nvme(crc, its, min(PART, self._options.size - start))
        return crc

    def _fetch(self, start: int) -> None:
        peer = self._peers.pop()
        stop = min(start + PART, self._options.size)
        peer.ask("GET", f"/bench/{self._options.key}", extra=f"Range: bytes={start}-{stop - 1}\r\n")
        peer.head()
        buffer = bytearray(CHUNK)
        crc, offset = 0, start
        while offset < stop:
            piece = buffer if stop - offset >= CHUNK else bytearray(stop - offset)
            peer.fill(memoryview(piece))
            crc = checksums.crc64nvme(piece, crc)
            os.pwrite(self._file, piece, offset)
            offset += len(piece)
        self._crcs[start] = crc
        self._peers.append(peer)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rawfile", description=__doc__)
    parser.add_argument("--base", required=True, help="of the S3 endpoint")
    parser.add_argument("--key", required=True)
    parser.add_argument("--size", type=int, required=True)
    parser.add_argument("--path", required=True, help="the file to write")
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--ca", default=os.environ.get("AWS_CA_BUNDLE"))
    options = parser.parse_args()
    start, cpu = time.perf_counter(), time.process_time()
    crc = RawFile(options).run()
    seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
    print(json.dumps({"seconds": seconds, "cpu": cpu, "crc": crc}))


if __name__ == "__main__":
    main()
