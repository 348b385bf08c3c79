"""Tuning through the hook, and profiles in all that take them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.profile import make_profile
from tests.support import readlies
from tests.support.origin import serving
from tests.support.readstore import ReadStore
from tests.support.sources import NEAR
from tests.support.stores import Store

pytestmark = pytest.mark.airflow

GET = {"s3stream_profile": 1, "kind": "get", "connections": 3, "part_size": 2 * MiB}
COPY = {**GET, "kind": "copy", "part_size": 6 * MiB}


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("big", 24 * MiB)
        yield store


def hook(endpoint_url: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    from airflow_s3stream.hooks.s3stream import S3StreamHook

    about = {
        "conn_type": "aws",
        "login": os.environ["AWS_ACCESS_KEY_ID"],
        "password": os.environ["AWS_SECRET_ACCESS_KEY"],
        "extra": {"endpoint_url": endpoint_url, "region_name": "us-east-1"},
    }
    monkeypatch.setenv("AIRFLOW_CONN_STORE", json.dumps(about))
    return S3StreamHook("store")


class TestTuning:
    def test_downloads(self, store: ReadStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """What it finds is a profile for its own downloads."""
        store.faults.append(readlies.gets(readlies.slow(0.1)))
        using = hook(store.endpoint_url, monkeypatch)
        result = using.tune("big", "lake", connections="2", part_sizes="2MiB", max_seconds=4)
        assert json.loads(json.dumps(asdict(result)))["connections"] == 2
        profile = make_profile(result, "2026-11-21")
        got = using.download_object("big", tmp_path / "big", "lake", profile=profile)
        assert got.part_size == 2 * MiB
        assert (tmp_path / "big").read_bytes() == store.body("big")

    def test_copies(self, rclone: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        with serving(32 * MiB) as origin:
            using = hook(rclone.endpoint_url, monkeypatch)
            result = using.tune(
                f"s3://{rclone.bucket}/key", url=origin.url, headers={"X-Team": "lake"}, connections=[4],
                part_sizes=["5MiB"], max_bytes="128MiB", allow_private=NEAR,
            )  # fmt: skip
            assert all(exchange.header("X-Team") == "lake" for exchange in origin.exchanges)
        assert (result.kind, result.endpoint) == ("copy", rclone.endpoint_url)
        assert result.left == "Nothing was published. The multipart upload was aborted."
        rclone.assert_clean()

    def test_options_of_copies_need_a_url(self, store: ReadStore, monkeypatch: pytest.MonkeyPatch) -> None:
        for about in ({"headers": {"A": "b"}}, {"storage_class": "STANDARD_IA"}):
            with pytest.raises(ConfigError, match="about copies; give url too"):
                hook(store.endpoint_url, monkeypatch).tune("s3://lake/big", **about)
        assert store.exchanges == []


class TestProfiles:
    def test_a_download_takes_a_file_a_variable_or_a_mapping(
        self, store: ReadStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        path = tmp_path / "tune.json"
        path.write_text(json.dumps(GET))
        monkeypatch.setenv("AIRFLOW_VAR_LAKE_TUNE", json.dumps(GET))
        using = hook(store.endpoint_url, monkeypatch)
        for profile in (str(path), "lake_tune", GET):
            got = using.download_object("s3://lake/big", tmp_path / "big", profile=profile)
            assert got.part_size == 2 * MiB
            assert got.connections <= 3

    def test_what_is_set_wins(self, store: ReadStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        using = hook(store.endpoint_url, monkeypatch)
        got = using.download_object("s3://lake/big", tmp_path / "big", profile=GET, part_size="4MiB", connections=None)
        assert got.part_size == 4 * MiB
        assert got.connections <= 3

    def test_a_stream_takes_the_connections_alone(self, store: ReadStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """Parts of a profile would not fit into a stream's memory."""
        using = hook(store.endpoint_url, monkeypatch)
        with using.open_object("s3://lake/big", profile={**GET, "part_size": 24 * MiB}, max_memory="4MiB") as stream:
            assert stream.read() == store.body("big")
        assert len([span for span in store.ranges_of("big") if span]) > 3

    def test_a_copy_takes_one_for_copies(self, rclone: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        using = hook(rclone.endpoint_url, monkeypatch)
        with serving(20 * MiB) as origin:
            result = using.copy_url(origin.url, "key", rclone.bucket, profile=COPY, allow_private=NEAR)
            assert (result.part_size, result.connections) == (6 * MiB, 3)
            with pytest.raises(ConfigError, match="was measured for downloads"):
                using.copy_url(origin.url, "key", rclone.bucket, profile=GET)

    def test_what_is_no_variable_is_said(
        self, store: ReadStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        using = hook(store.endpoint_url, monkeypatch)
        # The oldest Airflow cannot look for one outside of a task, and says so in its own way.
        said = r"profile='no_such'(: the Airflow Variable cannot be read| is no Airflow Variable; if a file is meant)"
        with pytest.raises(ConfigError, match=said):
            using.download_object("s3://lake/big", tmp_path / "big", profile="no_such")
        assert store.exchanges == []
