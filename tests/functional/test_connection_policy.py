"""Whom a source may ask: judged on the address that is connected to, on every connection and every hop."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from urllib3.connectionpool import HTTPConnectionPool

from airflow_s3stream.config import ConnectionPolicy
from airflow_s3stream.engine.gate import Gate, origins_of, pools
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.exceptions import (
    ConfigError,
    S3StreamError,
    SourceDenied,
    SourceMisbehaved,
    SourceMissing,
    SourceRefused,
    SourceUnavailable,
)
from airflow_s3stream.plan.ranges import ByteRange
from tests.support import ssrf
from tests.support.commands import Run
from tests.support.origin import Origin, serving
from tests.support.policies import METADATA, PUBLIC, Resolver, forget_proxies, read, refused, source_of
from tests.support.readstore import ReadStore
from tests.support.resource import Redirect
from tests.support.servers import free_port
from tests.support.sources import LOOPBACK, NEAR, http_source
from tests.support.spellings import SPELLINGS
from tests.support.stores import Store
from tests.support.tls import Authority

SIZE = 300_000


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Names are resolved here, whatever proxy this machine needs."""
    forget_proxies(monkeypatch)


@pytest.fixture
def origin() -> Iterator[Origin]:
    with serving(SIZE) as origin:
        yield origin


class TestDirect:
    """The URL itself."""

    def test_loopback_is_refused_in_one_sentence(self, origin: Origin) -> None:
        """Which names the host, the address, why, and what would allow it; nothing is sent."""
        said = refused(source_of(origin.url_of("/x?sig=secret", "there.test"), Resolver(there_test=[["127.0.0.1"]])))
        assert "host 'there.test' at 127.0.0.1 is refused: a loopback address (RFC 1122)" in said
        assert "unless allow_private names their network" in said
        assert "secret" not in said
        assert origin.connections == 0

    def test_what_allow_private_names_is_read_on_any_port(self, origin: Origin) -> None:
        """A data centre's origin rarely listens on 80."""
        assert read(http_source(origin.url)) == SIZE

    @pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "017700000001"])
    def test_a_url_that_was_typed_is_read_wherever_it_is(self, origin: Origin, host: str) -> None:
        """In whatever spelling."""
        assert read(source_of(origin.url_of(Origin.PATH, host), trust_url=True)) == SIZE

    @pytest.mark.parametrize("about", [{"trust_url": True}, {"policy": ConnectionPolicy(allow_private=("0.0.0.0/0",))}])
    @pytest.mark.parametrize("port", [80, 8080])
    def test_metadata_is_refused_whatever_is_allowed(self, about: dict[str, Any], port: int) -> None:
        said = refused(source_of(f"http://inside.test:{port}/", Resolver(inside_test=[[METADATA]]), **about))
        assert f"host 'inside.test' at {METADATA} is refused" in said
        assert "which no setting allows" in said

    def test_a_public_address_is_asked_on_its_usual_ports_only(self) -> None:
        """Other ports are where things listen that are no web servers."""
        said = refused(source_of("http://public.test:6379/", Resolver(public_test=[[PUBLIC]])))
        assert "host 'public.test' is refused on port 6379: only 80 and 443 may be read from" in said
        assert "unless allowed_hosts names 'public.test:6379'" in said

    def test_of_several_addresses_the_admitted_ones_are_used(self, origin: Origin) -> None:
        """Whatever else a name claims to be."""
        resolve = Resolver(mixed_test=[[METADATA, "10.0.0.1", "127.0.0.1"]])
        assert read(source_of(origin.url_of(Origin.PATH, "mixed.test"), resolve, policy=LOOPBACK)) == SIZE
        assert resolve.asked == ["mixed.test"]

    def test_an_admitted_address_that_is_down_is_worth_another_try(self) -> None:
        """The refusal of its neighbour is not the reason."""
        url = f"http://mixed.test:{free_port()}/"
        for addresses in (["127.0.0.1", METADATA], [METADATA, "127.0.0.1"]):
            with pytest.raises(SourceUnavailable, match="refused the connection"):
                read(source_of(url, Resolver(mixed_test=[addresses]), policy=LOOPBACK))

    def test_a_name_that_does_not_exist_is_missing(self) -> None:
        """As ever."""

        def nowhere(host: str, port: int) -> list[str]:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        with pytest.raises(SourceMissing, match="host was not found"):
            HttpSource("http://nowhere.test/", resolve=nowhere).probe()

    @pytest.mark.parametrize("answer", [[], ["nonsense"]])
    def test_a_resolver_that_answers_nonsense_opens_no_door(self, answer: list[str]) -> None:
        with pytest.raises(S3StreamError):
            read(source_of("http://odd.test/", Resolver(odd_test=[answer])))

    @pytest.mark.parametrize("host", [f"{'a' * 64}.test", "a..test"])
    def test_a_host_that_is_none_is_told(self, host: str) -> None:
        """Before anything is resolved."""
        resolve = Resolver()
        with pytest.raises(ConfigError, match="its host is not one that DNS knows how to write"):
            read(source_of(f"http://{host}/", resolve))
        assert resolve.asked == []

    def test_host_and_certificate_are_still_the_names(self, authority: Authority) -> None:
        """Though the connection goes to a number."""
        with serving(SIZE, tls=authority.server(hosts=("good.test",))) as origin:
            url = origin.url_of(Origin.PATH, "good.test")
            about: dict[str, Any] = {"policy": LOOPBACK, "verify": str(authority.bundle)}
            assert read(source_of(url, Resolver(good_test=[["127.0.0.1"]]), **about)) == SIZE
            assert origin.exchanges[0].header("Host") == f"good.test:{origin.port}"
            other = origin.url_of(Origin.PATH, "bad.test")
            with pytest.raises(SourceDenied, match="certificate was refused"):
                read(source_of(other, Resolver(bad_test=[["127.0.0.1"]]), **about))

    def test_a_session_of_ones_own_is_no_way_around(self, origin: Origin) -> None:
        """Its adapters are replaced, those for a single host, too."""
        with requests.Session() as session:
            session.mount(origin.url_of("/"), requests.adapters.HTTPAdapter())
            assert "loopback" in refused(source_of(origin.url, session=session))
        assert origin.connections == 0


