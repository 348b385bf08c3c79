"""Which addresses a copy may connect to, and which hosts it may ask."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from airflow_s3stream.config import ConnectionPolicy
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.addresses import judge, named, never, parse, read_policy
from airflow_s3stream.plan.hosts import allowed_host, hidden_name, literals
from airflow_s3stream.plan.options import read_copy_options
from tests.support.spellings import SPELLINGS

EVERYTHING = ConnectionPolicy(allow_private=("0.0.0.0/0", "::/0"))


class TestPublic:
    """What may be read from without any setting."""

    @pytest.mark.parametrize(
        "address",
        [
            "8.8.8.8", "93.184.216.34", "1.0.0.1", "100.63.255.255", "100.128.0.1", "172.15.255.255", "172.32.0.1",
            "169.253.255.255", "169.255.0.0", "168.63.129.15", "168.63.129.17", "223.255.255.255", "192.0.1.1",
            "2606:2800:220:1::1", "2a00:1450::1", "3ffe::1", "2001:200::1", "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",  # a network without IPv4 shows the rest of the Internet like that
            "2600:1f18::5efe:8.8.8.8", "2606:4700::1%eth0",
        ],
    )  # fmt: skip
    def test_is_admitted(self, address: str) -> None:
        assert judge(address) is None

    @pytest.mark.parametrize(
        ("address", "reason"),
        [
            ("0.0.0.1", "this host"), ("0.1.2.3", "this host"), ("10.0.0.1", "RFC 1918"), ("172.16.0.1", "RFC 1918"),
            ("172.31.255.255", "RFC 1918"), ("192.168.1.1", "RFC 1918"), ("100.64.0.1", "RFC 6598"),
            ("100.127.255.255", "RFC 6598"), ("127.0.0.1", "loopback"), ("127.255.255.254", "loopback"),
            ("192.0.0.1", "RFC 6890"), ("192.0.2.1", "documentation"), ("192.88.99.1", "RFC 7526"),
            ("198.18.0.1", "benchmarks"), ("198.19.255.255", "benchmarks"), ("198.51.100.1", "documentation"),
            ("203.0.113.1", "documentation"), ("224.0.0.1", "multicast"), ("239.255.255.255", "multicast"),
            ("240.0.0.1", "reserved"), ("255.255.255.255", "broadcast"),
            ("::", "unspecified"), ("::1", "loopback"), ("::2", "IPv4-compatible"), ("::8.8.8.8", "IPv4-compatible"),
            ("::ffff:127.0.0.1", "loopback"), ("::ffff:10.0.0.1", "RFC 1918"), ("::ffff:0:8.8.8.8", "translated"),
            ("64:ff9b::10.0.0.1", "RFC 1918"), ("64:ff9b:1::8.8.8.8", "RFC 8215"), ("100::1", "RFC 6666"),
            ("2001::1", "Teredo"), ("2001:0:5db8:d822:0:0:f7f7:f7f7", "Teredo"), ("2001:2::1", "RFC 2928"),
            ("2001:db8::1", "documentation"), ("2002:808:808::1", "6to4"), ("3fff::1", "documentation"),
            ("2600:1f18::5efe:10.0.0.1", "a tunnel to a private address"), ("2600::200:5efe:127.0.0.1", "a tunnel to"),
            ("4000::1", "reserved"), ("5f00::1", "reserved"), ("fc00::1", "RFC 4193"), ("fd12:3456::1", "RFC 4193"),
            ("fe80::1", "link-local"), ("fe80::1%eth0", "link-local"), ("fec0::1", "site-local"),
            ("ff02::1", "multicast"), ("FF0E::1", "multicast"),
        ],
    )  # fmt: skip
    def test_is_refused_for_a_reason(self, address: str, reason: str) -> None:
        assert reason in (judge(address) or "admitted")
        assert judge(address, EVERYTHING) is None

    @pytest.mark.parametrize("text", ["", "example.org", "1.2.3", "1.2.3.4.5", "0x7f000001", "[::1]", "::1::"])
    def test_what_is_no_address_is_never_admitted(self, text: str) -> None:
        """A resolver that answers nonsense opens no door."""
        assert judge(text, EVERYTHING) == "which is no IP address"

    @given(st.ip_addresses())
    @example(ipaddress.ip_address("2001:1ff:ffff::"))
    @settings(deadline=None)
    def test_nothing_that_pythons_own_tables_call_private_is_admitted(self, address: Any) -> None:
        """Both tables come from IANA's registries, so one mistake is seen by the other."""
        if judge(address) is None:
            met = parse(str(address))
            assert met is not None
            assert met.is_global
            assert not met.is_multicast

    @given(st.ip_addresses(v=4))
    @settings(deadline=None)
    def test_an_ipv4_address_in_ipv6_clothes_is_no_better_than_itself(self, address: ipaddress.IPv4Address) -> None:
        """In each way of wrapping it: refused if it is, and metadata if it is."""
        low = int(address)
        wrapped = [
            ipaddress.IPv6Address(prefix | low)
            for prefix in (
                0xFFFF << 32, 0, 0xFFFF << 48, 0x64FF9B << 96, 0x64FF9B_0001 << 80,
                0x2600_1F18 << 96 | 0x5EFE << 32, 0x2600_1F18 << 96 | 0x0200_5EFE << 32,
            )
        ]  # fmt: skip
        wrapped.append(ipaddress.IPv6Address(0x2002 << 112 | low << 80 | 1))
        wrapped.append(ipaddress.IPv6Address(0x2001 << 112 | 0x5DB8D822 << 64 | (~low & 0xFFFF_FFFF)))
        for each in wrapped:
            if judge(address) is not None:
                assert judge(each) is not None, each
            if never(str(address)):
                assert never(str(each)), each


