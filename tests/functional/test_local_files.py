"""Objects as files: whole or absent, where they belong, and nowhere else."""

from __future__ import annotations

import os
import random
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.engine.localfiles import LocalDirectory
from airflow_s3stream.engine.localmatch import fingerprint
from airflow_s3stream.engine.localnames import PackedHashes
from airflow_s3stream.engine.localprobe import Traits, probe
from airflow_s3stream.exceptions import DirectoryBusy, KeyRefused, LocalDenied, S3StreamError
from airflow_s3stream.plan.objects import ObjectEntry
from airflow_s3stream.plan.paths import path_of

MARCH = 1709251200.0


def entry_of(key: str, body: bytes = b"", modified: float = MARCH) -> ObjectEntry:
    return ObjectEntry(key, len(body), md5(body).hexdigest(), modified)


def directory(root: Path, **how: Any) -> LocalDirectory:
    return LocalDirectory(root, request_id=how.pop("request_id", "r"), **how)


def put(files: LocalDirectory, key: str, body: bytes, modified: float = MARCH) -> str:
    """One object, as the engine handles it."""
    entry = entry_of(key, body, modified)
    path = path_of(key, "", "paths")
    answer = files.wanted(entry, path)
    if answer == "fetch":
        files.write(entry, path, body)
    return answer


def tree(root: Path) -> dict[str, bytes]:
    """Every file below the root but the state."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and ".s3stream" not in path.relative_to(root).parts
    }


def test_objects_become_files_with_their_bytes_and_times(tmp_path: Path) -> None:
    """Made with the directories they need; the state of a finished run is its lock file and nothing else."""
    files = directory(tmp_path / "new" / "root")
    bodies = {"a": b"1", "b/c/d": b"22", "b/e": b"", "b\\x/\n": b"3", "\u00e9/e\u0301": b"4"}
    for key, body in bodies.items():
        assert put(files, key, body) == "fetch"
    files.close(complete=True)
    root = tmp_path / "new" / "root"
    assert tree(root) == bodies
    assert os.listdir(root / ".s3stream") == ["lock"]
    for key, body in bodies.items():
        assert divmod((root / key).stat().st_mtime_ns, 10**9) == (MARCH, fingerprint(md5(body).hexdigest()))


def test_a_body_in_pieces_is_one_file(tmp_path: Path) -> None:
    """However many there are."""
    files = directory(tmp_path)
    pieces = [b"%d," % number for number in range(3000)]
    files.write(ObjectEntry("a"), "a", pieces)
    files.write(ObjectEntry("b"), "b", bytearray(b"x"))
    files.close(complete=True)
    assert tree(tmp_path) == {"a": b"".join(pieces), "b": b"x"}


def test_files_follow_the_umask_and_nothing_of_the_object(tmp_path: Path) -> None:
    """As any program's new files do."""
    before = os.umask(0o027)
    try:
        files = directory(tmp_path)
        put(files, "d/a", b"x")
        files.close(complete=True)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "d/a").stat().st_mode) == 0o640
    assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750


def test_several_threads_write_thousands_of_files(tmp_path: Path) -> None:
    """Into more directories than any thread keeps open."""
    files = directory(tmp_path, open_directories=3)
    bodies = {f"{number % 7}/{number % 5}/{number}": b"%d" % number for number in range(2000)}
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda item: put(files, *item), bodies.items())) == {"fetch"}
    files.close(complete=True)
    assert tree(tmp_path) == bodies
    assert [name for name in os.listdir("/proc/self/fd") if _leads_to(name, tmp_path)] == []


def _leads_to(fd: str, root: Path) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").startswith(str(root))
    except OSError:
        return False


def test_a_key_with_hundreds_of_segments_has_its_place(tmp_path: Path) -> None:
    """Deeper than a path may be long for other calls, and than descriptors are kept."""
    key = "/".join("a" * 512)
    files = directory(tmp_path, open_directories=2)
    assert put(files, key, b"x") == "fetch"
    files.close(complete=True)
    assert tree(tmp_path) == {key: b"x"}


