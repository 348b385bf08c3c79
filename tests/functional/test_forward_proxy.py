"""Sources behind a forward proxy: what it does wrong, and what it is never asked for."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from airflow_s3stream.config import ConnectionPolicy
from airflow_s3stream.exceptions import SourceDenied, SourceUnavailable
from tests.support.forwardproxy import ForwardProxy
from tests.support.origin import Origin, serving
from tests.support.policies import METADATA, Resolver, forget_proxies, read, refused, source_of
from tests.support.resource import Redirect
from tests.support.sources import LOOPBACK
from tests.support.tls import Authority

SIZE = 300_000


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving(SIZE) as origin:
        yield origin


class TestProxies:
    """Where a proxy resolves, what the URL says is all that can be judged."""

    @pytest.fixture
    def through(self, monkeypatch: pytest.MonkeyPatch) -> Any:
        """Make everything go through a proxy."""

        def through(proxy: ForwardProxy) -> None:
            forget_proxies(monkeypatch)
            monkeypatch.setenv("http_proxy", proxy.url)
            monkeypatch.setenv("https_proxy", proxy.url)

        return through

    def test_the_proxy_resolves_and_its_own_address_is_not_judged(self, origin: Origin, through: Any) -> None:
        """It is on loopback here, and part of this machine's set-up."""
        with ForwardProxy(origin.port, credentials="ann:hunter2") as proxy:
            through(proxy)
            resolve = Resolver()
            assert read(source_of("http://far.test/object.bin", resolve)) == SIZE
            assert proxy.asked == ["GET http://far.test/object.bin HTTP/1.1"]
            assert resolve.asked == []

    def test_a_tunnel_carries_tls(self, authority: Authority, through: Any) -> None:
        """End to end, with the host's own certificate."""
        with serving(SIZE, tls=authority.server(hosts=("far.test",))) as origin:
            with ForwardProxy(origin.port, credentials="ann:hunter2") as proxy:
                through(proxy)
                assert read(source_of("https://far.test/object.bin", verify=str(authority.bundle))) == SIZE
                assert proxy.asked[0].startswith("CONNECT far.test:443 ")

    @pytest.mark.parametrize(
        "host",
        [METADATA, "2852039166", "0251.0376.0251.0376", "169.254.43518", "[fd00:ec2::254]", "[::ffff:169.254.169.254]",
         "[64:ff9b::a9fe:a9fe]", "169.254.169.254.", "169%2e254%2e169%2e254", "metadata.google.internal",
         "Metadata.Google.Internal."],
    )  # fmt: skip
    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_no_proxy_is_asked_for_metadata(self, origin: Origin, through: Any, host: str, scheme: str) -> None:
        """Whatever is allowed, and whoever typed it."""
        with ForwardProxy(origin.port) as proxy:
            through(proxy)
            everything = ConnectionPolicy(allow_private=("0.0.0.0/0", "::/0"))
            assert "no setting allows" in refused(source_of(f"{scheme}://{host}/", policy=everything, trust_url=True))
            assert proxy.asked == []

    @pytest.mark.parametrize(
        ("host", "said"),
        [
            ("10.0.0.1", "RFC 1918"), ("127.1", "loopback"), ("localhost", "loopback"), ("a.localhost", "loopback"),
            ("010.0.0.1", "RFC 1918"), ("far.test:8080", "on port 8080"), ("8.8.8.8:22", "on port 22"),
        ],
    )  # fmt: skip
    def test_no_proxy_is_asked_for_what_is_not_public(self, origin: Origin, through: Any, host: str, said: str) -> None:
        """As far as the URL tells."""
        with ForwardProxy(origin.port) as proxy:
            through(proxy)
            assert said in refused(source_of(f"http://{host}/object.bin"))
            assert proxy.asked == []

    def test_what_is_allowed_may_be_asked_for(self, origin: Origin, through: Any) -> None:
        """By network, by host and port, or by having typed it."""
        with ForwardProxy(origin.port) as proxy:
            through(proxy)
            read(source_of("http://10.0.0.1:9000/object.bin", policy=ConnectionPolicy(allow_private=("10.0.0.0/8",))))
            read(source_of("http://far.test:81/object.bin", policy=ConnectionPolicy(allowed_hosts=("far.test:81",))))
            read(source_of("http://localhost:8000/object.bin", trust_url=True))
            assert len(proxy.asked) == 3

    def test_a_redirect_is_judged_before_the_proxy_is_asked(self, origin: Origin, through: Any) -> None:
        origin.routes["/moved"] = Redirect(f"http://{METADATA}/")
        with ForwardProxy(origin.port) as proxy:
            through(proxy)
            assert "no setting allows" in refused(source_of("http://far.test/moved"))
            assert len(proxy.asked) == 1

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_407_is_told_without_the_credentials(self, origin: Origin, through: Any, scheme: str) -> None:
        with ForwardProxy(origin.port, credentials="ann:hunter2", fault="407") as proxy:
            through(proxy)
            with pytest.raises(SourceDenied) as caught:
                read(source_of(f"{scheme}://far.test/object.bin?sig=hunter3"))
        assert "407" in str(caught.value) or "the HTTP proxy wants credentials" in str(caught.value)
        assert "hunter" not in str(caught.value)

    @pytest.mark.parametrize("scheme", ["http", "https"])
    def test_a_proxy_that_breaks_the_connection_may_be_tried_again(
        self, origin: Origin, through: Any, scheme: str
    ) -> None:
        with ForwardProxy(origin.port, credentials="ann:hunter2", fault="reset") as proxy:
            through(proxy)
            with pytest.raises(SourceUnavailable) as caught:
                read(source_of(f"{scheme}://far.test/object.bin?sig=hunter3"))
        assert caught.value.retryable
        assert "hunter" not in str(caught.value)

    def test_a_proxy_that_is_down_is_named_as_such(self, through: Any) -> None:
        with ForwardProxy(1) as proxy:
            through(proxy)
        with pytest.raises(SourceUnavailable, match=r"refused|proxy"):
            read(source_of("http://far.test/object.bin"))

    def test_a_proxy_that_lies_about_a_tunnel_fools_nobody(
        self, origin: Origin, through: Any, authority: Authority
    ) -> None:
        """It says 200 and sends a page of its own: that is no TLS."""
        with ForwardProxy(origin.port, credentials="ann:hunter2", fault="lie") as proxy:
            through(proxy)
            with pytest.raises(SourceUnavailable, match="TLS with the source failed") as caught:
                read(source_of("https://far.test/object.bin", verify=str(authority.bundle)))
        assert "hunter" not in str(caught.value)

    def test_no_proxy_is_kept_to(self, origin: Origin, through: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """And then the address is judged, as there is no proxy to resolve it."""
        with ForwardProxy(origin.port) as proxy:
            through(proxy)
            monkeypatch.setenv("no_proxy", "near.test")
            resolve = Resolver(near_test=[["127.0.0.1"]])
            url = origin.url_of(Origin.PATH, "near.test")
            assert "loopback" in refused(source_of(url, resolve))
            assert read(source_of(url, resolve, policy=LOOPBACK)) == SIZE
            assert proxy.asked == []
