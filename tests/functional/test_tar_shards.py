"""Objects as members of tar shards, read back by tarfile and by tar."""

from __future__ import annotations

import io
import os
import random
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.engine.localtar import BLOCK, filler, header
from airflow_s3stream.engine.tarshards import TarShards
from airflow_s3stream.exceptions import ConfigError, DirectoryBusy, IntegrityError, KeyRefused, LocalError
from airflow_s3stream.plan.objects import ObjectEntry

MARCH = 1709251200.0
NAMES = [
    "a", "d/b", "x" * 100, "x" * 101, "/".join(["y" * 60] * 5), "\u00e9/e\u0301", "\U0001f600", "back\\slash",
    "line\nend", " blank ", "-dash", "tab\t", "*", "z" * 255,
]  # fmt: skip


def shards(root: Path, **how: Any) -> TarShards:
    return TarShards(root, **{"shard_size": 1 << 20, "request_id": "r"} | how)


def entry_of(key: str, etag: str = "e", modified: float = MARCH) -> ObjectEntry:
    return ObjectEntry(key, None, etag, modified)


def members(root: Path) -> dict[str, bytes]:
    """What tarfile reads; a name in two shards is an error."""
    found: dict[str, bytes] = {}
    for path in sorted(root.glob("*.tar")):
        with tarfile.open(path) as archive:
            for member in archive:
                assert member.name not in found
                assert member.isreg()
                file = archive.extractfile(member)
                assert file is not None
                found[member.name] = file.read()
    return found


def unpacked(root: Path, to: Path) -> dict[str, bytes]:
    """What tar reads."""
    to.mkdir()
    for path in sorted(root.glob("*.tar")):
        done = subprocess.run(["tar", "-xf", str(path), "-C", str(to)], capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, "")
    return {str(path.relative_to(to)): path.read_bytes() for path in to.rglob("*") if path.is_file()}


def body_of(key: str) -> bytes:
    return random.Random(key).randbytes(sum(key.encode()) % 1500)


def test_every_name_and_length_comes_back(tmp_path: Path) -> None:
    """Long ones, Unicode, control characters; empty bodies, and bodies around a block's length."""
    room = shards(tmp_path / "root")
    bodies = {name: body_of(name) for name in NAMES}
    bodies |= {f"length/{size}": b"x" * size for size in (0, 1, 511, 512, 513, 1024)}
    for key, body in bodies.items():
        assert room.wanted(entry_of(key), key) == "fetch"
        assert room.write(entry_of(key), key, body) == f"shard-00000.tar:{key}"
    pieces = [b"%d," % number for number in range(3000)]
    bodies["pieces"] = b"".join(pieces)
    room.write(entry_of("pieces"), "pieces", pieces)
    room.close(complete=True)
    assert room.shards == 1
    assert members(tmp_path / "root") == bodies
    assert unpacked(tmp_path / "root", tmp_path / "out") == bodies
    assert sorted(os.listdir(tmp_path / "root")) == [".s3stream", "shard-00000.tar"]
    assert os.listdir(tmp_path / "root/.s3stream") == ["lock"]


@pytest.mark.parametrize("modified", [0, 1, MARCH, 2**33 - 1, 2**33, 2**40])
@pytest.mark.parametrize("size", [0, 1, 8**11 - 1, 8**11, 2**45])
def test_a_header_made_by_hand_is_the_one_tarfile_makes(modified: float, size: int) -> None:
    """Byte for byte, wherever the plain form holds what there is to say."""
    for name in NAMES:
        member = tarfile.TarInfo(name)
        member.size, member.mtime, member.mode = size, int(modified), 0o644
        expected = member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
        assert header(name, size, int(modified)) == expected
        read = tarfile.TarInfo.frombuf(expected[-BLOCK:], "utf-8", "surrogateescape")
        assert (read.uid, read.gid, read.uname, read.gname) == (0, 0, "", "")


def test_the_same_objects_in_the_same_order_are_the_same_bytes(tmp_path: Path) -> None:
    """Whoever wrote them, whenever."""
    for name in ("one", "two"):
        room = shards(tmp_path / name)
        for key in NAMES:
            room.write(entry_of(key), key, body_of(key))
        room.close(complete=True)
        time.sleep(0.01)
    assert (tmp_path / "one/shard-00000.tar").read_bytes() == (tmp_path / "two/shard-00000.tar").read_bytes()


