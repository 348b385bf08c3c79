"""awscrt's S3Client, the engine under boto3's fast transfers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks.many.task import last_json
from benchmarks.one.task import BUCKET, Asked, python
from benchmarks.peers import ACCESS_KEY, REGION, SECRET_KEY, MiB, module_missing

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What

PART = 16 * MiB


class Crt:
    name = "awscrt S3Client"
    note = "writes the file itself; does not verify ranges"
    can: frozenset[What] = frozenset({"file", "stream"})

    def missing(self) -> str:
        return module_missing("awscrt")

    def command(self, task: Task) -> Sequence[str]:
        return python("crt")

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        return last_json(usage.stdout)


PEERS = [Crt()]


def make_client(asked: Asked) -> Any:
    """Make a client with the task's connections, that trusts the task's CA."""
    from awscrt import auth, io, s3

    provider = auth.AwsCredentialsProvider.new_static(ACCESS_KEY, SECRET_KEY)
    trust = None
    if asked.ca:
        context = io.TlsContextOptions()
        context.override_default_trust_store_from_path(None, asked.ca)
        trust = io.ClientTlsContext(context).new_connection_options()
        trust.set_server_name(urlsplit(asked.endpoint).hostname)
    return s3.S3Client(
        region=REGION,
        tls_mode=s3.S3RequestTlsMode.ENABLED if asked.ca else s3.S3RequestTlsMode.DISABLED,
        tls_connection_options=trust,
        signing_config=s3.create_default_s3_signing_config(region=REGION, credential_provider=provider),
        part_size=asked.part_size or PART,
        throughput_target_gbps=100,
        max_active_connections_override=asked.connections,
    )


def main() -> None:
    from awscrt import http, s3

    asked = Asked()
    client = make_client(asked)
    headers = http.HttpHeaders([("Host", urlsplit(asked.endpoint).netloc)])
    asked.begin()
    client.make_request(
        type=s3.S3RequestType.GET_OBJECT,
        request=http.HttpRequest("GET", f"/{BUCKET}/{asked.key}", headers),
        recv_filepath=asked.path if asked.what == "file" else None,
        on_body=(lambda chunk, **_more: asked.drop(chunk)) if asked.what == "stream" else None,
    ).finished_future.result()
    asked.tell()


if __name__ == "__main__":
    main()
