"""Objects become files: which, where, and what is told of them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    ConfigError,
    DeadlineExceeded,
    DirectoryBusy,
    IntegrityError,
    KeyRefused,
    S3StreamError,
    SourceMissing,
    SourceUnavailable,
    Stopped,
)
from airflow_s3stream.plan.download import WHOLE
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support import faults, readlies
from tests.support.downloads import entry_of, expected, fetch, files, litter, row, rows, shards
from tests.support.hostile import BACKSLASH_KEYS, DOT_KEYS, PLAIN_KEYS
from tests.support.readstore import ReadStore, key_of
from tests.support.waiting import SOON, wait_for


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    """Fail a test after which this process still counts bytes as held, or fewer than none."""
    yield
    held = MEMORY.held
    MEMORY.release(held)  # or every later test would pay for it
    assert held == 0


class TestFiles:
    def test_a_prefix_becomes_a_tree(self, store: ReadStore, to: Path) -> None:
        """Every key one file of its bytes, one GET each, and numbers that agree."""
        keys = store.fill(1200, 300)
        store.put("other/key", 10)
        result = fetch(store, to)
        assert files(to) == expected(store, keys)
        size = sum(store.objects[key].size for key in keys)
        assert (result.status, result.objects, result.bytes, result.listed) == ("downloaded", 1200, size, 1200)
        assert (result.skipped, result.failed, result.retries, result.shards) == (0, 0, 0, 0)
        assert (result.boto3_objects, result.warnings) == (0, [])
        assert result.verification == {"md5-etag": 1200}
        assert (result.uri, result.directory) == ("s3://lake/p/", str(to))
        assert store.gets_per_key == dict.fromkeys(keys, 1)
        assert result.requests == len(store.exchanges)
        assert 0 < result.listing_seconds <= result.seconds
        assert result.objects_per_second == pytest.approx(1200 / result.seconds, rel=0.02)
        assert litter(to) == []

    def test_the_manifest_names_every_object_once(self, store: ReadStore, to: Path) -> None:
        """With what a later reader wants to know."""
        keys = store.fill(30, 300)
        result = fetch(store, to)
        lines = rows(result)
        assert sorted(line["key"] for line in lines) == keys
        for line in lines:
            one = store.objects[line["key"]]
            assert (line["size"], line["etag"], line["status"]) == (one.size, str(one.etag).strip('"'), "fetched")
            assert (line["verification"], line.get("error") or "") == ("md5-etag", "")
            assert (to / line["path"]).read_bytes() == store.body(one.key)

    def test_the_manifest_goes_where_it_is_asked_to(self, store: ReadStore, to: Path, tmp_path: Path) -> None:
        store.fill(3)
        result = fetch(store, to, results=str(tmp_path / "out.jsonl"))
        assert result.manifest == str(tmp_path / "out.jsonl")
        assert len(rows(result)) == 3

    def test_a_files_time_is_the_objects(self, store: ReadStore, to: Path) -> None:
        """To the second."""
        store.put("p/old", 10, modified_at=1_000_000_000.0)
        store.put("p/big", WHOLE + 1, modified_at=1_100_000_000.0)
        fetch(store, to)
        assert int((to / "old").stat().st_mtime) == 1_000_000_000
        assert int((to / "big").stat().st_mtime) == 1_100_000_000

    @pytest.mark.parametrize("size", [0, 1, WHOLE - 1, WHOLE, WHOLE + 1, 2 * WHOLE, 3 * WHOLE + 17])
    @pytest.mark.parametrize("part_size", [None, 5 * MiB])
    def test_any_size(self, store: ReadStore, to: Path, size: int, part_size: int | None) -> None:
        """From nothing to several ranges, put whole or in parts, each byte once."""
        store.put("p/key", size, part_size=part_size if size else None)  # nothing is never uploaded in parts
        result = fetch(store, to)
        assert files(to) == expected(store, ["p/key"])
        assert result.verification == {"size" if part_size and size > part_size else "md5-etag": 1}
        assert sum(exchange.sent for exchange in store.gets) == size
        if size > WHOLE:
            assert None not in store.ranges_of("p/key")
            assert all(exchange.header("If-Match") == store.objects["p/key"].etag for exchange in store.gets)

    def test_large_objects_among_the_small_are_split_and_hold_nobody_up(self, store: ReadStore, to: Path) -> None:
        """Ranges run side by side, and the small ones meanwhile."""
        keys = [*store.fill(200, 1000), "p/large", "p/zarge"]
        store.put("p/large", 4 * WHOLE, checksum="crc64nvme", part_size=5 * MiB)
        store.put("p/zarge", 2 * WHOLE + 5)
        slow = faults.drip(MiB, 0.05).where(lambda request: request.range is not None)
        store.faults = [slow]
        result = fetch(store, to)
        assert files(to) == expected(store, keys)
        assert result.verification == {"md5-etag": 201, "crc64nvme": 1}
        first_range = next(n for n, one in enumerate(store.gets) if one.range)
        assert any(one.range is None for one in store.gets[first_range:]) or store.peak_busy >= 4
        assert store.peak_busy >= 4

    @pytest.mark.parametrize("checksum", ["crc64nvme", "crc32", "crc32c", "sha1", "sha256"])
    def test_a_checksum_that_the_store_keeps_is_what_is_proved(self, store: ReadStore, to: Path, checksum: str) -> None:
        store.put("p/small", 1000, checksum=checksum, part_size=500)
        assert fetch(store, to).verification == {checksum: 1}

    def test_a_checksum_of_parts_is_not_taken_for_the_objects(self, store: ReadStore, to: Path) -> None:
        """It proves nothing about the whole, and is no mistake."""
        store.put("p/key", 1000, checksum="crc32", checksum_says="AAAAAA==-2", part_size=500)
        assert fetch(store, to).verification == {"size": 1}

    def test_an_etag_that_is_no_md5_is_not_taken_for_one(self, store: ReadStore, to: Path) -> None:
        """As with SSE-KMS, where it looks like one; and a directory bucket's does not even do that."""
        store.put("p/kms", 1000, etag='"0123456789abcdef0123456789abcdef"',
                  headers=(("x-amz-server-side-encryption", "aws:kms"),))  # fmt: skip
        store.put("p/opaque", 1000, etag='"opaque"')
        large = store.put("p/large", WHOLE + 5, etag='"fedcba98765432100123456789abcdef"',
                          headers=(("x-amz-server-side-encryption", "aws:kms:dsse"),))  # fmt: skip
        assert fetch(store, to).verification == {"size": 3}
        assert files(to)["large"] == store.body(large.key)

    def test_a_body_that_says_it_is_compressed_is_kept_as_it_is(self, store: ReadStore, to: Path) -> None:
        store.put("p/key.gz", 1000, encoding="gzip")
        fetch(store, to)
        assert files(to) == expected(store, ["p/key.gz"])

    def test_a_prefix_need_not_end_at_a_slash(self, store: ReadStore, to: Path) -> None:
        """Nothing outside of it is fetched."""
        for key in ("p/2026-01", "p/2026-02/x", "p/2025"):
            store.put(key, 10)
        result = fetch(store, to, prefix="p/2026")
        assert result.objects == 2
        assert set(store.gets_per_key) == {"p/2026-01", "p/2026-02/x"}

    def test_a_key_range_bounds_the_listing(self, store: ReadStore, to: Path) -> None:
        """From after one key to another, that one included: so that mapped tasks share a prefix."""
        keys = store.fill(300)
        result = fetch(store, to, start_after=keys[99], last_key=keys[199])
        assert sorted(store.gets_per_key) == keys[100:200]
        assert result.objects == 100

    def test_memory_smaller_than_an_object_still_moves_it(self, store: ReadStore, to: Path) -> None:
        """One at a time."""
        for number in range(3):
            store.put(f"p/{number}", 6 * MiB)
        assert fetch(store, to, max_memory=MiB).objects == 3

    def test_nothing_is_a_success_with_a_warning(self, store: ReadStore, to: Path) -> None:
        """Or an error for those who want it."""
        result = fetch(store, to)
        assert (result.objects, result.status, len(result.warnings)) == (0, "downloaded", 1)
        assert "p/" in result.warnings[0]
        with pytest.raises(SourceMissing, match="p/"):
            fetch(store, to, fail_if_empty=True)

    def test_strict_refuses_what_only_its_size_proves(self, store: ReadStore, to: Path) -> None:
        store.put("p/a", 10)
        store.put("p/parts", 1000, part_size=500)
        with pytest.raises(IntegrityError, match="p/parts"):
            fetch(store, to, strict=True)
        assert not (to / "parts").exists()