class TestMetadata:
    """What nothing allows."""

    @pytest.mark.parametrize("spelling", SPELLINGS, ids=lambda spelling: spelling.url)
    def test_is_refused_in_every_wrapping_whatever_is_allowed(self, spelling: Any) -> None:
        assert judge(spelling.address, EVERYTHING)
        assert never(spelling.address)

    def test_there_are_enough_spellings(self) -> None:
        """Each once."""
        assert len({spelling.url for spelling in SPELLINGS}) == len(SPELLINGS) >= 60

    @pytest.mark.parametrize("address", ["169.254.0.0", "169.254.1.2", "169.254.255.255", "fd00:ec2::123"])
    def test_their_neighbours_are_refused_too(self, address: str) -> None:
        """Clouds put more and more services there."""
        assert judge(address, EVERYTHING)

    @pytest.mark.parametrize("address", ["2600::a9fe:1", "2600::a9fe:a9fd", "2600:a9fe:a9fe::1"])
    def test_public_addresses_that_merely_look_like_it_are_admitted(self, address: str) -> None:
        """Whoever has one chance in 65,536 to be refused is not amused."""
        assert judge(address) is None


class TestPolicy:
    """What users write."""

    @pytest.mark.parametrize(
        "given",
        [
            ["10.0.0.0/8", "fd12:3456::/32"],
            ("10.0.0.0/8", "fd12:3456::/32"),
            "10.0.0.0/8,fd12:3456::/32",
            " 10.0.0.0/8 , fd12:3456::/32, ",
            "['10.0.0.0/8', 'fd12:3456::/32']",
        ],
    )
    def test_networks_come_as_lists_or_text(self, given: Any) -> None:
        """Also as what a template makes of a list."""
        policy = read_copy_options(allow_private=given).policy
        assert policy.allow_private == ("10.0.0.0/8", "fd12:3456::/32")
        for address in ("10.1.2.3", "::ffff:10.1.2.3", "64:ff9b::10.1.2.3", "fd12:3456::1", "fd12:3456::1%eth0"):
            assert judge(address, policy) is None
            assert named(address, policy)
        for address in ("11.1.2.3", "fd12:3457::1"):
            assert not named(address, policy)
        assert judge("192.168.0.1", policy)

    @pytest.mark.parametrize("given", [None, "", [], (), " , "])
    def test_nothing_is_nothing(self, given: Any) -> None:
        """A template may leave empty text."""
        assert read_policy(given) == ConnectionPolicy()

    @pytest.mark.parametrize(
        ("allow_private", "said"),
        [
            ("10.1.2.3/8", "allow_private='10.1.2.3/8' is not a network such as 10.0.0.0/8"),
            ("intranet", "allow_private='intranet' is not a network"),
            ("10.0.0.0/33", "allow_private='10.0.0.0/33' is not a network"),
            ("::ffff:10.0.0.0/104", "IPv4-mapped addresses; name the IPv4 network itself"),
            ("169.254.169.254/32", "cannot be allowed: it is link-local, where clouds serve metadata"),
            ("168.63.129.16", "cannot be allowed: it is the host agent of Azure"),
            ("fd00:ec2::254", "cannot be allowed: it is the metadata and credentials of AWS"),
            (["10.0.0.0/8", 7], "must be a list of texts"),
            ({"a": 1}, "must be a list of texts"),
        ],
    )
    def test_a_wrong_network_is_named(self, allow_private: Any, said: str) -> None:
        with pytest.raises(ConfigError) as caught:
            read_policy(allow_private)
        assert said in str(caught.value)

    @pytest.mark.parametrize("given", [[], "[]", ",", " ", [""]])
    def test_an_empty_list_of_hosts_is_not_every_host(self, given: Any) -> None:
        """Whoever gave one meant to allow few."""
        with pytest.raises(ConfigError, match="names no host; leave it out to allow every one"):
            read_policy(None, given)

    @pytest.mark.parametrize("given", [None, ""])
    def test_what_is_not_given_allows_every_host(self, given: Any) -> None:
        assert read_policy(None, given).allowed_hosts == ()

    @pytest.mark.parametrize(
        "host",
        ["https://example.org", "example.org/path", "*", "*.*.example.org", "ex*mple.org", "bücher.example", "a b",
         "example.org:port", "user@example.org", "example.org:123456", "[example.org]"],
    )  # fmt: skip
    def test_a_wrong_host_is_named(self, host: str) -> None:
        with pytest.raises(ConfigError, match=r"is not a host; write example\.org") as caught:
            read_policy(None, [host])
        assert f"allowed_hosts={host!r}" in str(caught.value)

    @pytest.mark.parametrize(
        ("patterns", "host", "port", "answer"),
        [
            ((), "anything.example", 8080, "yes"),
            (("example.org",), "example.org", 443, "yes"),
            (("example.org",), "EXAMPLE.org.", 80, "yes"),
            (("Example.ORG",), "example.org", 80, "yes"),
            (("example.org",), "example.org", 8080, "yes"),
            (("example.org",), "www.example.org", 80, "no"),
            (("example.org",), "example.org.evil.test", 80, "no"),
            (("example.org",), "notexample.org", 80, "no"),
            (("*.example.org",), "www.example.org", 80, "yes"),
            (("*.example.org",), "a.b.example.org", 80, "yes"),
            (("*.example.org",), "example.org", 80, "no"),
            (("*.example.org",), "evilexample.org", 80, "no"),
            (("example.org:8443",), "example.org", 8443, "with its port"),
            (("example.org:8443",), "example.org", 443, "no"),
            (("*.example.org:8443", "example.org"), "a.example.org", 8443, "with its port"),
            (("[2001:db8::1]:8443",), "2001:db8::1", 8443, "with its port"),
            (("[2001:db8::1]",), "[2001:db8::1]", 80, "yes"),
            (("10.0.0.1",), "10.0.0.1", 80, "yes"),
            (("a.example", "b.example"), "b.example", 80, "yes"),
        ],
    )
    def test_hosts(self, patterns: tuple[str, ...], host: str, port: int, answer: str) -> None:
        """Whole labels only, and a pattern with a port is about that port."""
        assert allowed_host(host, port, ConnectionPolicy(allowed_hosts=patterns)) == answer


