"""``s3stream copy --resume`` that is killed, interrupted, and run again."""

from __future__ import annotations

import json
import random
import signal
import stat
import subprocess
import threading
from pathlib import Path

import pytest

from airflow_s3stream.cli.statefile import StateFile, default_path
from airflow_s3stream.config import MiB
from tests.support.commands import COMMAND
from tests.support.origin import Origin, serving
from tests.support.s3fault import S3FaultProxy
from tests.support.servers import REPOSITORY
from tests.support.stores import Store
from tests.support.transfers import PART

SIZE = 110 * MiB + 5
CONNECTIONS = 4


class Command:
    """The command with its state in one file."""

    def __init__(self, origin: Origin, store: Store, state: Path, endpoint_url: str = "") -> None:
        self.origin, self.store, self.state = origin, store, state
        self.words = [
            *COMMAND, "copy", origin.url, f"s3://{store.bucket}/key",
            "--endpoint-url", endpoint_url or store.endpoint_url,
            "--part-size", str(PART), "--connections", str(CONNECTIONS), "--json", "--resume", "--state", str(state),
        ]  # fmt: skip

    def run(self, kill: tuple[int, int] | None = None) -> subprocess.CompletedProcess[str]:
        """Run it to its end; or until so many bytes more were sent by the origin, and then send it that signal."""
        begun, processes = threading.Event(), []

        def strike() -> None:
            begun.wait(20)
            processes[0].send_signal(kill[1] if kill else 0)

        if kill:
            self.origin.when_sent(kill[0], strike)
        process = subprocess.Popen(
            self.words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=REPOSITORY
        )
        processes.append(process)
        begun.set()
        try:
            out, errors = process.communicate(timeout=60)
        finally:
            process.kill()
        return subprocess.CompletedProcess(self.words, process.returncode, out, errors)


class TestKilled:
    def test_at_any_moment_it_goes_on_where_it_was(self, localstack: Store, tmp_path: Path) -> None:
        """Killed three times without a word; at most a part per connection, and two, is sent again each time."""
        seed = 20261121
        draw = random.Random(seed)
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url) as proxy:
            command = Command(origin, localstack, tmp_path / "state.json", proxy.endpoint_url)
            for _ in range(3):
                assert (
                    command.run((draw.randrange(26 * MiB, 36 * MiB), signal.SIGKILL)).returncode == -signal.SIGKILL
                ), seed
                assert localstack.keys() == []
                assert len(localstack.uploads()) <= 1
            done = command.run()
            assert done.returncode == 0, (seed, done.stderr)
            localstack.assert_holds("key", origin.resource.content)
            assert len(proxy.parts()) - 23 <= 3 * (CONNECTIONS + 2), seed
        assert json.loads(done.stdout)["resumed_parts"] > 0, seed
        assert "will not be sent again" in done.stderr
        assert not command.state.exists()

    def test_a_stream_that_was_killed_leaves_no_upload_for_ever(self, localstack: Store, tmp_path: Path) -> None:
        """It cannot be gone on with, so the next run removes what was left."""
        with serving(SIZE, ranges=False) as origin:
            command = Command(origin, localstack, tmp_path / "state.json")
            command.run((40 * MiB, signal.SIGKILL))
            assert len(localstack.uploads()) == 1
            assert command.run().returncode == 0
            localstack.assert_holds("key", origin.resource.content)


class TestInterrupted:
    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_the_upload_is_kept_and_said_so(self, localstack: Store, tmp_path: Path, number: int) -> None:
        with serving(SIZE) as origin:
            command = Command(origin, localstack, tmp_path / "deep" / "state.json")
            stopped = command.run((30 * MiB, number))
            assert stopped.returncode == 128 + number
            assert "is kept for the next try" in stopped.stderr
            assert stat.S_IMODE(command.state.stat().st_mode) == 0o600
            assert len(command.state.read_bytes()) <= 1001
            assert command.run().returncode == 0
            localstack.assert_holds("key", origin.resource.content)


class TestStateFile:
    def test_a_file_that_cannot_be_written_costs_the_resumption_only(self, localstack: Store, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("not a directory")
        with serving(SIZE) as origin:
            done = Command(origin, localstack, tmp_path / "file" / "state.json").run()
            assert done.returncode == 0
            assert "could not be read (NotADirectoryError" in done.stderr
            localstack.assert_holds("key", origin.resource.content)

    def test_it_is_whole_or_as_it_was(self, tmp_path: Path) -> None:
        """Nothing else is left beside it."""
        state = StateFile(tmp_path / "state.json")
        assert state.load() is None
        state.save("one")
        state.save("two")
        assert state.load() == "two\n"
        assert [path.name for path in tmp_path.iterdir()] == ["state.json"]
        state.clear()
        state.clear()
        assert list(tmp_path.iterdir()) == []

    def test_each_destination_has_its_own(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
        first, second = default_path("s3://a/b"), default_path("s3://a/c")
        elsewhere = default_path("s3://a/b", "http://127.0.0.1:9000")
        assert len({first, second, elsewhere}) == 3
        assert {path.parent for path in (first, second, elsewhere)} == {tmp_path / "s3stream"}

    def test_a_file_without_resume_is_a_mistake(self) -> None:
        words = [*COMMAND, "copy", "https://example.org/a", "s3://a/b", "--state", "x"]
        done = subprocess.run(words, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        assert done.returncode == 2
        assert done.stderr.strip() == ("s3stream: --state 'x' is of use with --resume only; add that or leave this out")
