"""``s3stream download`` as a person, a script and a signal meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.plan.download import WHOLE
from tests.support import readlies
from tests.support.commands import COMMAND, Done, Fetch, Run, in_a_process, on_a_small_disk, on_a_terminal, peak_memory
from tests.support.downloads import expected, files, litter, rows, shards
from tests.support.readstore import ReadStore
from tests.support.tls import Authority
from tests.support.waiting import SOON, wait_for


@pytest.fixture
def run(run: Run, store: ReadStore, to: Path) -> Fetch:
    return Fetch(run, "download", "s3://lake/p/", to, store, ("--connections", "8"))


def command(store: ReadStore, to: Path, *options: str) -> list[str]:
    return [*COMMAND, "download", "s3://lake/p/", str(to), "--endpoint-url", store.endpoint_url, *options]


class TestOutput:
    def test_the_last_line_of_json_is_the_result(self, store: ReadStore, to: Path) -> None:
        """And nothing else is on stdout; never the keys themselves."""
        keys = store.fill(300)
        done = in_a_process(command(store, to, "--json", "--connections", "16"))
        assert done.code == 0, done.errors
        assert done.out.count("\n") == 1
        result = json.loads(done.out)
        assert set(result) == {
            "uri", "directory", "status", "objects", "bytes", "skipped", "failed", "listed", "seconds",
            "objects_per_second", "bytes_per_second", "listing_seconds", "requests", "retries", "connections",
            "verification", "boto3_objects", "shards", "manifest", "warnings",
        }  # fmt: skip
        assert (result["objects"], result["status"], result["uri"]) == (300, "downloaded", "s3://lake/p/")
        assert len(done.out) < 2000
        assert len(rows(result["manifest"])) == 300
        assert files(to) == expected(store, keys)

    def test_plain_lines_say_what_begins_what_moves_and_what_was_proved(self, store: ReadStore, to: Path) -> None:
        """One line at the start, one per interval, one at the end."""
        store.fill(400)
        store.faults = [readlies.gets(readlies.slow(0.02))]
        done = in_a_process(command(store, to, "--connections", "8", "--progress-interval", "0.3"))
        first, *middle, last = done.out.splitlines()
        assert first.startswith(f"Downloading s3://lake/p/ to {to}")
        assert middle
        assert all(line.startswith("Fetched ") and "objects/s" in line for line in middle)
        assert any("ETA" in line for line in middle), "the listing is done early, so an end can be foretold"
        assert last.startswith("Downloaded 400 objects")
        assert "400 by md5-etag" in last
        assert (done.code, done.errors) == (0, "")

    def test_quiet_says_nothing(self, store: ReadStore, run: Fetch) -> None:
        store.fill(3)
        done = run("--quiet")
        assert (done.code, done.out, done.errors) == (0, "", "")

    def test_a_terminal_gets_a_bar(self, store: ReadStore, to: Path) -> None:
        """With the objects and the rate, and the result in a line at the end."""
        store.fill(300)
        store.faults = [readlies.gets(readlies.slow(0.02))]
        done = on_a_terminal(command(store, to, "--connections", "8"), TERM="xterm", COLUMNS="120")
        assert done.code == 0
        assert "━" in done.out
        assert "objects/s" in done.out
        assert "Downloaded 300 objects" in done.out


class TestWhat:
    @pytest.fixture
    def filled(self, store: ReadStore) -> ReadStore:
        for name, size, when in (
            ("a.csv", 10, 1.70e9), ("b.csv", 2000, 1.71e9), ("sub/c.csv", 30, 1.72e9), ("sub/deep/d.csv", 40, 1.73e9),
            ("sub/e.json", 50, 1.74e9), ("_SUCCESS", 0, 1.75e9), ("big.bin", 3_000_000, 1.76e9),
        ):  # fmt: skip
            store.put(f"p/{name}", size, modified_at=when)
        return store

    @pytest.mark.parametrize(
        ("options", "left"),
        [
            ((), {"a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "sub/e.json", "_SUCCESS", "big.bin"}),
            (("--include", "*.csv"), {"a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"}),
            (("--include", "/*.csv"), {"a.csv", "b.csv"}),
            (("--include", "**/*.csv"), {"a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv"}),
            (("--include", "sub/*.csv", "--include", "*.bin"), {"sub/c.csv", "big.bin"}),
            (("--exclude", "sub/**"), {"a.csv", "b.csv", "_SUCCESS", "big.bin"}),
            (("--include", "**/*.csv", "--exclude", "sub/**"), {"a.csv", "b.csv"}),
            (("--min-bytes", "40", "--max-bytes", "2KB"), {"b.csv", "sub/deep/d.csv", "sub/e.json"}),
            (("--min-bytes", "1"), {"a.csv", "b.csv", "sub/c.csv", "sub/deep/d.csv", "sub/e.json", "big.bin"}),
            (("--modified-after", "2024-11-01", "--modified-before", "2025-06-01T00:00:00Z"), {"sub/e.json"}),
            (("--start-after", "p/big.bin", "--last-key", "p/sub/deep/d.csv"), {"sub/c.csv", "sub/deep/d.csv"}),
        ],
        ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
    )
    def test_only_what_was_asked_for_is_fetched(
        self, filled: ReadStore, run: Fetch, to: Path, options: tuple[str, ...], left: set[str]
    ) -> None:
        done = run("--json", *options)
        assert done.code == 0
        assert set(files(to)) == left
        assert set(filled.gets_per_key) == {f"p/{name}" for name in left}
        assert done.result["listed"] == len(left)

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("keys.txt", "p/a.csv\ns3://lake/p/sub/c.csv\n"),
            ("keys.csv", "bucket,key,size\nlake,p/a.csv,10\nlake,p/sub/c.csv,30\n"),
            ("inventory.csv", '"lake","p/a.csv","10"\n"lake","p/sub%2Fc.csv","30"\n'),
            ("keys.jsonl", '{"key": "p/a.csv"}\n{"key": "p/sub/c.csv", "size": 30}\n'),
        ],
    )
    @pytest.mark.parametrize("place", ["file", "stdin", "s3"])
    def test_a_file_names_the_keys(
        self, filled: ReadStore, run: Fetch, to: Path, tmp_path: Path, name: str, text: str, place: str
    ) -> None:
        """As text, CSV or JSON lines; on disk, on stdin, in the bucket."""
        path = tmp_path / name
        path.write_text(text)
        if place == "stdin":
            if name == "inventory.csv":
                pytest.skip("nothing tells a CSV without a header from text, but the file's name")
            code = in_a_process(command(filled, to, "--quiet", "--keys-from", "-"), input=text).code
        elif place == "s3":
            filled.keep(name, text.encode())
            code = run("--keys-from", f"s3://lake/{name}").code
        else:
            code = run("--keys-from", str(path)).code
        assert code == 0
        assert set(files(to)) == {"a.csv", "sub/c.csv"}
        assert filled.listings == []

    def test_only_what_failed_is_fetched_again(self, filled: ReadStore, run: Fetch, to: Path) -> None:
        """Once what was in the way is gone; its manifest is as good for the next."""
        filled.faults = [readlies.of(key, readlies.refuse(403, "AccessDenied")) for key in ("p/a.csv", "p/sub/c.csv")]
        first = run("--json", "--on-error", "continue")
        assert (first.code, first.result["failed"], first.result["status"]) == (1, 2, "incomplete")
        assert "a.csv" not in files(to)
        filled.faults = filled.faults[:1]
        filled.exchanges.clear()
        second = run("--json", "--on-error", "continue", "--retry-failed", first.result["manifest"])
        assert (second.code, second.result["objects"], second.result["failed"]) == (1, 1, 1)
        assert set(filled.gets_per_key) == {"p/a.csv", "p/sub/c.csv"}
        filled.faults = []
        third = run("--json", "--retry-failed", second.result["manifest"])
        assert (third.code, third.result["objects"]) == (0, 1)
        assert files(to) == expected(filled, filled.objects)
        assert filled.listings == []

    def test_a_file_of_which_nothing_failed_names_nothing(self, filled: ReadStore, run: Fetch, to: Path) -> None:
        done = run("--json")
        filled.exchanges.clear()
        again = run("--json", "--retry-failed", done.result["manifest"])
        assert (again.code, again.result["objects"], filled.gets) == (0, 0, [])
        assert again.result["warnings"]

    def test_flatten_and_shards(self, filled: ReadStore, run: Fetch, to: Path) -> None:
        assert run("--layout", "flatten").code == 0
        assert set(files(to)) == {key.rpartition("/")[2] for key in filled.objects}
        assert run("--sink", "tar", "--shard-size", "1MiB", to=to / "tar").code == 0
        found = {name: body for _, name, body in shards(to / "tar")}
        assert found == expected(filled, filled.objects)

    def test_stdin_that_waits_does_not_keep_a_stop_waiting(self, filled: ReadStore, to: Path) -> None:
        """Keys come from another program, which takes its time; those that came are fetched meanwhile."""
        process = subprocess.Popen(
            command(filled, to, "--keys-from", "-"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        with process:
            assert process.stdin
            process.stdin.write(b"p/a.csv\np/b.csv\n")
            process.stdin.flush()
            wait_for(lambda: len(filled.gets) == 2)
            process.send_signal(signal.SIGINT)
            try:
                process.wait(SOON)
                late = False
            except subprocess.TimeoutExpired:
                late = True
                process.kill()
            assert process.stderr
            errors = process.stderr.read()
        assert not late, "it went on waiting for stdin"
        assert (process.returncode, b"Traceback" in errors) == (130, False)


class TestExitCodes:
    def test_failures_that_are_passed_over_are_1_with_the_summary(self, store: ReadStore, run: Fetch, to: Path) -> None:
        keys = store.fill(10)
        store.faults = [readlies.of(keys[3], readlies.refuse(403, "AccessDenied"))]
        done = run("--on-error", "continue")
        assert done.code == 1
        assert "9 objects" in done.out
        assert "1 failed" in done.out
        done = run("--quiet", to=to / "other")
        assert (done.code, done.out) == (1, "")
        assert keys[3] in done.errors
        assert "AccessDenied" in done.errors
        assert done.errors.count("\n") == 1

    @pytest.mark.parametrize(
        ("source", "options", "code", "said"),
        [
            ("lake/p/", (), 2, "lake/p/"),
            ("s3:///p/", (), 2, "bucket"),
            ("s3://lake/p/", ("--max-memory", "much"), 2, "max_memory='much'"),
            ("s3://lake/p/", ("--min-bytes", "-1"), 2, "min_bytes"),
            ("s3://lake/p/", ("--modified-after", "yesterday"), 2, "modified_after='yesterday'"),
            ("s3://lake/p/", ("--deadline", "soon"), 2, "deadline='soon'"),
            ("s3://lake/p/", ("--shard-size", "1"), 2, "shard_size"),
            ("s3://lake/p/", ("--keys-from", "/none/keys"), 2, "/none/keys"),
            ("s3://lake/p/", ("--retry-failed", "/none/keys"), 2, "/none/keys"),
            ("s3://lake/p/", ("--keys-from", "/dev/null", "--retry-failed", "/dev/null"), 2, "together"),
            ("s3://lake/p/", ("--ca-bundle", "/none"), 2, "/none"),
            ("s3://elsewhere/p/", (), 1, "NoSuchBucket"),
            ("s3://lake/none/", ("--fail-if-empty",), 1, "none/"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_one_sentence(
        self, store: ReadStore, run: Fetch, to: Path, source: str, options: tuple[str, ...], code: int, said: str
    ) -> None:
        """Without a traceback; bad usage before anything is asked or made."""
        store.fill(3)
        run(*options, "--quiet", source=source).assert_one_sentence(code, said)
        if code == 2:
            assert store.exchanges == []
            assert not to.exists()

    def test_an_empty_prefix_is_done_with_a_warning(self, store: ReadStore, run: Fetch) -> None:
        done = run("--json", source="s3://lake/none/")
        assert done.code == 0
        assert (done.result["objects"], len(done.result["warnings"])) == (0, 1)

    def test_no_credentials_is_said_in_one_sentence(self, store: ReadStore, to: Path) -> None:
        store.fill(3)
        bare = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_ACCESS", "AWS_SECRET"))}
        done = in_a_process(command(store, to, "--quiet"), env=bare)
        assert done.code == 1
        assert "no usable AWS credentials" in done.errors
        assert "Traceback" not in done.errors

    def test_a_private_authority_is_named(self, to: Path, tls: Any, authority: Authority) -> None:
        """--ca-bundle, for both readers; without it the certificate is refused."""
        with ReadStore(tls=tls) as store:
            keys = ["p/a", "p/x/./b/c"]
            for key in keys:
                store.put(key, 100)
            trusted = in_a_process(
                command(store, to, "--quiet", "--ca-bundle", str(authority.bundle), "--on-error", "continue")
            )
            assert files(to) == {"a": store.body("p/a")}
            assert (trusted.code, trusted.errors) == (1, ""), "the other key cannot be a file"
            refused = in_a_process(command(store, to.with_name("other"), "--quiet", "--retry-attempts", "2"))
        assert refused.code == 1
        assert "certificate was refused" in refused.errors


class TestLocalTrouble:
    """A disk that is full, read-only, or without room for another open file."""

    def in_a_small_disk(self, store: ReadStore, to: Path, options: str, *more: str) -> Done:
        wanted = command(store, to, "--quiet", *more)
        return on_a_small_disk(wanted, to, options, f"find {to} -name '*.tmp' -o -name '.s3stream-*.tmp'")

    @pytest.mark.parametrize(
        ("options", "large"), [("size=6m", False), ("size=6m", True), ("size=40m,nr_inodes=60", False)]
    )
    def test_a_full_disk_ends_it_early_with_one_error(
        self, store: ReadStore, to: Path, options: str, large: bool
    ) -> None:
        """No space or no inodes; although failures are to be passed over; temporary files are gone."""
        if large:
            store.put("p/large", 2 * WHOLE)
        else:
            store.fill(2000, 10_000)
        code, left, errors = self.in_a_small_disk(store, to, options, "--on-error", "continue", "--connections", "8")
        assert code == 1
        assert left == ""
        assert "space" in errors or "full" in errors or "inode" in errors
        assert str(to) in errors
        assert (errors.count("\n"), "Traceback" in errors) == (1, False)
        assert len(store.gets) < 1500, "it went on fetching what it could not write"

    def test_a_read_only_directory_is_said_to_be(self, store: ReadStore, to: Path) -> None:
        """Before anything is fetched."""
        store.fill(10)
        code, left, errors = self.in_a_small_disk(store, to, "ro")
        assert (code, left) == (1, "")
        assert "read-only" in errors.lower()
        assert (errors.count("\n"), store.gets) == (1, [])

    def test_few_open_files_mean_fewer_connections(self, store: ReadStore, to: Path) -> None:
        """And a warning, not a failure."""
        keys = store.fill(300)
        done = in_a_process(["prlimit", "--nofile=128:128", *command(store, to, "--json", "--connections", "500")])
        assert done.code == 0, done.errors
        result = json.loads(done.out)
        assert files(to) == expected(store, keys)
        assert result["connections"] < 128
        assert store.peak < 128
        assert "open files" in " ".join(result["warnings"])


def test_memory_is_bounded(store: ReadStore, to: Path) -> None:
    """200 MB of objects of a MiB, and one of 64 MiB, with 8 MiB for bodies: peak memory of the whole process."""
    one = store.put("p/one", MiB)
    from dataclasses import replace

    store.objects = {f"p/{number:03d}": replace(one, key=f"p/{number:03d}") for number in range(200)}
    store.put("p/large", 64 * MiB)

    def peak(source: str, *options: str) -> int:
        where = ("--endpoint-url", store.endpoint_url, "--quiet", "--connections", "32")
        return peak_memory([*COMMAND, "download", source, str(to / str(len(options))), *where, *options])

    idle = peak("s3://lake/none/", "--max-memory", "1MiB")
    assert peak("s3://lake/p/", "--max-memory", "8MiB", "--results", str(to / "r.jsonl")) - idle < (8 + 32) * MiB
    assert litter(to) == []
