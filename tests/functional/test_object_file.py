"""One object, one file: pieces that a later run goes on with, and nothing wrong under the file's name."""

from __future__ import annotations

import errno
import json
import os
import random
import stat
from collections.abc import Callable
from contextlib import suppress
from hashlib import md5
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.engine.checksums import continued
from airflow_s3stream.engine.localmatch import fingerprint
from airflow_s3stream.engine.objectfile import ObjectFile, Version, Written
from airflow_s3stream.exceptions import (
    ConfigError,
    FileBusy,
    IntegrityError,
    KeyRefused,
    LocalDenied,
    LocalError,
    Stopped,
)
from airflow_s3stream.plan.digests import Algorithm

MARCH = 1709251200.0
MIB = 1 << 20
BODY = random.Random(4).randbytes(4 * MIB + 5)
QUARTERS = [(0, MIB), (MIB, 2 * MIB), (2 * MIB, 3 * MIB), (3 * MIB, len(BODY))]


def version_of(body: bytes = BODY, etag: str = "", modified: float = MARCH) -> Version:
    return Version("s3://b/k", etag or md5(body).hexdigest(), len(body), modified)


VERSION = version_of()


def put(file: ObjectFile, start: int, stop: int, body: bytes = BODY, algorithm: Algorithm = "crc64nvme") -> Written:
    """One piece, as the engine writes it."""
    file.write([body[at : min(at + 16384, stop)] for at in range(start, stop, 16384)], start)
    piece = Written(start, stop, continued(algorithm, body[start:stop], 0))
    file.note(piece)
    return piece


def interrupted(path: Path, *ranges: tuple[int, int], version: Version = VERSION, **how: Any) -> list[Written]:
    """A run that ends early."""
    file = ObjectFile(path, **how)
    file.begin(version, "crc64nvme")
    pieces = [put(file, *each) for each in ranges]
    file.keep()
    return pieces


