"""URLs that lead to a cloud's metadata, in the ways people have found to spell them, and the addresses they mean."""

from __future__ import annotations

from typing import NamedTuple


class Spelling(NamedTuple):
    """One URL."""

    url: str
    address: str
    """Where it leads, if anything follows it."""
    how: str
    """The trick, for a table."""

    @property
    def is_name(self) -> bool:
        """Whether it takes a DNS server to lead there."""
        return self.how == "name"


_IPV4 = "169.254.169.254"
_IPV6 = "fd00:ec2::254"


def _hosts(how: str, address: str, *hosts: str) -> list[Spelling]:
    return [Spelling(f"http://{host}/latest/meta-data/", address, how) for host in hosts]


def _urls(how: str, address: str, *urls: str) -> list[Spelling]:
    return [Spelling(url, address, how) for url in urls]


def _v6(how: str, *addresses: str) -> list[Spelling]:
    return [spelling for address in addresses for spelling in _hosts(how, address, f"[{address}]")]


def _in_digits(zero: int) -> str:
    """Write the address in other digits of Unicode."""
    return "".join(chr(zero + int(sign)) if sign.isdigit() else sign for sign in _IPV4)


SPELLINGS: tuple[Spelling, ...] = (
    *_hosts("plain", _IPV4, _IPV4),
    *_hosts("final dot", _IPV4, "169.254.169.254."),
    *_hosts("decimal", _IPV4, "2852039166"),
    *_hosts("hexadecimal", _IPV4, "0xA9FEA9FE", "0xa9fea9fe", "0xA9.0xFE.0xA9.0xFE", "0x000000a9.0xfe.0xa9.0x00fe"),
    *_hosts("octal", _IPV4, "025177524776", "0251.0376.0251.0376", "00000251.00000376.00000251.00000376"),
    *_hosts("short", _IPV4, "169.16689662", "169.254.43518", "0xa9.0xfea9fe", "0251.0xfe.43518"),
    *_hosts("mixed bases", _IPV4, "0251.254.0xa9.254", "169.0376.0xA9.254"),
    *_hosts("full width", _IPV4, _in_digits(0xFF10), _in_digits(0xFF10).replace(".", "\uff0e"),
            _IPV4.replace(".", "\u3002"), _IPV4.replace(".", "\uff61")),
    *_hosts("circled", _IPV4, _in_digits(0x245F)),
    *_hosts("bold", _IPV4, _in_digits(0x1D7CE)),
    *_hosts("percent-encoded", _IPV4, "%31%36%39.254.169.254", "169%2e254%2E169%2e254",
            "%32%38%35%32%30%33%39%31%36%36"),
    *_urls("user info", _IPV4, "http://example.org@169.254.169.254/", "http://example.org:80@169.254.169.254/",
           "http://example.org%2f@169.254.169.254/", "http://a:b@example.org@169.254.169.254/",
           "http://169.254.169.254:80@169.254.169.254/"),
    *_urls("end of the host", _IPV4, "http://169.254.169.254#@example.org/", "http://169.254.169.254?@example.org/",
           "http://169.254.169.254\\@example.org/", "http://169.254.169.254;@example.org/"),
    *_urls("port", _IPV4, "http://169.254.169.254:80/", "http://169.254.169.254:00080/", "http://169.254.169.254:/"),
    *_urls("case and space", _IPV4, "HTTP://169.254.169.254/", "  http://169.254.169.254/", "http://169.254.169.254\t/"),
    *_v6("IPv6", _IPV6, "FD00:EC2::254", "fd00:0ec2:0000:0000:0000:0000:0000:0254", "fd00:ec2:0:0::254",
         "fd00:ec2::0.0.2.84", "fd00:ec2::23"),
    *_hosts("zone", _IPV6, "[fd00:ec2::254%25lo]", "[fd00:ec2::254%lo]"),
    *_hosts("zone", "fe80::a9fe:a9fe", "[fe80::a9fe:a9fe%25lo]"),
    *_v6("IPv4-mapped", "::ffff:169.254.169.254", "::FFFF:A9FE:A9FE", "0:0:0:0:0:ffff:169.254.169.254",
         "0000:0000:0000:0000:0000:ffff:a9fe:a9fe", "::ffff:168.63.129.16"),
    *_v6("IPv4-compatible", "::169.254.169.254", "::a9fe:a9fe"),
    *_v6("IPv4-translated", "::ffff:0:169.254.169.254"),
    *_v6("NAT64", "64:ff9b::169.254.169.254", "64:ff9b::a9fe:a9fe", "0064:ff9b:0:0:0:0:a9fe:a9fe",
         "64:ff9b::a83f:8110"),
    *_v6("local NAT64", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:a9fe:a9:fe00::", "2600:1f18:64::a9fe:a9fe",
         "2600:1f18:a9fe:a9fe::"),
    *_v6("6to4", "2002:a9fe:a9fe::", "2002:a9fe:a9fe::1", "2002:a83f:8110::1"),
    *_v6("Teredo", "2001:0:5db8:d822:0:0:5601:5601", "2001:0:a9fe:a9fe::1"),
    *_v6("ISATAP", "2600:1f18::5efe:a9fe:a9fe", "2600:1f18::200:5efe:169.254.169.254"),
    *_hosts("other clouds", "169.254.170.2", "169.254.170.2"),
    *_hosts("other clouds", "169.254.170.23", "169.254.170.23"),
    *_hosts("other clouds", "168.63.129.16", "168.63.129.16", "0xa83f8110", "2822734096"),
    *_hosts("other clouds", "100.100.100.200", "100.100.100.200", "1684301000"),
    *_hosts("other clouds", "192.0.0.192", "192.0.0.192", "192.192"),
    *_hosts("other clouds", "169.254.42.42", "169.254.42.42"),
    *_v6("other clouds", "fd20:ce::254", "fd00:c1::a9fe:a9fe", "fd00:42::42", "fd00:a9fe:a9fe::1",
         "fd00:100::100:200"),
    *_hosts("name", _IPV4, "metadata.google.internal", "metadata", "instance-data", "169.254.169.254.nip.io",
            "a9fea9fe.nip.io", "METADATA.GOOGLE.INTERNAL."),
)  # fmt: skip