class TestKeys:
    def test_every_key_is_a_file_or_a_named_refusal(self, store: ReadStore, tmp_path: Path, to: Path) -> None:
        """None is lost, none lands outside, and what boto3 had to fetch is counted."""
        inside = [f"p/{key}" for key in (*PLAIN_KEYS, *BACKSLASH_KEYS)]
        refused = [f"p/{key}" for key in (*DOT_KEYS, "/leading", "double//slash", "//twice", "s" * 256, ".s3stream/x")]
        for key in (*inside, *refused):
            store.put(key, 50)
        store.put("p/marker/", 0)
        store.put("p/full/", 50)
        result = fetch(store, to, on_error="continue")
        assert files(to) == expected(store, inside)
        told = {line["key"]: line for line in rows(result)}
        assert set(told) == set(store.objects)
        for key in (*refused, "p/full/"):
            assert told[key]["status"] == "refused", key
            assert told[key]["error"]
        assert told["p/marker/"]["status"] == "skipped"
        assert (result.objects, result.skipped, result.failed) == (len(inside), 1, len(refused) + 1)
        assert not store.gets_per_key.keys() & {*refused, "p/marker/"}, "what has no place is not fetched"
        assert {path.name for path in tmp_path.iterdir()} == {"to"}

    def test_a_refused_key_ends_the_run_by_default(self, store: ReadStore, to: Path) -> None:
        """Naming it."""
        store.put("p/../up", 50)
        with pytest.raises(KeyRefused, match=r"\.\./up"):
            fetch(store, to)
        assert files(to) == {}

    def test_keys_with_dot_segments_below_the_prefix_go_through_boto3(self, store: ReadStore, to: Path) -> None:
        """Where the path is harmless: the dots are in the prefix."""
        for key in ("a/./b/1", "a/./b/2", "a/b/1", "b/1"):
            store.put(key, 100)
        result = fetch(store, to, prefix="a/./b/")
        assert files(to) == expected(store, ["a/./b/1", "a/./b/2"], "a/./b/")
        assert result.boto3_objects == 2

    @pytest.mark.parametrize("order", [("p/a", "p/a/b"), ("p/a/b", "p/a")])
    def test_a_key_beside_one_below_it_is_refused_not_lost(
        self, store: ReadStore, to: Path, order: tuple[str, str]
    ) -> None:
        """One of the two becomes a file, the other a refusal."""
        for key in order:
            store.put(key, 50)
        result = fetch(store, to, entries=[entry_of(store.objects[key]) for key in order], on_error="continue")
        assert (result.objects, result.failed) == (1, 1)
        assert sorted(line["status"] for line in rows(result)) in (["fetched", "refused"], ["failed", "fetched"])
        (kept,) = files(to).items()
        assert kept[1] == store.body(f"p/{kept[0]}")

    def test_flat_names_that_clash_are_refused(self, store: ReadStore, to: Path) -> None:
        """The first one stays."""
        for key in ("p/1/same", "p/2/same", "p/2/other"):
            store.put(key, 50)
        result = fetch(store, to, layout="flatten", on_error="continue")
        assert set(files(to)) == {"same", "other"}
        assert (result.objects, result.failed) == (2, 1)

    def test_a_planted_link_is_not_followed(self, store: ReadStore, tmp_path: Path, to: Path) -> None:
        """Neither as a directory on the way nor as the file."""
        outside = tmp_path / "outside"
        outside.mkdir()
        (outside / "victim").write_bytes(b"untouched")
        to.mkdir()
        (to / "sub").symlink_to(outside)
        (to / "file").symlink_to(outside / "victim")
        for key in ("p/sub/x", "p/sub/victim", "p/file"):
            store.put(key, 50)
        fetch(store, to, on_error="continue")
        assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"victim": b"untouched"}
        assert (to / "file").read_bytes() == store.body("p/file")


