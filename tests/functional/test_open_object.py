"""One object as a stream: what a binary file can do, in the order of its bytes, within the memory allowed."""

from __future__ import annotations

import contextlib
import csv
import gc
import gzip
import io
import os
import random
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_s3stream.config import MiB, Timeouts
from airflow_s3stream.engine.objectstream import open_object
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    IntegrityError,
    S3StreamError,
    SourceDenied,
    SourceMissing,
    Stopped,
)
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.downloads import HASTY, PATIENT, client_of
from tests.support.getting import ENDLESS, PART, hurried, opened, options_of, ranges, read
from tests.support.readstore import BUCKET, ReadStore
from tests.support.waiting import SOON, wait_for

SIZE = 9 * PART + 77
SLACK = 4 * MiB
"""Of what is held beyond max_memory: bytes that had arrived when it was full."""


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("big", SIZE)
        yield store


@pytest.fixture(autouse=True)
def _nothing_stays() -> Iterator[None]:
    """Fail a test after which a thread of a stream still runs, or memory of the process's budget is counted as held."""
    before = set(threading.enumerate())
    yield
    assert MEMORY.held == 0
    ends = time.monotonic() + SOON
    while left := [one.name for one in set(threading.enumerate()) - before if one.name.startswith("s3stream")]:
        assert time.monotonic() < ends, left
        time.sleep(0.02)


def settled(store: ReadStore, seconds: float = 0.4) -> int:
    """Wait until the store has nothing more to send; return how much that was."""
    seen, since = -1, time.monotonic()
    while time.monotonic() - since < seconds:
        if store.sent != seen:
            seen, since = store.sent, time.monotonic()
        time.sleep(0.02)
    return seen


