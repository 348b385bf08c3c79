"""
Metadata addresses that record whoever comes, in a network namespace of their own: ``python -m tests.support.ssrf``.

It prints one JSON object: a row for each way, with how many attempts there were, how they ended, and what arrived at
the canary: 0, or the guard has a hole. The last row is of the same URLs without the guard, which must be recorded.
Exits with 0 if all that is so, 1 if not, and 77 with a word on standard error where there can be no namespace.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import selectors
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Self

import requests

from airflow_s3stream.config import ConnectionPolicy, Timeouts
from airflow_s3stream.engine.gate import resolve as ask_system
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.exceptions import S3StreamError
from airflow_s3stream.plan.ranges import ByteRange
from tests.support.origin import Origin
from tests.support.resource import Redirect, Resource
from tests.support.spellings import SPELLINGS, Spelling

PUBLIC = "93.184.216.34"
EVERYTHING = ConnectionPolicy(allow_private=("0.0.0.0/0", "::/0"))
POLICIES = {"default": ConnectionPolicy(), "everything allowed": EVERYTHING}
_PATIENT = Timeouts(connect=30, read=30, stall=30)  # nothing here hangs
_NOT_PERMITTED = 77


class NotPermitted(Exception):
    """This machine does not let its users make network namespaces."""


def run() -> dict[str, Any]:
    """
    Run this module in a new namespace.

    :raises NotPermitted: there can be none.
    """
    command = ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-m", "tests.support.ssrf", "--inside"]
    clean = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=280, env=clean)
    except FileNotFoundError as missing:
        raise NotPermitted("the program unshare is missing") from missing
    if done.returncode == _NOT_PERMITTED or "unshare" in done.stderr.partition("\n")[0]:
        raise NotPermitted(done.stderr.strip())
    if done.returncode:
        raise RuntimeError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


class Canary:
    """Listens on port 80 of addresses, and watches every packet to any of them."""

    def __init__(self, addresses: Iterable[str]) -> None:
        self._watched = {ipaddress.ip_address(address).packed for address in addresses}
        self.connections = 0
        self.packets = 0
        self.lost = 0
        """Packets that the kernel did not show, since they came too fast."""
        self._seen = 0
        self._stopping = threading.Event()
        self._selector = selectors.DefaultSelector()
        self._sniffer = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0003))  # every protocol
        self._sniffer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 << 20)
        self._sniffer.bind(("lo", 0x0003))
        self._listening = [self._listen(packed) for packed in self._watched]
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Self:
        self._selector.register(self._sniffer, selectors.EVENT_READ, self._sniff)
        for sock in self._listening:
            self._selector.register(sock, selectors.EVENT_READ, self._accept)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stopping.set()
        self._thread.join(10)
        for sock in (self._sniffer, *self._listening):
            sock.close()
        self._selector.close()

    def take(self) -> tuple[int, int]:
        """Give connections and packets since the last time, once nothing more comes."""
        before = -1
        while before != self._seen:
            before = self._seen
            time.sleep(0.3)
        _, lost = struct.unpack("II", self._sniffer.getsockopt(263, 6, 8))  # SOL_PACKET, PACKET_STATISTICS
        self.lost += lost
        taken, self.connections, self.packets = (self.connections, self.packets), 0, 0
        return taken

    def _listen(self, packed: bytes) -> socket.socket:
        sock = socket.socket(socket.AF_INET if len(packed) == 4 else socket.AF_INET6)
        address = str(ipaddress.ip_address(packed))
        scope = (0, socket.if_nametoindex("lo")) if address.startswith("fe80") else ()
        sock.bind((address, 80, *scope))
        sock.listen(64)
        return sock

    def _watch(self) -> None:
        while not self._stopping.is_set():
            for key, _ in self._selector.select(0.1):
                key.data(key.fileobj)

    def _accept(self, listening: socket.socket) -> None:
        sock, _ = listening.accept()
        self.connections += 1
        with sock:
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\nsecret")

    def _sniff(self, sniffer: socket.socket) -> None:
        packet, about = sniffer.recvfrom(64)
        self._seen += 1
        target = packet[24:40] if packet[0] >> 4 == 6 else packet[16:20]
        # On the loopback device each packet is seen twice: as it leaves, and as it arrives.
        if about[2] == 4 and target in self._watched:
            self.packets += 1


class PublicOrigin(Origin):
    """An origin at an address that anybody may read from."""

    address = (PUBLIC, 80)


def _addresses() -> list[str]:
    """Give all addresses that the spellings lead to, as the kernel will have them: mapped ones are IPv4."""
    found = {ipaddress.ip_address(spelling.address) for spelling in SPELLINGS}
    return sorted({str(getattr(address, "ipv4_mapped", None) or address) for address in found})


def _make_network() -> None:
    """Give the loopback device of this namespace the addresses of others."""
    settings = ["link set lo up"]
    for address in (*_addresses(), PUBLIC):
        more = "/128 dev lo nodad" if ":" in address else "/32 dev lo"
        settings.append(f"addr add {address}{more}")
    done = subprocess.run(["ip", "-batch", "-"], input="\n".join(settings), capture_output=True, text=True)
    if done.returncode:
        print(f"the addresses of the canary cannot be set: {done.stderr}", file=sys.stderr)
        raise SystemExit(_NOT_PERMITTED)


class Resolver:
    """Knows what the system does; names lead to ``address``, and ``turning.test`` at first to a public one."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.asked: list[str] = []

    def __call__(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        if host == "turning.test" and self.asked.count(host) == 1:
            return [PUBLIC]
        try:
            return ask_system(host, port)
        except socket.gaierror:
            return [self._address]


def _direct(spelling: Spelling, policy: ConnectionPolicy, resolver: Resolver) -> None:
    # As if somebody had typed it, which is the most trust there is.
    with contextlib.closing(_source(spelling.url, policy, resolver).probe()[1]):
        pass


def _redirect(spelling: Spelling, policy: ConnectionPolicy, resolver: Resolver) -> None:
    with PublicOrigin(Resource(1)) as origin:
        # Servers send UTF-8; what is read here as Latin-1 is what goes over the wire.
        origin.routes["/moved"] = Redirect(spelling.url.encode().decode("latin-1"))
        with contextlib.closing(_source(f"http://{PUBLIC}/moved", policy, resolver).probe()[1]):
            pass


def _rebinding(spelling: Spelling, policy: ConnectionPolicy, resolver: Resolver) -> None:
    with PublicOrigin(Resource(1_000_000)) as origin:
        source = _source(f"http://turning.test{origin.PATH}", policy, resolver)
        probe, body = source.probe()
        body.close()  # unread, so the next range needs a new connection
        with contextlib.closing(source.open_range(probe, ByteRange(0, 10))[1]):
            pass


def _source(url: str, policy: ConnectionPolicy, resolver: Resolver) -> HttpSource:
    return HttpSource(url, policy=policy, trust_url=True, resolve=resolver, timeouts=_PATIENT)


WAYS: dict[str, Callable[[Spelling, ConnectionPolicy, Resolver], None]] = {
    "direct": _direct, "redirect": _redirect, "rebinding": _rebinding,
}  # fmt: skip


def _guarded(way: str) -> Iterator[str]:
    """Try all spellings in one way; give those that were not refused for good."""
    for policy, allowed in POLICIES.items():
        for spelling in SPELLINGS:
            told = f"{way}, {policy}: {spelling.url}"
            try:
                WAYS[way](spelling, allowed, Resolver(spelling.address))
                yield told
            except S3StreamError as error:
                if error.retryable:
                    yield f"{told}: {error}"


def _unguarded() -> int:
    """Ask for all spellings as anybody would; give how many secrets came back."""
    secrets = 0
    with requests.Session() as session:
        session.trust_env = False
        for spelling in SPELLINGS:
            try:
                secrets += session.get(spelling.url, timeout=30).text == "secret"
            except (requests.RequestException, UnicodeError):
                pass
    return secrets


def _inside() -> None:
    _make_network()
    rows, failures = [], []
    with Canary(_addresses()) as canary:
        for way in WAYS:
            let_in = list(_guarded(way))
            failures += let_in
            rows.append(_row(way, len(SPELLINGS) * len(POLICIES), len(let_in), canary))
        rows.append(_row("direct, without the guard", len(SPELLINGS), _unguarded(), canary))
        notes = [
            f"{len(SPELLINGS)} spellings of {len(_addresses())} addresses, with nothing allowed and with everything.",
            f"The canary lost sight of {canary.lost} packets.",
        ]
    print(json.dumps({"rows": rows, "notes": notes, "failures": failures}))


def _row(way: str, attempts: int, let_in: int, canary: Canary) -> dict[str, Any]:
    connections, packets = canary.take()
    return {"way": way, "attempts": attempts, "let in": let_in, "connections": connections, "packets": packets}


def main() -> int:
    """Return 0 if nothing came through and the control did, 1 if not, 77 if nothing can be said."""
    if "--inside" in sys.argv:
        _inside()
        return 0
    try:
        found = run()
    except NotPermitted as reason:
        print(f"no network namespace can be made here: {reason}", file=sys.stderr)
        return _NOT_PERMITTED
    print(json.dumps(found))
    *guarded, control = found["rows"]
    leaked = any(row["let in"] or row["connections"] or row["packets"] for row in guarded)
    return int(bool(leaked) or not control["connections"])


if __name__ == "__main__":
    sys.exit(main())