class TestLargeFiles:
    """Written in pieces, at offsets."""

    def test_it_appears_whole_when_it_is_committed(self, tmp_path: Path) -> None:
        """Until then the old file is there; the ETag of the version that came is in the mtime."""
        (tmp_path / "d").mkdir()
        (tmp_path / "d/a").write_bytes(b"old")
        files = directory(tmp_path)
        body = random.Random(1).randbytes(100_000)
        large = files.open_large(ObjectEntry("d/a", len(body), "", MARCH), "d/a", len(body))
        for offset in (60_000, 0, 30_000, 90_000):
            large.pwrite(memoryview(body)[offset : offset + 30_000], offset)
        assert large.pread(20, 59_990) == body[59_990:60_010]
        assert large.pread(20, len(body)) == b""
        assert (tmp_path / "d/a").read_bytes() == b"old"
        assert large.commit(ObjectEntry("d/a", len(body), "etag", MARCH)) == "d/a"
        files.close(complete=True)
        assert tree(tmp_path) == {"d/a": body}
        assert (tmp_path / "d/a").stat().st_mtime_ns == int(MARCH) * 10**9 + fingerprint("etag")

    def test_it_leaves_the_old_file_when_it_is_discarded(self, tmp_path: Path) -> None:
        """And nothing of its own; discarding twice is the same as once."""
        (tmp_path / "a").write_bytes(b"old")
        files = directory(tmp_path)
        large = files.open_large(entry_of("a"), "a", 10)
        large.pwrite(b"new", 0)
        large.discard()
        large.discard()
        files.close(complete=True)
        assert tree(tmp_path) == {"a": b"old"}

    def test_a_clash_at_the_end_leaves_nothing(self, tmp_path: Path) -> None:
        """A directory came where the file was to be."""
        files = directory(tmp_path)
        large = files.open_large(entry_of("a"), "a", 3)
        (tmp_path / "a").mkdir()
        with pytest.raises(KeyRefused, match="'a' is a directory"):
            large.commit()
        files.close(complete=True)
        assert sorted(os.listdir(tmp_path)) == [".s3stream", "a"]


class TestClashes:
    """Two keys that cannot both be files: one is named, none is lost without a word."""

    @pytest.mark.parametrize("order", [("a", "a/b"), ("a/b", "a"), ("x/a", "x/a/b/c"), ("x/a/b/c", "x/a/b")])
    @pytest.mark.parametrize("if_exists", ["overwrite", "skip_same", "fail"])
    def test_a_file_beside_a_directory_of_its_name(
        self, tmp_path: Path, order: tuple[str, str], if_exists: Any
    ) -> None:
        """Whichever comes first stays, and no litter does."""
        files = directory(tmp_path, if_exists=if_exists)
        first, second = order
        put(files, first, b"1")
        with pytest.raises(KeyRefused, match=f"key '{second}'"):
            put(files, second, b"2")
        files.close(complete=True)
        assert tree(tmp_path) == {first: b"1"}

    def test_flatten_names_the_second_key_of_one_name(self, tmp_path: Path) -> None:
        """Before it is fetched."""
        files = directory(tmp_path, layout="flatten")
        assert files.wanted(entry_of("x/a"), "a") == "fetch"
        with pytest.raises(KeyRefused, match=r"key 'y/a' cannot become the file 'a': another key"):
            files.wanted(entry_of("y/a"), "a")
        files.close(complete=True)

    @pytest.mark.parametrize("large", [False, True])
    def test_on_a_folding_disk_the_second_spelling_is_named(self, tmp_path: Path, large: bool) -> None:
        """A hard link plays the disk that takes two names for one file: both lead to one inode."""
        files = directory(tmp_path, probe=lambda _: Traits(folds=True, mtime_step_ns=1))
        (tmp_path / "A").write_bytes(b"of an earlier run")
        put(files, "A", b"1")
        os.link(tmp_path / "A", tmp_path / "a")
        with pytest.raises(KeyRefused, match="key 'a' cannot become the file 'a': the file system takes it for"):
            if large:
                files.open_large(entry_of("a"), "a", 3).commit()
            else:
                files.write(entry_of("a"), "a", b"2")
        files.close(complete=True)
        assert tree(tmp_path) == {"A": b"1", "a": b"1"}

    def test_on_a_folding_disk_a_file_is_the_same_for_one_key_only(self, tmp_path: Path) -> None:
        """Two objects of equal content and time, of which one would be missing."""
        folding = Traits(folds=True, mtime_step_ns=1)
        first = directory(tmp_path)
        put(first, "A", b"1")
        first.close(complete=True)
        os.link(tmp_path / "A", tmp_path / "a")
        files = directory(tmp_path, if_exists="skip_same", probe=lambda _: folding)
        assert put(files, "A", b"1") == "same"
        with pytest.raises(KeyRefused, match="another key"):
            put(files, "a", b"1")
        files.close(complete=True)

    def test_the_disk_is_asked_whether_it_folds(self, tmp_path: Path) -> None:
        """This one does not, and keeps nanoseconds, as Linux disks do; nothing of the question stays."""
        fd = os.open(tmp_path, os.O_RDONLY)
        try:
            assert probe(fd) == Traits(folds=False, mtime_step_ns=1)
        finally:
            os.close(fd)
        assert os.listdir(tmp_path) == []

    def test_a_name_the_disk_refuses_is_a_refused_key(self, tmp_path: Path) -> None:
        """Some file systems take less than path_of allows; here one is asked for more than any takes."""
        files = directory(tmp_path)
        for path in ("x" * 256, "x" * 256 + "/a"):
            with pytest.raises(KeyRefused, match="the file system refuses the name"):
                files.write(entry_of("key"), path, b"1")
        files.close(complete=True)
        assert os.listdir(tmp_path) == [".s3stream"]