class TestFile:
    """It behaves as a binary file that is open for reading."""

    def test_what_it_is(self, store: ReadStore) -> None:
        with opened(store) as stream:
            assert isinstance(stream, io.RawIOBase)
            assert (stream.readable(), stream.seekable(), stream.writable(), stream.closed) == (
                True,
                True,
                False,
                False,
            )
            assert (stream.size, stream.etag) == (SIZE, str(store.objects["big"].etag).strip('"'))
            assert stream.tell() == 0
            with pytest.raises((OSError, NotImplementedError)):
                stream.write(b"x")  # type: ignore[call-overload]
            with pytest.raises((OSError, io.UnsupportedOperation)):
                stream.fileno()
            assert not stream.isatty()
        assert stream.closed

    @pytest.mark.parametrize("connections", [1, 4])
    @pytest.mark.parametrize("key", ["big", "up/../big"])
    @pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, SIZE])
    def test_it_gives_the_bytes_of_any_size(self, store: ReadStore, size: int, connections: int, key: str) -> None:
        """By one read, by many, and through buffers that are filled."""
        store.put(key, size)
        assert read(store, key, connections=connections) == store.body(key)
        assert read(store, key, connections=connections, piece=1000) == store.body(key)
        with opened(store, key, connections=connections) as stream:
            assert stream.readall() == store.body(key)
            assert stream.verification == "md5-etag"
            assert (stream.read(1), stream.read(), stream.readinto(bytearray(5))) == (b"", b"", 0)
            assert stream.tell() == size
            assert stream.verification == "md5-etag"

    def test_reads_are_full_unless_the_object_ends(self, store: ReadStore) -> None:
        """Although the network gives less at a time, and slowly."""
        store.faults = [readlies.gets(faults.drip(5000, 0.002))]
        with opened(store) as stream:
            body = store.body("big")
            assert stream.read(0) == b""
            assert stream.read(3 * PART + 5) == body[: 3 * PART + 5]
            buffer = bytearray(2 * PART)
            assert stream.readinto(buffer) == 2 * PART
            assert Quiet(buffer) == body[3 * PART + 5 : 5 * PART + 5]
            assert stream.readinto(memoryview(buffer)[:10]) == 10
            assert stream.readinto(bytearray()) == 0
            assert stream.tell() == 5 * PART + 15
            assert Quiet(stream.read(SIZE)) == body[5 * PART + 15 :]

    def test_a_buffer_of_other_items_is_filled(self, store: ReadStore) -> None:
        """In bytes, whatever it is an array of."""
        import array

        numbers = array.array("I", bytes(4 * 1000))
        with opened(store) as stream:
            assert stream.readinto(numbers) == 4000
        assert numbers.tobytes() == store.body("big")[:4000]

    @pytest.mark.parametrize("connections", [1, 3])
    def test_seeks_far_and_near_in_a_large_one(self, store: ReadStore, connections: int) -> None:
        """Where ranges are under way, or done, or parked; forth and back."""
        size = 24 * MiB + 5
        store.put("big", size, etag='"opaque"')
        body, draw = store.body("big"), random.Random(connections)
        with opened(store, connections=connections, part_size=3 * MiB, max_memory=2 * MiB, timeouts=PATIENT) as stream:
            for _ in range(60):
                now = stream.tell()
                to = draw.choice(
                    (now + 1000, now + 300_000, now + 2 * MiB, now - 1000, now - MiB, draw.randrange(size))
                )
                stream.seek(max(0, to))
                count = draw.choice((1, 5000, 400_000, 3 * MiB))
                assert Quiet(stream.read(count)) == Quiet(body[max(0, to) : max(0, to) + count])

    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(data=st.data(), connections=st.sampled_from([1, 3]))
    def test_it_is_a_file_like_any_other(self, store: ReadStore, data: st.DataObject, connections: int) -> None:
        """Reads and seeks in any order give what they give in memory."""
        twin = io.BytesIO(store.body("big"))
        with opened(store, connections=connections) as stream:
            for _ in range(data.draw(st.integers(1, 12))):
                what = data.draw(st.sampled_from(["read", "readinto", "set", "cur", "end"]))
                if what == "read":
                    count = data.draw(st.sampled_from([0, 1, 100, PART, 3 * PART, 2 * SIZE, -1]))
                    assert Quiet(stream.read(count)) == Quiet(twin.read(count))
                elif what == "readinto":
                    ours, theirs = bytearray(70_000), bytearray(70_000)
                    assert stream.readinto(ours) == twin.readinto(theirs)
                    assert Quiet(ours) == Quiet(theirs)
                else:
                    now = twin.tell()
                    to = data.draw(st.integers(0, SIZE + 1000) | st.integers(max(0, now - 10), now + PART))
                    offset, whence = {"set": (to, 0), "cur": (to - now, 1), "end": (to - SIZE, 2)}[what]
                    assert stream.seek(offset, whence) == twin.seek(offset, whence) == to
                assert stream.tell() == twin.tell()

    def test_seeking_is_as_io_has_it(self, store: ReadStore) -> None:
        with opened(store) as stream:
            assert stream.seek(0, io.SEEK_END) == SIZE
            assert stream.read(10) == b""
            assert stream.seek(SIZE + 500) == SIZE + 500
            assert (stream.read(10), stream.tell()) == (b"", SIZE + 500)
            assert stream.seek(-8, io.SEEK_END) == SIZE - 8
            assert stream.read() == store.body("big")[-8:]
            for offset, whence in ((-1, io.SEEK_SET), (-SIZE - 1, io.SEEK_END), (-SIZE - 1, io.SEEK_CUR)):
                with pytest.raises((ValueError, OSError)):
                    stream.seek(offset, whence)
                assert stream.tell() == SIZE
            with pytest.raises((ValueError, OSError)):
                stream.seek(0, 7)
            stream.seek(5)
            assert stream.read(5) == store.body("big")[5:10]

    def test_a_footer_costs_one_range(self, store: ReadStore) -> None:
        """As Parquet has it: the end first; not the object."""
        store.put("big", 400 * PART, etag='"opaque"')
        with opened(store, part_size=MiB) as stream:
            stream.seek(-8, io.SEEK_END)
            assert stream.read(8) == store.body("big")[-8:]
            stream.seek(-5000, io.SEEK_END)
            assert stream.read(4000) == store.body("big")[-5000:-1000]
        assert sum(exchange.sent for exchange in store.gets) <= 3 * MiB

    def test_a_footer_after_a_first_look_costs_no_more(self, store: ReadStore) -> None:
        """The way there is not read; with one connection neither, which asked for all there is."""
        store.put("big", 400 * PART, etag='"opaque"')
        for connections in (1, 4):
            store.exchanges.clear()
            with opened(store, connections=connections, part_size=None, max_memory=2 * MiB) as stream:
                stream.read(4)
                stream.seek(-8, io.SEEK_END)
                assert stream.read(8) == store.body("big")[-8:]
                stream.seek(4)
                assert stream.read(4) == store.body("big")[4:8]
                settled(store, 0.2)
            assert sum(exchange.sent for exchange in store.gets) <= 16 * MiB

    def test_a_short_way_forward_asks_for_nothing_again(self, store: ReadStore) -> None:
        """What is read ahead is skipped or used."""
        with opened(store, connections=1) as stream:
            stream.read(100)
            stream.seek(1000, io.SEEK_CUR)
            assert stream.read(100) == store.body("big")[1100:1200]
            stream.seek(1050)
            assert stream.read(100) == store.body("big")[1050:1150]
        assert len(store.gets) <= 2

    def test_the_proof_is_of_a_whole_that_was_read_in_order(self, store: ReadStore) -> None:
        """Skipping ahead proves nothing; it says so by saying nothing."""
        with opened(store) as stream:
            assert stream.verification == ""
            stream.read(SIZE - 1)
            assert stream.verification == ""
            stream.read(1)
            assert stream.verification == "md5-etag"
        with opened(store) as stream:
            stream.seek(PART)
            stream.read()
            assert stream.verification == ""

    def test_reading_an_exact_number_to_the_end_proves_it_too(self, store: ReadStore) -> None:
        """Without one more read that gives nothing."""
        store.put("big", SIZE, checksum="crc32c", part_size=1000)
        store.faults = [readlies.gets(faults.flip_bit(100))]
        with opened(store) as stream, pytest.raises(IntegrityError):
            assert len(stream.read(SIZE)) < SIZE

    @pytest.mark.parametrize(
        ("about", "level"),
        [
            ({"checksum": "crc64nvme", "part_size": 1000}, "crc64nvme"),
            ({"checksum": "crc32", "part_size": 1000}, "crc32"),
            ({"checksum": "sha256", "part_size": 100_000, "composite": True}, "sha256-composite"),
            ({"checksum": "crc32c", "part_size": 100_000, "composite": True}, "crc32c-composite"),
            ({"checksum": "sha1", "etag": '"opaque"'}, "sha1"),
            ({"part_size": 1000}, "size"),
        ],
        ids=lambda value: str(value),
    )
    def test_what_was_proved_is_told(self, store: ReadStore, about: dict[str, Any], level: str) -> None:
        store.put("big", SIZE, **about)
        with opened(store) as stream:
            assert Quiet(stream.read()) == store.body("big")
            assert stream.verification == level
        if level == "size":
            with pytest.raises(IntegrityError, match="strict"):
                read(store, strict=True)

    def test_a_closed_one_is_closed(self, store: ReadStore) -> None:
        """Once or twice."""
        with opened(store) as stream:
            stream.read(10)
            stream.close()
            stream.close()
            for use in (stream.read, stream.readall, stream.tell, lambda: stream.seek(0)):
                with pytest.raises(ValueError, match="closed"):
                    use()
            with pytest.raises(ValueError, match="closed"):
                stream.readinto(bytearray(1))
            assert stream.closed

    def test_what_nobody_closed_ends_with_it(self, store: ReadStore) -> None:
        """Left to the garbage collector in the middle, it leaves neither thread nor memory."""
        store.put("big", 300 * PART, etag='"opaque"')
        with contextlib.closing(client_of(store)) as client:
            stream = open_object(client, BUCKET, "big", options_of(store, max_memory=MiB))
            stream.read(10)
            assert stream.held
            del stream
            gc.collect()

    def test_lines_text_and_buffers_work_on_it(self, store: ReadStore) -> None:
        text = "".join(f"line {number} äöü\n" for number in range(20_000))
        store.keep("text", text.encode())
        with opened(store, "text") as stream, io.TextIOWrapper(io.BufferedReader(stream, 30_000), "utf-8") as lines:
            assert "".join(lines) == text
        with opened(store, "text") as stream:
            assert stream.readline() == text.splitlines(keepends=True)[0].encode()


