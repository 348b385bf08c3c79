"""The one door to a source: every connection is opened here, to an address that was judged first."""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, LocationParseError, NameResolutionError, NewConnectionError
from urllib3.util.connection import allowed_gai_family, create_connection

from airflow_s3stream.exceptions import SourceRefused
from airflow_s3stream.plan.addresses import judge, named, never
from airflow_s3stream.plan.hosts import allowed_host, hidden_name, literals, plain_host

if TYPE_CHECKING:
    from airflow_s3stream.config import ConnectionPolicy

Resolve = Callable[[str, int], Iterable[str]]
"""Gives the numeric addresses of a host and port, in the order in which to try them; raises as getaddrinfo does."""

_PORTS = {"http": 80, "https": 443}


def resolve(host: str, port: int) -> list[str]:
    """Ask the system."""
    found = socket.getaddrinfo(host, port, allowed_gai_family(), socket.SOCK_STREAM)
    return [str(address[0]) for *_, address in found]


def origins_of(url: str) -> set[tuple[str, int]]:
    """Give the host and port that a URL is about; of ``http`` on port 80 also the same host's port 443."""
    parts = urlsplit(url)
    scheme, host = parts.scheme.lower(), plain_host(parts.hostname or "")
    port = parts.port or _PORTS[scheme]
    return {(host, port), (host, 443)} if (scheme, port) == ("http", 80) else {(host, port)}


class Gate:
    """
    Keeps a source's connections to a policy, whoever redirects where, and whatever names resolve to.

    A host is resolved once for each connection, and that answer is what is judged and connected to: a name that
    resolves to something else a moment later gains nothing by it. A connection that is kept was judged when it was
    opened. Where a proxy is asked, it does the resolving: then names and addresses in the URL are judged, and nothing
    else can be.

    :param trusted: hosts and ports that somebody with the say named; they may be anywhere but at a cloud's metadata.
    """

    def __init__(
        self, policy: ConnectionPolicy, *, trusted: Iterable[tuple[str, int]] = (), resolve: Resolve = resolve
    ) -> None:
        self._policy = policy
        self._trusted = frozenset(trusted)
        self._resolve = resolve

    def open(self, host: str, port: int, **options: Any) -> socket.socket:
        """
        Connect to the first admitted address of ``host`` that answers.

        :param options: of :func:`urllib3.util.connection.create_connection`.
        :raises SourceRefused: none of its addresses may be connected to.
        :raises OSError: none of those that may be answers.
        """
        self._check_host(host, port)
        refused: SourceRefused | None = None
        broken: OSError | None = None
        for address in self._addresses(host, port):
            found = self.verdict(host, port, address)
            if found:
                refused = refused or found
                continue
            try:
                sock = create_connection((address, port), **options)  # numeric: nothing is resolved again
            except OSError as error:
                broken = error
                continue
            self._check_peer(sock, host, port)
            return sock
        raise broken or refused or OSError("the host has no address")

    def check_proxied(self, url: str) -> None:
        """
        Check what can be seen of a URL that a proxy is to be asked for.

        :raises SourceRefused: its host, its port, or the address that it spells out may not be asked.
        """
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme.lower()]
        self._check_host(host, port)
        if hidden_name(host) == "metadata":
            raise _refused(f"host {host!r} is a name of a cloud's metadata service, which no setting allows")
        spelled = [str(address) for address in literals(host)]
        if hidden_name(host) == "loopback":
            spelled = ["127.0.0.1"]
        for address in spelled:
            found = self.verdict(host, port, address)
            if found:
                raise found
        if not spelled and not self._is_usual(host, port):
            raise _refused(f"{_on_port(host, port)} unless allowed_hosts names '{host}:{port}'")

    def _addresses(self, host: str, port: int) -> Iterable[str]:
        name = host.strip("[]")
        try:
            name.encode("idna")
        except UnicodeError:
            raise LocationParseError(f"'{name}', label empty or too long") from None
        return list(self._resolve(name, port))

    def _check_host(self, host: str, port: int) -> None:
        if allowed_host(host, port, self._policy) == "no":
            raise _refused(f"host '{host}:{port}' is none of allowed_hosts ({', '.join(self._policy.allowed_hosts)})")
        for address in literals(host):  # before any resolver is asked what it makes of a strange spelling
            forbidden = never(str(address))
            if forbidden:
                raise _refused(f"host {host!r} is refused: {forbidden}, which no setting allows")

    def _check_peer(self, sock: socket.socket, host: str, port: int) -> None:
        # A second look at what the kernel made of it: 0.0.0.0, for one, is not where a connection to it ends.
        try:
            found = self.verdict(host, port, str(sock.getpeername()[0]))
        except BaseException:
            sock.close()
            raise
        if found:
            sock.close()
            raise found

    def verdict(self, host: str, port: int, address: str) -> SourceRefused | None:
        """Say why a connection to this address is refused; None if it is not."""
        at = f"host {host!r}" if host.strip("[]") == address else f"host {host!r} at {address}"
        forbidden = never(address)
        if forbidden:
            return _refused(f"{at} is refused: {forbidden}, which no setting allows")
        if (plain_host(host), port) in self._trusted or named(address, self._policy):
            return None
        reason = judge(address, self._policy)
        if reason:
            return _refused(
                f"{at} is refused: {reason}, and only public addresses may be read from unless allow_private names "
                f"their network"
            )
        if self._is_usual(host, port):
            return None
        return _refused(
            f"{_on_port(host, port)} unless allowed_hosts names '{host}:{port}', or allow_private its network"
        )

    def _is_usual(self, host: str, port: int) -> bool:
        if port in _PORTS.values() or (plain_host(host), port) in self._trusted:
            return True
        return allowed_host(host, port, self._policy) == "with its port"


def _on_port(host: str, port: int) -> str:
    return f"host {host!r} is refused on port {port}: only 80 and 443 may be read from"


def _refused(message: str) -> SourceRefused:
    return SourceRefused(message)


class _Gated(HTTPConnection):
    """A connection that a gate opens. What is said in TLS and in the header Host remains the host's name."""

    _admitted = False

    def __init__(self, *arguments: Any, gate: Gate, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._gate = gate

    def _new_conn(self) -> socket.socket:
        # As in urllib3, which has no other place for it; its errors are what it and requests know how to handle.
        try:
            sock = self._gate.open(
                self._dns_host,
                self.port,
                timeout=self.timeout,
                source_address=self.source_address,
                socket_options=self.socket_options,
            )
        except socket.gaierror as error:
            raise NameResolutionError(self.host, self, error) from error
        except TimeoutError as error:
            raise ConnectTimeoutError(self, f"Connection to {self.host} timed out") from error
        except OSError as error:
            raise NewConnectionError(self, f"Failed to establish a new connection: {error}") from error
        sys.audit("http.client.connect", self, self.host, self.port)
        self._admitted = True
        return sock

    def connect(self) -> None:
        """
        Connect.

        :raises SourceRefused: nowhere that the policy allows.
        """
        self._admitted = False
        super().connect()
        if not self._admitted:
            self.close()
            raise _refused("this urllib3 opens connections in a way that cannot be checked; use another version")


class _GatedTls(_Gated, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Gated


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _GatedTls


def pools(gate: Gate) -> dict[str, Any]:
    """Give what makes a :class:`urllib3.PoolManager`'s pools, by scheme: such that connect through ``gate`` only."""
    # What a pool does not know itself, it hands to its connections.
    return {"http": partial(_Pool, gate=gate), "https": partial(_TlsPool, gate=gate)}