def complete(path: Path, version: Version = VERSION, body: bytes = BODY, **how: Any) -> list[tuple[int, int]]:
    """A run that fetches what is missing; gives the ranges it had already."""
    file = ObjectFile(path, **how)
    assert not file.is_same(version)
    have = [piece[:2] for piece in file.begin(version, "crc64nvme")]
    at = 0
    for start, stop in [*have, (len(body), len(body))]:
        if at < start:
            put(file, at, start, body)
        at = stop
    assert file.commit("crc64nvme") == str(path)
    assert path.read_bytes() == body
    return have


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def descriptors(folder: Path) -> list[str]:
    """Open files below a folder."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        with suppress(OSError):
            found.append(os.readlink(f"/proc/self/fd/{fd}"))
    return [path for path in found if path.startswith(str(folder))]


@pytest.fixture(autouse=True)
def _nothing_stays_open(tmp_path: Path) -> Any:
    yield
    assert descriptors(tmp_path) == []


class TestOneRun:
    """From nothing to the file."""

    @pytest.mark.parametrize("body", [BODY, b"x", b""], ids=len)
    def test_the_file_appears_whole_with_its_time(self, tmp_path: Path, body: bytes) -> None:
        """Made with its directories; beside it nothing is left."""
        path = tmp_path / "new" / "folder" / "file"
        version = version_of(body)
        assert complete(path, version, body) == []
        assert names(path.parent) == ["file"]
        assert divmod(path.stat().st_mtime_ns, 10**9) == (MARCH, fingerprint(version.etag))

    def test_an_object_without_a_time_gets_none(self, tmp_path: Path) -> None:
        """The file's is then that of its writing."""
        complete(tmp_path / "file", version_of(modified=0.0))
        assert (tmp_path / "file").stat().st_mtime > MARCH + 1

    def test_pieces_come_in_any_order_and_grow(self, tmp_path: Path) -> None:
        """A note in place of one with the same start."""
        file = ObjectFile(tmp_path / "file")
        assert file.begin(VERSION, "crc64nvme") == []
        for start, stop in [(3 * MIB, len(BODY)), (0, MIB // 2), (0, MIB), (2 * MIB, 3 * MIB), (MIB, 2 * MIB)]:
            put(file, start, stop)
        assert file.read(10, 2 * MIB - 5) == BODY[2 * MIB - 5 : 2 * MIB + 5]
        assert file.read(10, len(BODY) - 5) == BODY[-5:]
        file.commit("crc64nvme")
        assert (tmp_path / "file").read_bytes() == BODY

    def test_thousands_of_small_chunks_are_one_write(self, tmp_path: Path) -> None:
        """More than the kernel takes at once, with empty ones between."""
        chunks = [BODY[at : at + at % 7] for at in range(5000)]
        body = b"".join(chunks)
        file = ObjectFile(tmp_path / "file")
        file.begin(version_of(body), "crc32")
        file.write(chunks, 0)
        file.note(Written(0, len(body), continued("crc32", body, 0)))
        file.commit("size")
        assert (tmp_path / "file").read_bytes() == body

    def test_the_old_file_is_there_until_the_new_one_is(self, tmp_path: Path) -> None:
        """And stays what it was under its other names."""
        path = tmp_path / "file"
        path.write_bytes(b"old")
        os.link(path, tmp_path / "other")
        file = ObjectFile(path)
        file.begin(VERSION, "crc64nvme")
        for each in QUARTERS:
            put(file, *each)
            assert path.read_bytes() == b"old"
        file.commit("crc64nvme")
        assert path.read_bytes() == BODY
        assert (tmp_path / "other").read_bytes() == b"old"

    def test_the_umask_holds(self, tmp_path: Path) -> None:
        """As for any program's new file."""
        before = os.umask(0o027)
        try:
            complete(tmp_path / "d" / "file")
        finally:
            os.umask(before)
        assert stat.S_IMODE((tmp_path / "d/file").stat().st_mode) == 0o640
        assert stat.S_IMODE((tmp_path / "d").stat().st_mode) == 0o750

    def test_disk_space_is_taken_before_the_first_byte(self, tmp_path: Path) -> None:
        """Where the file system does that, and the file has its length at once everywhere."""
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        status = (tmp_path / ".file.s3stream.part").stat()
        file.discard()
        assert status.st_size == len(BODY)
        if not status.st_blocks:
            pytest.skip("the file system does not reserve space, or only by writing")
        assert status.st_blocks * 512 >= len(BODY)

    def test_what_was_discarded_is_gone(self, tmp_path: Path) -> None:
        """The old file is not; a second end is none."""
        (tmp_path / "file").write_bytes(b"old")
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        put(file, *QUARTERS[0])
        file.discard()
        file.discard()
        file.keep()
        assert (names(tmp_path), file.left) == (["file"], "")
        assert (tmp_path / "file").read_bytes() == b"old"

    def test_a_run_that_wrote_nothing_leaves_nothing(self, tmp_path: Path) -> None:
        """Whether it began or not; nor what a run before it left without a single piece."""
        ObjectFile(tmp_path / "file").keep()
        assert names(tmp_path) == []
        (tmp_path / ".file.s3stream.part").touch()
        (tmp_path / ".file.s3stream.journal.new").touch()
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        file.write([b"x"], 0)
        file.keep()
        assert (names(tmp_path), file.left) == ([], "")

    def test_an_object_with_a_hole_never_appears(self, tmp_path: Path) -> None:
        """Whatever the caller believes."""
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        for each in QUARTERS[1:]:
            put(file, *each)
        with pytest.raises(IntegrityError, match=f"only {3 * MIB + 5} of {len(BODY)} bytes of s3://b/k are written"):
            file.commit("crc64nvme")
        with pytest.raises(ValueError, match="does not fit in"):
            file.note(Written(0, MIB + 1, 0))
        file.keep()
        assert names(tmp_path) == [".file.s3stream.journal", ".file.s3stream.part"]

    @pytest.mark.parametrize("tampered", ["removed", "replaced", "longer"])
    def test_a_temporary_file_that_was_tampered_with_never_appears(self, tmp_path: Path, tampered: str) -> None:
        """Someone cleaned up, or put something in its place."""
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        temp = tmp_path / ".file.s3stream.part"
        if tampered == "longer":
            os.truncate(temp, len(BODY) + 1)
        else:
            temp.unlink()
        if tampered == "replaced":
            temp.write_bytes(bytes(len(BODY)))
        with pytest.raises(LocalError, match="was removed or changed while it was written"):
            file.commit("crc64nvme")
        file.discard()
        assert names(tmp_path) == []


class TestLock:
    """One run at a time."""

    def test_a_second_run_is_told_until_the_first_ends(self, tmp_path: Path) -> None:
        """Under whichever name it comes; the first is not disturbed."""
        (tmp_path / "link").symlink_to("file")
        for end in (ObjectFile.keep, ObjectFile.discard, lambda file: file.commit("size")):
            file = ObjectFile(tmp_path / "file")
            file.begin(VERSION, "crc64nvme")
            put(file, 0, len(BODY))
            for name in ("file", "link"):
                with pytest.raises(FileBusy, match=f"another run is writing to .*/{name}; wait for its end") as caught:
                    ObjectFile(tmp_path / name)
                assert caught.value.retryable
            end(file)
        assert names(tmp_path) == ["file", "link"]

    def test_a_child_process_does_not_keep_the_lock(self, tmp_path: Path) -> None:
        """One that was forked meanwhile shares the open journal, and may outlive the run by far."""
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        put(file, *QUARTERS[0])
        (fd,) = (fd for fd in os.listdir("/proc/self/fd") if _leads_to(fd, "journal"))
        shared = os.dup(int(fd))
        file.keep()
        assert complete(tmp_path / "file") == QUARTERS[:1]
        os.close(shared)


def _leads_to(fd: str, end: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}").endswith(end)
    except OSError:
        return False


class TestGoingOn:
    """What an earlier run left."""

    def test_what_is_there_is_not_fetched_again(self, tmp_path: Path) -> None:
        """With the checksums that were noted, and over several runs."""
        path = tmp_path / "file"
        first = interrupted(path, QUARTERS[2])
        file = ObjectFile(path)
        assert file.begin(VERSION, "crc64nvme") == first
        second = put(file, *QUARTERS[0])
        file.keep()
        file = ObjectFile(path)
        assert file.begin(VERSION, "crc64nvme") == [second, *first]
        file.keep()
        assert complete(path) == [QUARTERS[0], QUARTERS[2]]
        assert names(tmp_path) == ["file"]

    def test_what_is_left_is_told(self, tmp_path: Path) -> None:
        """Before, while and after; with what to remove."""
        path = tmp_path / "file"
        interrupted(path, *QUARTERS[:2])
        beside = tmp_path / ".file.s3stream"
        expected = f"2.0 MiB are kept in {beside}.part for the next run; remove it and {beside}.journal to begin anew"
        file = ObjectFile(path)
        assert file.left == expected
        file.begin(VERSION, "crc64nvme")
        assert file.left == expected
        file.keep()
        assert file.left == expected
        os.unlink(f"{beside}.part")
        file = ObjectFile(path)
        assert file.left == ""
        file.keep()
        assert names(tmp_path) == []

    def test_a_run_that_does_not_begin_keeps_what_is_there(self, tmp_path: Path) -> None:
        """It may have failed to ask for the object."""
        interrupted(tmp_path / "file", QUARTERS[1])
        ObjectFile(tmp_path / "file").keep()
        ObjectFile(tmp_path / "file", resume=False).keep()
        assert complete(tmp_path / "file") == [QUARTERS[1]]

    @pytest.mark.parametrize(
        "version",
        [version_of(etag="other"), version_of(BODY[:-1], "e"), version_of()._replace(uri="s3://b/l")],
        ids=["etag", "size", "key"],
    )
    def test_another_version_starts_afresh(self, tmp_path: Path, version: Version) -> None:
        """Nothing of the old one is in the file."""
        interrupted(tmp_path / "file", QUARTERS[1], version=version_of(BODY, "e"))
        body = random.Random(5).randbytes(version.size)
        assert complete(tmp_path / "file", version, body) == []
        assert names(tmp_path) == ["file"]

    def test_without_an_etag_every_run_starts_afresh(self, tmp_path: Path) -> None:
        """And leaves nothing that no run could use."""
        unknown = VERSION._replace(etag="")
        file = ObjectFile(tmp_path / "file")
        file.begin(unknown, "crc64nvme")
        put(file, *QUARTERS[0])
        assert file.left == ""
        file.keep()
        assert names(tmp_path) == []

    def test_another_algorithm_starts_afresh(self, tmp_path: Path) -> None:
        """Checksums of two kinds cannot be joined."""
        interrupted(tmp_path / "file", QUARTERS[1])
        file = ObjectFile(tmp_path / "file")
        assert file.begin(VERSION, "crc32c") == []
        put(file, *QUARTERS[1], algorithm="crc32c")
        file.keep()
        file = ObjectFile(tmp_path / "file")
        assert [piece[:2] for piece in file.begin(VERSION, "crc32c")] == [QUARTERS[1]]
        file.discard()

    def test_told_not_to_go_on_it_starts_afresh(self, tmp_path: Path) -> None:
        """The old pieces are gone, in the file as in the journal."""
        interrupted(tmp_path / "file", QUARTERS[1])
        file = ObjectFile(tmp_path / "file", resume=False)
        assert file.begin(VERSION, "crc64nvme") == []
        assert file.read(5, MIB) == bytes(5)
        file.keep()
        assert names(tmp_path) == []

    @pytest.mark.parametrize("tampered", ["shorter", "longer", "missing", "linked"])
    def test_a_file_that_is_not_what_was_left_is_not_gone_on_with(self, tmp_path: Path, tampered: str) -> None:
        """Nor written to where it may be somebody's."""
        interrupted(tmp_path / "file", QUARTERS[1])
        temp = tmp_path / ".file.s3stream.part"
        if tampered == "missing":
            temp.unlink()
        elif tampered == "linked":
            os.link(temp, tmp_path / "somebody's")
        else:
            os.truncate(temp, len(BODY) + (1 if tampered == "longer" else -1))
        assert complete(tmp_path / "file") == []
        if tampered == "linked":
            assert (tmp_path / "somebody's").read_bytes()[:MIB] == bytes(MIB)

    def test_cut_at_any_byte_the_journal_gives_what_was_whole(self, tmp_path: Path) -> None:
        """And takes new pieces behind that."""
        path, journal = tmp_path / "file", tmp_path / ".file.s3stream.journal"
        version, body = version_of(b"0123456789"), b"0123456789"
        pieces = []
        for cut in range(10_000):
            file = ObjectFile(path, sync=id)
            file.begin(version, "crc64nvme")
            pieces = [put(file, at, at + 2, body) for at in (0, 4, 8)]
            file.keep()
            text = journal.read_bytes()
            if cut > len(text):
                break
            journal.write_bytes(text[:cut])
            whole = text[:cut].count(b"\n")
            file = ObjectFile(path, sync=id)
            assert file.begin(version, "crc64nvme") == pieces[: max(whole - 1, 0)], cut
            put(file, 2, 4, body)
            file.keep()
            file = ObjectFile(path, sync=id)
            assert Written(2, 4, continued("crc64nvme", b"23", 0)) in file.begin(version, "crc64nvme")
            file.discard()
        assert cut > 200

    def test_a_journal_of_many_pieces_stays_short(self, tmp_path: Path) -> None:
        """Pieces that follow each other become one, with the checksum of all; those under way stay."""
        size = 40_000
        body = random.Random(6).randbytes(size)
        file = ObjectFile(tmp_path / "file")
        file.begin(version_of(body), "crc64nvme")
        for at in range(0, size // 2, 2):
            put(file, at, at + 1, body)
            put(file, at, at + 2, body)
            put(file, size // 2 + at, size // 2 + at + 2, body)
        journal = tmp_path / ".file.s3stream.journal"
        assert journal.stat().st_size < 300_000
        os.stat(journal)
        with pytest.raises(FileBusy):  # the lock went over to the short one
            ObjectFile(tmp_path / "file")
        file.keep()
        file = ObjectFile(tmp_path / "file")
        pieces = file.begin(version_of(body), "crc64nvme")
        assert len(pieces) < 10_000
        assert pieces[-1].stop == size
        assert all(piece.checksum == continued("crc64nvme", body[piece.start : piece.stop], 0) for piece in pieces)
        assert sum(stop - start for start, stop, _ in pieces) == size
        file.commit("crc64nvme")
        assert (tmp_path / "file").read_bytes() == body

    def test_pieces_that_must_stay_apart_do(self, tmp_path: Path) -> None:
        """Where the caller needs the checksum of each; but a superseded one needs no line."""
        size = 12_000
        file = ObjectFile(tmp_path / "file")
        file.begin(version_of(bytes(size)), "crc64nvme", joins=False)
        for at in range(size):
            file.note(Written(at, at + 1, 10**19 + at))
        file.keep()
        file = ObjectFile(tmp_path / "file")
        assert len(file.begin(version_of(bytes(size)), "crc64nvme", joins=False)) == size
        file.discard()


class TestReboot:
    """Written is not on disk: the journal may know of more than the file holds."""

    def boot(self, name: str) -> Callable[[], str]:
        return lambda: name

    def test_in_the_same_boot_the_journal_is_believed(self, tmp_path: Path) -> None:
        """What was written is in the kernel's hands, whoever was killed: nothing is read back."""
        interrupted(tmp_path / "file", *QUARTERS[:2], boot_id=self.boot("one"))
        file = ObjectFile(tmp_path / "file", boot_id=self.boot("one"))
        read: list[int] = []
        assert len(file.begin(VERSION, "crc64nvme", told=read.append)) == 2
        assert read == []
        file.discard()

    @pytest.mark.parametrize("boots", [("one", "two"), ("", "")], ids=str)
    def test_after_another_each_piece_is_compared(self, tmp_path: Path, boots: tuple[str, str]) -> None:
        """Also where nothing tells one boot from the next. One byte on disk differs: the piece is dropped."""
        pieces = interrupted(tmp_path / "file", *QUARTERS, boot_id=self.boot(boots[0]))
        with open(tmp_path / ".file.s3stream.part", "r+b", buffering=0) as temp:
            temp.seek(2 * MIB - 1)
            temp.write(bytes([BODY[2 * MIB - 1] ^ 1]))
        file = ObjectFile(tmp_path / "file", boot_id=self.boot(boots[1]))
        read: list[int] = []
        assert file.begin(VERSION, "crc64nvme", told=read.append) == [pieces[0], *pieces[2:]]
        assert read == [MIB, 2 * MIB, 3 * MIB, 4 * MIB, len(BODY)]
        file.keep()
        assert complete(tmp_path / "file", boot_id=self.boot(boots[1])) == [QUARTERS[0], *QUARTERS[2:]]

    def test_a_copy_of_the_file_is_compared_too(self, tmp_path: Path) -> None:
        """Restored from a backup it may be older than its journal."""
        interrupted(tmp_path / "file", *QUARTERS[:2])
        temp = tmp_path / ".file.s3stream.part"
        copy = bytearray(temp.read_bytes())
        copy[5] ^= 1
        (tmp_path / "copy").write_bytes(copy)
        (tmp_path / "copy").rename(temp)
        assert complete(tmp_path / "file") == [QUARTERS[1]]

    def test_told_to_stop_while_it_compares_it_keeps_everything(self, tmp_path: Path) -> None:
        """And the next run compares again."""
        interrupted(tmp_path / "file", *QUARTERS[:3], boot_id=self.boot("one"))

        def stop(_: int) -> None:
            raise Stopped("told to stop")

        for _ in range(2):
            file = ObjectFile(tmp_path / "file", boot_id=self.boot("two"))
            with pytest.raises(Stopped):
                file.begin(VERSION, "crc64nvme", told=stop)
            file.keep()
            assert file.left.startswith("3.0 MiB are kept in")
        assert complete(tmp_path / "file", boot_id=self.boot("two")) == QUARTERS[:3]


class TestIfExists:
    """What becomes of a file that is there already."""

    @pytest.mark.parametrize("how", ["time", "content"])
    def test_skip_same_finds_the_version(self, tmp_path: Path, how: str) -> None:
        """By size and time, or by content where the ETag is its MD5; what an older run left is then of no use."""
        path = tmp_path / "file"
        version = version_of(etag="" if how == "content" else "0-1")
        interrupted(path, QUARTERS[0], version=version)
        path.write_bytes(BODY)
        if how == "time":
            mtime = int(MARCH) * 10**9 + fingerprint(version.etag)
            os.utime(path, ns=(mtime, mtime))
        file = ObjectFile(path, if_exists="skip_same")
        assert file.is_same(version)
        assert file.verification == ""
        file.keep()
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("content", [BODY[:-1], bytes(len(BODY))], ids=len)
    def test_skip_same_finds_another(self, tmp_path: Path, content: bytes) -> None:
        """Which is replaced."""
        (tmp_path / "file").write_bytes(content)
        complete(tmp_path / "file", if_exists="skip_same")
        file = ObjectFile(tmp_path / "file", if_exists="skip_same")
        assert file.is_same(VERSION)
        assert not file.is_same(version_of(etag="other"))
        file.discard()
        assert names(tmp_path) == ["file"]

    def test_overwrite_does_not_look(self, tmp_path: Path) -> None:
        """It fetches even what is the same."""
        complete(tmp_path / "file")
        assert complete(tmp_path / "file") == []

    def test_fail_fails_before_the_first_byte(self, tmp_path: Path) -> None:
        """Also where it is the same."""
        complete(tmp_path / "file", if_exists="fail")
        file = ObjectFile(tmp_path / "file", if_exists="fail")
        with pytest.raises(KeyRefused, match='the file exists and if_exists="fail"'):
            file.is_same(VERSION)
        file.keep()
        assert names(tmp_path) == ["file"]

    @pytest.mark.parametrize("comer", ["file", "link", "directory"])
    def test_fail_does_not_replace_what_came_meanwhile(self, tmp_path: Path, comer: str) -> None:
        """Everything was fetched for nothing, and is kept."""
        path = tmp_path / "file"
        file = ObjectFile(path, if_exists="fail")
        assert not file.is_same(VERSION)
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        {
            "file": lambda: path.write_bytes(b"theirs"),
            "link": lambda: path.symlink_to("nowhere"),
            "directory": path.mkdir,
        }[comer]()
        with pytest.raises(KeyRefused, match=r"key 's3://b/k' cannot become the file '.*/file'"):
            file.commit("crc64nvme")
        file.keep()
        assert file.left
        if comer == "file":
            assert path.read_bytes() == b"theirs"
        path.rmdir() if comer == "directory" else path.unlink()
        assert complete(path, if_exists="fail") == [(0, len(BODY))]
        assert path.stat().st_nlink == 1

    def test_overwrite_does_not_replace_a_directory_that_came_meanwhile(self, tmp_path: Path) -> None:
        """Told as what it is."""
        file = ObjectFile(tmp_path / "file")
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        (tmp_path / "file").mkdir()
        with pytest.raises(KeyRefused, match="is a directory there"):
            file.commit("crc64nvme")
        file.discard()
        assert names(tmp_path) == ["file"]


class TestPaths:
    """Where the file goes."""

    def test_a_link_stays_and_its_target_is_replaced(self, tmp_path: Path) -> None:
        """The temporary file lies beside the target: a link may lead to another disk."""
        (tmp_path / "disk").mkdir()
        target, link = tmp_path / "disk" / "target", tmp_path / "link"
        link.symlink_to("disk/target")
        for content in (None, b"old"):
            if content:
                target.write_bytes(content)
            file = ObjectFile(link)
            file.begin(VERSION, "crc64nvme")
            put(file, 0, len(BODY))
            assert names(tmp_path) == ["disk", "link"]
            assert file.commit("crc64nvme") == file.path == str(target)
            assert link.is_symlink()
            assert link.read_bytes() == BODY

    def test_a_relative_path_is_of_the_directory_the_run_began_in(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Wherever the process goes then."""
        monkeypatch.chdir(tmp_path)
        file = ObjectFile("d/file")
        monkeypatch.chdir("/")
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        assert file.commit("crc64nvme") == str(tmp_path / "d/file")

    @pytest.mark.parametrize(
        ("path", "said"),
        [
            ("", "must be the path of a file"),
            ("a\0b", "must be the path of a file"),
            ("{}", "is a directory; give the path of a file in it"),
            ("{}/loop", "Too many levels of symbolic links"),
            ("{}/file/", "Not a directory"),
            ("{}/file/below", "Not a directory"),
            ("{}/" + "x" * 256, "File name too long"),
            ("/dev/null", "device, which cannot be replaced by a file; give the path of a file, or in the command -"),
            ("{}/fifo", "is a FIFO, which cannot be replaced"),
            ("{}/null", "is a device"),
        ],
    )  # fmt: skip
    def test_what_cannot_be_a_file_is_refused(self, tmp_path: Path, path: str, said: str) -> None:
        """With what would be right, before anything is made."""
        os.mkfifo(tmp_path / "fifo")
        (tmp_path / "loop").symlink_to("loop")
        (tmp_path / "null").symlink_to("/dev/null")
        (tmp_path / "file").touch()
        before = names(tmp_path)
        with pytest.raises(ConfigError) as caught:
            ObjectFile(path.format(tmp_path))
        assert said in str(caught.value)
        assert names(tmp_path) == before

    @pytest.mark.parametrize("length", [1, 232, 233, 234, 255])
    def test_long_names_have_names_beside_them(self, tmp_path: Path, length: int) -> None:
        """Two of them do not share one."""
        path = tmp_path / ("\u00e9" * (length // 2) + "x" * (length % 2))
        other = tmp_path / ("\u00e9" * (length // 2 - 1) + "y" * (2 + length % 2))
        interrupted(path, QUARTERS[1])
        interrupted(other, QUARTERS[2], version=version_of(etag="other"))
        beside = names(tmp_path)
        assert len(beside) == 4
        assert all(name.startswith(".") and len(os.fsencode(name)) <= 255 for name in beside)
        assert complete(path) == [QUARTERS[1]]

    def test_a_name_that_is_no_text_is_shown_as_one(self, tmp_path: Path) -> None:
        """Names on Linux are bytes, and an error can be printed."""
        path = os.fsdecode(os.fsencode(tmp_path) + b"/\xff\n")
        file = ObjectFile(path)
        with pytest.raises(FileBusy) as caught:
            ObjectFile(path)
        file.begin(VERSION, "crc64nvme")
        put(file, *QUARTERS[0])
        for said in (str(caught.value), file.left):
            assert r"\udcff\n" in said
            said.encode()
        file.discard()
        assert names(tmp_path) == []


class TestPlanted:
    """In a directory where others can write, our names may lead elsewhere."""

    def plant(self, path: Path, what: str, victim: Path) -> None:
        {
            "symlink": lambda: path.symlink_to(victim),
            "nowhere": lambda: path.symlink_to("nowhere"),
            "fifo": lambda: os.mkfifo(path),
            "directory": path.mkdir,
            "hard link": lambda: os.link(victim, path),
        }[what]()

    @pytest.mark.parametrize("what", ["symlink", "nowhere", "fifo", "directory", "hard link"])
    @pytest.mark.parametrize("name", [".file.s3stream.journal", ".file.s3stream.part", ".file.s3stream.journal.new"])
    def test_it_is_never_written_through(self, tmp_path: Path, name: str, what: str) -> None:
        """But refused by name; a second name of a file is at most removed."""
        (tmp_path / "victim").write_bytes(b"precious")
        folder = tmp_path / "d"
        folder.mkdir()
        self.plant(folder / name, what, tmp_path / "victim")
        file = None
        try:
            file = ObjectFile(folder / "file")
            file.begin(VERSION, "crc64nvme")
        except LocalError as error:
            assert name in str(error)
            refused = True
        else:
            refused = False
        finally:
            if file is not None:
                file.discard()
        assert (tmp_path / "victim").read_bytes() == b"precious"
        assert not (tmp_path / "nowhere").exists()
        assert not (folder / "nowhere").exists()
        assert refused is (what != "hard link" or name.endswith("journal"))
        assert names(folder) == ([name] if refused else [])

    def test_in_a_run_that_goes_on(self, tmp_path: Path) -> None:
        """The temporary file became a link since the last one."""
        interrupted(tmp_path / "file", QUARTERS[1])
        temp = tmp_path / ".file.s3stream.part"
        temp.rename(tmp_path / "victim")
        temp.symlink_to("victim")
        file = ObjectFile(tmp_path / "file")
        with pytest.raises(LocalDenied, match="it is a symbolic link, which is not followed; remove it"):
            file.begin(VERSION, "crc64nvme")
        file.discard()
        assert temp.is_symlink()

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a file of another user")
    @pytest.mark.parametrize("name", [".file.s3stream.journal", ".file.s3stream.part"])
    def test_a_file_of_another_user_in_a_directory_like_tmp(self, tmp_path: Path, name: str) -> None:
        """Who could change it while it is trusted."""
        tmp_path.chmod(0o1777)
        interrupted(tmp_path / "file", QUARTERS[1])
        os.chown(tmp_path / name, 12345, 12345)
        file = None
        with pytest.raises(LocalDenied):  # the kernel itself may refuse the open, without our words
            file = ObjectFile(tmp_path / "file")
            file.begin(VERSION, "crc64nvme")
        if file:
            file.keep()
        os.chown(tmp_path / name, 0, 0)
        assert complete(tmp_path / "file") == [QUARTERS[1]]


class TestDurable:
    """The order in which things reach the disk, and what is done when they do not."""

    def test_the_name_comes_after_the_content_and_the_directory_last(self, tmp_path: Path) -> None:
        """New directories before everything; the journal outlives all of it."""
        seen: list[tuple[str, list[str]]] = []

        def sync(fd: int) -> None:
            path = os.readlink(f"/proc/self/fd/{fd}").removeprefix(str(tmp_path))
            seen.append((path, names(tmp_path / "d") if (tmp_path / "d").exists() else []))

        complete(tmp_path / "d" / "file", sync=sync)
        part, journal = ".file.s3stream.part", ".file.s3stream.journal"
        assert seen == [
            ("", []),
            (f"/d/{journal}.new", [journal, f"{journal}.new", part]),
            (f"/d/{part}", [journal, part]),
            ("/d", [journal, "file"]),
        ]
        assert names(tmp_path / "d") == ["file"]

    @pytest.mark.parametrize("number", [errno.EIO, errno.ENOSPC, errno.EDQUOT])
    def test_content_that_could_not_be_brought_to_the_disk_is_not_trusted_again(
        self, tmp_path: Path, number: int
    ) -> None:
        """The kernel says so once, and then takes what is in memory for what is on disk."""
        armed = False

        def sync(_: int) -> None:
            if armed:
                raise OSError(number, os.strerror(number))

        (tmp_path / "file").write_bytes(b"old")
        file = ObjectFile(tmp_path / "file", sync=sync)
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        armed = True
        with pytest.raises(LocalError, match=r"cannot bring to the disk 'file' in .*; what was written is removed"):
            file.commit("crc64nvme")
        file.keep()
        assert (names(tmp_path), file.left) == (["file"], "")
        assert (tmp_path / "file").read_bytes() == b"old"

    def test_a_name_that_could_not_be_brought_to_the_disk_is_tried_again(self, tmp_path: Path) -> None:
        """The next run finds the file finished, and syncs the directory."""
        directories = 0

        def sync(fd: int) -> None:
            nonlocal directories
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                directories += 1
                if directories == 1:
                    raise OSError(errno.EIO, "gone")

        file = ObjectFile(tmp_path / "file", sync=sync)
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        with pytest.raises(LocalError, match="the name of 'file'"):
            file.commit("crc64nvme")
        file.keep()
        assert file.left == ""
        for how in ({}, {"resume": False}):
            file = ObjectFile(tmp_path / "file", **how)  # one that fails before it looks at the object, or may not look
            assert not how or not file.is_same(VERSION)
            file.keep()
        file = ObjectFile(tmp_path / "file", sync=sync)
        assert not file.is_same(version_of(etag="other"))
        assert file.is_same(VERSION)
        assert (file.verification, directories) == ("crc64nvme", 2)
        file.keep()
        assert names(tmp_path) == ["file"]

    def test_a_file_that_was_changed_since_is_not_the_finished_one(self, tmp_path: Path) -> None:
        """The run was killed just after it gave the name; then someone wrote to the file."""

        def sync(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EIO, "gone")

        file = ObjectFile(tmp_path / "file", sync=sync)
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        with pytest.raises(LocalError):
            file.commit("crc64nvme")
        file.keep()
        (tmp_path / "file").write_bytes(bytes(len(BODY)))
        assert complete(tmp_path / "file") == []

    def test_a_file_that_was_there_before_is_not_the_finished_one(self, tmp_path: Path) -> None:
        """The run ended just before it could give the name, to which another file of that size and time had come."""
        path = tmp_path / "file"
        file = ObjectFile(path, if_exists="fail")
        file.begin(VERSION, "crc64nvme")
        put(file, 0, len(BODY))
        path.write_bytes(bytes(len(BODY)))
        mtime = int(MARCH) * 10**9 + fingerprint(VERSION.etag)
        os.utime(path, ns=(mtime, mtime))
        with pytest.raises(KeyRefused):
            file.commit("crc64nvme")
        file.keep()
        assert complete(path) == [(0, len(BODY))]

    def test_a_file_system_that_cannot_sync_directories_is_used(self, tmp_path: Path) -> None:
        """Some say EINVAL, for they need not."""

        def sync(fd: int) -> None:
            if stat.S_ISDIR(os.fstat(fd).st_mode):
                raise OSError(errno.EINVAL, "invalid")

        complete(tmp_path / "d" / "file", sync=sync)

    def test_the_journal_names_what_it_is_about(self, tmp_path: Path) -> None:
        """For a person who finds it."""
        interrupted(tmp_path / "file", QUARTERS[1], boot_id=lambda: "boot")
        header, piece = map(json.loads, (tmp_path / ".file.s3stream.journal").read_text().splitlines())
        assert header == {
            "s3stream": 1, "uri": "s3://b/k", "etag": VERSION.etag, "size": len(BODY), "algorithm": "crc64nvme",
            "boot_id": "boot", "temp": ".file.s3stream.part", "inode": (tmp_path / ".file.s3stream.part").stat().st_ino,
        }  # fmt: skip
        assert piece[:2] == [MIB, 2 * MIB]
