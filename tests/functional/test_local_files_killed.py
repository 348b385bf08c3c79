"""What a run that was killed, failed or lost its power leaves to the next one."""

from __future__ import annotations

import errno
import json
import os
import random
import signal
import subprocess
import sys
import time
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.engine.localfiles import LocalDirectory
from airflow_s3stream.engine.localrun import RunState
from airflow_s3stream.exceptions import LocalError
from airflow_s3stream.plan.objects import ObjectEntry

# Writes 600 files from two threads, one in ten of them as a large one; tells each key it was asked to fetch.
RUN = """
import os, sys, threading
from hashlib import md5
from pathlib import Path
from airflow_s3stream.engine.localfiles import LocalDirectory
from airflow_s3stream.plan.objects import ObjectEntry

files = LocalDirectory(Path(sys.argv[1]), request_id=sys.argv[2])
os.write(1, b"begun\\n")

def work(first):
    for number in range(first, 600, 2):
        key = f"{number % 3}/{number}"
        body = f"{number},".encode() * 3000
        entry = ObjectEntry(key, len(body), md5(body).hexdigest(), 1709251200.0)
        if files.wanted(entry, key) == "same":
            continue
        os.write(1, f"{key}\\n".encode())
        if number % 10:
            files.write(entry, key, body)
        else:
            large = files.open_large(entry, key, len(body))
            for offset in range(0, len(body), 5000):
                large.pwrite(body[offset : offset + 5000], offset)
            large.commit()

threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
files.close(complete=True)
"""
TOKEN_LENGTH = 8


