"""Killed or failed at any moment and run again: only what is missing is fetched, and every byte is right."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import FileBusy, IntegrityError, S3StreamError, SourceUnavailable, Stopped
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.downloads import PATIENT
from tests.support.getting import PART, get, place, ranges, sent, siblings, start, struck
from tests.support.readstore import ReadStore

SIZE = 40 * PART + 77
OLD = b"what lay there before"
BROKEN = readlies.refuse(500, "InternalError")


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("big", SIZE, checksum="crc64nvme", part_size=100_000)
        yield store


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return place(tmp_path)


def fail_at(store: ReadStore, to: Path, offset: int, **options: Any) -> str:
    """Let a download fail for good at a place, after all before it has come; return what it says."""
    store.faults = [readlies.inside(offset, store.objects["big"].size, BROKEN)]
    with pytest.raises(SourceUnavailable) as caught:
        get(store, to, **{"connections": 1, **options})
    store.faults = []
    assert not to.exists() or to.read_bytes() == OLD
    return str(caught.value)


def go_on(store: ReadStore, to: Path, **options: Any) -> tuple[Any, int]:
    """Run again; return the result, and how many bytes were sent."""
    before = sent(store)
    result = get(store, to, **options)
    assert Quiet(to.read_bytes()) == store.body("big")
    assert siblings(to) == []
    assert result.resumed + result.fetched == result.size
    return result, sent(store) - before


class TestKilled:
    @pytest.mark.parametrize("seed", range(5))
    def test_killed_and_run_again(self, store: ReadStore, to: Path, seed: int) -> None:
        """By SIGKILL, once or twice, after as many bytes as the seed says."""
        draw = random.Random(seed)
        if seed % 2:
            to.write_bytes(OLD)
        kills = 1 + seed % 2
        connections = draw.choice((1, 3, 8))
        for _ in range(kills):
            left = SIZE - sent(store)
            if left > 4 * PART:  # a range goes out at once, and with the last of them the process ends
                struck(store, to, draw.randrange(1, left - 3 * PART), connections=connections)
                assert not to.exists() or to.read_bytes() == OLD
        go_on(store, to, connections=connections)
        # Ranges are tiny here, and the store sends ahead into its sockets: twice what real ones may cost.
        assert sent(store) - SIZE <= 2 * kills * (connections + 2) * PART

    @pytest.mark.parametrize("after", [0, SIZE])
    def test_killed_before_and_after_the_bytes(self, store: ReadStore, to: Path, after: int) -> None:
        """At the first byte there is hardly anything to go on with; at the last one nearly all of it is there."""
        struck(store, to, max(after, 1), connections=2)
        result, _ = go_on(store, to)
        # What the store has sent may be anywhere on its way: in sockets, in memory, in a range that is not complete.
        assert abs(result.resumed - after) <= 8 * PART
        assert sent(store) - SIZE <= 8 * PART

    def test_the_lock_ends_with_the_process(self, store: ReadStore, to: Path) -> None:
        """A killed one keeps nobody out; a living one does, also when it is another process."""
        event = threading.Event()
        store.faults = [readlies.inside(5 * PART, SIZE, readlies.hold(10, event))]
        with start(store, to, connections=2, timeouts={"read": 30, "stall": 30}) as process:
            _until(lambda: store.sent > 5 * PART)
            with pytest.raises(FileBusy) as caught:
                get(store, to)
            assert str(to) in str(caught.value)
            assert caught.value.retryable
            process.kill()
            process.wait()
        event.set()
        store.faults = []
        result, _ = go_on(store, to)
        assert result.resumed

    @pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGTERM])
    def test_a_signal_to_a_process_that_does_not_catch_it(self, store: ReadStore, to: Path, number: int) -> None:
        """Is a kill like any other."""
        struck(store, to, SIZE // 2, number=number, connections=2)
        go_on(store, to, connections=2)
        assert sent(store) - SIZE <= 8 * PART


def _until(condition: Callable[[], bool]) -> None:
    ends = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < ends
        time.sleep(0.01)


class TestFailed:
    """A run that fails for a reason that may pass keeps what it has; any other leaves nothing."""

    @pytest.mark.parametrize("connections", [1, 4])
    def test_what_is_kept_is_said_and_used(self, store: ReadStore, to: Path, connections: int) -> None:
        said = fail_at(store, to, 20 * PART, connections=connections)
        left = siblings(to)
        assert left
        assert any(name in said for name in left), said
        assert "remove" in said
        result, sent_now = go_on(store, to)
        assert result.resumed >= (20 - connections) * PART
        assert sent_now == result.fetched

    def test_what_it_says_to_remove_is_all_there_is(self, store: ReadStore, to: Path) -> None:
        said = fail_at(store, to, 20 * PART)
        left = siblings(to)
        assert [name for name in left if str(to.parent / name) not in said] == []
        for name in left:
            (to.parent / name).unlink()
        result, _ = go_on(store, to)
        assert result.resumed == 0

    def test_only_what_is_missing_is_asked_for(self, store: ReadStore, to: Path) -> None:
        fail_at(store, to, 20 * PART)
        store.exchanges.clear()
        get(store, to, connections=1)
        assert sorted(ranges(store.gets)) == [(at, min(at + PART, SIZE)) for at in range(20 * PART, SIZE, PART)]

    def test_with_ranges_of_another_size_and_number(self, store: ReadStore, to: Path) -> None:
        """What is there is there, whatever the shape of what is to come."""
        fail_at(store, to, 20 * PART + 5, connections=3)
        fail_at(store, to, 30 * PART, connections=2, part_size=PART + 12_345)
        result, sent_now = go_on(store, to, connections=5, part_size=3 * PART)
        assert result.resumed >= 24 * PART
        assert sent_now == result.fetched

    @pytest.mark.parametrize("times", [1, 5])
    def test_again_and_again(self, store: ReadStore, to: Path, times: int) -> None:
        """Each gets a little further."""
        for number in range(times):
            fail_at(store, to, (number + 1) * 7 * PART)
        go_on(store, to)
        assert sent(store) == SIZE

    @pytest.mark.parametrize(
        "about",
        [
            {"checksum": "crc32c", "part_size": 100_000, "composite": True},
            {"checksum": "sha256", "part_size": 100_000, "composite": True},
            {"checksum": "sha1", "etag": '"opaque"'},
            {"checksum": "crc32"},
            {},
            {"part_size": 100_000},
        ],
        ids=str,
    )
    def test_what_was_there_is_proved_with_the_rest(self, store: ReadStore, to: Path, about: dict[str, Any]) -> None:
        """By whatever there is; and a bit that went wrong in the first run is noticed in the second."""
        store.put("big", SIZE, **about)
        fail_at(store, to, 20 * PART)
        whole, _ = go_on(store, to)
        to.unlink()
        store.faults = []
        assert get(store, to.with_name("other")).verification == whole.verification
        if whole.verification == "size":
            return
        store.faults = [readlies.inside(20 * PART, SIZE, BROKEN), readlies.gets(faults.flip_bit(5 * PART + 7))]
        with pytest.raises(SourceUnavailable):
            get(store, to, connections=1)
        store.faults = []
        with pytest.raises(IntegrityError):
            get(store, to)
        assert not to.exists()
        assert [name for name in siblings(to) if name != "other"] == []

    def test_thousands_of_parts(self, store: ReadStore, to: Path) -> None:
        """A journal of so many pieces is written anew now and then, which must not join what is proved apart."""
        size = 9_900 * 41
        store.put("big", size, part_size=41, checksum="crc32c", composite=True)
        fail_at(store, to, 6 * PART)
        result, _ = go_on(store, to)
        assert result.verification == "crc32c-composite"
        assert result.resumed == 6 * PART

    def test_a_stop_keeps(self, store: ReadStore, to: Path) -> None:
        stop = StopFlag()
        store.faults = [readlies.inside(20 * PART, SIZE, faults.stall_after(1000))]
        store.when_sent(20 * PART + 1000, lambda: stop.request("enough"))
        with pytest.raises(Stopped) as caught:
            get(store, to, connections=1, stop=stop, timeouts=PATIENT)
        assert any(name in str(caught.value) for name in siblings(to))
        store.faults = []
        result, _ = go_on(store, to)
        assert result.resumed >= 20 * PART

    def test_no_resume_neither_uses_nor_keeps(self, store: ReadStore, to: Path) -> None:
        """What an earlier run left is removed."""
        fail_at(store, to, 20 * PART)
        result, _ = go_on(store, to, resume=False)
        assert result.resumed == 0

    def test_an_old_file_stays_until_the_end(self, store: ReadStore, to: Path) -> None:
        to.write_bytes(OLD)
        fail_at(store, to, 20 * PART)
        assert to.read_bytes() == OLD
        go_on(store, to)

    def test_the_object_changed_meanwhile(self, store: ReadStore, to: Path) -> None:
        """Or was replaced by another of the same bytes' number, or another size: afresh."""
        for size in (SIZE, SIZE // 2, SIZE + 5):
            fail_at(store, to, store.objects["big"].size // 2)
            store.overwrite("big", size=size)
            result, _ = go_on(store, to)
            assert (result.resumed, result.size) == (0, size)
            to.unlink()

    def test_another_object_into_the_same_file(self, store: ReadStore, to: Path) -> None:
        """Although it has the same ETag and size, as a copy has."""
        fail_at(store, to, 20 * PART)
        one = store.objects["big"]
        store.put("other", SIZE, etag=one.etag)
        result = get(store, to, "other")
        assert result.resumed == 0
        assert Quiet(to.read_bytes()) == store.body("other")


class TestDamaged:
    """What lies there is not what was left."""

    def _files(self, to: Path) -> tuple[Path, Path]:
        """Return the temporary file and the journal."""
        found = sorted((to.parent / name for name in siblings(to)), key=lambda path: path.stat().st_size)
        assert len(found) == 2
        return found[1], found[0]

    @pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.99])
    def test_a_journal_that_is_cut(self, store: ReadStore, to: Path, share: float) -> None:
        """Wherever; what it still names is used, at most."""
        fail_at(store, to, 20 * PART)
        _, journal = self._files(to)
        os.truncate(journal, int(journal.stat().st_size * share))
        result, _ = go_on(store, to)
        assert result.resumed <= 20 * PART * share + PART

    @pytest.mark.parametrize("seed", range(8))
    def test_a_journal_that_is_garbled(self, store: ReadStore, to: Path, seed: int) -> None:
        """A wrong file never comes of it: afresh, as far as is right, or an error after which it is afresh."""
        fail_at(store, to, 20 * PART)
        _, journal = self._files(to)
        draw, text = random.Random(seed), bytearray(journal.read_bytes())
        for _ in range(1 + seed % 3):
            at = draw.randrange(len(text))
            text[at : at + draw.randrange(3)] = draw.randbytes(draw.randrange(4))
        journal.write_bytes(text)
        try:
            get(store, to)
        except IntegrityError:
            assert siblings(to) == []
            get(store, to)
        assert Quiet(to.read_bytes()) == store.body("big")

    @pytest.mark.parametrize("text", [b"", b"{}", b"[]\n", b"null\n", b"\0" * 5000, b"[" * 100_000, b"s3stream\n" * 50])
    def test_a_journal_of_somebody_elses(self, store: ReadStore, to: Path, text: bytes) -> None:
        fail_at(store, to, 20 * PART)
        _, journal = self._files(to)
        journal.write_bytes(text)
        result, _ = go_on(store, to)
        assert result.resumed == 0

    def test_without_the_temporary_file(self, store: ReadStore, to: Path) -> None:
        fail_at(store, to, 20 * PART)
        temp, _ = self._files(to)
        temp.unlink()
        result, _ = go_on(store, to)
        assert result.resumed == 0

    def test_without_the_journal(self, store: ReadStore, to: Path) -> None:
        fail_at(store, to, 20 * PART)
        _, journal = self._files(to)
        journal.unlink()
        result, _ = go_on(store, to)
        assert result.resumed == 0

    @pytest.mark.parametrize("size", [0, 10 * PART, SIZE - 1, SIZE + 1])
    def test_a_temporary_file_of_another_size(self, store: ReadStore, to: Path, size: int) -> None:
        fail_at(store, to, 20 * PART)
        temp, _ = self._files(to)
        os.truncate(temp, size)
        try:
            get(store, to)
        except IntegrityError:
            assert siblings(to) == []
            get(store, to)
        assert Quiet(to.read_bytes()) == store.body("big")
        assert siblings(to) == []

    def test_a_temporary_file_with_a_hole_where_bytes_should_be(self, store: ReadStore, to: Path) -> None:
        """
        Which nothing but the bytes themselves tells; so the file is not proved by what the journal says of them.

        Or it is, as a CRC of bytes that were right when they were written, which is what a crash of the process
        leaves; only a crash of the machine leaves holes, and after one the pieces are read back.
        """
        fail_at(store, to, 20 * PART)
        temp, journal = self._files(to)
        lines = journal.read_bytes().split(b"\n", 1)
        header = json.loads(lines[0])
        assert header["boot_id"], "without it every piece is read back"
        journal.write_bytes(json.dumps({**header, "boot_id": "another"}).encode() + b"\n" + lines[1])
        with temp.open("r+b") as file:
            file.seek(5 * PART)
            file.write(bytes(1000))
        result, _ = go_on(store, to)
        assert result.resumed >= 15 * PART
        assert result.fetched >= SIZE - 19 * PART