class TestIfExists:
    """What becomes of files that are there already."""

    def test_overwrite_replaces_without_looking(self, tmp_path: Path) -> None:
        """Hard links to the old file keep the old bytes: it was replaced, not written over."""
        (tmp_path / "a").write_bytes(b"old")
        os.link(tmp_path / "a", tmp_path / "kept")
        files = directory(tmp_path)
        assert put(files, "a", b"new") == "fetch"
        files.close(complete=True)
        assert tree(tmp_path) == {"a": b"new", "kept": b"old"}

    def test_fail_refuses_and_leaves_the_file(self, tmp_path: Path) -> None:
        """Also one that came after the look, and a link that leads nowhere."""
        (tmp_path / "a").write_bytes(b"old")
        (tmp_path / "link").symlink_to("nowhere")
        files = directory(tmp_path, if_exists="fail")
        assert put(files, "b", b"1") == "fetch"
        for key in ("a", "link"):
            with pytest.raises(KeyRefused, match='exists and if_exists="fail"'):
                put(files, key, b"new")
        assert files.wanted(entry_of("late"), "late") == "fetch"
        (tmp_path / "late").write_bytes(b"of another")
        with pytest.raises(KeyRefused):
            files.write(entry_of("late"), "late", b"new")
        files.close(complete=True)
        assert tree(tmp_path) == {"a": b"old", "b": b"1", "late": b"of another"}

    def test_skip_same_leaves_what_an_earlier_run_wrote(self, tmp_path: Path) -> None:
        """And fetches what has another size, time or ETag, or no known size."""
        body = b"12345"
        for _ in range(2):
            files = directory(tmp_path, if_exists="skip_same")
            put(files, "a", body)
            files.close(complete=True)
        files = directory(tmp_path, if_exists="skip_same")
        same = entry_of("a", body)
        assert files.wanted(same, "a") == "same"
        assert files.wanted(same._replace(etag=""), "a") == "same"
        for other in (
            same._replace(size=4),
            same._replace(size=None),
            same._replace(etag="0" * 32),
            same._replace(etag="0" * 32 + "-2"),
            same._replace(etag="0" * 32 + "-2", modified=MARCH + 1),
            same._replace(etag="", modified=0.0),
        ):
            assert files.wanted(other, "a") == "fetch"
        files.close(complete=True)

    def test_skip_same_compares_the_content_where_the_etag_is_an_md5(self, tmp_path: Path) -> None:
        """Of files that others wrote; then they have the time, so the next look is a short one."""
        (tmp_path / "a").write_bytes(b"12345")
        (tmp_path / "b").write_bytes(b"54321")
        files = directory(tmp_path, if_exists="skip_same")
        assert put(files, "a", b"12345") == "same"
        assert put(files, "b", b"12345") == "fetch"
        files.close(complete=True)
        assert {(tmp_path / name).stat().st_mtime_ns for name in "ab"} == {
            int(MARCH) * 10**9 + fingerprint(md5(b"12345").hexdigest())
        }

    def test_a_disk_without_nanoseconds_is_not_trusted_with_an_md5(self, tmp_path: Path) -> None:
        """There the fingerprint is lost, so the content is compared where it can be."""
        coarse = Traits(folds=False, mtime_step_ns=10**9)
        (tmp_path / "a").write_bytes(b"54321")
        os.utime(tmp_path / "a", (MARCH, MARCH))
        files = directory(tmp_path, if_exists="skip_same", probe=lambda _: coarse)
        assert files.wanted(entry_of("a", b"12345"), "a") == "fetch"
        assert files.wanted(entry_of("a", b"54321"), "a") == "same"
        os.utime(tmp_path / "a", (MARCH, MARCH))
        assert files.wanted(entry_of("a", b"12345")._replace(etag="x-2"), "a") == "same"
        files.close(complete=True)


