"""TLS on both sides: the bundle is read once, and every certificate is checked all the same."""

from __future__ import annotations

import ssl
from typing import TYPE_CHECKING

import pytest

from airflow_s3stream.config import CopyOptions, MiB
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.tls import SharedTlsAdapter, read_bundle_once
from airflow_s3stream.exceptions import SourceDenied
from tests.support.origin import serving
from tests.support.sources import http_source

if TYPE_CHECKING:
    from tests.support.stores import Store
    from tests.support.tls import Authority


class Counting(SharedTlsAdapter):
    """An adapter that counts the contexts it makes."""

    made = 0

    def _new_context(self, bundle: str) -> ssl.SSLContext:
        self.made += 1
        return super()._new_context(bundle)


def test_all_connections_of_a_source_share_one_context(
    rclone: Store, tls: ssl.SSLContext, authority: Authority
) -> None:
    """Four connections, one reading of the bundle."""
    with serving(40 * MiB, tls=tls) as origin:
        source = http_source(origin.url_of(origin.PATH, "localhost"), verify=str(authority.bundle), connections=4)
        adapter = Counting(connections=4, gate=source._gate)
        source._session.mount("https://", adapter)
        sink = S3Sink(new_client(endpoint_url=rclone.endpoint_url), rclone.bucket, "key")
        copy(source, sink, CopyOptions(connections=4, part_size=5 * MiB))
        rclone.assert_holds("key", origin.resource.content)
        assert len(origin.exchanges) == 8
    assert adapter.made == 1
    source._session.close()


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1"])
def test_a_shared_context_still_refuses_a_stranger(host: str, tls: ssl.SSLContext) -> None:
    """Another authority, by whatever name the host is called."""
    with serving(10, tls=tls) as origin, pytest.raises(SourceDenied, match="certificate was refused"):
        http_source(origin.url_of(origin.PATH, host)).probe()


def test_verification_can_be_switched_off_for_the_source(tls: ssl.SSLContext) -> None:
    """verify=False asks for it, and nothing else does."""
    with serving(10, tls=tls) as origin, pytest.warns(match="Unverified HTTPS request"):
        probe, body = http_source(origin.url, verify=False).probe()
        body.close()
    assert probe.size == 10


def test_a_client_reads_its_bundle_once(authority: Authority) -> None:
    """The seam is there in the botocore that is installed, and what is read once still counts."""
    client = new_client(endpoint_url="https://localhost:1")
    assert read_bundle_once(client)
    assert read_bundle_once(client)
    context = client._endpoint.http_session._manager.connection_pool_kw["ssl_context"]
    for _ in range(3):
        context.load_verify_locations(str(authority.bundle))
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    client.close()


def test_what_has_no_such_seam_is_left_alone() -> None:
    """A client from elsewhere, or a botocore with other insides."""
    assert read_bundle_once(object()) is False
