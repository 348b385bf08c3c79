"""Disks that are full, small, read-only or odd: told before the first byte, with nothing left behind.

Each runs in a process of its own, with a small file system of its own where user namespaces are permitted.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.support.disks import Child, mount_point

PREPARE = """
from airflow_s3stream.engine.checksums import continued
from airflow_s3stream.engine.objectfile import ObjectFile, Version, Written
from airflow_s3stream.exceptions import S3StreamError

facts = {}

def begin(size, key="k", joins=True):
    global file
    file = ObjectFile(root / "file")
    return file.begin(Version(f"s3://b/{key}", "e", size, 1709251200.0), "crc64nvme", joins=joins)

def put(start, stop):
    # Chunks of a size that no page has.
    file.write([bytes([65 + start % 26]) * min(777, stop - at) for at in range(start, stop, 777)], start)
    file.note(Written(start, stop, continued("crc64nvme", bytes([65 + start % 26]) * (stop - start), 0)))

def fill():
    with open(root / "filler", "wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            pass

def journal_size():
    return (root / ".file.s3stream.journal").stat().st_size

def end(error):
    resource.setrlimit(resource.RLIMIT_NOFILE, (999, 9999))
    names = sorted(os.listdir(root)) if root.is_dir() else []
    print(json.dumps({"error": type(error).__name__, "said": str(error), "names": names, **facts}))
"""
RUN = """
file = None
try:
    {before}
    {run}
    end(None)
except S3StreamError as error:
    if file is not None:
        file.keep()
        facts["left"] = file.left
    end(error)
"""
TEMP, JOURNAL = ".file.s3stream.part", ".file.s3stream.journal"
child = Child(PREPARE, RUN)


@pytest.fixture
def small(tmp_path: Path) -> Any:
    """Run something on a file system of its own, which only the child sees."""
    root = mount_point(tmp_path / "root")
    return lambda before, run: child(root, before, run, namespace=True)


@pytest.mark.parametrize(("options", "size"), [("size=1m", 900_000), ("size=20m", 10 << 30)])
def test_an_object_that_the_disk_cannot_hold_is_told_before_the_first_byte(small: Any, options: str, size: int) -> None:
    """Whether the disk is too full or too small, and nothing is left there."""
    told = small(f"mount('{options}')\n(root / 'other').write_bytes(bytes(600_000))", f"begin({size})")
    assert (told["error"], told["names"], told["left"]) == ("DiskFull", ["other"], "")
    assert "for 'file' in " in told["said"]
    assert told["said"].startswith("cannot reserve ")
    assert "No space left on device; free space or inodes there" in told["said"]


def test_what_an_earlier_run_wrote_needs_no_room_again(small: Any) -> None:
    """Half of the disk is that."""
    first = "begin(900_000)\nput(0, 500_000)\nfile.keep()\n"
    second = "facts['have'] = len(begin(900_000))\nput(500_000, 900_000)\nfile.commit('size')"
    told = small("mount('size=1m')", first + second)
    assert (told["error"], told["names"], told["have"]) == ("NoneType", ["file"], 1)


def test_a_disk_that_others_fill_keeps_what_was_written(small: Any) -> None:
    """A file system in memory cannot reserve cheaply; when there is room again, the next run goes on."""
    first = "begin(900_000)\nput(0, 300_000)\nfill()\nos.truncate(root / 'filler', 600_000)\n"
    told = small("mount('size=1m')", first + "put(300_000, 900_000)")
    assert (told["error"], told["names"]) == ("DiskFull", [JOURNAL, TEMP, "filler"])
    assert told["said"].startswith("cannot write 'file' in ")
    assert told["left"].startswith("293.0 KiB are kept in ")
    again = "try:\n    put(300_000, 900_000)\nexcept S3StreamError:\n    file.keep()\n    (root / 'filler').unlink()\n"
    again += "facts['have'] = begin(900_000)\nput(300_000, 900_000)\nfile.commit('size')\n"
    again += "facts['right'] = (root / 'file').read_bytes() == b'A' * 300_000 + bytes([65 + 300_000 % 26]) * 600_000"
    told = small("mount('size=1m')", first + again)
    assert (told["error"], told["names"], len(told["have"]), told["right"]) == ("NoneType", ["file"], 1, True)


@pytest.mark.parametrize("cut", [False, True])
def test_a_journal_without_room_does_not_end_the_run(small: Any, cut: bool) -> None:
    """Its lines wait: the file itself has its room. At the end they are written, if they can be."""
    # The kernel takes a part of the line that crosses the end of a page; nothing where a page is full to the last byte.
    first = f"begin(400_000)\nkey = 'k' * (4097 - journal_size() - {5 if cut else 0})\nfile.discard()\n"
    first += "begin(400_000, key)\nfile.write([bytes(400_000)], 0)\nfill()\n"
    notes = "for at in range(0, 400_000, 100):\n    file.note(Written(at, at + 100, 7))\n"
    found = "facts['size'] = journal_size()\n(root / 'filler').unlink()\nfile.keep()\n"
    have = "facts['have'] = sum(piece.stop - piece.start for piece in begin(400_000, key))\nfile.discard()"
    told = small("mount('size=1m')", first + notes + found + have)
    assert (told["error"], told["names"], told["have"]) == ("NoneType", [], 400_000)
    assert told["size"] == 4096 - 5 * cut
    told = small("mount('size=1m')", first + notes + "file.commit('size')")
    assert (told["error"], told["names"]) == ("NoneType", ["file", "filler"])


def test_a_journal_that_cannot_be_written_anew_grows(small: Any) -> None:
    """Short of room for two of them for a moment."""
    first = "begin(12_000, joins=False)\nfill()\nos.truncate(root / 'filler', 560_000)\n"
    notes = "for at in range(12_000):\n    file.note(Written(at, at + 1, 10**18))\n"
    found = (
        "facts['size'] = journal_size()\nfile.keep()\n(root / 'filler').unlink()\nfacts['have'] = len(begin(12_000))\n"
    )
    told = small("mount('size=1m')", first + notes + found + "file.discard()")
    assert (told["error"], told["names"], told["have"]) == ("NoneType", [], 12_000)
    assert told["size"] > 300_000


@pytest.mark.parametrize("options", ["size=1m", "nr_inodes=20"])
def test_a_disk_that_is_full_already_is_told_at_once(small: Any, options: str) -> None:
    """And nothing is left there, not even the journal."""
    full = f"mount('{options}')\ntry:\n    i = 0\n    while True:\n        i += 1\n"
    full += "        (root / str(i)).write_bytes(bytes(4096))\nexcept OSError:\n    pass"
    told = small(full, "begin(1)")
    assert told["error"] == "DiskFull"
    assert [name for name in told["names"] if not name.isdigit()] == []


def test_a_file_system_in_memory_is_not_filled_beforehand(small: Any) -> None:
    """To clear all pages first would hold up the first byte; comparing is enough."""
    taken = "facts['taken'] = (root / '.file.s3stream.part').stat().st_blocks\nfile.discard()"
    told = small("mount('size=100m')", "begin(90 << 20)\n" + taken)
    assert (told["error"], told["taken"]) == ("NoneType", 0)


def test_a_file_system_that_cannot_reserve_is_not_written_to(small: Any) -> None:
    """A ramfs has no fallocate, and no size to compare with; a terabyte of zeros would be long in coming."""
    taken = "status = (root / '.file.s3stream.part').stat()\nfacts['taken'] = [status.st_size, status.st_blocks]\n"
    told = small("mount('mode=755', 'ramfs')", "begin(1 << 40)\n" + taken + "file.discard()")
    assert (told["error"], told["names"], told["taken"]) == ("NoneType", [], [1 << 40, 0])


def test_a_disk_that_is_read_only_is_told_before_anything_is_fetched(small: Any) -> None:
    """With what to do about it."""
    told = small("mount('size=1m,ro')", "begin(1)")
    assert (told["error"], told["names"]) == ("LocalDenied", [])
    assert "Read-only file system; mount it writable" in told["said"]


def test_a_directory_that_may_not_be_written_is_told_at_once(tmp_path: Path) -> None:
    """With what to do; the old file is what it was."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "file").write_bytes(b"old")
    root.chmod(0o500)
    told = child(root, "if 'dropped' not in sys.argv:\n    drop_root()", "begin(1)")
    assert (told["error"], told["names"]) == ("LocalDenied", ["file"])
    assert "Permission denied; let this user write there" in told["said"]
    assert str(root) in told["said"]


def test_a_directory_that_cannot_be_made_is_told_at_once(tmp_path: Path) -> None:
    """Above it there is one that may not be written."""
    (tmp_path / "folder").mkdir(mode=0o500)
    run = "ObjectFile(root / 'a' / 'b' / 'file')"
    told = child(tmp_path / "folder", "if 'dropped' not in sys.argv:\n    drop_root()", run)
    assert told["error"] == "LocalDenied"
    assert told["said"].startswith(f"cannot open the directory in {tmp_path}/folder/a/b: Permission denied")


@pytest.mark.parametrize("kind", ["", "ramfs"])
def test_an_object_larger_than_a_file_may_be_is_told_before_the_first_byte(
    tmp_path: Path, kind: str, request: Any
) -> None:
    """Whether the file system reserves or not."""
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
    if kind:
        told = request.getfixturevalue("small")(f"mount('mode=755', '{kind}')", limit + "begin(200_000)")
    else:
        told = child(tmp_path, "", limit + "begin(200_000)")
    assert (told["error"], told["names"]) == ("LocalError", [])
    assert told["said"].startswith("cannot reserve 195.3 KiB for 'file' in ")
    assert "File too large; the file system or a limit (ulimit -f)" in told["said"]


def test_no_descriptor_at_all_is_an_error_that_says_so(tmp_path: Path) -> None:
    """At each step where one is needed."""
    limit = (
        "used = len(os.listdir('/proc/self/fd')) - 1\nresource.setrlimit(resource.RLIMIT_NOFILE, (used + {}, 9999))\n"
    )
    for spare in range(10):
        told = child(tmp_path, "", limit.format(spare) + "begin(10)\nfile.discard()")
        assert told["names"] == []
        if told["error"] == "NoneType":
            break
        assert told["error"] == "LocalError"
        assert "raise the limit of open files (ulimit -n)" in told["said"]
    assert spare == 4  # the directory, the journal, the file, and the journal once more