class TestKeysThatAreNamed:
    def test_a_list_of_keys(self, store: ReadStore, to: Path) -> None:
        """No listing; sizes from the answers, small and large."""
        store.fill(20)
        store.put("p/large", 2 * WHOLE + 1)
        store.put("p/middle", 300_000)
        keys = ["p/000/000003.bin", "p/large", "p/middle"]
        result = fetch(store, to, entries=[ObjectEntry(key) for key in keys])
        assert files(to) == expected(store, keys)
        assert (result.objects, result.listed, store.listings) == (3, 3, [])
        assert result.verification == {"md5-etag": 3}

    def test_a_manifests_sizes_and_etags_are_held_against_the_answers(self, store: ReadStore, to: Path) -> None:
        one = store.put("p/key", 1000, part_size=500)
        for wrong in (entry_of(one)._replace(size=999), entry_of(one)._replace(etag="0" * 32 + "-2")):
            with pytest.raises(S3StreamError, match="p/key"):
                fetch(store, to, entries=[wrong])
        assert files(to) == {}

    def test_a_key_that_is_not_there_is_named(self, store: ReadStore, to: Path) -> None:
        store.put("p/a", 10)
        entries = [ObjectEntry("p/a"), ObjectEntry("p/none")]
        with pytest.raises(SourceMissing, match="p/none"):
            fetch(store, to, entries=entries)
        result = fetch(store, to.with_name("again"), entries=entries, on_error="continue")
        assert (result.objects, result.failed, result.status) == (1, 1, "incomplete")
        assert row(result, "p/none")["status"] == "failed"

    def test_a_key_named_twice_is_fetched_right(self, store: ReadStore, to: Path) -> None:
        """Once or twice, but never a clash with itself that loses it."""
        store.put("p/a", 10)
        fetch(store, to, entries=[ObjectEntry("p/a")] * 2, on_error="continue")
        assert files(to) == expected(store, ["p/a"])

    def test_entries_are_drawn_as_they_are_needed(self, store: ReadStore, to: Path) -> None:
        """A manifest of millions is not read ahead of the fetching."""
        store.put("p/a", 10)
        store.faults = [readlies.refuse(403, "AccessDenied")]
        drawn = 0

        def endless() -> Iterator[ObjectEntry]:
            nonlocal drawn
            while True:
                drawn += 1
                yield ObjectEntry("p/a")

        with pytest.raises(S3StreamError, match="AccessDenied"):
            fetch(store, to, entries=endless())
        assert drawn < 20_000