def test_a_shard_is_as_long_as_asked_and_no_longer(tmp_path: Path) -> None:
    """Full to the last byte where members fit, and longer only for a single member that is."""
    room = shards(tmp_path, shard_size=10 * 1024 + 1024)
    for number in range(25):
        room.write(entry_of(str(number)), str(number), b"x" * 512)
    room.write(entry_of("long"), "long", b"x" * 50_000)
    room.write(entry_of("last"), "last", b"x")
    room.close(complete=True)
    sizes = [path.stat().st_size for path in sorted(tmp_path.glob("*.tar"))]
    assert sizes == [11 * 1024, 11 * 1024, 6 * 1024, 512 + 50_176 + 1024, 2048]
    assert room.shards == 5
    assert len(members(tmp_path)) == 27


def test_several_threads_fill_shards_together(tmp_path: Path) -> None:
    """Small members and large ones, of which some are discarded: every member is whole and none is twice."""
    room = shards(tmp_path / "root", shard_size=200_000)

    def put(number: int) -> tuple[str, bytes] | None:
        key, body = f"{number % 7}/{number}", random.Random(number).randbytes(number % 3000)
        if number % 9:
            room.write(entry_of(key), key, body)
            return key, body
        body *= 20
        large = room.open_large(entry_of(key, ""), key, len(body))
        for offset in range(0, len(body), 7000):
            large.pwrite(memoryview(body)[offset : offset + 7000], offset)
        assert b"".join(large.pread(4000, offset) for offset in range(0, len(body) + 4000, 4000)) == body
        if number % 27 == 0:
            large.discard()
            large.discard()
            return None
        shard, _, path = large.commit(entry_of(key)).partition(":")
        assert (shard[:6], path) == ("shard-", key)
        return key, body

    with ThreadPoolExecutor(4) as pool:
        expected = dict(filter(None, pool.map(put, range(2000))))
    room.close(complete=True)
    assert members(tmp_path / "root") == expected
    assert unpacked(tmp_path / "root", tmp_path / "out") == expected
    assert all(
        path.stat().st_size <= 200_000 or len(tarfile.open(path).getmembers()) == 1  # noqa: SIM115 - read at once
        for path in (tmp_path / "root").glob("*.tar")
    )


class TestLargeMembers:
    """Written at their place in the shard."""

    def test_the_last_one_discarded_gives_its_place_back(self, tmp_path: Path) -> None:
        """To the next member, so a shard of one discarded member is an empty archive."""
        room = shards(tmp_path)
        for _ in range(3):
            large = room.open_large(entry_of("big"), "big", 100_000)
            large.pwrite(b"x" * 100_000, 0)
            large.discard()
        room.write(entry_of("a"), "a", b"1")
        room.close(complete=True)
        assert members(tmp_path) == {"a": b"1"}
        assert (tmp_path / "shard-00000.tar").stat().st_size == 2048

    @pytest.mark.parametrize("size", [0, 1, 512, 600_000, 3 * (1 << 20) + 700])
    def test_one_discarded_in_the_middle_becomes_what_readers_pass_over(self, tmp_path: Path, size: int) -> None:
        """Its bytes, which may be wrong ones, are gone from the archive."""
        room = shards(tmp_path / "root", shard_size=1 << 30)
        large = room.open_large(entry_of("big"), "big", size)
        room.write(entry_of("a"), "a", b"1")
        large.pwrite(b"\xee" * size, 0)
        large.discard()
        room.close(complete=True)
        assert members(tmp_path / "root") == unpacked(tmp_path / "root", tmp_path / "out") == {"a": b"1"}
        assert (tmp_path / "root/shard-00000.tar").stat().st_size == 512 + size + -size % 512 + 2048
        assert b"\xee" not in (tmp_path / "root/shard-00000.tar").read_bytes()

    def test_a_shard_appears_when_its_last_member_is_whole(self, tmp_path: Path) -> None:
        """However many shards were finished in between."""
        room = shards(tmp_path, shard_size=5000)
        large = room.open_large(entry_of("big"), "big", 1000)
        for number in range(20):
            room.write(entry_of(str(number)), str(number), b"x" * 512)
        assert not (tmp_path / "shard-00000.tar").exists()
        assert (tmp_path / "shard-00001.tar").exists()
        large.pwrite(b"y" * 1000, 0)
        large.commit()
        assert (tmp_path / "shard-00000.tar").exists()
        room.close(complete=True)
        assert members(tmp_path)["big"] == b"y" * 1000

    def test_its_version_is_the_one_that_came(self, tmp_path: Path) -> None:
        """Where it was not known at the beginning, the next run knows it all the same."""
        room = shards(tmp_path)
        room.open_large(entry_of("big", ""), "big", 0).commit(entry_of("big", "came"))
        room.sync()
        room.close(complete=False, interrupted=True)
        room = shards(tmp_path)
        assert [room.wanted(entry_of("big", etag), "big") for etag in ("came", "other", "")] == [
            "same",
            "fetch",
            "same",
        ]
        room.close(complete=True)

    def test_more_bytes_than_promised_do_not_reach_the_next_member(self, tmp_path: Path) -> None:
        """They are an error."""
        room = shards(tmp_path)
        large = room.open_large(entry_of("big"), "big", 1000)
        room.write(entry_of("a"), "a", b"1")
        with pytest.raises(IntegrityError, match="key 'big' brought more than its 1000 bytes"):
            large.pwrite(b"x" * 501, 500)
        large.discard()
        room.close(complete=True)
        assert members(tmp_path) == {"a": b"1"}


