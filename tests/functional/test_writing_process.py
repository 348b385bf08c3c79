"""Many small files are written by a process of their own, and nobody can tell from the outcome."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from airflow_s3stream.engine.dispatch import Dispatcher
from airflow_s3stream.engine.events import Event
from airflow_s3stream.engine.fetchrun import Tally
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.engine.writer import Settings, Work
from airflow_s3stream.engine.writing import WritingProcess
from airflow_s3stream.exceptions import LocalError, Stopped
from tests.support import readlies
from tests.support.downloads import expected, fetch, files
from tests.support.readstore import ReadStore
from tests.support.waiting import SOON

MANY = 2_500  # more than the threads are given before the process starts


def children(of: int | None = None) -> set[int]:
    """Give the processes that write for a process; None: this one."""
    found = set()
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = (folder / "stat").read_text().rpartition(")")[2].split()[1]
                if int(parent) == (of or os.getpid()) and b"engine.writer" in (folder / "cmdline").read_bytes():
                    found.add(int(folder.name))
            except OSError:
                continue
    return found


class Watching:
    """A listener that acts once there is a process."""

    def __init__(self, act: Callable[[set[int]], object] | None) -> None:
        self.seen: set[int] = set()
        self._act = act

    def __call__(self, _: Event) -> None:
        fresh = children() - self.seen
        if fresh:
            self.seen |= fresh
            if self._act:
                self._act(fresh)


@pytest.fixture
def many(store: ReadStore) -> ReadStore:
    store.fill(MANY)
    return store


def rows(directory: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (directory / ".s3stream" / "results.jsonl").read_text().splitlines()]


def test_files_rows_and_counts_are_the_same(store: ReadStore, tmp_path: Path) -> None:
    """Each object a file, a line and a proof; and the process ends with the run."""
    keys = store.fill(MANY)
    watching = Watching(None)
    result = fetch(store, tmp_path / "to", listener=watching, progress_interval=0.05)
    assert watching.seen, "no process was started; this proves nothing"
    assert files(tmp_path / "to") == expected(store, keys)
    assert (result.objects, result.failed, result.verification) == (MANY, 0, {"md5-etag": MANY})
    assert {row["key"] for row in rows(tmp_path / "to")} == set(keys)
    assert {(row["status"], row["verification"]) for row in rows(tmp_path / "to")} == {("fetched", "md5-etag")}
    assert not children()
    again = fetch(store, tmp_path / "to", if_exists="skip_same")
    assert (again.objects, again.skipped) == (0, MANY), "the files' times are not those of the objects"


def test_wrong_bytes_are_fetched_again(many: ReadStore, tmp_path: Path) -> None:
    """The proof happens there; what is done about it, here."""
    many.faults = [readlies.of("p/024/002450.bin", readlies.flip_in_every_answer()).once()]
    result = fetch(many, tmp_path / "to")
    assert files(tmp_path / "to")["024/002450.bin"] == many.body("p/024/002450.bin")
    assert (result.objects, result.retries) == (MANY, 1)


def test_what_stays_wrong_or_clashes_is_named_and_the_rest_goes_on(many: ReadStore, tmp_path: Path) -> None:
    """Errors come back from there as what they were."""
    many.faults = [readlies.of("p/024/002450.bin", readlies.flip_in_every_answer())]
    (tmp_path / "to" / "023" / "002300.bin").mkdir(parents=True)
    result = fetch(many, tmp_path / "to", on_error="continue")
    assert (result.objects, result.failed) == (MANY - 2, 2)
    told = {
        str(row["key"]): (row["status"], row["error"]) for row in rows(tmp_path / "to") if row["status"] != "fetched"
    }
    status, error = told.pop("p/024/002450.bin")
    assert status == "failed"
    assert "IntegrityError: the body does not have the MD5" in str(error)
    status, error = told.pop("p/023/002300.bin")
    assert status == "refused"
    assert "'023/002300.bin' is a directory there" in str(error)
    assert not told


def test_if_exists_fail_replaces_nothing(many: ReadStore, tmp_path: Path) -> None:
    """Nor does it where the file comes after it was looked for."""
    (tmp_path / "to" / "024").mkdir(parents=True)
    there = tmp_path / "to" / "024" / "002450.bin"
    many.faults = [readlies.of("p/024/002450.bin", readlies.call(lambda: there.write_text("mine")))]
    result = fetch(many, tmp_path / "to", if_exists="fail", on_error="continue")
    assert there.read_text() == "mine"
    assert (result.objects, result.failed) == (MANY - 1, 1)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_process_that_dies_ends_the_run(many: ReadStore, tmp_path: Path, number: int) -> None:
    """With one error; the next run fetches the rest."""
    watching = Watching(lambda found: [os.kill(pid, number) for pid in found])
    many.faults = [readlies.gets(readlies.slow(0.01))]
    with pytest.raises(LocalError, match="writing process ended unexpectedly"):
        fetch(many, tmp_path / "to", listener=watching, progress_interval=0.05)
    many.faults = []
    before = len(files(tmp_path / "to"))
    result = fetch(many, tmp_path / "to")
    assert before >= 500
    assert result.skipped == before
    assert result.objects == MANY - before


def test_a_stop_ends_both(many: ReadStore, tmp_path: Path) -> None:
    """Soon, and what was finished stays."""
    stop = StopFlag()
    many.faults = [readlies.gets(readlies.slow(0.02))]
    watching = Watching(lambda _: stop.request("SIGTERM"))
    began = time.monotonic()
    with pytest.raises(Stopped):
        fetch(many, tmp_path / "to", listener=watching, progress_interval=0.05, stop=stop)
    assert time.monotonic() - began < 20
    assert not children()
    assert not list((tmp_path / "to").rglob("*.tmp"))
    there = len(files(tmp_path / "to"))
    many.faults = []
    assert fetch(many, tmp_path / "to").skipped == there


class Small:
    """A body for the process, of the wrong size, so that there is nothing to bring to the disk."""

    def __init__(self) -> None:
        self.sent = threading.Event()

    def pack(self) -> Work:
        self.sent.set()
        return "k", 2, "", 0.0, "k", [], b"x"

    def unpack(self, done: object) -> None: ...

    def finish(self) -> None: ...

    def finished(self, error: BaseException | None) -> None: ...

    def settle(self) -> None: ...


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    root = os.open(tmp_path, os.O_RDONLY)
    yield Settings(-1, root, str(tmp_path), "token", 1, replaces=True, strict=False)
    os.close(root)


def test_a_process_that_hangs_is_killed(settings: Settings) -> None:
    """As on a disk that does not answer: the thread that waits for its answers does not hold up the end for ever."""
    process = WritingProcess(settings, lambda: None, patience=0.2)
    (child,) = children()
    os.kill(child, signal.SIGSTOP)
    try:
        small = Small()
        process.add(small)
        process.flush()
        assert small.sent.wait(SOON)
        ended: list[bool] = []
        closer = threading.Thread(target=lambda: ended.append(process.close()), daemon=True)
        closer.start()
        closer.join(SOON)
        assert ended == [True]
        assert not children()
    finally:
        for left in children():
            os.kill(left, signal.SIGKILL)


class Anywhere:
    """A destination whose bodies another process writes."""

    inline = False

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def other_process(self, *, strict: bool) -> Settings:
        return self._settings

    def flush(self) -> None: ...


class Hanging(Small):
    """Takes a thread until it may go on."""

    def __init__(self) -> None:
        super().__init__()
        self.begun, self.go_on = threading.Event(), threading.Event()

    def finish(self) -> None:
        self.begun.set()
        self.go_on.wait(30)


def test_what_breaks_off_the_wait_for_the_threads_ends_the_process_all_the_same(settings: Settings) -> None:
    """As Airflow's execution_timeout does."""
    tally, hanging = Tally(), Hanging()
    tally.objects = MANY
    dispatcher = Dispatcher(Anywhere(settings), tally, strict=False, threads=1, wake=lambda: None)  # type: ignore[arg-type]
    dispatcher._process_due = True  # also where there is but one core
    dispatcher.finish(Small(), 1)  # type: ignore[arg-type]
    assert children()
    dispatcher.add(hanging)
    dispatcher.turn()
    assert hanging.begun.wait(SOON)

    def handler(*_: object) -> None:
        raise TimeoutError("execution_timeout")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.2)
    try:
        with pytest.raises(TimeoutError, match="execution_timeout"):
            dispatcher.close()
        assert not children()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        hanging.go_on.set()
        for left in children():
            os.kill(left, signal.SIGKILL)