def start(root: Path, request_id: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-c", RUN, str(root), request_id]
    child = subprocess.Popen(command, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"begun\n"
    return child


def finished(root: Path) -> dict[str, bytes]:
    """Every file under a final name."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".s3stream" not in str(path.relative_to(root))
    }


def litter(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".s3stream-*")]


def body_of(key: str) -> bytes:
    return f"{key.rpartition('/')[2]},".encode() * 3000


def test_a_run_killed_at_any_moment_is_gone_on_with(tmp_path: Path) -> None:
    """Every final name shows a whole file; none of them is wanted again; at the end there is no litter."""
    chance = random.Random(20241121)
    kills, litters, done = 0, 0, set[str]()
    while True:
        child = start(tmp_path, "same request")
        assert child.stdout is not None
        lines = [child.stdout.readline() for _ in range(chance.randrange(1, 80))]
        time.sleep(chance.uniform(0, 0.0005))
        child.kill()
        lines += child.communicate()[0].splitlines(keepends=True)
        # The last line may have been cut by the kill.
        wanted = {line.decode().strip() for line in lines if line.endswith(b"\n")}
        assert wanted.isdisjoint(done)
        files = finished(tmp_path)
        assert all(body == body_of(key) for key, body in files.items())
        assert done <= set(files)
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        kills, litters, done = kills + 1, litters + bool(litter(tmp_path)), set(files)
    assert kills >= 3  # fewer come on a busy machine, where the child gets far before its lines are read
    assert litters, "no kill came while a file was under way; the sweep was not tried"
    assert len(files) == 600
    assert litter(tmp_path) == []
    assert os.listdir(tmp_path / ".s3stream") == ["lock"]


def test_another_request_leaves_no_litter_of_a_killed_one_either(tmp_path: Path) -> None:
    """But takes none of its files for its own."""
    child = start(tmp_path, "one request")
    deadline = time.monotonic() + 20
    while not litter(tmp_path) and time.monotonic() < deadline and child.poll() is None:
        time.sleep(0.0005)
    child.kill()
    child.communicate()
    (tmp_path / "0").mkdir(exist_ok=True)
    token = json.loads((tmp_path / ".s3stream/run.json").read_text())["tokens"][0]
    assert len(token) == TOKEN_LENGTH
    (tmp_path / f"0/.s3stream-{token}-ffff.tmp").touch()
    files = finished(tmp_path)
    child = start(tmp_path, "another request")
    output, _ = child.communicate()
    assert child.returncode == 0
    assert set(files) <= set(output.decode().split())
    assert litter(tmp_path) == []


def test_temporary_files_of_others_are_not_touched(tmp_path: Path) -> None:
    """Only a token that the record names is ours."""
    files = LocalDirectory(tmp_path, request_id="r")
    token = json.loads((tmp_path / ".s3stream/run.json").read_text())["tokens"][0]
    files.close(complete=False)
    (tmp_path / "d").mkdir()
    for name in (f".s3stream-{token}-0.tmp", ".s3stream-00000000-0.tmp", f".s3stream-{token}-0.tmp.bak"):
        (tmp_path / "d" / name).touch()
    LocalDirectory(tmp_path, request_id="r").close(complete=True)
    assert sorted(litter(tmp_path)) == [".s3stream-00000000-0.tmp", f".s3stream-{token}-0.tmp.bak"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"request_id": "r"}', '{"request_id": "r", "epochs": 3}'])
def test_a_record_that_cannot_be_read_is_an_unfinished_run_of_nobody(tmp_path: Path, text: str) -> None:
    """After a power loss it may be empty: then all that looks like our litter is swept, and nothing taken as done."""
    (tmp_path / ".s3stream").mkdir()
    (tmp_path / ".s3stream/run.json").write_text(text)
    (tmp_path / ".s3stream-0123abcd-0.tmp").touch()
    files = LocalDirectory(tmp_path, request_id="")
    assert litter(tmp_path) == []
    files.close(complete=True)
    assert os.listdir(tmp_path / ".s3stream") == ["lock"]


class TestWhatCountsAsDone:
    """After an unfinished run of the same request."""

    def entry(self, key: str = "a", body: bytes = b"12345", **changes: Any) -> ObjectEntry:
        return ObjectEntry(key, len(body), md5(body).hexdigest(), 1709251200.0)._replace(**changes)

    def unfinished(self, root: Path, **how: Any) -> None:
        files = LocalDirectory(root, request_id="r", **how)
        files.write(self.entry(), "a", b"12345")
        files.close(complete=False, interrupted=True)

    def test_what_is_known_of_the_object_must_agree(self, tmp_path: Path) -> None:
        """A key of which nothing is known is done; a changed object is not."""
        self.unfinished(tmp_path)
        files = LocalDirectory(tmp_path, request_id="r")
        known = self.entry()
        for entry in (known, ObjectEntry("a"), known._replace(etag=""), known._replace(modified=0.0)):
            assert files.wanted(entry, "a") == "same"
        for entry in (known._replace(size=6), known._replace(etag="x"), known._replace(modified=1709251201.0)):
            assert files.wanted(entry, "a") == "fetch"
        files.close(complete=True)

    def test_after_failures_a_bare_key_is_fetched_again(self, tmp_path: Path) -> None:
        """Else a list with one missing key would never be fetched afresh; what is known to be the same stays."""
        files = LocalDirectory(tmp_path, request_id="r")
        files.write(self.entry(), "a", b"12345")
        files.close(complete=False)
        time.sleep(0.05)
        files = LocalDirectory(tmp_path, request_id="r")
        assert files.wanted(ObjectEntry("a"), "a") == files.wanted(ObjectEntry("a", 5), "a") == "fetch"
        assert files.wanted(self.entry(), "a") == "same"
        files.write(self.entry("b"), "b", b"12345")
        files.close(complete=False, interrupted=True)
        files = LocalDirectory(tmp_path, request_id="r")
        assert [files.wanted(ObjectEntry(key), key) for key in "ab"] == ["fetch", "same"]
        files.close(complete=True)

    def test_a_file_from_before_the_run_is_not_its_work(self, tmp_path: Path) -> None:
        """However right it looks; with if_exists="fail" it is in the way, and the run's own files are not."""
        (tmp_path / "old").write_bytes(b"12345")
        os.utime(tmp_path / "old", ns=(1, 1709251200 * 10**9))
        time.sleep(0.05)
        self.unfinished(tmp_path)
        files = LocalDirectory(tmp_path, request_id="r")
        assert files.wanted(self.entry("old", etag=""), "old") == "fetch"
        assert files.wanted(self.entry(), "a") == "same"
        files.close(complete=True)

    def test_after_success_nothing_is_taken_as_done(self, tmp_path: Path) -> None:
        """The same request again is a new run, which overwrites."""
        self.unfinished(tmp_path)
        LocalDirectory(tmp_path, request_id="r").close(complete=True)
        files = LocalDirectory(tmp_path, request_id="r")
        assert files.wanted(self.entry(), "a") == "fetch"
        files.close(complete=True)

    def test_after_a_reboot_only_what_was_synced_is_trusted(self, tmp_path: Path) -> None:
        """The rest may have been in memory only; without a reboot, and after one more, the same rule."""
        files = LocalDirectory(tmp_path, request_id="r", boot_id=lambda: "first boot")
        files.write(self.entry("synced"), "synced", b"12345")
        time.sleep(0.05)
        files.sync()
        time.sleep(0.05)
        files.write(self.entry("later"), "later", b"12345")
        files.close(complete=False)
        for boot, later in (("first boot", "same"), ("second boot", "fetch"), ("third boot", "fetch"), ("", "fetch")):
            files = LocalDirectory(tmp_path, request_id="r", boot_id=lambda boot=boot: boot)  # type: ignore[misc]
            assert files.wanted(self.entry("synced"), "synced") == "same"
            assert files.wanted(self.entry("later"), "later") == later
            files.close(complete=False)

    def test_a_run_after_the_reboot_has_work_of_its_own(self, tmp_path: Path) -> None:
        """Which counts beside what was synced before."""
        self.unfinished(tmp_path, boot_id=lambda: "first boot")
        time.sleep(0.05)  # no reboot is faster than the file system's clock ticks
        files = LocalDirectory(tmp_path, request_id="r", boot_id=lambda: "second boot")
        files.write(self.entry("b"), "b", b"12345")
        files.close(complete=False)
        files = LocalDirectory(tmp_path, request_id="r", boot_id=lambda: "second boot")
        assert files.wanted(self.entry("b"), "b") == "same"
        assert files.wanted(self.entry("a"), "a") == "fetch"
        files.close(complete=True)


class TestPowerLoss:
    """The order in which things reach the disk."""

    def test_success_is_told_after_everything_has_its_name_and_is_synced(self, tmp_path: Path) -> None:
        """The record goes last: without it nothing tells that the run is not finished."""
        seen = []

        def sync(fd: int) -> None:
            assert os.fstat(fd).st_ino == tmp_path.stat().st_ino
            seen.append((sorted(finished(tmp_path)), litter(tmp_path), (tmp_path / ".s3stream/run.json").exists()))

        files = LocalDirectory(tmp_path, request_id="r", sync=sync)
        for key in ("a", "d/b"):
            files.write(ObjectEntry(key), key, b"x")
        files.close(complete=True)
        assert seen == [(["a", "d/b"], [], True)]
        assert not (tmp_path / ".s3stream/run.json").exists()

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC])
    def test_a_sync_that_fails_is_a_run_that_fails(self, tmp_path: Path, number: int) -> None:
        """The kernel tells at the sync what it could not write behind our back."""

        def sync(_: int) -> None:
            raise OSError(number, os.strerror(number))

        files = LocalDirectory(tmp_path, request_id="r", sync=sync)
        files.write(ObjectEntry("a"), "a", b"x")
        with pytest.raises(LocalError, match="cannot bring what was written to the disk") as caught:
            files.close(complete=True)
        assert os.strerror(number) in str(caught.value)
        assert (tmp_path / ".s3stream/run.json").exists()
        LocalDirectory(tmp_path, request_id="r").close(complete=True)  # the lock was given back

    def test_the_record_is_on_disk_before_the_first_file(self, tmp_path: Path) -> None:
        """It is written and synced when the run begins; a run that fails keeps it."""
        root = os.open(tmp_path, os.O_RDONLY)
        try:
            state = RunState(root, str(tmp_path), "r", boot_id=lambda: "boot", token="0f")
            state.begin()
            record = json.loads((tmp_path / ".s3stream/run.json").read_text())
            state.close(complete=False)
        finally:
            os.close(root)
        assert record["request_id"] == "r"
        assert record["tokens"] == ["0f"]
        assert record["epochs"][0]["boot_id"] == "boot"
        assert record["epochs"][0]["synced_ns"] == 0
        assert abs(record["epochs"][0]["started_ns"] / 10**9 - time.time()) < 5
        assert (tmp_path / ".s3stream/run.json").exists()
