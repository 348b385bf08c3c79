"""The results manifest: what became of each key, whole or not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.engine.resultlog import ResultLog, read_failed
from airflow_s3stream.exceptions import ConfigError, LocalError
from airflow_s3stream.plan.objects import ObjectEntry


def lines(path: Path) -> list[dict[str, object]]:
    text = path.read_bytes().decode("ascii")
    assert text == "" or text.endswith("\n")
    return [json.loads(line) for line in text.splitlines()]


@given(rows=st.lists(st.tuples(st.text(min_size=1, max_size=30), st.text(max_size=30), st.text(max_size=30))))
def test_any_key_path_and_error_comes_back(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, ...]]
) -> None:
    """Line ends, quotes, control characters, lone surrogates: one line for each key all the same."""
    path = tmp_path_factory.mktemp("log") / "results.jsonl"
    log = ResultLog(path)
    for key, place, error in rows:
        log.add(key=key, path=place, size=3, etag='"', verification="md5-etag", status="failed", error=error)
    log.close()
    expected = [
        {
            "key": key,
            "path": place,
            "size": 3,
            "etag": '"',
            "verification": "md5-etag",
            "status": "failed",
            "error": error,
        }
        for key, place, error in rows
    ]
    assert lines(path) == expected
    assert list(read_failed(path)) == [ObjectEntry(key) for key, _, _ in rows]


def test_only_what_failed_or_was_refused_is_read_back(tmp_path: Path) -> None:
    """As bare keys, for size and ETag may be what was wrong."""
    path = tmp_path / "results.jsonl"
    log = ResultLog(path)
    log.add(key="a", path="a", size=1, etag="e", status="fetched")
    log.add(key="b", size=None, status="failed", error="gone")
    log.add(key="../c", status="refused", error="'..'")
    log.add(key="d/", size=0, status="skipped")
    log.add(key="e", path="e", size=1, status="same")
    log.close()
    assert list(read_failed(path)) == [ObjectEntry("b"), ObjectEntry("../c")]
    assert [line["size"] for line in lines(path)] == [1, None, None, 0, 1]
    assert os.listdir(tmp_path) == ["results.jsonl"]


def test_what_is_no_result_log_is_named_with_its_line(tmp_path: Path) -> None:
    """And with the field."""
    path = tmp_path / "list"
    path.write_text('{"key": "a", "status": "failed"}\n{"key": "b"}\n')
    failed = read_failed(path)
    assert next(failed) == ObjectEntry("a")
    with pytest.raises(ConfigError, match=r"^retry_failed='.*/list' line 2: it has no \"status\""):
        next(failed)


def test_a_log_may_be_read_while_its_successor_is_written(tmp_path: Path) -> None:
    """Retrying what failed, with the results in the same place: the old ones stay until the new are whole."""
    path = tmp_path / "results.jsonl"
    first = ResultLog(path)
    for number in range(3000):
        first.add(key=str(number), status="failed")
    first.close()
    second = ResultLog(path)
    for entry in read_failed(path):
        second.add(key=entry.key, status="fetched" if int(entry.key) % 2 else "failed")
    second.close()
    assert len(lines(path)) == 3000
    assert len(list(read_failed(path))) == 1500


def test_threads_write_whole_lines(tmp_path: Path) -> None:
    """All of them."""
    path = tmp_path / "results.jsonl"
    log = ResultLog(path)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda number: log.add(key=str(number), status="fetched"), range(5000)))
    log.close()
    assert sorted(int(str(line["key"])) for line in lines(path)) == list(range(5000))


def test_a_discarded_log_leaves_the_earlier_one(tmp_path: Path) -> None:
    """And nothing of itself."""
    path = tmp_path / "results.jsonl"
    path.write_text("earlier\n")
    log = ResultLog(path)
    log.add(key="a", status="fetched")
    log.discard()
    assert os.listdir(tmp_path) == ["results.jsonl"]
    assert path.read_text() == "earlier\n"


RUN = """
import itertools, os, sys
from airflow_s3stream.engine.resultlog import ResultLog
log = ResultLog(sys.argv[1])
for number in itertools.count():
    log.add(key="k" * 100, status="fetched")
    if number == 5000:
        os.write(1, b"some\\n")
"""


def test_a_killed_run_leaves_the_earlier_log_and_no_litter_for_long(tmp_path: Path) -> None:
    """No half line is ever under the final name; the next log takes over the one temporary name."""
    path = tmp_path / "results.jsonl"
    path.write_text("earlier\n")
    for _ in range(2):
        child = subprocess.Popen([sys.executable, "-c", RUN, str(path)], stdout=subprocess.PIPE)
        assert child.stdout is not None
        assert child.stdout.readline() == b"some\n"
        time.sleep(0.01)
        child.kill()
        child.communicate()
        assert path.read_text() == "earlier\n"
        assert len(os.listdir(tmp_path)) == 2
    log = ResultLog(path)
    log.add(key="a", status="fetched")
    log.close()
    assert os.listdir(tmp_path) == ["results.jsonl"]
    assert [line["key"] for line in lines(path)] == ["a"]


def test_a_planted_link_is_not_written_through(tmp_path: Path) -> None:
    """Neither under the final name, which is replaced, nor under the temporary one, which is an error."""
    outside = tmp_path / "outside"
    outside.write_text("kept")
    path = tmp_path / "results.jsonl"
    path.symlink_to(outside)
    log = ResultLog(path)
    log.add(key="a", status="fetched")
    log.close()
    assert not path.is_symlink()
    (tmp_path / ".results.jsonl.s3stream").symlink_to(outside)
    with pytest.raises(LocalError, match=r"cannot write the results 'results\.jsonl'"):
        ResultLog(path)
    assert outside.read_text() == "kept"


def test_a_directory_may_be_given_open(tmp_path: Path) -> None:
    """So that its name is not looked up again, when others may have changed it."""
    (tmp_path / "state").mkdir()
    fd = os.open(tmp_path / "state", os.O_RDONLY)
    log = ResultLog("results.jsonl", directory=fd)
    os.close(fd)
    (tmp_path / "state").rename(tmp_path / "moved")
    log.add(key="a", status="fetched")
    log.close()
    assert os.listdir(tmp_path / "moved") == ["results.jsonl"]


@pytest.mark.parametrize("name", ["missing/results.jsonl", "file/results.jsonl"])
def test_a_place_that_is_none_is_told_at_the_beginning(tmp_path: Path, name: str) -> None:
    """Before anything is fetched."""
    (tmp_path / "file").touch()
    with pytest.raises(LocalError, match="cannot write the results"):
        ResultLog(tmp_path / name)
