"""Disks that are full, out of inodes, read-only or not ours: one clear error, nothing left behind.

Each runs in a process of its own, with a small file system of its own where user namespaces are permitted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import Child, mount_point

PREPARE = """
from airflow_s3stream.engine.localfiles import LocalDirectory
from airflow_s3stream.engine.resultlog import ResultLog
from airflow_s3stream.engine.tarshards import TarShards
from airflow_s3stream.exceptions import S3StreamError
from airflow_s3stream.plan.objects import ObjectEntry

written = 0

def open_files(**how):
    return LocalDirectory(root, request_id="r", **how)

def fill(files, size, count=100_000):
    global written
    for number in range(count):
        files.write(ObjectEntry(f"d/{number}", size), f"d/{number}", bytes(size))
        written += 1

def names():
    found = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return sorted(name for name in found if not name.startswith(".s3stream/"))

def end(error):
    print(json.dumps({"error": type(error).__name__, "said": str(error), "written": written, "names": names(),
                      "retryable": getattr(error, "retryable", None)}))
"""
RUN = """
files = None
try:
    {before}
    {run}
    end(None)
except S3StreamError as error:
    if files is not None:
        files.close(complete=False)
    end(error)
"""
child = Child(PREPARE, RUN)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """Run something on a file system of its own, which only the child sees."""
    root = mount_point(tmp_path / "root")
    return lambda before, run: child(root, before, run, namespace=True)


OPEN = "files = open_files()\n"


@pytest.mark.parametrize(
    ("size", "large"), [(1000, False), (300_000, False), (3_000_000, False), (3_000_000, True)], ids=str
)
def test_a_full_disk_ends_the_run_and_leaves_whole_files_only(small: Any, size: int, large: bool) -> None:
    """Large files find out before their first byte is fetched."""
    write = f"files.open_large(ObjectEntry('big'), 'big', {size})" if large else f"fill(files, {size})"
    told = small("mount('size=1m')", OPEN + write)
    assert told["error"] == "DiskFull"
    assert told["said"].startswith("cannot write '")
    assert "No space left on device; free space or inodes there" in told["said"]
    assert len(told["names"]) == told["written"] == {1000: told["written"], 300_000: 3}.get(size, 0)
    assert not told["retryable"]


def test_a_disk_without_inodes_ends_the_run_too(small: Any) -> None:
    """Though bytes are left."""
    told = small("mount('nr_inodes=40')", OPEN + "fill(files, 1)")
    assert (told["error"], told["said"][:12]) == ("DiskFull", "cannot write")
    assert len(told["names"]) == told["written"] > 20


@pytest.mark.parametrize("options", ["size=1m", "nr_inodes=20"])
def test_a_disk_that_is_full_already_is_told_before_anything_is_fetched(small: Any, options: str) -> None:
    """And nothing is left there but the state folder, if it could be made at all."""
    full = f"mount('{options}')\ntry:\n    i = 0\n    while True:\n        i += 1\n"
    full += "        (root / str(i)).write_bytes(bytes(4096))\nexcept OSError:\n    pass"
    told = small(full, OPEN)
    assert told["error"] == "DiskFull"
    assert [name for name in told["names"] if not name.isdigit()] == []


def test_a_disk_that_is_read_only_is_told_before_anything_is_fetched(small: Any) -> None:
    """With what to do about it."""
    told = small("mount('size=1m,ro')", OPEN)
    assert (told["error"], told["names"]) == ("LocalDenied", [])
    assert "Read-only file system; mount it writable" in told["said"]


def test_a_full_disk_ends_shards_and_results_too(small: Any) -> None:
    """Without leaving the unfinished shard, or half a results manifest."""
    told = small("mount('size=1m')", "files = TarShards(root, request_id='r', shard_size=300_000)\nfill(files, 1000)")
    assert told["error"] == "DiskFull"
    assert told["names"] == [f"shard-{number:05d}.tar" for number in range(len(told["names"]))]
    assert len(told["names"]) >= 2
    log = "log = ResultLog(root / 'results.jsonl')\ntry:\n    while True:\n"
    log += "        log.add(key='k' * 500, status='fetched')\nexcept S3StreamError:\n    log.discard()\n    raise"
    told = small("mount('size=1m')", log)
    assert (told["error"], told["names"]) == ("DiskFull", [])
    assert "write the results 'results.jsonl'" in told["said"]


def test_a_shard_with_a_gap_never_appears(tmp_path: Path) -> None:
    """Even if the rest of it could be written, and whoever wrote goes on to the end."""
    files = "files = TarShards(root, request_id='r', shard_size=200_000)\n"
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 1 << 40))\n"
    unlimited = "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 40, 1 << 40))"
    failing = f"try:\n    fill(files, 3000)\nexcept S3StreamError:\n    {unlimited}\n"
    more = "files, room = None, files\nroom.close(complete=True)"
    told = child(tmp_path, "", files + limit + failing + more, namespace=False)
    assert (told["error"], told["names"]) == ("LocalError", [])
    assert "could not be written whole" in told["said"]


def test_a_directory_that_may_not_be_written_is_told_at_once(tmp_path: Path) -> None:
    """With what to do."""
    root = tmp_path / "root"
    root.mkdir(mode=0o500)
    told = child(root, "if 'dropped' not in sys.argv:\n    drop_root()", OPEN, namespace=False)
    assert told["error"] == "LocalDenied"
    assert "Permission denied; let this user write there" in told["said"]
    assert str(root) in told["said"]


def test_a_directory_below_that_may_not_be_written_ends_the_run(tmp_path: Path) -> None:
    """Named with the file."""
    (tmp_path / "d").mkdir(mode=0o500)
    told = child(tmp_path, "if 'dropped' not in sys.argv:\n    drop_root()", OPEN + "fill(files, 1)", namespace=False)
    assert (told["error"], told["names"]) == ("LocalDenied", [])
    assert told["said"].startswith("cannot write 'd/0'")


LIMIT = "used = len(os.listdir('/proc/self/fd')) - 1\nresource.setrlimit(resource.RLIMIT_NOFILE, (used + {}, 9999))\n"


def test_too_many_open_files_cost_the_open_directories_first(tmp_path: Path) -> None:
    """They are opened again when they are needed; the run goes on."""
    many = "for i in range(60):\n    files.write(ObjectEntry('x'), f'{i}/x', b'1')\n"
    then = "for i in range(200):\n    files.write(ObjectEntry('x'), f'{i}/y', b'1')\n"
    large = "files.open_large(ObjectEntry('x'), 'a/large', 10).commit()\n"
    told = child(tmp_path, "", OPEN + many + LIMIT.format(0) + then + large, namespace=False)
    assert (told["error"], len(told["names"])) == ("NoneType", 261)


def test_no_descriptor_at_all_is_an_error_that_says_so(tmp_path: Path) -> None:
    """With the limit to raise."""
    told = child(tmp_path, "", OPEN + LIMIT.format(0) + "fill(files, 1)", namespace=False)
    assert (told["error"], told["written"], told["names"]) == ("LocalError", 0, [])
    assert "raise the limit of open files (ulimit -n) or lower connections" in told["said"]


@pytest.mark.parametrize("large", [False, True])
def test_a_file_larger_than_is_allowed_is_an_error_that_says_so(tmp_path: Path, large: bool) -> None:
    """Of the file system or of a limit."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    write = "files.open_large(ObjectEntry('x'), 'x', 200_000)" if large else "fill(files, 200_000)"
    told = child(tmp_path, "", OPEN + limit + write, namespace=False)
    assert (told["error"], told["names"]) == ("LocalError", [])
    assert "ulimit -f" in told["said"]


def test_a_root_that_is_a_file_is_told(tmp_path: Path) -> None:
    """As what it is."""
    (tmp_path / "root").write_text("")
    told = child(tmp_path / "root", "", OPEN, namespace=False)
    assert told["error"] == "LocalError"
    assert "cannot open the directory in" in told["said"]