class TestLinks:
    """No symbolic link is followed, whoever planted it."""

    @pytest.mark.parametrize("if_exists", ["overwrite", "skip_same"])
    def test_a_link_under_the_final_name_is_replaced(self, tmp_path: Path, if_exists: Any) -> None:
        """What it led to stays as it was."""
        outside = tmp_path / "outside"
        outside.write_bytes(b"12345")
        root = tmp_path / "root"
        root.mkdir()
        (root / "a").symlink_to(outside)
        files = directory(root, if_exists=if_exists)
        assert put(files, "a", b"12345") == "fetch"
        files.close(complete=True)
        assert not (root / "a").is_symlink()
        assert outside.stat().st_mtime > MARCH

    @pytest.mark.parametrize("if_exists", ["overwrite", "skip_same", "fail"])
    @pytest.mark.parametrize("large", [False, True])
    def test_a_link_above_the_file_is_refused(self, tmp_path: Path, if_exists: Any, large: bool) -> None:
        """With its name."""
        outside, root = tmp_path / "outside", tmp_path / "root"
        outside.mkdir()
        (root / "x").mkdir(parents=True)
        (root / "x" / "link").symlink_to(outside)
        files = directory(root, if_exists=if_exists)
        key = "x/link/sub/a"
        with pytest.raises(KeyRefused, match="'x/link' is a file or a symbolic link there"):
            if large:
                files.open_large(entry_of(key), key, 3)
            else:
                put(files, key, b"new")
        files.close(complete=True)
        assert os.listdir(outside) == []

    @pytest.mark.parametrize("kind", ["link", "file"])
    def test_a_state_folder_that_is_none_ends_the_run_at_once(self, tmp_path: Path, kind: str) -> None:
        """So no lock and no record is written elsewhere."""
        outside, root = tmp_path / "outside", tmp_path / "root"
        outside.mkdir()
        root.mkdir()
        if kind == "link":
            (root / ".s3stream").symlink_to(outside)
        else:
            (root / ".s3stream").write_text("")
        with pytest.raises(LocalDenied, match=r"\.s3stream is not a directory but a file or a symbolic link"):
            directory(root)
        assert os.listdir(outside) == []

    @pytest.mark.parametrize("name", ["lock", "run.json", "run.json.tmp"])
    def test_a_link_within_the_state_folder_is_not_followed(self, tmp_path: Path, name: str) -> None:
        """An error or a replacement, but never a write through it."""
        outside, root = tmp_path / "outside", tmp_path / "root"
        outside.write_text("kept")
        (root / ".s3stream").mkdir(parents=True)
        (root / ".s3stream" / name).symlink_to(outside)
        with suppress(S3StreamError):
            directory(root).close(complete=True)
        assert outside.read_text() == "kept"

    def test_a_root_that_is_a_link_is_the_users_own_choice(self, tmp_path: Path) -> None:
        """It is followed, once, when the run begins."""
        (tmp_path / "real").mkdir()
        (tmp_path / "root").symlink_to("real")
        files = directory(tmp_path / "root")
        put(files, "a", b"1")
        files.close(complete=True)
        assert tree(tmp_path / "real") == {"a": b"1"}

    def test_nothing_gets_out_while_others_race_directories_into_links(self, tmp_path: Path) -> None:
        """While the same race leads files out that are opened by their whole path, so it is one."""
        naive = Race(tmp_path / "naive")
        with naive:
            deadline = time.monotonic() + 30
            while not naive.escaped() and time.monotonic() < deadline:
                for number in range(100):
                    with suppress(OSError):
                        naive.root.joinpath(f"d/{number}").write_bytes(b"x")
        assert naive.escaped(), "the race is too slow to prove anything"

        ours = Race(tmp_path / "ours")
        files = directory(ours.root, open_directories=2)
        written = []
        with ours:
            for number in range(3000):
                key = f"d/{number % 5}/{number}"  # five directories in a cache of two: each is opened again and again
                with suppress(KeyRefused):
                    written.append(files.write(entry_of(key), key, b"x"))
        files.close(complete=True)
        assert ours.escaped() == []
        assert ours.swaps > 10
        assert 0 < len(written) <= 3000
        inside = {Path(path).name for path in tree(ours.root)}
        assert {Path(path).name for path in written} <= inside
        assert list(ours.root.rglob("*.tmp")) == []