@pytest.mark.parametrize("size", [1, 2, 3, 2047, 2048, 2049, 2050, 4097, 10_000])
def test_fillers_are_of_the_length_that_is_asked(size: int) -> None:
    """In blocks, of which readers take no more than 1 MiB into memory."""
    pieces = list(filler(size * BLOCK))
    assert sum(map(len, pieces)) == size * BLOCK
    assert {len(piece) % BLOCK for piece in pieces} == {0}
    assert max(map(len, pieces)) <= 1 << 20


# Fills shards from two threads; tells each key it was asked to fetch, for which it needs a byte of its input.
RUN = """
import os, sys, threading
from pathlib import Path
from airflow_s3stream.engine.tarshards import TarShards
from airflow_s3stream.plan.objects import ObjectEntry

room = TarShards(Path(sys.argv[1]), shard_size=100_000, request_id="r")
os.write(1, b"begun\\n")

def work(first):
    for number in range(first, 1200, 2):
        key = f"{number % 3}/{number}"
        entry = ObjectEntry(key, None, f"etag-{number}", 1709251200.0)
        if room.wanted(entry, key) == "same":
            continue
        os.read(0, 1)
        os.write(1, f"{key}\\n".encode())
        body = f"{number},".encode() * 200
        if number % 50:
            room.write(entry, key, body)
        else:
            large = room.open_large(entry, key, len(body))
            large.pwrite(body[:100], 0)
            large.pwrite(body[100:], 100)
            large.commit()

threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
room.close(complete=True)
"""