class TestIfExists:
    @pytest.fixture
    def filled(self, store: ReadStore, to: Path) -> list[str]:
        keys = [*store.fill(50, 300), "p/large"]
        store.put("p/large", WHOLE + 5)
        fetch(store, to)
        store.exchanges.clear()
        return keys

    def test_overwrite_fetches_again(self, store: ReadStore, to: Path, filled: list[str]) -> None:
        assert fetch(store, to).objects == 51
        assert files(to) == expected(store, filled)

    def test_skip_same_fetches_nothing_that_is_there(self, store: ReadStore, to: Path, filled: list[str]) -> None:
        result = fetch(store, to, if_exists="skip_same")
        assert (result.objects, result.skipped, result.bytes, store.gets) == (0, 51, 0, [])
        assert {line["status"] for line in rows(result)} == {"same"}

    def test_skip_same_fetches_what_differs(self, store: ReadStore, to: Path, filled: list[str]) -> None:
        """Gone here, changed there to the same size, changed here to the same size, cut here."""
        gone, newer, touched, cut = filled[:4]
        (to / gone.removeprefix("p/")).unlink()
        store.overwrite(newer)
        changed = to / touched.removeprefix("p/")
        changed.write_bytes(b"x" * changed.stat().st_size)
        (to / cut.removeprefix("p/")).write_bytes(b"")
        result = fetch(store, to, if_exists="skip_same")
        assert set(store.gets_per_key) == {gone, newer, touched, cut}
        assert (result.objects, result.skipped) == (4, 47)
        assert files(to) == expected(store, filled)

    def test_skip_same_sees_a_version_of_the_same_size_and_second(
        self, store: ReadStore, to: Path, filled: list[str]
    ) -> None:
        """The ETag is what tells them apart."""
        before = store.objects[filled[0]]
        newer = before.rewritten()
        from dataclasses import replace

        store.objects[filled[0]] = replace(newer, modified_at=before.modified_at, modified=before.modified)
        fetch(store, to, if_exists="skip_same")
        assert set(store.gets_per_key) == {filled[0]}
        assert files(to) == expected(store, filled)

    def test_fail_leaves_what_is_there(self, store: ReadStore, to: Path) -> None:
        """And names it, before it is fetched."""
        keys = store.fill(5, 300)
        first = to / keys[0].removeprefix("p/")
        first.parent.mkdir(parents=True)
        first.write_bytes(b"mine")
        with pytest.raises(KeyRefused, match=keys[0]):
            fetch(store, to, if_exists="fail")
        result = fetch(store, to, if_exists="fail", on_error="continue")
        assert first.read_bytes() == b"mine"
        assert keys[0] not in store.gets_per_key
        assert row(result, keys[0])["status"] in ("refused", "failed")

    def test_an_old_file_is_whole_until_the_new_one_is(self, store: ReadStore, to: Path) -> None:
        """Whoever reads it meanwhile sees one or the other."""
        store.put("p/large", WHOLE + 5)
        to.mkdir()
        (to / "large").write_bytes(b"old")
        seen = set()
        store.faults = [readlies.gets(readlies.call(lambda: seen.add((to / "large").read_bytes()[:10])))]
        fetch(store, to)
        assert seen == {b"old"}
        assert files(to) == expected(store, ["p/large"])