@pytest.mark.parametrize(
    "host",
    [
        METADATA, "[fd00:ec2::254]", "169.254.170.2", "169.254.170.23", "10.0.0.1", "172.16.0.1", "192.168.0.1",
        "100.64.0.1", "[::1]", "0", "0.0", "[::]", "[fd12:3456::1]", "[::ffff:10.0.0.1]", "127.1", "2852039166",
        "0xA9FEA9FE", "0251.0376.0251.0376", "224.0.0.1", "[ff02::1]", "255.255.255.255",
    ],
)  # fmt: skip
@pytest.mark.parametrize("way", ["direct", "redirect"])
def test_what_is_not_public_is_refused(origin: Origin, host: str, way: str) -> None:
    """However it is spelled, and however one gets there."""
    url = f"http://{host}/latest/"
    if way == "redirect":
        origin.routes["/moved"] = Redirect(url)
        assert "is refused: " in refused(source_of(origin.url_of("/moved"), trust_url=True))
    else:
        assert "is refused: " in refused(source_of(url))


class TestHosts:
    """allowed_hosts."""

    def test_no_other_host_is_asked_nor_looked_up(self, origin: Origin) -> None:
        """A lookup alone can carry a secret out."""
        resolve = Resolver(good_test=[["127.0.0.1"]])
        policy = ConnectionPolicy(allow_private=NEAR, allowed_hosts=("good.test", "*.good.test"))
        said = refused(source_of("http://secret.evil.test/", resolve, policy=policy))
        assert "host 'secret.evil.test:80' is none of allowed_hosts (good.test, *.good.test)" in said
        assert resolve.asked == []
        assert read(source_of(origin.url_of(Origin.PATH, "good.test"), resolve, policy=policy)) == SIZE

    def test_a_redirect_to_another_host_is_refused(self, origin: Origin) -> None:
        """And the URL's own host has to be named as well, even one that was typed."""
        origin.routes["/moved"] = Redirect(origin.url_of(Origin.PATH, "localhost"))
        for hosts in (("127.0.0.1",), ("localhost",)):
            policy = ConnectionPolicy(allow_private=NEAR, allowed_hosts=hosts)
            assert "is none of allowed_hosts" in refused(
                source_of(origin.url_of("/moved"), policy=policy, trust_url=True)
            )
        assert [exchange.request.path for exchange in origin.exchanges] == ["/moved"]

    def test_a_port_that_is_named_may_be_used(self) -> None:
        """The address is judged all the same."""
        policy = ConnectionPolicy(allowed_hosts=("public.test:8443",))
        said = refused(source_of("http://public.test:8443/", Resolver(public_test=[["10.0.0.1"]]), policy=policy))
        assert "RFC 1918" in said
        gate = Gate(policy)
        assert gate.verdict("public.test", 8443, PUBLIC) is None
        assert gate.verdict("public.test", 8444, PUBLIC) is not None


