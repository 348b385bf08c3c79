"""One real Airflow for all tests here, whose AWS connection leads to LocalStack through a proxy that keeps calls."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.airflowserver import AirflowServer, aws_connection
from tests.support.s3fault import S3FaultProxy

DAGS = Path(__file__).parent / "dags"


@pytest.fixture(scope="session")
def _proxy(s3_servers: Any) -> Iterator[S3FaultProxy]:
    with S3FaultProxy(s3_servers.get("localstack").endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def proxy(_proxy: S3FaultProxy) -> S3FaultProxy:
    """The proxy, without the calls and the faults of the tests before."""
    _proxy.calls.clear()
    _proxy.faults.clear()
    return _proxy


@pytest.fixture(scope="session")
def airflow(
    _proxy: S3FaultProxy, tmp_path_factory: pytest.TempPathFactory, new_airflow_database: Callable[[Path], None]
) -> Iterator[AirflowServer]:
    folder = tmp_path_factory.mktemp("airflow")
    server = AirflowServer(folder, DAGS, aws_connection(_proxy.endpoint_url))
    new_airflow_database(server.database)
    with server:
        yield server


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test here the time that a start of Airflow on a busy machine may take."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.timeout(600))