class TestTar:
    def test_shards_hold_every_object_once(self, store: ReadStore, to: Path) -> None:
        """Of about the size asked for, under the names they would have as files."""
        keys = [*store.fill(300, 20_000), "p/large", "p/empty"]
        store.put("p/large", WHOLE + 5)
        store.put("p/empty", 0)
        result = fetch(store, to, sink="tar", shard_size=2 * MiB)
        found = list(shards(to))
        assert {name: body for _, name, body in found} == expected(store, keys)
        assert len(found) == len(keys) == result.objects
        names = sorted({shard for shard, _, _ in found})
        assert names == [f"shard-{number:05d}.tar" for number in range(result.shards)]
        assert result.shards >= 3
        assert litter(to) == []
        assert {path.name for path in to.iterdir()} - {".s3stream"} == set(names)

    def test_a_failed_object_is_not_in_a_shard(self, store: ReadStore, to: Path) -> None:
        """Small or large, the others are whole."""
        keys = store.fill(20, 1000)
        store.put("p/large", WHOLE + 5)
        store.faults = [readlies.of(key, faults.flip_bit(10)) for key in ("p/large", keys[7])]
        result = fetch(store, to, sink="tar", on_error="continue")
        found = {name: body for _, name, body in shards(to)}
        assert found == expected(store, set(keys) - {keys[7]})
        assert (result.objects, result.failed) == (19, 2)

    def test_a_second_run_replaces_the_shards_of_the_first(self, store: ReadStore, to: Path) -> None:
        """None of the old ones is left among the new."""
        keys = store.fill(100, 50_000)
        assert fetch(store, to, sink="tar", shard_size=MiB).shards >= 4
        assert fetch(store, to, sink="tar", shard_size=64 * MiB).shards == 1
        assert {name: body for _, name, body in shards(to)} == expected(store, keys)
        assert len(list(shards(to))) == 100