class TestUses:
    """What people read streams with."""

    def test_gzip_and_csv(self, store: ReadStore) -> None:
        rows = [[str(number), f"name {number * 7 % 1000}"] for number in range(30_000)]
        plain = "".join(",".join(row) + "\r\n" for row in rows).encode()
        store.keep("rows.csv.gz", gzip.compress(plain))
        with opened(store, "rows.csv.gz") as stream, gzip.open(stream, "rt", newline="") as text:
            assert list(csv.reader(text)) == rows
            assert stream.verification == "md5-etag"

    @pytest.mark.parametrize("mode", ["r|", "r:", "r|gz", "r:*"])
    def test_tar(self, store: ReadStore, mode: str) -> None:
        """As a stream, and with seeks."""
        packed, bodies = io.BytesIO(), {f"f/{n}": random.Random(n).randbytes(n * 1500) for n in range(40)}
        with tarfile.open(fileobj=packed, mode="w:gz" if "gz" in mode else "w") as tar:
            for name, body in bodies.items():
                entry = tarfile.TarInfo(name)
                entry.size = len(body)
                tar.addfile(entry, io.BytesIO(body))
        store.keep("files.tar", packed.getvalue())
        with opened(store, "files.tar") as stream, tarfile.open(fileobj=stream, mode=mode) as tar:  # type: ignore[call-overload]
            got = {}
            for member in tar:
                taken = tar.extractfile(member)
                assert taken
                got[member.name] = taken.read()
        assert got == bodies

    def test_zip(self, store: ReadStore) -> None:
        """The directory is at the end."""
        packed, bodies = io.BytesIO(), {f"f/{n}": random.Random(n).randbytes(n * 1500) for n in range(40)}
        with zipfile.ZipFile(packed, "w") as made:
            for name, body in bodies.items():
                made.writestr(name, body)
        store.keep("files.zip", packed.getvalue())
        with opened(store, "files.zip") as stream, zipfile.ZipFile(stream) as found:
            assert {name: found.read(name) for name in reversed(found.namelist())} == bodies
            assert found.testzip() is None

    def test_parquet(self, store: ReadStore) -> None:
        """pyarrow seeks to the footer, and reads the columns asked for."""
        pyarrow, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
        table = pyarrow.table({"number": range(200_000), "text": [f"{n * 37 % 991}" for n in range(200_000)]})
        packed = io.BytesIO()
        parquet.write_table(table, packed, row_group_size=50_000)
        store.keep("rows.parquet", packed.getvalue())
        with opened(store, "rows.parquet") as stream:
            assert parquet.read_table(stream) == table
        with opened(store, "rows.parquet") as stream:
            found = parquet.ParquetFile(stream)
            assert found.read_row_group(2, columns=["text"]) == table.select(["text"]).slice(100_000, 50_000)
            found.close()

    def test_arrow_reads_csv(self, store: ReadStore) -> None:
        """On threads of its own, of a compressed file."""
        pytest.importorskip("pyarrow")
        import pyarrow.csv
        from pyarrow import input_stream

        rows = "".join(f"{number},{number * 7 % 13}\n" for number in range(100_000))
        store.keep("rows.csv.gz", gzip.compress(b"a,b\n" + rows.encode()))
        with opened(store, "rows.csv.gz") as stream:
            table = pyarrow.csv.read_csv(input_stream(stream, compression="gzip"))
        assert (table.num_rows, table.column("a").to_pylist()[-1]) == (100_000, 99_999)

    def test_shutil_and_uploads(self, store: ReadStore) -> None:
        """And boto3's own upload, which reads and seeks."""
        import shutil

        target = io.BytesIO()
        with opened(store) as stream:
            shutil.copyfileobj(stream, target)
        assert Quiet(target.getvalue()) == store.body("big")


