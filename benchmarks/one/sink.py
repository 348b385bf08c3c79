"""Reads standard input to its end and tells its size and CRC64NVME: ``tool | python -m benchmarks.one.sink``."""

from __future__ import annotations

import json
import sys

from awscrt import checksums

from benchmarks.one.task import READ


def main() -> None:
    size = crc = 0
    while piece := sys.stdin.buffer.read(READ):
        size += len(piece)
        crc = checksums.crc64nvme(piece, crc)
    print(json.dumps({"bytes": size, "crc": crc}))


if __name__ == "__main__":
    main()
