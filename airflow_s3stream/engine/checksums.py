"""CRCs through awscrt, which computes CRC-64/NVME at memory speed and can join the CRCs of parts."""

from __future__ import annotations

import base64
import hashlib
from typing import TYPE_CHECKING

from awscrt import checksums as _crt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from airflow_s3stream.plan.digests import Algorithm

_COMPUTE: dict[str, Callable[..., int]] = {
    "crc32": _crt.crc32,
    "crc32c": _crt.crc32c,
    "crc64nvme": _crt.crc64nvme,
}
_COMBINE: dict[str, Callable[[int, int, int], int]] = {
    "crc32": _crt.combine_crc32,
    "crc32c": _crt.combine_crc32c,
    "crc64nvme": _crt.combine_crc64nvme,
}


def crc64nvme(piece: memoryview | bytes | bytearray, previous: int = 0) -> int:
    """Continue a CRC-64/NVME over ``piece``."""
    # awscrt is annotated for bytes but reads any buffer without copying it.
    return _COMPUTE["crc64nvme"](piece, previous)


def continued(algorithm: Algorithm, piece: bytes | memoryview, previous: int) -> int:
    """Continue a CRC of the ``COMBINABLE`` kind over ``piece``."""
    return _COMPUTE[algorithm](piece, previous)


def crc64nvme_text(crc: int) -> str:
    """Show a CRC-64/NVME as S3 does: base64 of its 8 big-endian bytes."""
    return base64.b64encode(crc.to_bytes(8, "big")).decode()


def crc64nvme_value(text: str | None) -> int | None:
    """Read what S3 shows; None for nothing, or for what is no CRC-64/NVME."""
    try:
        raw = base64.b64decode(text or "", validate=True)
    except ValueError:
        return None
    return int.from_bytes(raw, "big") if len(raw) == 8 else None


def combine(algorithm: Algorithm, parts: Iterable[tuple[int, int]]) -> int:
    """
    Join CRCs of adjacent pieces.

    :param parts: (CRC, length in bytes) in the order of the bytes.
    """
    total = 0
    for crc, length in parts:
        total = _COMBINE[algorithm](total, crc, length)
    return total


class RunningDigest:
    """A checksum of bytes seen in order."""

    def __init__(self, algorithm: Algorithm) -> None:
        self._crc = _COMPUTE.get(algorithm)
        self._value = 0
        self._size = 4 if algorithm.startswith("crc32") else 8
        self._hash = None if self._crc else hashlib.new(algorithm, usedforsecurity=False)

    def update(self, piece: memoryview | bytes) -> None:
        """Take the next bytes in."""
        if self._crc:
            self._value = self._crc(piece, self._value)
        elif self._hash:
            self._hash.update(piece)

    def digest(self) -> bytes:
        """Give the checksum of all bytes so far."""
        return self._hash.digest() if self._hash else self._value.to_bytes(self._size, "big")
