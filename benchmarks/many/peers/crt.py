"""awscrt's S3Client, the engine under boto3's fast transfers. It cannot list; boto3's paginator does."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.many.peers.boto3_threads import keys, make_client
from benchmarks.many.task import BUCKET, Asked, last_json, python
from benchmarks.peers import ACCESS_KEY, SECRET_KEY, module_missing

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from benchmarks.many.task import Task, What
    from benchmarks.measure import Usage

REGION = "us-east-1"
AHEAD = 2
"""Requests handed over per connection, so that none waits for Python."""


class Crt:
    name = "awscrt S3Client"
    note = "lists by boto3's paginator"
    can: frozenset[What] = frozenset({"download", "read"})

    def missing(self) -> str:
        return module_missing("awscrt", "boto3")

    def command(self, task: Task) -> Sequence[str]:
        return python("crt")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Crt()]


class Fetcher:
    """Hands keys to the client, no more at once than it has use for."""

    def __init__(self, asked: Asked, connections: int) -> None:
        from awscrt import auth, s3

        provider = auth.AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY)
        signing = s3.create_default_s3_signing_config(region=REGION, credential_provider=provider)
        self._client = s3.S3Client(
            region=REGION,
            tls_mode=s3.S3RequestTlsMode.DISABLED,
            signing_config=signing,
            throughput_target_gbps=100,
            max_active_connections_override=connections,
        )
        self._asked = asked
        self._host = urlsplit(asked.endpoint).netloc
        self._limit = AHEAD * connections
        self._free = threading.Semaphore(self._limit)
        self._failed: list[BaseException] = []

    def fetch(self, key: str) -> None:
        """Ask for one object; return when there is room for it, not when it is there."""
        from awscrt import http, s3

        self._free.acquire()
        request = http.HttpRequest("GET", f"/{BUCKET}/{key}", http.HttpHeaders([("Host", self._host)]))
        pieces: list[bytes] = []
        files = self._asked.what == "download"
        self._client.make_request(
            type=s3.S3RequestType.GET_OBJECT,
            request=request,
            recv_filepath=self._asked.path(key) if files else None,
            on_body=None if files else lambda chunk, **_more: pieces.append(chunk),
            on_done=self._finished(key, pieces),
        )

    def _finished(self, key: str, pieces: list[bytes]) -> Callable[..., None]:
        def finished(*, error: BaseException | None = None, **_more: Any) -> None:
            if error:
                self._failed.append(error)
            self._asked.count(key, b"".join(pieces))
            self._free.release()

        return finished

    def wait(self) -> None:
        """Return when all is there; raise what went wrong."""
        for _ in range(self._limit):
            self._free.acquire()
        if self._failed:
            raise self._failed[0]


def main() -> None:
    asked = Asked()
    connections = asked.connections or 32
    client, fetcher = make_client(asked, 1), Fetcher(asked, connections)
    asked.begin()
    for key in keys(client, asked):
        fetcher.fetch(key)
    fetcher.wait()
    asked.tell()


if __name__ == "__main__":
    main()