class TestHops:
    """Redirects."""

    @pytest.mark.parametrize("hop", [1, 2, 3, 4, 5])
    def test_every_hop_is_judged(self, origin: Origin, hop: int) -> None:
        """What was typed is trusted, and where it leads is not."""
        with serving(SIZE) as inner:
            for number in range(1, hop):
                origin.routes[f"/{number}"] = Redirect(f"/{number + 1}")
            origin.routes[f"/{hop}"] = Redirect(inner.url)
            said = refused(source_of(origin.url_of("/1"), trust_url=True))
            assert "a loopback address" in said
            assert (len(origin.exchanges), inner.connections) == (hop, 0)

    @pytest.mark.parametrize("scheme", ["http:", ""])
    def test_a_backslash_names_no_trusted_host(self, origin: Origin, scheme: str) -> None:
        """urllib3 ends the host there, and urllib.parse does not: the one's host was trusted, and the other's asked."""
        with serving(SIZE) as stranger:
            where = f"{scheme}//localhost:{stranger.port}\\@127.0.0.1:{origin.port}/object.bin"
            origin.routes["/moved"] = Redirect(where)
            source = http_source(origin.url_of("/moved"), headers={"Authorization": "Bearer S"})
            with pytest.raises(SourceMisbehaved, match="redirects to what is no URL"):
                read(source)
            assert stranger.exchanges == []

    def test_another_port_of_the_same_host_is_another_place(self, origin: Origin) -> None:
        """The trusted host's database is not what was asked for."""
        origin.routes["/moved"] = Redirect(f"http://127.0.0.1:{free_port()}/")
        assert "a loopback address" in refused(source_of(origin.url_of("/moved"), trust_url=True))

    def test_back_to_the_trusted_host_is_allowed(self, origin: Origin) -> None:
        """Without credentials, once another has had a say."""
        with serving(1) as stranger:
            origin.routes["/start"] = Redirect(stranger.url_of("/bounce", "away.test"))
            stranger.routes["/bounce"] = Redirect(origin.url)
            policy = ConnectionPolicy(allow_private=("127.0.0.2",))
            resolve = Resolver(away_test=[["127.0.0.1"]])
            assert "loopback" in refused(source_of(origin.url_of("/start"), resolve, trust_url=True, policy=policy))
            source = source_of(origin.url_of("/start"), resolve, trust_url=True, policy=LOOPBACK)
            assert read(source) == SIZE

    def test_the_upgrade_to_https_of_a_trusted_host_is_trusted(self) -> None:
        """Every second intranet does that."""
        assert origins_of("http://Intranet.example./x") == {("intranet.example", 80), ("intranet.example", 443)}
        assert origins_of("http://intranet:8080/") == {("intranet", 8080)}
        assert origins_of("https://[FD12::1]/") == {("fd12::1", 443)}


