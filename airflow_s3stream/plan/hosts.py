"""Hosts as URLs spell them: which may be asked, and which are addresses in disguise."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Literal
from urllib.parse import unquote

if TYPE_CHECKING:
    from airflow_s3stream.config import ConnectionPolicy
    from airflow_s3stream.plan.addresses import Address

# Names that clouds resolve to their metadata. Where this side resolves, the address tells; a proxy resolves on its own.
_METADATA_NAMES = frozenset((
    "metadata.google.internal", "metadata.goog", "metadata", "instance-data", "instance-data.ec2.internal",
    "metadata.tencentyun.com", "metadata.azure.internal",
))  # fmt: skip
_NUMBER = re.compile(r"0x[0-9a-f]{0,64}|[0-9]{1,64}")


def _unfolded(host: str) -> str:
    # The full stop of Chinese and Japanese separates labels, too (RFC 3490 section 3.1).
    return unicodedata.normalize("NFKC", unquote(host)).replace("\u3002", ".")


def plain_host(host: str) -> str:
    """Give a host in the one form in which hosts are compared: lower case, without brackets and final dots."""
    return host.lower().strip("[]").rstrip(".")


def allowed_host(host: str, port: int, policy: ConnectionPolicy) -> Literal["no", "yes", "with its port"]:
    """Say whether ``allowed_hosts`` lets a host be asked, and whether by naming this port; ``yes`` if it is empty."""
    return _allowed(plain_host(host), port, policy.allowed_hosts)


@lru_cache(maxsize=1024)
def _allowed(host: str, port: int, patterns: tuple[str, ...]) -> Literal["no", "yes", "with its port"]:
    found: Literal["no", "yes"] = "no" if patterns else "yes"
    for pattern in patterns:
        name, _, wanted = pattern.rpartition(":") if re.search(r":\d+$", pattern) else (pattern, "", "")
        name = plain_host(name)
        if host != name and not (name.startswith("*.") and host.endswith(name[1:])):
            continue
        if not wanted:
            found = "yes"
        elif int(wanted) == port:
            return "with its port"
    return found


@lru_cache(maxsize=1024)
def literals(host: str) -> tuple[Address, ...]:
    """
    Read a host as an address, in all ways that some resolver or proxy might; empty if it is a name.

    Percent-encoding and full-width digits are undone; of IPv4, the forms that ``inet_aton`` takes are known: decimal,
    octal, hexadecimal, and less than four numbers, of which the last fills up (``127.1``). ``010.0.0.1`` is two
    addresses, for not all take the zero for octal.
    """
    text = plain_host(_unfolded(host))
    if ":" in text:
        try:
            return (IPv6Address(text.partition("%")[0]),)
        except AddressValueError:
            return ()
    pieces = text.split(".")
    if len(pieces) > 4 or not all(_NUMBER.fullmatch(piece) for piece in pieces):
        return ()
    readings = (_address([_number(piece, base) for piece in pieces]) for base in (8, 10))
    return tuple({address: None for address in readings if address is not None})


def _address(numbers: list[int]) -> IPv4Address | None:
    *first, last = numbers
    if any(number > 255 for number in first) or last >= 256 ** (4 - len(first)):
        return None
    return IPv4Address(sum(number << 8 * (3 - place) for place, number in enumerate(first)) + last)


def _number(piece: str, base: int) -> int:
    """Read a number that with a leading zero is of ``base``."""
    if piece.startswith("0x"):
        return int(piece[2:] or "0", 16)
    octal = base == 8 and piece.startswith("0") and not set(piece) & set("89")
    return int(piece, 8 if octal else 10)


def hidden_name(host: str) -> Literal["metadata", "loopback"] | None:
    """Say what a well-known name stands for that no proxy should be asked for."""
    name = plain_host(_unfolded(host))
    if name in _METADATA_NAMES:
        return "metadata"
    return "loopback" if name == "localhost" or name.endswith(".localhost") else None  # RFC 6761 section 6.3
