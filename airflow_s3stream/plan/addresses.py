"""
Which IP addresses a copy may connect to.

Public unicast addresses, and what ``allow_private`` names. ``ipaddress.is_global`` alone would not do: it says True of
multicast, of Azure's 168.63.129.16, and of IPv6 addresses that lead to an IPv4 address by a tunnel or a translator. So
each address is unwrapped, and what is inside is judged as well.
"""

from __future__ import annotations

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import TYPE_CHECKING

from airflow_s3stream.config import ConnectionPolicy
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.values import texts

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# Never reachable, whatever is allowed: each cloud's own documentation of its instance metadata, or of the agent that
# hands credentials to containers.
_METADATA = tuple((ip_network(network), whose) for network, whose in (
    # All of link-local: 169.254.169.254 (AWS, Google, Azure, Oracle, OpenStack and most others), 169.254.170.2 (ECS
    # tasks), 169.254.170.23 (EKS Pod Identity), 169.254.169.252 (GKE), 169.254.42.42 (Scaleway), 169.254.0.23
    # (Tencent), 169.254.129.0/24 and its neighbours (Azure App Service). RFC 3927 keeps it off every router.
    ("169.254.0.0/16", "link-local, where clouds serve metadata and credentials (RFC 3927)"),
    ("168.63.129.16", "the host agent of Azure"),
    ("100.100.100.200", "the metadata of Alibaba Cloud"),
    ("192.0.0.192", "the metadata of Oracle Cloud Classic"),
    ("fd00:ec2::/32", "the metadata and credentials of AWS"),  # ::254 EC2, ::23 EKS Pod Identity
    ("fd20:ce::254", "the metadata of Google Cloud"),
    ("fd00:c1::a9fe:a9fe", "the metadata of Oracle Cloud"),
    ("fe80::a9fe:a9fe", "the metadata of OpenStack"),
    ("fd00:a9fe:a9fe::1", "the metadata of Akamai and Linode"),
    ("fd00:42::42", "the metadata of Scaleway"),
    ("fd00:100::100:200", "the metadata of Alibaba Cloud"),
))  # fmt: skip

# Those of them that are looked for in any IPv6 address, whatever its prefix. Not all of link-local, for one in 65,536
# addresses happens to look like that.
_METADATA_V4 = frozenset(IPv4Address(address) for address in (
    "169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.169.252", "169.254.42.42", "169.254.0.23",
    "168.63.129.16", "100.100.100.200", "192.0.0.192",
))  # fmt: skip

# What of IPv4 is not public unicast, as in IANA's registry of special-purpose addresses (RFC 6890).
_SPECIAL_V4 = tuple((IPv4Network(network), what) for network, what in (
    ("0.0.0.0/8", "this host (RFC 1122)"),
    ("10.0.0.0/8", "a private address (RFC 1918)"),
    ("100.64.0.0/10", "shared by carriers (RFC 6598)"),
    ("127.0.0.0/8", "a loopback address (RFC 1122)"),
    ("172.16.0.0/12", "a private address (RFC 1918)"),
    ("192.0.0.0/24", "for protocols (RFC 6890)"),
    ("192.0.2.0/24", "for documentation (RFC 5737)"),
    ("192.88.99.0/24", "a relay of tunnels (RFC 7526)"),
    ("192.168.0.0/16", "a private address (RFC 1918)"),
    ("198.18.0.0/15", "for benchmarks (RFC 2544)"),
    ("198.51.100.0/24", "for documentation (RFC 5737)"),
    ("203.0.113.0/24", "for documentation (RFC 5737)"),
    ("224.0.0.0/4", "multicast (RFC 5771)"),
    ("240.0.0.0/4", "reserved, or broadcast (RFC 1112)"),
))  # fmt: skip

_UNICAST_V6 = IPv6Network("2000::/3")  # all that IANA has given out (RFC 4291 section 2.4, RFC 3587)
_SPECIAL_V6 = tuple((IPv6Network(network), what) for network, what in (
    ("::/128", "unspecified (RFC 4291)"),
    ("::1/128", "a loopback address (RFC 4291)"),
    ("::/96", "an IPv4-compatible address (RFC 4291 section 2.5.5.1)"),
    ("::ffff:0:0:0/96", "an IPv4-translated address (RFC 2765)"),
    ("64:ff9b:1::/48", "behind a local NAT64 (RFC 8215)"),
    ("100::/64", "a discard address (RFC 6666)"),
    ("2001::/32", "a Teredo tunnel (RFC 4380)"),
    ("2001::/23", "for protocols (RFC 2928)"),
    ("2001:db8::/32", "for documentation (RFC 3849)"),
    ("2002::/16", "a 6to4 tunnel (RFC 3056)"),
    ("3fff::/20", "for documentation (RFC 9637)"),
    ("fc00::/7", "a private address (RFC 4193)"),
    ("fe80::/10", "a link-local address (RFC 4291)"),
    ("fec0::/10", "a site-local address (RFC 3879)"),
    ("ff00::/8", "multicast (RFC 4291)"),
))  # fmt: skip

_NAT64 = IPv6Network("64:ff9b::/96")
_BEFORE_IPV4 = tuple(map(IPv6Network, ("::/96", "::ffff:0:0:0/96", "64:ff9b:1::/48")))  # with it in the last 32 bits
_TEREDO, _SIX_TO_FOUR = IPv6Network("2001::/32"), IPv6Network("2002::/16")
_ISATAP = (0x0000_5EFE, 0x0200_5EFE)  # in the third 32 bits, before the IPv4 address (RFC 5214 section 6.1)
# Where an IPv4 address stands in a translator's prefix of so many bits (RFC 6052 section 2.2): before and after the
# octet "u", which is 0. The rest behind it is 0, too.
_TRANSLATED = (32, 40, 48, 56, 64)


