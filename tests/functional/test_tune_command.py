"""``s3stream tune``, and its profiles in other commands, as a person, a script and a signal meet them."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from airflow_s3stream.config import MiB
from tests.support import faults, readlies
from tests.support.commands import COMMAND, Run, in_a_process
from tests.support.origin import serving
from tests.support.readstore import ReadStore
from tests.support.stores import Store

NARROW = ("--connections", "1,2", "--part-sizes", "1MiB,2MiB", "--max-seconds", "6")


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("big", 24 * MiB)
        yield store


class TestDownloads:
    def test_a_person_sees_what_to_type(self, store: ReadStore, run: Run) -> None:
        # Slow enough that more connections are worth it, however busy this machine is.
        store.faults.append(readlies.gets(readlies.slow(0.1)))
        done = run("tune", "s3://lake/big", "--endpoint-url", store.endpoint_url, *NARROW)
        assert done.code == 0, done.errors
        assert done.out.startswith("Tuning downloads of s3://lake/big (24.0 MiB): searching among 4 settings, within")
        for said in ("Measured 2 connections, parts of ", "connections", "MB/s by connections (across)",
                     "Recommended: ", "s3stream get s3://lake/big FILE --connections ",
                     "S3ObjectToLocalOperator(..., connections=", "24.0 MiB in "):  # fmt: skip
            assert said in done.out
        assert done.errors == ""

    def test_a_script_gets_json_and_a_profile_that_get_takes(self, store: ReadStore, run: Run, tmp_path: Path) -> None:
        store.faults.append(readlies.gets(readlies.slow(0.1)))
        where = ("--endpoint-url", store.endpoint_url)
        saved = str(tmp_path / "tune.json")
        done = run("tune", "s3://lake/big", *where, *NARROW, "--json", "--save", saved)
        assert done.code == 0, done.errors
        assert len(done.out.splitlines()) == 1
        assert "Recommended: " in done.errors
        assert f"--profile {saved}" in done.errors
        result = done.result
        assert (result["kind"], result["uri"], result["endpoint"]) == ("get", "s3://lake/big", store.endpoint_url)
        assert result["connections"] in (1, 2)
        profile = json.loads(Path(saved).read_text())
        assert profile["connections"] == result["connections"]
        assert profile["measured"]["date"].startswith("20")

        got = run("get", "s3://lake/big", str(tmp_path / "big"), *where, "--profile", saved, "--json")
        assert got.result["part_size"] == result["part_size"]
        assert got.result["connections"] <= result["connections"]
        typed = run("get", "s3://lake/big", str(tmp_path / "big2"), *where, "--profile", saved, "--part-size", "3MiB",
                    "--json")  # fmt: skip
        assert typed.result["part_size"] == 3 * MiB

    def test_quiet_is_quiet(self, store: ReadStore, run: Run) -> None:
        words = ("--connections", "4", "--part-sizes", "1MiB", "--quiet", "--max-bytes", "64MiB")
        done = run("tune", "s3://lake/big", "--endpoint-url", store.endpoint_url, *words)
        assert (done.code, done.out, done.errors) == (0, "", "")

    def test_a_picture(self, store: ReadStore, run: Run, tmp_path: Path) -> None:
        pytest.importorskip("matplotlib")
        words = ("--connections", "4", "--part-sizes", "1MiB", "--full-grid", "--max-seconds", "3", "--quiet")
        picture = tmp_path / "tune.png"
        done = run("tune", "s3://lake/big", "--endpoint-url", store.endpoint_url, *words, "--plot", str(picture))
        assert done.code == 0, done.errors
        assert picture.read_bytes().startswith(b"\x89PNG")

    def test_a_profile_of_the_other_kind_is_bad_usage(self, store: ReadStore, run: Run, tmp_path: Path) -> None:
        saved = tmp_path / "tune.json"
        saved.write_text(json.dumps({"s3stream_profile": 1, "kind": "get", "connections": 4, "part_size": 8 * MiB}))
        done = run("copy", "http://127.0.0.1:9/x", "s3://lake/x", "--endpoint-url", store.endpoint_url,
                   "--profile", str(saved))  # fmt: skip
        assert done.code == 2
        assert "was measured for downloads, and this is one of the copies" in done.errors
        assert store.exchanges == []

    @pytest.mark.parametrize(
        ("words", "said"),
        [
            (("--connections", "many"), "connections='many' must be a whole number"),
            (("--part-sizes", "big"), "part_sizes='big' is not a size"),
            (("--max-seconds", "1"), "max_seconds=1.0 must be from 2 to 86400"),
            (("--max-bytes", "1MB"), "max_bytes=1000000 must be at least 16.0 MiB"),
            (("--plot", "tune.gif"), "must end in one of .png, .svg, .pdf"),
            (("--plot", "/none/tune.png"), "there is no directory '/none'"),
            (("--save", "/none/tune.json"), "there is no directory '/none'"),
            (("--header", "A: b"), "are about copies"),
            (("--sse", "AES256"), "are about copies"),
        ],
        ids=str,
    )
    def test_bad_usage_is_told_before_anything_is_asked(
        self, store: ReadStore, run: Run, words: tuple[str, ...], said: str
    ) -> None:
        done = run("tune", "s3://lake/big", "--endpoint-url", store.endpoint_url, *words)
        assert done.code == 2
        assert said in done.errors
        assert store.exchanges == []

    def test_a_missing_matplotlib_is_told_before_anything_is_asked(self, store: ReadStore, tmp_path: Path) -> None:
        script = (
            "import sys; sys.modules['matplotlib'] = None\n"  # as where it is not installed
            "from airflow_s3stream.cli import main; sys.exit(main(sys.argv[1:]))"
        )
        words = ("tune", "s3://lake/big", "--endpoint-url", store.endpoint_url, "--plot", str(tmp_path / "tune.png"))
        done = in_a_process([sys.executable, "-c", script, *words])
        assert done.code == 2
        assert "pip install 'airflow-s3stream[plot]'" in done.errors
        assert store.exchanges == []

    def test_a_missing_object_is_a_failure(self, store: ReadStore, run: Run) -> None:
        done = run("tune", "s3://lake/none", "--endpoint-url", store.endpoint_url)
        assert done.code == 1
        assert "s3://lake/none" in done.errors


class TestCopies:
    def test_a_person_is_told_that_nothing_was_published(self, rclone: Store, run: Run, tmp_path: Path) -> None:
        saved = str(tmp_path / "tune.json")
        with serving(32 * MiB) as origin:
            done = run(
                "tune", origin.url, f"s3://{rclone.bucket}/key", "--endpoint-url", rclone.endpoint_url,
                "--connections", "4", "--part-sizes", "5MiB", "--max-bytes", "256MiB", "--header", "X-Team: lake",
                "--save", saved,
            )  # fmt: skip
            assert done.code == 0, done.errors
            assert all(exchange.header("X-Team") == "lake" for exchange in origin.exchanges)
            assert "Nothing was published. The multipart upload was aborted." in done.out
            assert f"s3stream copy {origin.url} s3://{rclone.bucket}/key --profile {saved}" in done.out
            assert f'UrlToS3Operator(..., profile="{saved}")' in done.out
            rclone.assert_clean()

            copied = run("copy", origin.url, f"s3://{rclone.bucket}/key", "--endpoint-url", rclone.endpoint_url,
                         "--profile", saved, "--json")  # fmt: skip
            assert (copied.result["part_size"], copied.result["connections"]) == (5 * MiB, 4)
            rclone.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_aborts_the_upload(self, rclone: Store, number: signal.Signals) -> None:
        """While parts are on their way."""
        with serving(64 * MiB, faults.drip(50_000, 0.01)) as origin:
            words = [
                *COMMAND, "tune", origin.url, f"s3://{rclone.bucket}/key",
                "--endpoint-url", rclone.endpoint_url, "--max-seconds", "600",
            ]  # fmt: skip
            with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as command:
                assert command.stdout is not None
                for line in command.stdout:
                    if line.startswith("Measured"):
                        break
                command.send_signal(number)
                _, errors = command.communicate(timeout=30)
        assert command.returncode == 128 + number
        assert "Nothing was published. The multipart upload was aborted." in errors
        assert "Traceback" not in errors
        rclone.assert_clean()