def test_a_run_killed_at_any_moment_is_gone_on_with(tmp_path: Path) -> None:
    """Finished shards stay as they are and their members are not wanted again; the unfinished one is made again."""
    chance = random.Random(7)
    kills, done = 0, set[str]()
    kept: dict[str, bytes] = {}
    while True:
        child = subprocess.Popen(
            [sys.executable, "-c", RUN, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        assert child.stdin is not None
        assert child.stdout is not None
        output = io.BufferedReader(child.stdout)
        assert output.readline() == b"begun\n"
        # How far it may run: a child that is killed late, by a busy machine, must not have come to its end.
        count = chance.randrange(50, 280)
        child.stdin.write(b"." * (count + 20))
        lines = [output.readline() for _ in range(count)]
        time.sleep(chance.uniform(0, 0.0005))
        child.kill()
        lines += output.readlines()
        child.stdin.close()
        output.close()
        child.wait()
        wanted = {line.decode().strip() for line in lines if line.endswith(b"\n")}
        assert wanted.isdisjoint(done)
        found = {path.name: path.read_bytes() for path in tmp_path.glob("*.tar")}
        assert kept.items() <= found.items()
        content = members(tmp_path)
        assert all(body == f"{key.rpartition('/')[2]},".encode() * 200 for key, body in content.items())
        if child.returncode == 0:
            break
        assert child.returncode == -signal.SIGKILL
        kills, done, kept = kills + 1, set(content), found
    assert kills > 3  # no run comes further than 300 keys
    assert len(content) == 1200
    assert sorted(os.listdir(tmp_path)) == [".s3stream", *(f"shard-{number:05d}.tar" for number in range(len(found)))]
    assert os.listdir(tmp_path / ".s3stream") == ["lock"]


class TestUnfinishedRuns:
    """What counts as done, and what does not."""

    def unfinished(self, root: Path, **how: Any) -> None:
        room = shards(root, shard_size=4000, **how)
        for key in ("a", "b", "c"):
            room.write(entry_of(key), key, b"x" * 1024)
        room.close(complete=False, interrupted=True)

    def test_of_a_finished_shard_the_versions_count(self, tmp_path: Path) -> None:
        """A changed object is wanted again; a key of which nothing else is known is done."""
        self.unfinished(tmp_path)
        assert sorted(members(tmp_path)) == ["a", "b"]  # c was in the unfinished shard
        room = shards(tmp_path, shard_size=4000)
        assert room.shards == 2
        answers = [room.wanted(entry_of(*what), what[0]) for what in (("a", "e"), ("b", ""), ("a", "other"), ("c", ""))]
        assert answers == ["same", "same", "fetch", "fetch"]
        room.write(entry_of("c"), "c", b"2")
        room.close(complete=True)
        assert sorted(members(tmp_path)) == ["a", "b", "c"]

    def test_after_failures_bare_keys_are_fetched_again_into_new_shards(self, tmp_path: Path) -> None:
        """So that no member is there twice."""
        room = shards(tmp_path, shard_size=1)
        for key in ("a", "b"):
            room.write(entry_of(key), key, b"old")
        room.close(complete=False)
        time.sleep(0.05)
        room = shards(tmp_path)
        assert [room.wanted(entry_of(key, ""), key) for key in ("a", "b")] == ["fetch", "fetch"]
        room.write(entry_of("a"), "a", b"new")
        room.close(complete=True)
        assert members(tmp_path) == {"a": b"new"}

    def test_another_request_keeps_nothing(self, tmp_path: Path) -> None:
        """Its own shards replace them."""
        self.unfinished(tmp_path)
        room = shards(tmp_path, request_id="other")
        assert (room.shards, room.wanted(entry_of("a"), "a")) == (0, "fetch")
        room.write(entry_of("z"), "z", b"1")
        room.close(complete=True)
        assert members(tmp_path) == {"z": b"1"}

    def test_a_shard_that_was_replaced_is_not_the_one_that_was_noted(self, tmp_path: Path) -> None:
        """By a copy, by nothing, or by one of a shorter length."""
        for change in (shutil.copy, lambda path, _: path.unlink(), lambda path, _: path.write_bytes(b"x")):
            self.unfinished(tmp_path)
            path = tmp_path / "shard-00000.tar"
            change(path, tmp_path / "copy")
            if (tmp_path / "copy").exists():
                (tmp_path / "copy").rename(path)
            room = shards(tmp_path)
            assert [room.wanted(entry_of(key), key) for key in "ab"] == ["fetch", "same"]
            room.close(complete=True)
            assert os.listdir(tmp_path / ".s3stream") == ["lock"]

    def test_after_a_reboot_nothing_is_trusted_that_was_not_synced(self, tmp_path: Path) -> None:
        """It may have been in memory only."""
        self.unfinished(tmp_path, boot_id=lambda: "first")
        time.sleep(0.05)  # no reboot is faster than the file system's clock ticks
        room = shards(tmp_path, boot_id=lambda: "second")
        assert (room.shards, room.wanted(entry_of("a"), "a")) == (0, "fetch")
        room.close(complete=True)

    def test_a_run_that_fails_after_its_end_keeps_all_shards(self, tmp_path: Path) -> None:
        """As one does in which some objects failed: sync() has ended the last shard."""
        room = shards(tmp_path)
        room.write(entry_of("a"), "a", b"1")
        room.sync()
        room.close(complete=False)
        room = shards(tmp_path)
        assert (room.shards, room.wanted(entry_of("a"), "a")) == (1, "same")
        room.write(entry_of("b"), "b", b"2")
        room.close(complete=True)
        assert members(tmp_path) == {"a": b"1", "b": b"2"}
        assert room.shards == 2


class TestShardsThatAreThere:
    """Of an earlier run that succeeded."""

    def earlier(self, root: Path, count: int) -> None:
        room = shards(root, shard_size=1)
        for number in range(count):
            room.write(entry_of(str(number)), str(number), b"old")
        room.close(complete=True)

    def test_overwrite_replaces_them_all(self, tmp_path: Path) -> None:
        """So no reader takes two runs for one; surplus ones go when the run succeeds, and not before."""
        self.earlier(tmp_path, 4)
        (tmp_path / "shard-other.tar").touch()
        room = shards(tmp_path)
        room.write(entry_of("a"), "a", b"new")
        room.close(complete=False)
        assert len(list(tmp_path.glob("shard-0*.tar"))) == 4
        room = shards(tmp_path)
        room.write(entry_of("a"), "a", b"new")
        room.close(complete=True)
        assert sorted(os.listdir(tmp_path)) == [".s3stream", "shard-00000.tar", "shard-other.tar"]

    def test_fail_refuses_the_directory_before_anything_is_fetched(self, tmp_path: Path) -> None:
        """But not the shards of the unfinished run that it goes on with."""
        self.earlier(tmp_path, 1)
        with pytest.raises(LocalError, match=r'holds shard-00000\.tar already and if_exists="fail"'):
            shards(tmp_path, if_exists="fail")
        other = tmp_path / "other"
        for complete in (False, True):
            room = shards(other, if_exists="fail")
            room.write(entry_of("a" if complete else "b"), "a" if complete else "b", b"1")
            room.sync()
            room.close(complete=complete)
        assert sorted(members(other)) == ["a", "b"]

    def test_a_link_in_the_place_of_a_shard_is_replaced(self, tmp_path: Path) -> None:
        """What it leads to is not touched."""
        (tmp_path / "outside").write_bytes(b"kept")
        root = tmp_path / "root"
        root.mkdir()
        (root / "shard-00000.tar").symlink_to(tmp_path / "outside")
        room = shards(root)
        room.write(entry_of("a"), "a", b"1")
        room.close(complete=True)
        assert (tmp_path / "outside").read_bytes() == b"kept"
        assert members(root) == {"a": b"1"}

    def test_a_directory_in_the_place_of_a_shard_ends_the_run(self, tmp_path: Path) -> None:
        """And leaves no litter."""
        (tmp_path / "shard-00000.tar").mkdir()
        room = shards(tmp_path)
        room.write(entry_of("a"), "a", b"1")
        with pytest.raises(LocalError, match=r"cannot write shard-00000\.tar"):
            room.close(complete=True)
        assert sorted(os.listdir(tmp_path)) == [".s3stream", "shard-00000.tar"]


def test_flatten_names_the_second_key_of_one_name(tmp_path: Path) -> None:
    """Before it is fetched."""
    room = shards(tmp_path, layout="flatten")
    assert room.wanted(entry_of("x/a"), "a") == "fetch"
    with pytest.raises(KeyRefused, match="another key"):
        room.wanted(entry_of("y/a"), "a")
    room.close(complete=True)


@pytest.mark.parametrize(
    ("how", "said"), [({"if_exists": "skip_same"}, "if_exists"), ({"shard_size": 0}, "shard_size=0")]
)
def test_settings_that_make_no_sense_with_shards_are_refused(tmp_path: Path, how: Any, said: str) -> None:
    """Before anything is made."""
    with pytest.raises(ConfigError, match=said):
        shards(tmp_path / "root", **how)
    assert not (tmp_path / "root").exists()


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    """Not even one of shards with one of files."""
    room = shards(tmp_path)
    with pytest.raises(DirectoryBusy):
        shards(tmp_path)
    room.close(complete=True)


def test_everything_has_its_name_before_the_sync(tmp_path: Path) -> None:
    """And the record goes after it."""
    seen = []

    def sync(_: int) -> None:
        seen.append((sorted(path.name for path in tmp_path.iterdir()), (tmp_path / ".s3stream/run.json").exists()))

    room = shards(tmp_path, sync=sync)
    room.write(entry_of("a"), "a", b"1")
    room.close(complete=True)
    assert seen == [([".s3stream", "shard-00000.tar"], True)]
    assert threading.active_count() == 1