def judge(address: str | Address, policy: ConnectionPolicy | None = None) -> str | None:
    """Say in words why a copy may not connect to ``address``; None if it may."""
    return _judge(str(address), (policy or ConnectionPolicy()).allow_private)


def named(address: str | Address, policy: ConnectionPolicy) -> bool:
    """Whether ``allow_private`` names a network that ``address`` is in; then any port will do."""
    return _named(str(address), policy.allow_private)


@lru_cache(maxsize=1024)
def never(address: str) -> str | None:
    """Say in words why nothing may connect to ``address``, whatever is allowed; None if a setting could allow it."""
    found = parse(address)
    if found is None:
        return "which is no IP address"
    candidates = (found, *_inside(found), *(one for one in _perhaps_inside(found) if one in _METADATA_V4))
    return next((whose for one in candidates for network, whose in _METADATA if one in network), None)


@lru_cache(maxsize=1024)
def _judge(text: str, allow_private: tuple[str, ...]) -> str | None:
    forbidden = never(text)
    if forbidden or _named(text, allow_private):
        return forbidden
    address = parse(text)
    if isinstance(address, IPv4Address):
        return _special(address, _SPECIAL_V4)
    assert isinstance(address, IPv6Address)  # noqa: S101 - what is no address was never allowed
    outside = _special(address, _SPECIAL_V6)
    if outside is None and address not in _UNICAST_V6:
        outside = "reserved (RFC 4291)"
    inside = (_judge(str(one), allow_private) for one in _inside(address))
    return outside or next((f"a tunnel to {reason}" for reason in inside if reason), None)


@lru_cache(maxsize=1024)
def _named(text: str, allow_private: tuple[str, ...]) -> bool:
    address = parse(text)
    return address is not None and any(address in ip_network(network) for network in allow_private)


def parse(text: str) -> Address | None:
    """
    Read an address as the system gives it; None if it is none.

    A scope (``%eth0``) is cut off. An IPv4-mapped address (RFC 4291 section 2.5.5.2) is the IPv4 address, to which the
    system connects, and so is one behind the well-known NAT64 prefix, which stands for public addresses only (RFC 6052
    section 3.1): on a network without IPv4, all of the old Internet is there.
    """
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or (_low(address) if address in _NAT64 else address)
    return address


def _special(address: Address, kinds: Sequence[tuple[Network, str]]) -> str | None:
    return next((what for network, what in kinds if address in network), None)


def _low(address: IPv6Address) -> IPv4Address:
    return IPv4Address(int(address) & 0xFFFF_FFFF)


def _inside(address: Address) -> Iterator[IPv4Address]:
    """Give the IPv4 addresses that an IPv6 address leads to, by its form."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if address in _SIX_TO_FOUR:
        yield IPv4Address(number >> 80 & 0xFFFF_FFFF)
    elif address in _TEREDO:
        yield IPv4Address(number >> 64 & 0xFFFF_FFFF)  # its server
        yield IPv4Address(~number & 0xFFFF_FFFF)  # the host itself, disguised (RFC 4380 section 4)
    elif number >> 32 & 0xFFFF_FFFF in _ISATAP or any(address in network for network in _BEFORE_IPV4):
        yield _low(address)


def _perhaps_inside(address: Address) -> Iterator[IPv4Address]:
    """
    Give the IPv4 addresses that an IPv6 address could lead to.

    A network may have a translator behind a prefix of its own (RFC 6052 section 3.3), which nobody can know from here.
    """
    if isinstance(address, IPv4Address):
        return
    yield _low(address)
    number = int(address)
    without_u = (number >> 64) << 56 | (number & 0x00FF_FFFF_FFFF_FFFF)
    if number >> 56 & 0xFF == 0:
        for prefix in _TRANSLATED:
            after = 120 - prefix - 32
            if without_u & ((1 << after) - 1) == 0:
                yield IPv4Address(without_u >> after & 0xFFFF_FFFF)


def read_policy(allow_private: object = None, allowed_hosts: object = None) -> ConnectionPolicy:
    """
    Read both settings as users give them: lists, or text with commas, or what a template makes of a list.

    :param allowed_hosts: None or empty text: every host. A list that turns out empty is refused, for whoever gave one
        meant to allow few, not all.
    :raises ConfigError: no network, no host, or a network that nothing can allow.
    """
    hosts = tuple(_several(allowed_hosts, "allowed_hosts"))
    if not hosts and allowed_hosts not in (None, ""):
        raise ConfigError(f"allowed_hosts={allowed_hosts!r} names no host; leave it out to allow every one")
    policy = ConnectionPolicy(allow_private=tuple(_several(allow_private, "allow_private")), allowed_hosts=hosts)
    for text in policy.allow_private:
        network = ip_network(text)
        if isinstance(network, IPv6Network) and network.subnet_of(IPv6Network("::ffff:0:0/96")):
            raise ConfigError(f"allow_private={text!r} is of IPv4-mapped addresses; name the IPv4 network itself")
        for refused, whose in _METADATA:
            if network.version == refused.version and network.subnet_of(refused):  # type: ignore[arg-type]
                raise ConfigError(f"allow_private={text!r} cannot be allowed: it is {whose}")
    return policy


def _several(given: object, name: str) -> list[str]:
    if given is None:
        return []
    if isinstance(given, str):
        given = [piece for one in texts(given) for piece in one.split(",")]
    if not isinstance(given, list | tuple | set | frozenset) or not all(isinstance(one, str) for one in given):
        raise ConfigError(f"{name}={given!r} must be a list of texts, or one text with commas")
    return [one.strip() for one in given if one.strip()]