class TestRebinding:
    """Names that lead somewhere else a moment later."""

    def test_each_connection_is_judged_by_what_it_connects_to(self, origin: Origin) -> None:
        """Asked once for each connection, so there is no moment between the check and the use."""
        with serving(SIZE) as inner:
            resolve = Resolver(turning_test=[["127.0.0.1"], [METADATA]])
            source = source_of(origin.url_of(Origin.PATH, "turning.test"), resolve, policy=LOOPBACK)
            probe, body = source.probe()
            body.close()  # unread: the next range needs a new connection
            with pytest.raises(SourceRefused, match="no setting allows"):
                source.open_range(probe, ByteRange(0, 10))
            assert resolve.asked == ["turning.test"] * 2
            assert (origin.connections, inner.connections) == (1, 0)

    def test_a_connection_that_is_kept_was_judged_when_it_was_opened(self, origin: Origin) -> None:
        """What the name says meanwhile does not matter, for nobody asks."""
        resolve = Resolver(turning_test=[["127.0.0.1"], [METADATA]])
        source = source_of(origin.url_of(Origin.PATH, "turning.test"), resolve, policy=LOOPBACK)
        probe, body = source.probe()
        view = memoryview(bytearray(SIZE))
        while body.readinto(view):
            pass
        body.close()
        _, body = source.open_range(probe, ByteRange(0, 10))
        assert body.readinto(view) == 10
        body.close()
        assert resolve.asked == ["turning.test"]
        assert (origin.connections, len(origin.exchanges)) == (1, 2)

    def test_a_redirect_that_was_remembered_is_judged_again(self, origin: Origin) -> None:
        """It is asked directly from then on; once it is refused, the URL is, which leads there again."""
        with serving(SIZE) as elsewhere:
            origin.routes["/moved"] = Redirect(elsewhere.url_of(Origin.PATH, "turning.test"))
            resolve = Resolver(turning_test=[["127.0.0.1"], ["10.0.0.1"]])
            source = source_of(origin.url_of("/moved"), resolve, policy=LOOPBACK)
            probe, body = source.probe()
            body.close()
            with pytest.raises(SourceRefused, match="RFC 1918"):
                source.open_range(probe, ByteRange(0, 10))
            assert resolve.asked.count("turning.test") == 3  # by the probe, as remembered, and by the URL again
            assert elsewhere.connections == 1

    def test_where_the_kernel_really_went_is_looked_at(self, origin: Origin) -> None:
        """A connection to 0.0.0.0 ends at 127.0.0.1, which nobody allowed."""
        policy = ConnectionPolicy(allow_private=("0.0.0.0/32",))
        resolve = Resolver(zero_test=[["0.0.0.0"]])  # noqa: S104 - nobody binds to it
        said = refused(source_of(origin.url_of(Origin.PATH, "zero.test"), resolve, policy=policy))
        assert "at 127.0.0.1 is refused: a loopback address" in said
        assert origin.exchanges == []

    def test_a_library_that_connects_by_itself_is_not_let(self, origin: Origin) -> None:
        """Should it one day open its sockets in another place, nothing is read rather than anything."""
        made = pools(Gate(LOOPBACK))["http"]("127.0.0.1", origin.port)
        connection = made._new_conn()
        own = HTTPConnectionPool("127.0.0.1", origin.port)._new_conn()
        connection._new_conn = own._new_conn
        with pytest.raises(SourceRefused, match="cannot be checked"):
            connection.connect()
        assert connection.sock is None


class TestCommand:
    """What is typed is trusted, and where it redirects to is not."""

    def test_a_redirect_inside_is_refused_unless_it_is_allowed(self, run: Run, rclone: Store, origin: Origin) -> None:
        with serving(SIZE) as inner:
            origin.routes["/moved"] = Redirect(inner.url)
            words = ("copy", origin.url_of("/moved"), f"s3://{rclone.bucket}/key", "--quiet", "--endpoint-url",
                     rclone.endpoint_url)  # fmt: skip
            run(*words).assert_one_sentence(1, "unless allow_private names their network")
            assert inner.connections == 0
            assert run(*words, "--allow-private", "10.0.0.0/8", "--allow-private", "127.0.0.0/8").code == 0
            rclone.assert_holds("key", inner.resource.content)

    def test_only_allowed_hosts_are_asked(self, run: Run, rclone: Store, origin: Origin) -> None:
        words = ("copy", origin.url, f"s3://{rclone.bucket}/key", "--quiet", "--endpoint-url", rclone.endpoint_url)
        run(*words, "--allowed-host", "*.example.org").assert_one_sentence(1, "none of allowed_hosts (*.example.org)")
        assert origin.connections == 0
        assert run(*words, "--allowed-host", "*.example.org", "--allowed-host", "127.0.0.1").code == 0

    def test_a_tune_keeps_to_it_as_well(self, run: Run, rclone: Store, origin: Origin) -> None:
        origin.routes["/moved"] = Redirect(f"http://{METADATA}/")
        words = ("tune", origin.url_of("/moved"), f"s3://{rclone.bucket}/key", "--endpoint-url", rclone.endpoint_url)
        run(*words, "--quiet").assert_one_sentence(1, "which no setting allows")
        run(*words, "--quiet", "--allowed-host", "a b").assert_one_sentence(2, "allowed_hosts='a b' is not a host")

    def test_of_downloads_there_is_nothing_to_allow(self, run: Run, store: ReadStore) -> None:
        words = ("tune", "s3://lake/big", "--endpoint-url", store.endpoint_url, "--allow-private", "10.0.0.0/8")
        run(*words).assert_one_sentence(2, "are about copies")

    @pytest.mark.parametrize(
        ("option", "value"), [("--allow-private", "10.0.0.1/8"), ("--allowed-host", "https://example.org")]
    )
    def test_bad_values_are_bad_usage(self, run: Run, option: str, value: str) -> None:
        run("copy", "http://127.0.0.1:9/x", "s3://lake/x", option, value).assert_one_sentence(2, repr(value))