class TestPace:
    def test_connections_are_a_ceiling_and_are_reused(self, store: ReadStore, to: Path) -> None:
        store.fill(300)
        store.faults = [readlies.gets(readlies.slow(0.005))]
        result = fetch(store, to, connections=5)
        assert store.peak_busy <= 5
        assert store.connections <= 8
        assert result.connections <= 5

    def test_many_connections_hide_the_latency(self, store: ReadStore, to: Path) -> None:
        """Three hundred objects of 50 ms take 15 s one by one."""
        store.fill(300)
        store.faults = [readlies.gets(readlies.slow(0.05))]
        assert fetch(store, to, connections=60).seconds < SOON
        assert store.peak_busy > 30

    def test_bandwidth_is_kept_to(self, store: ReadStore, to: Path) -> None:
        for number in range(40):
            store.put(f"p/{number:02d}", 100_000)
        began = time.monotonic()
        fetch(store, to, max_bandwidth=2_000_000)
        assert 1.5 < time.monotonic() - began < SOON

    @pytest.mark.parametrize("latency", [0.005, 0.03])
    def test_a_store_that_throttles_gets_fewer_requests(self, store: ReadStore, to: Path, latency: float) -> None:
        """Whoever comes while eight are being answered is refused; all come in the end, and few ask in vain."""
        keys = store.fill(400)
        store.faults = [
            readlies.gets(readlies.slow(latency)),
            readlies.gets(readlies.refuse(503, "SlowDown")).where(lambda request: request.concurrent > 8),
        ]
        from airflow_s3stream.config import RetryPolicy

        result = fetch(store, to, connections=64, retry=RetryPolicy(attempts=8, base=0.02, cap=0.3))
        assert files(to) == expected(store, keys)
        assert 0 < result.retries < 400
        refused = sum(exchange.status == 503 for exchange in store.gets)
        assert refused < 250, "it went on asking as if nothing had been said"

    def test_retry_after_is_waited_for(self, store: ReadStore, to: Path) -> None:
        store.fill(3)
        store.faults = [readlies.gets(readlies.refuse(503, "SlowDown", Retry_After="1")).once()]
        began = time.monotonic()
        fetch(store, to)
        assert time.monotonic() - began >= 1

    def test_scattered_failures_do_not_use_up_the_budget(self, store: ReadStore, to: Path) -> None:
        """One answer in ten fails, five times as often as the budget allows in a row."""
        keys = store.fill(2000, 100)
        store.faults = [readlies.gets(readlies.refuse(500, "InternalError")).where(lambda r: r.number % 10 == 0)]
        from airflow_s3stream.config import RetryPolicy

        result = fetch(store, to, retry=RetryPolicy(attempts=8, budget=40, base=0.005, cap=0.05))
        assert result.objects == len(keys)
        assert result.retries >= 200

    def test_a_store_that_is_down_fails_soon(self, store: ReadStore, to: Path) -> None:
        """Not after every object has been tried, although failures are to be passed over."""
        store.fill(2000)
        store.faults = [readlies.gets(readlies.refuse(500, "InternalError"))]
        with pytest.raises(SourceUnavailable):
            fetch(store, to, on_error="continue")
        assert len(store.gets) < 500

    def test_a_store_that_is_not_there(self, to: Path) -> None:
        with ReadStore() as gone:
            pass
        began = time.monotonic()
        with pytest.raises(SourceUnavailable):
            fetch(gone, to)
        assert time.monotonic() - began < SOON

    @pytest.mark.parametrize("stalls", [True, False])
    def test_the_deadline_ends_it(self, store: ReadStore, to: Path, stalls: bool) -> None:
        """Whether it hangs or works."""
        from dataclasses import replace

        from tests.support.downloads import PATIENT

        store.fill(2000)
        store.put("p/large", 3 * WHOLE)
        store.faults = [readlies.gets(faults.stall_after(10) if stalls else readlies.slow(0.02))]
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            fetch(store, to, timeouts=replace(PATIENT, deadline=1.0))
        assert 0.9 < time.monotonic() - began < SOON
        assert litter(to) == []


class TestStop:
    @pytest.mark.parametrize("hang", ["gets", "listings", "heads", "nothing", "ranges"])
    @pytest.mark.parametrize("sink", ["files", "tar"])
    def test_a_stop_ends_it_at_once(self, store: ReadStore, to: Path, hang: str, sink: str) -> None:
        """Whatever it is waiting for; no thread, no descriptor and no temporary file stays."""
        from tests.support.downloads import PATIENT

        store.fill(2000)
        store.put("p/000/large", 4 * WHOLE)
        stall = {
            "gets": readlies.gets(faults.stall_after(10)),
            "listings": readlies.listings(faults.stall_after(10)),
            "heads": faults.stall_after(0).where(lambda request: request.method == "HEAD"),
            "nothing": readlies.gets(readlies.slow(0.05)),
            "ranges": faults.stall_after(MiB).where(lambda request: request.range is not None),
        }[hang]
        store.faults = [stall]
        if hang in ("heads",):
            store.faults.append(readlies.gets(readlies.slow(0.05)))
        stop = StopFlag()
        timer = threading.Timer(0.5, stop.request, ["enough"])
        began = time.monotonic()
        timer.start()
        with pytest.raises(Stopped, match="enough"):
            fetch(store, to, stop=stop, timeouts=PATIENT, sink=sink)
        assert time.monotonic() - began < SOON
        timer.join()
        assert litter(to) == []
        wait_for(lambda: not _threads_of_the_package(), SOON)

    def test_a_stop_that_was_asked_for_before_is_obeyed(self, store: ReadStore, to: Path) -> None:
        """Without a request."""
        store.fill(10)
        stop = StopFlag()
        stop.request("early")
        with pytest.raises(Stopped):
            fetch(store, to, stop=stop)
        assert store.gets == []

    def test_a_failure_leaves_no_thread_and_no_descriptor(self, store: ReadStore, to: Path) -> None:
        """Ten failures, and the eleventh finds the process as the first did."""
        store.fill(50)
        store.put("p/large", 3 * WHOLE)
        store.faults = [readlies.of("p/000/000030.bin", readlies.refuse(403, "AccessDenied"))]
        counts = []
        for _ in range(4):
            with pytest.raises(S3StreamError):
                fetch(store, to)
            ends = time.monotonic() + 2
            while _threads_of_the_package() and time.monotonic() < ends:
                time.sleep(0.02)
            with store._lock:
                counts.append(len(os.listdir("/proc/self/fd")) - len(store._open))
        assert max(counts[1:]) <= counts[0] + 1, counts