class TestMemory:
    LARGE = 1000 * PART

    @pytest.fixture
    def large(self, store: ReadStore) -> ReadStore:
        store.put("big", self.LARGE, etag='"opaque"')
        return store

    @pytest.mark.parametrize("connections", [1, 4, 16])
    @pytest.mark.parametrize("max_memory", [MiB, 5 * MiB])
    @pytest.mark.parametrize("part_size", [PART, 4 * MiB, None])
    def test_it_reads_no_further_ahead_than_it_may(
        self, large: ReadStore, max_memory: int, connections: int, part_size: int | None
    ) -> None:
        """While the consumer takes its time: what is counted as held, and what was asked for."""
        options = {"connections": connections, "max_memory": max_memory, "part_size": part_size, "timeouts": PATIENT}
        with opened(large, **options) as stream:
            for count in (1, 20 * PART):
                stream.read(count)
                settled(large)
                assert stream.held <= max_memory + SLACK
                if connections > 1:
                    ahead = max(stop for _, stop in ranges(large.gets)) - stream.tell()
                    assert ahead <= 2 * max_memory + (part_size or 4 * MiB)
            if connections > 1:
                assert stream.held >= max_memory // 2, "it does not read ahead as far as it may"

    @pytest.mark.parametrize("part_size", [PART, 4 * MiB, None])
    def test_memory_is_never_more_than_allowed(self, large: ReadStore, part_size: int | None) -> None:
        """Looked at whenever the store sends, while the consumer reads as fast as it can."""
        seen: list[int] = []
        large.put("big", 400 * PART, etag='"opaque"')
        with opened(large, connections=8, max_memory=3 * MiB, part_size=part_size) as stream:
            for count in range(PART, 400 * PART, 3 * PART):
                large.when_sent(count, lambda: seen.append(stream.held))
            while stream.read(100_000):
                pass
        assert len(seen) > 100
        assert max(seen) <= 3 * MiB + SLACK

    def test_what_came_is_counted_also_if_it_was_read_before(self, store: ReadStore) -> None:
        with opened(store, connections=1) as stream:
            stream.read()
            stream.seek(1)
            stream.read()
            assert stream.result().fetched == sum(exchange.sent for exchange in store.gets) == 2 * SIZE - 1

    def test_one_connection_asks_once(self, large: ReadStore) -> None:
        """And takes from it no more than it must while nobody reads: the plain streaming mode."""
        with opened(large, connections=1, part_size=None, timeouts=PATIENT) as stream:
            stream.read(1)
            assert settled(large) < self.LARGE // 2  # sockets hold some megabytes
            assert stream.held <= 2 * MiB + SLACK
            while stream.read(300_000):
                pass
        assert len(large.gets) == 1
        assert large.gets[0].sent == self.LARGE

    def test_a_slow_consumer_is_no_slow_network(self, large: ReadStore) -> None:
        """
        A pause longer than any timeout: nothing is asked for again, and no error comes.

        It takes its time, for libcurl's measure of a stall looks back over six seconds.
        """
        large.put("big", 300 * PART, etag='"opaque"')
        large.put("other", 300 * PART, etag='"opaque"')
        large.put("up/../big", 200 * PART, etag='"opaque"')
        keys = {"big": {"connections": 4}, "other": {"connections": 1, "part_size": None}, "up/../big": {}}
        with contextlib.ExitStack() as held:
            streams = {
                key: held.enter_context(opened(large, key, max_memory=4 * MiB, timeouts=HASTY, **options))
                for key, options in keys.items()
            }
            got = {key: [stream.read(30 * PART)] for key, stream in streams.items()}
            time.sleep(8)
            for key, stream in streams.items():
                got[key].append(stream.read())
        for key in keys:
            assert Quiet(b"".join(got[key])) == large.body(key)
            asked = [one for one in large.ranges_of(key) if one is not None]
            assert len(asked) == len(set(asked)), "something was asked for twice"
            assert len(asked) == {"big": 300, "other": 1, "up/../big": 200}[key]

    def test_two_at_once_share_what_there_is(self, large: ReadStore) -> None:
        """Read in turns, each with hardly any room; neither waits for the other for ever."""
        large.put("other", 50 * PART)
        with (
            opened(large, max_memory=MiB, timeouts=PATIENT) as one,
            opened(large, "other", max_memory=MiB, timeouts=PATIENT) as other,
        ):
            assert Quiet(one.read(10 * PART)) == large.body("big")[: 10 * PART]
            assert Quiet(other.read(10 * PART)) == large.body("other")[: 10 * PART]
            assert Quiet(one.read(10 * PART)) == large.body("big")[10 * PART : 20 * PART]
            assert Quiet(other.read()) == large.body("other")[10 * PART :]

    def test_one_that_is_not_read_does_not_starve_another(self, large: ReadStore) -> None:
        """It has read ahead all it may, and stays so."""
        large.put("other", 50 * PART)
        with opened(large, max_memory=MiB, timeouts=PATIENT) as idle:
            idle.read(1)
            settled(large)
            assert read(large, "other", max_memory=MiB) == large.body("other")
            assert Quiet(idle.read(5 * PART)) == large.body("big")[1 : 5 * PART + 1]

    @pytest.mark.parametrize("key", ["big", "up/../big"])
    def test_closing_in_the_middle_leaves_nothing(self, large: ReadStore, key: str) -> None:
        """At any moment, and while connections rest; they are closed at once."""
        large.put(key, self.LARGE, etag='"opaque"')
        for count in (0, 1, PART, 17 * PART + 5):
            with opened(large, key, connections=8, max_memory=MiB, timeouts=PATIENT) as stream:
                stream.read(count)
                if count == PART:
                    settled(large)
        assert sum(exchange.sent for exchange in large.gets) < self.LARGE

    @pytest.mark.parametrize("key", ["big", "up/../big"])
    def test_a_connection_that_rests_for_long_is_given_back(self, large: ReadStore, key: str) -> None:
        """For a store would close it; what is missing is asked for when there is room again."""
        large.put(key, 20 * MiB, etag='"opaque"')
        clock = hurried(100)
        with opened(large, key, part_size=4 * MiB, max_memory=MiB, timeouts=ENDLESS, chances=clock) as stream:
            got = [stream.read(10)]
            settled(large)
            time.sleep(0.6)  # a minute on that clock
            asked = len(large.gets)
            got.append(stream.read())
        assert Quiet(b"".join(got)) == large.body(key)
        assert len(large.gets) > asked
        again = [one for one in ranges(large.gets) if one[0] % (4 * MiB) and one[1] % (4 * MiB) == 0]
        assert again, "no range was gone on with over another connection"