@pytest.mark.airflow
@pytest.mark.timeout(300)  # the first one imports Airflow
class TestAirflow:
    """The operator and the hook: a URL may come from anywhere, a connection comes from whoever may make one."""

    @pytest.fixture(autouse=True)
    def _store(self, monkeypatch: pytest.MonkeyPatch, rclone: Store) -> None:
        about = {
            "conn_type": "aws", "login": os.environ["AWS_ACCESS_KEY_ID"],
            "password": os.environ["AWS_SECRET_ACCESS_KEY"],
            "extra": {"endpoint_url": rclone.endpoint_url, "region_name": "us-east-1"},
        }  # fmt: skip
        monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(about))

    def hook(self, **settings: Any) -> Any:
        from airflow_s3stream.hooks.s3stream import S3StreamHook

        return S3StreamHook("store", **settings)

    def connect(self, monkeypatch: pytest.MonkeyPatch, port: int, host: str = "127.0.0.1") -> None:
        about = {"conn_type": "http", "host": host, "port": port, "schema": "http"}
        monkeypatch.setenv("AIRFLOW_CONN_WEB", json.dumps(about))

    def test_a_url_alone_is_not_trusted(self, rclone: Store, origin: Origin) -> None:
        with pytest.raises(SourceRefused, match="loopback"):
            self.hook().copy_url(origin.url, "key", rclone.bucket)
        with pytest.raises(SourceRefused, match="loopback"):
            self.hook().tune("key", rclone.bucket, url=origin.url)
        assert origin.connections == 0

    def test_the_host_of_a_connection_is(self, rclone: Store, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
        """On its own port; where it redirects to is judged."""
        self.connect(monkeypatch, origin.port)
        self.hook(http_conn_id="web").copy_url("object.bin", "key", rclone.bucket)
        rclone.assert_holds("key", origin.resource.content)
        with serving(SIZE) as inner:
            origin.routes["/moved"] = Redirect(inner.url)
            with pytest.raises(SourceRefused, match="loopback"):
                self.hook(http_conn_id="web").copy_url("moved", "key", rclone.bucket)
            assert inner.connections == 0

    def test_a_url_with_two_hosts_is_not_below_a_connection(
        self, rclone: Store, origin: Origin, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        self.connect(monkeypatch, 80, "intranet.example")
        url = f"http://127.0.0.1:{origin.port}\\@intranet.example/x"
        with pytest.raises(ConfigError, match="a backslash before its path"):
            self.hook(http_conn_id="web").copy_url(url, "key", rclone.bucket)
        assert origin.connections == 0

    def test_a_connection_to_metadata_is_not(self, rclone: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.connect(monkeypatch, 80, METADATA)
        with pytest.raises(SourceRefused, match="no setting allows"):
            self.hook(http_conn_id="web").copy_url("latest/meta-data/", "key", rclone.bucket)

    @pytest.mark.parametrize("given", [NEAR, "127.0.0.0/8, ::1", "['127.0.0.0/8']"])
    def test_an_operator_takes_lists_and_what_templates_make_of_them(
        self, rclone: Store, origin: Origin, given: Any
    ) -> None:
        from airflow_s3stream.operators.url_to_s3 import UrlToS3Operator

        about = {"task_id": "copy", "aws_conn_id": "store", "url": origin.url, "s3_key": f"s3://{rclone.bucket}/key"}
        assert {"allow_private", "allowed_hosts"} <= set(UrlToS3Operator.template_fields)
        UrlToS3Operator(**about, allow_private=given, allowed_hosts="127.0.0.1, *.example.org").execute({})
        rclone.assert_holds("key", origin.resource.content)
        for settings in ({}, {"allow_private": given, "allowed_hosts": ["*.example.org"]}):
            with pytest.raises(Exception, match="SourceRefused: host") as caught:
                UrlToS3Operator(**about, **settings).execute({})
            assert type(caught.value).__name__ == "AirflowFailException"


@pytest.mark.timeout(300)
def test_nothing_reaches_a_clouds_metadata() -> None:
    """Every spelling, directly, by a redirect and by rebinding, with nothing allowed and with everything."""
    try:
        found = ssrf.run()
    except ssrf.NotPermitted as reason:
        pytest.skip(f"no network namespace of one's own here: {reason}")
    *guarded, control = found["rows"]
    assert found["failures"] == []
    assert [row["way"] for row in guarded] == ["direct", "redirect", "rebinding"]
    for row in guarded:
        assert (row["let in"], row["connections"], row["packets"]) == (0, 0, 0)
        assert row["attempts"] == 2 * len(SPELLINGS) >= 120
    # Else the canary is asleep.
    assert control["let in"] == control["connections"] >= 40
    assert control["packets"] > control["connections"]
    assert "lost sight of 0 packets" in found["notes"][1]