class Race:
    """Turns a directory into a link that leads out of the root, and back, as fast as it can."""

    def __init__(self, folder: Path) -> None:
        self.root, self._outside = folder / "root", folder / "outside"
        for path in (self.root, self._outside, *(self._outside / str(number) for number in range(5))):
            path.mkdir(parents=True)
        self.swaps = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._swap)

    def __enter__(self) -> Race:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def escaped(self) -> list[Path]:
        return [path for path in self._outside.rglob("*") if path.is_file()]

    def _swap(self) -> None:
        link = self.root / "d"
        while not self._over.is_set():
            with suppress(OSError):
                link.rename(self.root / f"moved-{self.swaps}")
            with suppress(OSError):
                link.symlink_to(self._outside)
                self.swaps += 1
            time.sleep(0.0005)
            with suppress(OSError):
                link.unlink()
            time.sleep(0.0005)


class TestTwoRuns:
    """One directory, one run at a time."""

    def test_the_second_run_is_told_who_is_there(self, tmp_path: Path) -> None:
        """A later try may succeed, and does once the first has ended, however it did."""
        first = directory(tmp_path)
        with pytest.raises(DirectoryBusy, match=f"process {os.getpid()}") as caught:
            directory(tmp_path, request_id="other")
        assert caught.value.retryable
        put(first, "a", b"1")
        first.close(complete=False)
        directory(tmp_path).close(complete=True)
        assert tree(tmp_path) == {"a": b"1"}

    def test_runs_below_one_another_leave_each_other_alone(self, tmp_path: Path) -> None:
        """Not even the sweep after a failed run touches what another run has under way deeper in the tree."""
        directory(tmp_path).close(complete=False)
        (tmp_path / ".s3stream/run.json").write_text("")  # so it is not known whose temporary files are to go
        inner = directory(tmp_path / "sub")
        large = inner.open_large(entry_of("a"), "a", 1)
        large.pwrite(b"x", 0)
        directory(tmp_path).close(complete=True)
        large.commit()
        inner.close(complete=True)
        assert tree(tmp_path / "sub") == {"a": b"x"}

    def test_a_directory_deleted_under_way_is_made_again(self, tmp_path: Path) -> None:
        """It was open here, and the open one is of no use any more."""
        files = directory(tmp_path)
        put(files, "d/a", b"1")
        (tmp_path / "d/a").unlink()
        (tmp_path / "d").rmdir()
        put(files, "d/b", b"2")
        files.close(complete=True)
        assert tree(tmp_path) == {"d/b": b"2"}


@pytest.mark.parametrize("number", [10_000])
def test_packed_hashes_are_a_set_in_a_dozen_bytes_each(number: int) -> None:
    """Of any 64-bit numbers, negative ones as hash() gives them too."""
    chance = random.Random(3)
    hashes = [chance.getrandbits(64) - 2**63 for _ in range(number)]
    packed = PackedHashes()
    assert all(packed.add(hashed) for hashed in hashes)
    assert not any(packed.add(hashed) for hashed in hashes)
    assert all(hashed in packed for hashed in hashes)
    assert not any(chance.getrandbits(64) - 2**63 in packed for _ in range(number))
    assert len(packed) == number


def test_packed_hashes_do_not_find_one_across_two_neighbours() -> None:
    """The end of one and the beginning of the next are not a third."""
    packed = PackedHashes()
    first, second = 0x1111111111110000, 0x2222222222220000
    packed.add(first)
    packed.add(second)
    both = first.to_bytes(8, "little") + second.to_bytes(8, "little")
    for start in range(1, 8):
        assert int.from_bytes(both[start : start + 8], "little") not in packed