class TestFailures:
    @pytest.mark.parametrize(
        ("fault", "kind"),
        [(readlies.refuse(403, "AccessDenied"), SourceDenied), (readlies.refuse(404, "NoSuchKey"), SourceMissing)],
        ids=lambda value: getattr(value, "name", ""),
    )
    def test_a_refusal_in_the_middle_is_raised_by_the_read_that_needs_it(
        self, store: ReadStore, fault: faults.Fault, kind: type[S3StreamError]
    ) -> None:
        """Or by one before it, for it was asked for ahead; what was given is right, and the error comes again."""
        store.faults = [readlies.inside(4 * PART, SIZE, fault)]
        with opened(store, connections=2) as stream:
            got = bytearray()
            with pytest.raises(kind) as caught:
                while piece := stream.read(10_000):
                    got += piece
            assert "s3://lake/big" in str(caught.value)
            assert len(got) <= 4 * PART
            assert Quiet(got) == store.body("big")[: len(got)]
            with pytest.raises(kind):
                stream.read(1)
            assert stream.verification == ""

    def test_a_key_that_is_not_there_fails_at_the_opening(self, store: ReadStore) -> None:
        with pytest.raises(SourceMissing, match="none"), opened(store, "none"):
            pytest.fail("it was opened")

    @pytest.mark.parametrize("connections", [1, 4])
    @pytest.mark.parametrize(
        "fault",
        [faults.close_after(20_000), faults.reset_after(30_000), faults.stall_after(500),
         readlies.refuse(503, "SlowDown"), readlies.refuse(500, "InternalError")],
        ids=lambda fault: fault.name,
    )  # fmt: skip
    def test_what_fails_now_and_then_is_mended(self, store: ReadStore, fault: faults.Fault, connections: int) -> None:
        """Continued from where it broke."""
        store.faults = [readlies.nth(1, readlies.gets(fault)), readlies.nth(4, readlies.gets(fault))]
        with opened(store, connections=connections) as stream:
            assert Quiet(stream.read()) == store.body("big")
        assert sum(exchange.sent for exchange in store.gets) <= SIZE + 2 * PART

    def test_what_rests_leaves_its_turn_to_the_one_waited_for(self, store: ReadStore) -> None:
        """The first range is refused, and the others fill the memory and the width that throttling leaves."""
        store.put("big", 40 * MiB, etag='"opaque"')
        refused = readlies.inside(0, 1, readlies.refuse(503, "SlowDown")).once()
        store.faults = [refused, readlies.inside(4 * MiB, 40 * MiB, faults.drip(64_000, 0.01))]
        options = {"connections": 4, "part_size": 16 * MiB, "max_memory": MiB, "timeouts": ENDLESS}
        with opened(store, **options) as stream:
            began = time.monotonic()
            assert Quiet(stream.read(10)) == store.body("big")[:10]
            assert time.monotonic() - began < SOON, "it waited until a resting connection was given up"
            assert len([one for one in ranges(store.gets) if one[0] == 0]) == 2
            assert stream.held >= MiB

    def test_a_stop_wakes_a_read_that_waits(self, store: ReadStore) -> None:
        stop = StopFlag()
        store.faults = [readlies.gets(faults.stall_after(1000))]
        timer = threading.Timer(0.3, lambda: stop.request("enough"))
        with opened(store, stop=stop, timeouts=PATIENT) as stream:
            timer.start()
            began = time.monotonic()
            with pytest.raises(Stopped, match="enough"):
                stream.read()
            assert time.monotonic() - began < SOON
        timer.join()

    def test_a_deadline_ends_it(self, store: ReadStore) -> None:
        store.faults = [readlies.gets(faults.stall_after(1000))]
        timeouts = Timeouts(connect=2, read=15, stall=15, deadline=0.5)
        with opened(store, timeouts=timeouts) as stream, pytest.raises(DeadlineExceeded):
            stream.read()

    def test_closing_wakes_a_read_that_waits_on_another_thread(self, store: ReadStore) -> None:
        store.faults = [readlies.gets(faults.stall_after(1000))]
        outcome: list[BaseException | bytes] = []
        with opened(store, timeouts=PATIENT) as stream:

            def work() -> None:
                try:
                    outcome.append(stream.read())
                except BaseException as error:  # noqa: BLE001 - judged below
                    outcome.append(error)

            thread = threading.Thread(target=work)
            thread.start()
            wait_for(lambda: store.sent)
            stream.close()
            thread.join(SOON)
            assert not thread.is_alive()
        assert isinstance(outcome[0], ValueError | S3StreamError)

    def test_another_thread_may_read(self, store: ReadStore) -> None:
        """One that did not open it, and several by turns."""
        got: list[bytes] = []
        with opened(store) as stream:
            for _ in range(4):
                thread = threading.Thread(target=lambda: got.append(stream.read(3 * PART)))
                thread.start()
                thread.join(10)
        assert Quiet(b"".join(got)) == store.body("big")

    def test_descriptors_are_closed(self, store: ReadStore) -> None:
        read(store)
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            with opened(store) as stream:
                stream.read(5)
        with store._lock:
            theirs = len(store._open)
        assert len(os.listdir("/proc/self/fd")) - theirs <= before