class TestTwoAtOnce:
    def test_the_second_is_refused_while_the_first_runs(self, store: ReadStore, to: Path) -> None:
        """And does it no harm."""
        event = threading.Event()
        store.faults = [readlies.inside(5 * PART, 6 * PART, readlies.hold(10, event))]
        results: list[Any] = []
        thread = threading.Thread(target=lambda: results.append(get(store, to, timeouts=PATIENT)))
        thread.start()
        try:
            _until(lambda: store.sent > 5 * PART)
            for options in ({}, {"resume": False}, {"if_exists": "skip_same"}):
                with pytest.raises(FileBusy):
                    get(store, to, **options)
        finally:
            event.set()
            thread.join(20)
        assert results[0].fetched == SIZE
        assert Quiet(to.read_bytes()) == store.body("big")
        assert siblings(to) == []

    def test_by_another_name_of_the_same_file(self, store: ReadStore, to: Path) -> None:
        """A link leads to the same place."""
        event = threading.Event()
        store.faults = [readlies.inside(5 * PART, 6 * PART, readlies.hold(10, event))]
        link = to.parent.with_name("link")
        link.symlink_to(to)
        thread = threading.Thread(target=lambda: get(store, to, timeouts=PATIENT))
        thread.start()
        try:
            _until(lambda: store.sent > 5 * PART)
            with pytest.raises(FileBusy):
                get(store, link)
        finally:
            event.set()
            thread.join(20)
        assert Quiet(to.read_bytes()) == store.body("big")

    def test_one_after_the_other_in_one_process(self, store: ReadStore, to: Path) -> None:
        """However the one before ended, the lock is given back."""
        for options in ({}, {"if_exists": "skip_same"}, {"if_exists": "skip_same"}, {}):
            get(store, to, **options)
        with pytest.raises(S3StreamError):
            get(store, to, "none")
        with pytest.raises(S3StreamError, match="if_exists"):
            get(store, to, if_exists="fail")
        fail_at(store, to.with_name("new"), 20 * PART)
        get(store, to)

    def test_children_do_not_keep_the_lock(self, store: ReadStore, to: Path) -> None:
        """A process that was started meanwhile and lives on."""
        children: list[subprocess.Popen[bytes]] = []
        store.when_sent(5 * PART, lambda: children.append(subprocess.Popen(["sleep", "30"])))
        get(store, to)
        try:
            assert children
            get(store, to)
        finally:
            children[0].kill()
            children[0].wait()