def _threads_of_the_package() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("s3stream")]


class TestDirectory:
    def test_two_runs_do_not_share_a_directory(self, store: ReadStore, to: Path) -> None:
        """The second is told so at once, and the first is not harmed."""
        keys = store.fill(50)
        store.faults = [readlies.gets(readlies.slow(0.2))]
        failed: list[S3StreamError] = []

        def first() -> None:
            try:
                fetch(store, to)
            except S3StreamError as error:
                failed.append(error)

        thread = threading.Thread(target=first)
        thread.start()
        while not store.gets:
            time.sleep(0.01)
        with pytest.raises(DirectoryBusy):
            fetch(store, to)
        thread.join()
        assert failed == []
        assert files(to) == expected(store, keys)

    def test_a_directory_that_is_a_file_is_said_to_be(self, store: ReadStore, to: Path) -> None:
        store.fill(3)
        to.write_bytes(b"")
        with pytest.raises(S3StreamError, match="to"):
            fetch(store, to)
        assert store.gets == []

    @pytest.mark.parametrize(
        "wrong",
        [
            {"connections": 0}, {"max_memory": 1000}, {"on_error": "ignore"}, {"if_exists": "maybe"},
            {"layout": "tree"}, {"sink": "zip"}, {"shard_size": 10}, {"max_bandwidth": 0}, {"progress_interval": 0},
        ],
        ids=str,
    )  # fmt: skip
    def test_wrong_options_are_named_before_anything_happens(
        self, store: ReadStore, to: Path, wrong: dict[str, Any]
    ) -> None:
        with pytest.raises(ConfigError, match=next(iter(wrong))):
            fetch(store, to, **wrong)
        assert store.exchanges == []
        assert not to.exists()


class TestCredentials:
    def test_expired_credentials_are_replaced_midway(self, store: ReadStore, to: Path) -> None:
        """boto3 has new ones when the store refuses the old; what was refused is asked for again."""
        from dataclasses import replace

        from airflow_s3stream.engine.s3client import new_client
        from tests.support.readstore import KEYS

        keys = [*store.fill(300), "p/large"]
        store.put("p/large", 2 * WHOLE + 3)
        client = new_client(endpoint_url=store.endpoint_url)
        credentials = client._request_signer._credentials

        def expire() -> None:
            credentials.access_key, credentials.secret_key, credentials.token = "next", "next-secret", "next-token"
            store.credentials = replace(KEYS, access_key="next", secret_key="next-secret", token="next-token")
            store.expired = frozenset({KEYS.access_key})

        store.faults = [readlies.gets(readlies.slow(0.01)), readlies.nth(100, readlies.gets(readlies.call(expire)))]
        from airflow_s3stream.config import RetryPolicy

        result = fetch(store, to, client=client, retry=RetryPolicy(attempts=8, base=0.05, cap=0.5))
        assert files(to) == expected(store, keys)
        assert result.retries >= 1

    def test_a_wrong_secret_ends_it_at_once(self, store: ReadStore, to: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """However many objects there are, and although failures are to be passed over."""
        from airflow_s3stream.engine.s3client import new_client

        keys = store.fill(500)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        client = new_client(endpoint_url=store.endpoint_url)
        entries = [entry_of(store.objects[key]) for key in keys]
        with pytest.raises(S3StreamError, match="SignatureDoesNotMatch"):
            fetch(store, to, client=client, entries=entries, on_error="continue")
        assert len(store.gets) <= 50

    def test_another_region_is_found(self, store: ReadStore, to: Path) -> None:
        """The store says where the bucket is, and every later request is signed for that region."""
        from dataclasses import replace

        from tests.support.readstore import KEYS

        keys = store.fill(20)
        store.credentials = replace(KEYS, region="eu-central-1")
        store.faults = [readlies.wrong_region().where(lambda r: "/us-east-1/" in (r.header("Authorization") or ""))]
        fetch(store, to)
        assert files(to) == expected(store, keys)
        assert sum(key_of(one.request) is not None for one in store.exchanges) <= 30
