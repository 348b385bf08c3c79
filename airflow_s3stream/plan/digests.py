"""Checksums as users write them and as S3 shows them."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass
from typing import Literal, cast

from airflow_s3stream.exceptions import ConfigError

Algorithm = Literal["md5", "sha1", "sha256", "sha512", "crc32", "crc32c", "crc64nvme"]

_SIZES: dict[str, int] = {
    "md5": 16, "sha1": 20, "sha256": 32, "sha512": 64, "crc32": 4, "crc32c": 4, "crc64nvme": 8,
}  # fmt: skip

COMBINABLE: frozenset[str] = frozenset({"crc32", "crc32c", "crc64nvme"})
"""Those that can be computed per part, in any order, and joined; the others must see the bytes in order."""


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum: algorithm and raw bytes."""

    algorithm: Algorithm
    value: bytes

    def __str__(self) -> str:
        # As md5sum and sha256sum print theirs, and as S3 prints its CRCs.
        plain = self.algorithm in COMBINABLE
        return f"{self.algorithm}:{base64.b64encode(self.value).decode() if plain else self.value.hex()}"

    @classmethod
    def parse(cls, text: str) -> Digest:
        """
        Read ``algorithm:value``, the value in hex or base64.

        :raises ConfigError: another algorithm, or a value of the wrong length.
        """
        algorithm, _, value = str(text).partition(":")
        algorithm, value = algorithm.strip().lower(), value.strip()
        if algorithm not in _SIZES:
            raise ConfigError(
                f"expected_checksum={text!r} must be algorithm:value with one of {', '.join(_SIZES)} as the algorithm"
            )
        size = _SIZES[algorithm]
        raw = _decode(value, size)
        if raw is None:
            raise ConfigError(
                f"expected_checksum={text!r} needs {size} bytes for {algorithm}: {2 * size} hex digits or their base64"
            )
        return cls(cast("Algorithm", algorithm), raw)


def _decode(value: str, size: int) -> bytes | None:
    try:
        if len(value) == 2 * size and "=" not in value:  # CRC-32 is 8 characters either way; its base64 ends in ==
            return bytes.fromhex(value)
        raw = base64.b64decode(value, validate=True)
    except (ValueError, binascii.Error):
        return None
    return raw if len(raw) == size else None