class TestLiterals:
    """Hosts that are addresses; only what a proxy is asked for depends on it."""

    @pytest.mark.parametrize(
        ("host", "addresses"),
        [
            ("127.0.0.1", ["127.0.0.1"]), ("127.0.0.1.", ["127.0.0.1"]), ("2130706433", ["127.0.0.1"]),
            ("0x7f000001", ["127.0.0.1"]), ("0X7F.0.0.1", ["127.0.0.1"]), ("017700000001", ["127.0.0.1"]),
            ("127.1", ["127.0.0.1"]), ("127.0.1", ["127.0.0.1"]), ("1", ["0.0.0.1"]), ("0x1", ["0.0.0.1"]),
            ("010.0.0.1", ["8.0.0.1", "10.0.0.1"]), ("089.0.0.1", ["89.0.0.1"]), ("4294967295", ["255.255.255.255"]),
            ("%31%32%37.0.0.1", ["127.0.0.1"]), ("\uff11\uff12\uff17\u30020\uff610.1", ["127.0.0.1"]),
            ("\uff11\uff12\uff17.0.0.1", ["127.0.0.1"]), ("\u2460.1", ["1.0.0.1"]),
            ("::1", ["::1"]), ("[::1]", ["::1"]), ("fe80::1%25eth0", ["fe80::1"]), ("::FFFF:7F00:1", ["::ffff:7f00:1"]),
            ("", []), ("example.org", []), ("4294967296", []), ("256.0.0.1", []), ("1.2.3.4.5", []), ("1..2", []),
            ("0x7f.0.0.g", []), ("127.0.0.1.nip.io", []), (":", []), ("9" * 100, []), ("-1", []), ("1.16777216", []),
        ],
    )  # fmt: skip
    def test_are_read_as_generously_as_anybody_might(self, host: str, addresses: list[str]) -> None:
        assert [str(address) for address in literals(host)] == [str(ipaddress.ip_address(one)) for one in addresses]

    @pytest.mark.parametrize(
        ("host", "meaning"),
        [
            ("metadata.google.internal", "metadata"), ("METADATA.google.internal.", "metadata"),
            ("metadat%61", "metadata"), ("localhost", "loopback"), ("LocalHost.", "loopback"),
            ("a.localhost", "loopback"), ("example.org", None), ("notlocalhost", None),
        ],
    )  # fmt: skip
    def test_names_that_need_no_resolving(self, host: str, meaning: str | None) -> None:
        assert hidden_name(host) == meaning
