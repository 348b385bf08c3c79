"""Fixtures for every test: real S3 servers on loopback, and an environment that leads nowhere else."""

from __future__ import annotations

import itertools
import os
import ssl
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from tests.support import servers
from tests.support.airflowdatabase import new_database
from tests.support.servers import SERVERS, Server, ServerUnavailable
from tests.support.stores import Store
from tests.support.storetable import StoreTable
from tests.support.tls import Authority

_numbers = itertools.count(1)


# How long an example takes says how busy the machine is.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")


def pytest_configure() -> None:
    """Give each process of the suite a folder that Airflow may write to, before Airflow is imported."""
    worker, home = os.environ.get("PYTEST_XDIST_WORKER"), os.environ.get("AIRFLOW_HOME")
    if worker and home:
        os.environ["AIRFLOW_HOME"] = os.path.join(home, worker)


@pytest.fixture(scope="session", autouse=True)
def _credentials(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Give boto3's default chain the servers' keys, and nothing of the machine it runs on."""
    nowhere = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("AWS_PROFILE", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"):
            patch.delenv(name, raising=False)
        patch.setenv("AWS_ACCESS_KEY_ID", servers.ACCESS_KEY)
        patch.setenv("AWS_SECRET_ACCESS_KEY", servers.SECRET_KEY)
        patch.setenv("AWS_DEFAULT_REGION", servers.REGION)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", str(nowhere / "config"))
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(nowhere / "credentials"))
        patch.setenv("NO_PROXY", "127.0.0.1,localhost")
        if "AIRFLOW_HOME" not in os.environ:
            patch.setenv("AIRFLOW_HOME", str(nowhere / "airflow"))
        yield


@pytest.fixture(scope="session")
def new_airflow_database(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Path], None]:
    """What puts a new database of Airflow at a path; made once for all processes of the suite."""
    base = tmp_path_factory.getbasetemp()
    kept = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    return partial(new_database, kept / "airflow-database")


class _Running:
    """The servers started so far; each is started once, by the first test that needs it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._servers: dict[str, Server] = {}
        self._missing: dict[str, str] = {}

    def get(self, name: str) -> Server:
        if name not in self._servers and name not in self._missing:
            folder = self._folder / name
            folder.mkdir()
            try:
                self._servers[name] = SERVERS[name](folder).__enter__()
            except ServerUnavailable as error:
                self._missing[name] = str(error)
        if name in self._missing:
            if servers.must_run(name):
                pytest.fail(self._missing[name], pytrace=False)
            pytest.skip(self._missing[name])
        return self._servers[name]

    def stop(self) -> None:
        for server in self._servers.values():
            server.stop()


@pytest.fixture(scope="session")
def s3_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[_Running]:
    running = _Running(tmp_path_factory.mktemp("servers"))
    try:
        yield running
    finally:
        running.stop()


def _store(name: str, running: _Running) -> Iterator[Store]:
    server = running.get(name)
    client: Any = servers.plain_client(server.endpoint_url)
    bucket = f"test-{next(_numbers)}"
    client.create_bucket(Bucket=bucket)
    try:
        yield Store(name, server.endpoint_url, client, bucket)
    finally:
        client.close()


@pytest.fixture(params=list(SERVERS))
def s3_store(request: pytest.FixtureRequest, s3_servers: _Running) -> Iterator[Store]:
    """A new bucket on each server in turn."""
    yield from _store(request.param, s3_servers)


@pytest.fixture
def localstack(s3_servers: _Running) -> Iterator[Store]:
    """A new bucket on the server that behaves most like S3."""
    yield from _store("localstack", s3_servers)


@pytest.fixture
def moto(s3_servers: _Running) -> Iterator[Store]:
    yield from _store("moto", s3_servers)


@pytest.fixture
def rclone(s3_servers: _Running) -> Iterator[Store]:
    """A new bucket on the fastest server."""
    yield from _store("rclone", s3_servers)


@pytest.fixture(scope="session")
def store_table() -> Iterator[StoreTable]:
    """Collects what each store proved; written to the file that S3STREAM_STORE_TABLE names."""
    table = StoreTable()
    yield table
    path = os.environ.get("S3STREAM_STORE_TABLE")
    if path:
        table.write(Path(path))


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="session")
def tls(authority: Authority) -> ssl.SSLContext:
    """TLS settings of a server whose certificate is in order."""
    return authority.server()
