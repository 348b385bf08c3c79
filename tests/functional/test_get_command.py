"""``s3stream get`` as a person, a pipe and a signal meet it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from airflow_s3stream.cli.command import main
from airflow_s3stream.config import MiB
from tests.support import faults, readlies
from tests.support.commands import (
    COMMAND,
    Done,
    Fetch,
    Run,
    in_a_process,
    on_a_small_disk,
    on_a_terminal,
    peak_memory,
)
from tests.support.content import Quiet
from tests.support.getting import PART, place, sent, siblings
from tests.support.readstore import ReadStore
from tests.support.stores import Store
from tests.support.tls import Authority
from tests.support.waiting import SOON, wait_for

pytestmark = pytest.mark.usefixtures("signals")

SMALL_RANGES = ("--connections", "4", "--part-size", str(PART))
SIZE = 40 * PART + 77


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        store.put("a/big", SIZE, checksum="crc64nvme", part_size=100_000)
        yield store


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return place(tmp_path)


@pytest.fixture
def run(run: Run, store: ReadStore, to: Path) -> Fetch:
    return Fetch(run, "get", "s3://lake/a/big", to, store, SMALL_RANGES)


def command(store: ReadStore | Store, to: Path | str, *options: str, source: str = "s3://lake/a/big") -> list[str]:
    where = ("--endpoint-url", store.endpoint_url, *SMALL_RANGES)
    return [*COMMAND, "get", source, str(to), *where, *options]


class TestOutput:
    def test_the_last_line_of_json_is_the_result(self, store: ReadStore, to: Path) -> None:
        """And nothing else is on stdout."""
        done = in_a_process(command(store, to, "--json"))
        assert done.code == 0, done.errors
        assert done.out.count("\n") == 1
        result = json.loads(done.out)
        assert (result["status"], result["size"], result["verification"]) == ("downloaded", SIZE, "crc64nvme")
        assert (result["uri"], result["path"]) == ("s3://lake/a/big", str(to))
        assert Quiet(to.read_bytes()) == store.body("a/big")

    def test_plain_lines_say_what_begins_what_moves_and_what_was_proved(
        self, store: ReadStore, to: Path, run: Fetch
    ) -> None:
        """One line at the start, one per interval, one at the end."""
        store.faults = [readlies.gets(faults.drip(16_384, 0.05))]
        done = run("--progress-interval", "0.3")
        assert (done.code, done.errors) == (0, "")
        first, *middle, last = done.out.splitlines()
        assert "s3://lake/a/big" in first
        assert str(to) in first
        assert middle
        assert all("%" in line or " of " in line for line in middle), middle
        assert "crc64nvme" in last
        assert "2.5 MiB" in last

    def test_a_run_that_goes_on_says_so(self, store: ReadStore, to: Path, run: Fetch) -> None:
        store.faults = [readlies.inside(20 * PART, SIZE, readlies.refuse(500, "InternalError"))]
        assert run("--retry-attempts", "1", "--connections", "1").code == 1
        store.faults = []
        done = run()
        assert done.code == 0
        assert "1.2 MiB" in done.out, "it does not say how much was there already"
        assert run("--json", "--if-exists", "skip_same").result["status"] == "unchanged"

    def test_quiet_says_nothing(self, run: Fetch) -> None:
        assert run("--quiet") == Done(0, "", "")

    def test_a_terminal_gets_a_bar(self, store: ReadStore, to: Path) -> None:
        """With the bytes and the rate, and the result in a line at the end."""
        store.faults = [readlies.gets(faults.drip(16_384, 0.03))]
        done = on_a_terminal(command(store, to), TERM="xterm", COLUMNS="120")
        assert done.code == 0
        assert "━" in done.out
        assert "MB/s" in done.out
        assert "crc64nvme" in done.out

    def test_what_only_the_size_proves_is_said(self, store: ReadStore, run: Fetch) -> None:
        """And refused when that is not enough."""
        store.put("a/big", SIZE, part_size=100_000)
        assert "size" in run().out
        done = run("--strict", "--quiet")
        assert done.code == 1
        assert "strict" in done.errors


class TestPlaces:
    @pytest.mark.parametrize("to", [".", "./", "new/", "new/deeper/"])
    def test_a_directory_gets_the_last_step_of_the_key(
        self, store: ReadStore, run: Fetch, tmp_path: Path, to: str
    ) -> None:
        """One that is there, or one that a slash says is one."""
        done = run("--json", to=f"{tmp_path}/{to}")
        assert done.code == 0, done.errors
        assert Quiet((tmp_path / to / "big").read_bytes()) == store.body("a/big")
        assert done.result["path"] == str((tmp_path / to / "big").resolve())

    @pytest.mark.parametrize("key", ["a/..", "..", "a/", "a/.", "a/nul\0"])
    def test_a_key_without_a_name_for_a_file_is_refused_there(
        self, store: ReadStore, run: Fetch, tmp_path: Path, key: str
    ) -> None:
        """Nothing is written outside, or over a directory."""
        store.put(key, 100)
        inside = tmp_path / "x" / "y"
        inside.mkdir(parents=True)
        done = run(source=f"s3://lake/{key}", to=f"{inside}/")
        assert done.code in (1, 2)
        assert done.errors.count("\n") == 1
        assert sorted(path.name for path in tmp_path.rglob("*")) == ["to", "x", "y"]

    def test_devices_and_pipes_are_refused(self, run: Fetch, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo")
        for to in ("/dev/null", str(tmp_path / "fifo")):
            done = run(to=to)
            assert (done.code, done.errors.count("\n")) == (2, 1)
            assert to in done.errors
        assert not Path("/dev/null").is_file()


class TestExitCodes:
    @pytest.mark.parametrize(
        ("source", "options", "code", "said"),
        [
            ("lake/a/big", (), 2, "lake/a/big"),
            ("s3:///a/big", (), 2, "bucket"),
            ("s3://lake/", (), 2, "key"),
            ("s3://lake", (), 2, "key"),
            ("s3://lake/a/big", ("--connections", "0"), 2, "connections=0"),
            ("s3://lake/a/big", ("--connections", "some"), 2, "connections='some'"),
            ("s3://lake/a/big", ("--part-size", "1"), 2, "part_size"),
            ("s3://lake/a/big", ("--max-memory", "much"), 2, "max_memory='much'"),
            ("s3://lake/a/big", ("--min-speed", "-1"), 2, "min_speed"),
            ("s3://lake/a/big", ("--deadline", "soon"), 2, "deadline='soon'"),
            ("s3://lake/a/big", ("--ca-bundle", "/none"), 2, "/none"),
            ("s3://lake/a/none", (), 1, "s3://lake/a/none"),
            ("s3://elsewhere/a/big", (), 1, "elsewhere"),
        ],
        ids=str,
    )
    def test_what_is_wrong_is_one_sentence(
        self, store: ReadStore, run: Fetch, to: Path, source: str, options: tuple[str, ...], code: int, said: str
    ) -> None:
        """Without a traceback; bad usage before anything is asked or made."""
        run(*options, "--quiet", source=source).assert_one_sentence(code, said)
        assert siblings(to) == []
        if code == 2:
            assert store.exchanges == []

    def test_a_key_that_names_no_file_needs_a_name(self, store: ReadStore, run: Run, tmp_path: Path) -> None:
        done = run(source="s3://lake/a/", to=str(tmp_path))
        assert done.code == 2
        assert f"path='{tmp_path}' is a directory, and key 'a/' ends in '/', so it names no file" in done.errors
        assert store.exchanges == []

    def test_unknown_options_and_missing_arguments_are_usage(self, store: ReadStore, to: Path) -> None:
        for arguments in ((), ("s3://lake/a/big",), ("s3://lake/a/big", str(to), "--sink", "tar")):
            with pytest.raises(SystemExit) as caught:
                main(["get", *arguments])
            assert caught.value.code == 2
        assert store.exchanges == []

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_at_once(self, store: ReadStore, to: Path, number: signal.Signals) -> None:
        """While everything hangs; it says what is left and how to be rid of it, and the next run goes on."""
        store.faults = [readlies.inside(20 * PART, SIZE, faults.stall_after(100))]
        struck: list[float] = []
        process = subprocess.Popen(
            command(store, to, "--quiet"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        wait_for(lambda: sent(store) >= 20 * PART + 400)
        struck.append(time.monotonic())
        process.send_signal(number)
        out, errors = process.communicate(timeout=20)
        assert time.monotonic() - struck[0] < SOON
        assert (process.returncode, out) == (128 + number, "")
        assert errors.count("\n") == 1, errors
        left = siblings(to)
        assert left
        assert all(str(to.parent / name) in errors for name in left)
        assert "remove" in errors
        store.faults = []
        before = sent(store)
        done = in_a_process(command(store, to, "--json"))
        assert json.loads(done.out)["resumed"] >= 15 * PART
        assert sent(store) - before <= 26 * PART
        assert Quiet(to.read_bytes()) == store.body("a/big")
        assert siblings(to) == []

    def test_a_second_run_is_refused_while_the_first_is_at_work(self, store: ReadStore, to: Path, run: Fetch) -> None:
        run("--quiet")
        process = subprocess.Popen(command(store, to, "--quiet"))
        store.faults = [readlies.gets(faults.stall_after(100))]
        wait_for(lambda: any(one.faults for one in store.gets))
        try:
            done = run("--quiet")
            assert done.code == 1
            assert "another run" in done.errors
        finally:
            process.kill()
            process.wait()


class TestStdout:
    def piped(
        self, store: ReadStore, captured: pytest.CaptureFixture[bytes], *options: str, source: str = "s3://lake/a/big"
    ) -> tuple[int, bytes, bytes]:
        captured.readouterr()
        code = main(["get", source, "-", "--endpoint-url", store.endpoint_url, *SMALL_RANGES, *options])
        return code, *captured.readouterr()

    def test_it_is_the_object_and_nothing_else(
        self, store: ReadStore, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        """The result goes to stderr, as the last line there."""
        code, out, errors = self.piped(store, capfdbinary, "--json")
        assert (code, Quiet(out)) == (0, store.body("a/big"))
        result = json.loads(errors.splitlines()[-1])
        assert (result["size"], result["verification"]) == (SIZE, "crc64nvme")
        code, out, errors = self.piped(store, capfdbinary, "--quiet")
        assert (code, Quiet(out), errors) == (0, store.body("a/big"), b"")

    @pytest.mark.parametrize("size", [0, 1, PART + 1])
    def test_of_any_size(self, store: ReadStore, size: int, capfdbinary: pytest.CaptureFixture[bytes]) -> None:
        store.put("a/big", size)
        assert self.piped(store, capfdbinary, "--quiet") == (0, store.body("a/big"), b"")

    def test_wrong_bytes_are_told_by_the_exit_code(
        self, store: ReadStore, capfdbinary: pytest.CaptureFixture[bytes]
    ) -> None:
        """Those before the end are out by then."""
        store.faults = [readlies.gets(faults.flip_bit(100))]
        code, out, errors = self.piped(store, capfdbinary, "--quiet")
        assert (code, errors.count(b"\n")) == (1, 1)
        assert b"crc64nvme" in errors
        assert len(out) < SIZE

    def test_one_who_reads_no_further_ends_it_soon(self, store: ReadStore) -> None:
        """As `head` does."""
        store.put("a/big", 400 * MiB, etag='"opaque"')
        get = " ".join(command(store, "-", "--quiet"))
        script = f"set -o pipefail; {get} --part-size 8MiB --max-memory 8MiB | head -c 10"
        began = time.monotonic()
        done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=50, check=False)
        assert (done.stdout, done.returncode) == (store.objects["a/big"].content.bytes(0, 10), 141)
        assert time.monotonic() - began < 10
        assert sent(store) < 100 * MiB

    def test_one_who_reads_no_further_gets_no_complaint(self, store: ReadStore, tmp_path: Path) -> None:
        store.put("a/big", 40 * MiB, etag='"opaque"')
        with (tmp_path / "errors").open("wb") as errors:
            process = subprocess.Popen(command(store, "-", "--quiet"), stdout=subprocess.PIPE, stderr=errors)
            assert process.stdout
            assert Quiet(process.stdout.read(100_000)) == store.objects["a/big"].content.bytes(0, 100_000)
            process.stdout.close()
            assert process.wait(20) in (141, -signal.SIGPIPE)
        assert (tmp_path / "errors").read_bytes() == b""

    def test_a_full_disk_behind_stdout_is_an_error(self, store: ReadStore) -> None:
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                command(store, "-", "--quiet"), stdout=full, stderr=subprocess.PIPE, timeout=50, check=False, text=True
            )
        assert done.returncode == 1
        assert "space" in done.stderr
        assert (done.stderr.count("\n"), "Traceback" in done.stderr) == (1, False)

    def test_stdout_that_is_closed_is_an_error(self, store: ReadStore) -> None:
        script = " ".join(command(store, "-", "--quiet")) + " >&-"
        done = subprocess.run(["bash", "-c", script], stderr=subprocess.PIPE, timeout=50, check=False, text=True)
        assert done.returncode in (1, 2)
        assert "Traceback" not in done.stderr

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_it_although_nobody_reads(self, store: ReadStore, number: signal.Signals) -> None:
        store.put("a/big", 40 * MiB, etag='"opaque"')
        process = subprocess.Popen(command(store, "-", "--quiet"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert process.stdout
        process.stdout.read(1)
        time.sleep(0.3)  # it waits in a write by now, most likely
        began = time.monotonic()
        process.send_signal(number)
        process.wait(10)
        assert time.monotonic() - began < SOON
        _, errors = process.communicate()
        assert process.returncode == 128 + number
        assert (errors.count(b"\n"), b"Traceback" in errors) == (1, False)

    def test_a_terminal_is_not_filled_with_bytes(self, store: ReadStore) -> None:
        """Unless they are text."""
        store.keep("text", b"some lines\n" * 10)
        for key, code in (("a/big", 2), ("text", 0)):
            done = on_a_terminal(command(store, "-", source=f"s3://lake/{key}"), stderr=subprocess.PIPE)
            assert done.code == code, done.errors
            if code:
                assert (done.out, done.errors.count("\n")) == ("", 1)
                assert "terminal" in done.errors
            else:
                assert done.out.replace("\r\n", "\n") == "some lines\n" * 10

    def test_options_about_files_are_refused(self, store: ReadStore, run: Fetch) -> None:
        for option in (("--if-exists", "fail"), ("--no-resume",)):
            done = run(*option, to="-")
            assert (done.code, done.errors.count("\n")) == (2, 1)
        assert store.exchanges == []

    def test_a_pipe_through_programs(self, store: ReadStore, tmp_path: Path) -> None:
        """A compressed archive, unpacked as it comes."""
        import io
        import tarfile

        packed = io.BytesIO()
        with tarfile.open(fileobj=packed, mode="w:gz") as tar:
            for number in range(20):
                entry = tarfile.TarInfo(f"f/{number}")
                entry.size = 50_000
                tar.addfile(entry, io.BytesIO(os.urandom(50_000)))
        store.keep("a.tar.gz", packed.getvalue())
        script = f"set -o pipefail; {' '.join(command(store, '-', source='s3://lake/a.tar.gz'))} | tar xz -C {tmp_path}"
        done = subprocess.run(["bash", "-c", script], capture_output=True, timeout=50, check=False)
        assert done.returncode == 0, done.stderr
        assert len(list((tmp_path / "f").iterdir())) == 20


class TestStores:
    def test_a_file_from_real_stores(self, s3_store: Store, to: Path, capsys: pytest.CaptureFixture[str]) -> None:
        """As they are; signed, and proved by what each keeps."""
        body = os.urandom(3 * MiB + 11)
        s3_store.put("dir/a key + more", body)
        source = f"s3://{s3_store.bucket}/dir/a key + more"
        assert main(["get", source, str(to), "--endpoint-url", s3_store.endpoint_url, "--json"]) == 0
        result = json.loads(capsys.readouterr().out.splitlines()[-1])
        assert result["verification"] == {"localstack": "crc64nvme"}.get(s3_store.name, "md5-etag")
        assert Quiet(to.read_bytes()) == Quiet(body)

    def test_stdout_from_one_that_checks_signatures(self, rclone: Store) -> None:
        body = os.urandom(3 * MiB + 11)
        rclone.put("dir/a key + more", body)
        wanted = command(rclone, "-", "--quiet", source=f"s3://{rclone.bucket}/dir/a key + more")
        done = subprocess.run(wanted, capture_output=True, timeout=50, check=False)
        assert (done.returncode, Quiet(done.stdout), done.stderr) == (0, Quiet(body), b"")

    def test_over_tls(self, authority: Authority, to: Path, run: Fetch) -> None:
        with ReadStore(tls=authority.server()) as store:
            store.put("a/big", SIZE)
            run = replace(run, store=store)
            assert run("--ca-bundle", str(authority.bundle)).code == 0
            assert Quiet(to.read_bytes()) == store.body("a/big")
            refused = run("--quiet", to=str(to.with_name("other")))
            assert refused.code == 1
            assert "certificate" in refused.errors
            assert siblings(to) == []


class TestLocalTrouble:
    """A disk that is full or read-only, or without room for another open file."""

    def in_a_small_disk(self, store: ReadStore, to: Path, options: str) -> Done:
        """Mount one over the file's directory, in a namespace that only the child sees."""
        return on_a_small_disk(command(store, to, "--quiet"), to.parent, options, f"ls -A {to.parent}")

    def test_a_full_disk_is_told_before_the_first_byte(self, store: ReadStore, to: Path) -> None:
        code, left, errors = self.in_a_small_disk(store, to, "size=1m")
        assert (code, left) == (1, "")
        assert "space" in errors
        assert str(to.parent) in errors
        assert (errors.count("\n"), "Traceback" in errors, store.gets) == (1, False, [])

    def test_a_read_only_directory_is_said_to_be(self, store: ReadStore, to: Path) -> None:
        code, left, errors = self.in_a_small_disk(store, to, "ro")
        assert (code, left) == (1, "")
        assert "read-only" in errors.lower()
        assert (errors.count("\n"), store.gets) == (1, [])

    def test_no_inodes(self, store: ReadStore, to: Path) -> None:
        code, left, errors = self.in_a_small_disk(store, to, "nr_inodes=2")
        assert (code, left, store.gets) == (1, "", [])
        assert (errors.count("\n"), "Traceback" in errors) == (1, False)

    def test_few_open_files_mean_fewer_connections(self, store: ReadStore, to: Path) -> None:
        """And a warning, not a failure."""
        done = in_a_process(["prlimit", "--nofile=128:128", *command(store, to, "--json", "--connections", "500")])
        assert done.code == 0, done.errors
        result = json.loads(done.out)
        assert store.peak < 128
        assert "open files" in " ".join(result["warnings"])
        assert Quiet(to.read_bytes()) == store.body("a/big")


@pytest.mark.parametrize("way", ["file", "stdout"])
def test_memory_does_not_depend_on_the_size(store: ReadStore, way: str) -> None:
    """Of the whole process at its peak: one MiB, and 512, into memory-backed files."""
    peaks = {}
    for size in (MiB, 512 * MiB):
        store.put("a/big", size, etag='"opaque"')
        shared = Path(f"/dev/shm/s3stream-test-{os.getpid()}")  # noqa: S108 - a disk that is memory, and fast
        to = str(shared) if way == "file" else "-"
        more = ("--quiet", "--part-size", "8MiB", "--connections", "16", "--max-memory", "16MiB")
        try:
            peaks[size] = peak_memory(command(store, to, *more))
        finally:
            shared.unlink(missing_ok=True)
    assert peaks[512 * MiB] - peaks[MiB] < (32 if way == "file" else 16 + 32) * MiB