RUN = """
import sys
from pathlib import Path
from tests.support.downloads import *
from tests.support.readstore import BUCKET
class Far:
    endpoint_url = sys.argv[1]
download(client_of(Far()), BUCKET, Wanted(prefix="p/"), Path(sys.argv[2]), DownloadOptions(connections=8))
"""


def _lives(pid: int) -> bool:
    """Whether a process runs; one that has ended may wait for somebody to look after it."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


def test_killed_it_leaves_no_process(many: ReadStore, tmp_path: Path) -> None:
    """SIGKILL asks nobody; the child dies with its parent, and the next run can begin at once."""
    many.faults = [readlies.gets(readlies.slow(0.02))]
    parent = subprocess.Popen([sys.executable, "-c", RUN, many.endpoint_url, str(tmp_path / "to")])
    try:
        ends = time.monotonic() + 30
        child = None
        while child is None and time.monotonic() < ends:
            time.sleep(0.05)
            child = next(iter(children(parent.pid)), None)
        assert child is not None
    finally:
        parent.kill()
        parent.wait()
    ends = time.monotonic() + 20
    while _lives(child) and time.monotonic() < ends:
        time.sleep(0.02)
    assert not _lives(child)
    many.faults = []
    result = fetch(many, tmp_path / "to")
    assert result.objects + result.skipped == MANY
    assert result.skipped >= 500
    assert not list((tmp_path / "to").rglob("*.tmp"))
