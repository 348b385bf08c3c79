"""The servers between which secrets travel: origins that answer and fail, a proxy, stores that accept and refuse."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

from airflow_s3stream.config import MiB
from tests.support import canaries, faults, servers
from tests.support.canaries import Corpus
from tests.support.faults import Fault
from tests.support.origin import Origin
from tests.support.readstore import KEYS, ReadStore
from tests.support.resource import Redirect, Reply, Request, Resource
from tests.support.s3calls import Answer, Call
from tests.support.s3fault import S3Fault, S3FaultProxy, refuse
from tests.support.tls import Authority
from tests.support.wire import Head

SIZE = 12 * MiB
BUCKET = "canaries"
PATHS = {
    "well": "/object.bin", "404": "/missing", "403": "/denied", "cut": "/cut", "bad range": "/nonsense",
    "odd head": "/odd", "redirect": "/moved", "ftp": "/ftp", "loop": "/round",
}  # fmt: skip
"""How a request to the origin ends, and for what it must ask."""


def presigned(*, signature: str = canaries.SIGNATURE) -> str:
    return (
        f"X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential={quote(canaries.CREDENTIAL, safe='')}"
        f"&X-Amz-Security-Token={quote(canaries.SECURITY_TOKEN, safe='')}&X-Amz-Signature={signature}"
    )


def tokens() -> str:
    """Return the queries of other services, and a fragment."""
    return f"sv=2024&sig={quote(canaries.SAS, safe='')}&token={canaries.QUERY_TOKEN}#{canaries.FRAGMENT}"


HEADERS = {
    "Authorization": f"Bearer {canaries.BEARER}",
    "X-Api-Key": canaries.API_KEY,
    "Cookie": f"session={canaries.COOKIE}",
}


@dataclass
class Rig:
    """All servers, while they run."""

    origin: Origin
    tls_origin: Origin
    elsewhere: Origin
    proxy: Origin
    store: S3FaultProxy
    refusing: S3FaultProxy
    reads: ReadStore
    closed_port: int
    client: object
    proxies: list[Origin] = field(default_factory=list)

    def url(self, how: str, query: str = "", user: str = "") -> str:
        """Return a URL that ends so: a name of PATHS, ``tls`` or ``refused``."""
        at, path = f"127.0.0.1:{self.origin.port}", PATHS.get(how, "/object.bin")
        if how == "refused":
            at = f"127.0.0.1:{self.closed_port}"
        elif how == "tls":
            at = f"127.0.0.1:{self.tls_origin.port}"
        credentials = f"{user}:{quote(canaries.PASSWORD, safe='')}@" if user else ""
        return f"{'https' if how == 'tls' else 'http'}://{credentials}{at}{path}{'?' if query else ''}{query}"

    def proxy_url(self) -> str:
        return f"http://bob:{quote(canaries.PROXY_PASSWORD, safe='')}@127.0.0.1:{self.proxy.port}"

    def collect(self, corpus: Corpus) -> None:
        """Put into the corpus what stores and other hosts were told, and what shows that the secrets were in use."""
        for call in [*self.store.calls, *self.refusing.calls]:
            self._collect_call(corpus, call.head)
        for exchange in self.reads.exchanges:
            request = exchange.request
            self._collect_call(corpus, Head(f"{request.method} {request.target} HTTP/1.1", request.headers))
        for exchange in self.elsewhere.exchanges:
            # It is told its own signed query, as the redirect says; in the headers, nothing of anybody.
            corpus.add("headers to other hosts", exchange.request.path, repr(exchange.request.headers))
            corpus.sent.append(exchange.request.target)
        for origin in (self.origin, self.proxy):
            corpus.sent += [repr(exchange.request) for exchange in origin.exchanges]
        # A fragment is not sent, and what is refused for standing in the wrong place is not either.
        corpus.sent.append(f"{canaries.FRAGMENT} {canaries.MISPLACED}")

    @staticmethod
    def _collect_call(corpus: Corpus, head: Head) -> None:
        authorization = head.get("Authorization")
        if "Signature=" in authorization:
            corpus.signatures.add(authorization.rpartition("Signature=")[2])
        corpus.sent.append(f"{authorization} {head.get('x-amz-security-token')}")
        # The secret key signs, and is never sent: that the store took the signature shows that it was used.
        corpus.sent.append(servers.SECRET_KEY)
        own = ("authorization", "x-amz-security-token")
        rest = [(name, value) for name, value in head.headers if name.lower() not in own]
        corpus.add("object and headers in the store", head.start, repr((head.start, rest)))


def _sets_cookie(request: Request, reply: Reply) -> None:
    reply.set("Set-Cookie", f"session={canaries.CHANGED_COOKIE}; Path=/")


def _odd_head(request: Request, reply: Reply) -> None:
    """Send what no client can read, and a cookie after it, which is then told as unread."""
    reply.headers.insert(0, (f"bad header no colon\r\nSet-Cookie: late={canaries.CHANGED_COOKIE}\r\nX", "y"))


def _told_to_the_store(call: Call) -> Answer:
    """Refuse, and quote the request that is refused, as some stores do."""
    said = f"{call.head.get('Authorization')} http://127.0.0.1/x?X-Amz-Signature={canaries.SIGNATURE}"
    body = f"<Error><Code>AccessDenied</Code><Message>No: {said}</Message></Error>".encode()
    return Answer(Head("HTTP/1.1 403 Forbidden", [("Content-Type", "application/xml")]), body)


def _origin(elsewhere: Origin) -> Origin:
    signed = presigned(signature=canaries.REDIRECT_SIGNATURE)
    body = Resource(SIZE)
    routes: dict[str, Resource | Redirect] = {
        "/denied": body, "/cut": body, "/nonsense": body, "/odd": body,
        "/moved": Redirect(f"{elsewhere.url}?{signed}"),
        "/ftp": Redirect(f"ftp://ann:{canaries.REDIRECT_SIGNATURE}@127.0.0.1/x?{signed}"),
        "/round": Redirect(f"/round?{signed}"),
    }  # fmt: skip
    spoilt = {
        "/denied": faults.status(403), "/cut": faults.close_after(1000), "/odd": Fault("odd head", _odd_head),
        "/nonsense": faults.content_range("bytes nonsense"),
    }  # fmt: skip
    aimed = [fault.where(lambda request, path=path: request.path == path) for path, fault in spoilt.items()]
    return Origin(body, *aimed, Fault("sets a cookie", _sets_cookie), routes=routes)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Rig]:
    """Start all servers."""
    server = servers.Rclone(folder)
    token = replace(KEYS, token=canaries.SESSION_TOKEN)
    with contextlib.ExitStack() as stack:
        stack.enter_context(server)
        client = servers.plain_client(server.endpoint_url)
        stack.callback(client.close)
        client.create_bucket(Bucket=BUCKET)
        elsewhere = stack.enter_context(Origin(Resource(SIZE)))
        closed = stack.enter_context(socket.socket())
        closed.bind(("127.0.0.1", 0))  # and does not listen
        proxied = {"http://origin.invalid/object.bin": Resource(SIZE)}
        told = S3Fault("refused with its own words", "*", answer=_told_to_the_store, count=None)
        reads = stack.enter_context(ReadStore(credentials=token))
        reads.put("huge.bin", 6 * MiB)
        yield Rig(
            origin=stack.enter_context(_origin(elsewhere)),
            tls_origin=stack.enter_context(Origin(Resource(SIZE), tls=Authority(folder).server())),
            elsewhere=elsewhere,
            proxy=stack.enter_context(Origin(Resource(0), routes=dict(proxied))),
            store=stack.enter_context(S3FaultProxy(server.endpoint_url)),
            refusing=stack.enter_context(S3FaultProxy(server.endpoint_url, refuse("HeadObject", 403, "x"), told)),
            reads=reads,
            closed_port=int(closed.getsockname()[1]),
            client=client,
        )
