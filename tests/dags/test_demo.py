"""The demo's parts: an origin that keeps HTTP's promises, a verdict that can be negative, children that end."""

from __future__ import annotations

import http.client
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rich.console import Console

from demo import report
from demo.origin import Origin
from demo.processes import DemoFailed, run, running
from demo.readings import STATIONS, make_day, sum_up
from demo.report import Copy, Day

BODY = bytes(range(256)) * 4
FILE = "a file.bin"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[http.client.HTTPConnection]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / FILE).write_bytes(BODY)
    (tmp_path / "secret").write_text("not served")
    with Origin(tmp_path / "served") as origin:
        connection = http.client.HTTPConnection(urlsplit(origin.url).netloc, timeout=10)
        yield connection
        connection.close()


def ask(
    connection: http.client.HTTPConnection, path: str = "/a%20file.bin", method: str = "GET", **headers: str
) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    with connection.getresponse() as response:
        return response.status, response.read(), response.headers


@pytest.mark.parametrize(
    ("asked", "status", "body", "content_range"),
    [
        ("bytes=0-", 206, BODY, "bytes 0-1023/1024"),
        ("bytes=10-19", 206, BODY[10:20], "bytes 10-19/1024"),
        ("bytes=1000-5000", 206, BODY[1000:], "bytes 1000-1023/1024"),
        ("bytes=-4", 206, BODY[-4:], "bytes 1020-1023/1024"),
        ("bytes=1024-", 416, b"", "bytes */1024"),
        # What RFC 9110 lets a server ignore, it ignores: it sends everything and says so.
        ("bytes=5-4", 200, BODY, None),
        ("bytes=0-1,5-6", 200, BODY, None),
        ("lines=1-2", 200, BODY, None),
    ],
)
def test_ranges(
    connection: http.client.HTTPConnection, asked: str, status: int, body: bytes, content_range: str | None
) -> None:
    """Status, body and Content-Range agree with one another."""
    got_status, got_body, headers = ask(connection, Range=asked)
    assert (got_status, got_body, headers["Content-Range"]) == (status, body, content_range)


def test_conditions(connection: http.client.HTTPConnection) -> None:
    """A reader that pins a version is never given another one."""
    _, _, headers = ask(connection)
    etag, modified = headers["ETag"], headers["Last-Modified"]
    assert ask(connection, If_Match=etag, Range="bytes=0-3")[:2] == (206, BODY[:4])
    assert ask(connection, If_Match='"other"', Range="bytes=0-3")[:2] == (412, b"")
    assert ask(connection, If_None_Match=etag)[:2] == (304, b"")
    assert ask(connection, If_Range=etag, Range="bytes=0-3")[:2] == (206, BODY[:4])
    assert ask(connection, If_Range=modified, Range="bytes=0-3")[:2] == (206, BODY[:4])
    assert ask(connection, If_Range='"other"', Range="bytes=0-3")[:2] == (200, BODY)


def test_a_rewritten_file_is_another_version(connection: http.client.HTTPConnection, tmp_path: Path) -> None:
    """Its ETag changes even where its size does not."""
    _, _, before = ask(connection)
    (tmp_path / "served" / FILE).write_bytes(BODY[::-1])
    _, _, after = ask(connection)
    assert before["ETag"] != after["ETag"]


def test_head_has_no_body(connection: http.client.HTTPConnection) -> None:
    """It tells the length of what GET would send."""
    status, body, headers = ask(connection, method="HEAD")
    assert (status, body, headers["Content-Length"]) == (200, b"", "1024")


@pytest.mark.parametrize("path", ["/missing", "/../secret", "/%2e%2e/secret", "/"])
def test_nothing_outside_the_folder_is_served(connection: http.client.HTTPConnection, path: str) -> None:
    """Not even by the names that lead out of it."""
    assert ask(connection, path)[:2] == (404, b"")


def made_copy(*, source: str = "aa", stored: str = "aa", recorded: str = "aa", size: int = 7) -> Copy:
    result = {
        "uri": "s3://bucket/key", "source": "http://origin/key", "bytes": 7, "seconds": 1.0, "bytes_per_second": 7.0,
        "parts": 1, "verification": "size",
    }  # fmt: skip
    return Copy(result, source, stored, recorded, size)


@pytest.mark.parametrize(
    ("copies", "code"),
    [
        ([made_copy()], 0),
        ([made_copy(), made_copy(stored="bb")], 1),
        ([made_copy(source="bb")], 1),
        ([made_copy(recorded="bb")], 1),
        ([made_copy(size=8)], 1),
    ],
)
def test_any_difference_is_told_and_fails_the_demo(
    copies: list[Copy], code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """One object of many, one end of two, or a size that is not the reported one."""
    assert report.show(Console(width=report.WIDTH), copies, Path("objects")) == code
    assert ("different from their sources" in capsys.readouterr().out) == bool(code)


def station(mean: float = 2.0, **other: float) -> dict[str, float]:
    return {"readings": 3, "mean": mean, "least": 1.0, "greatest": 3.0, **other}


def made_day(stored: dict[str, dict[str, float]], *, readings: int = 6) -> Day:
    result = {"objects": 6, "readings": readings, "seconds": 1.0, "objects_per_second": 6.0}
    return Day(result, stored, {"a": station(), "b": station()})


@pytest.mark.parametrize(
    ("day", "wrong"),
    [
        (made_day({"a": station(), "b": station(2.0 + 1e-12)}), []),
        (made_day({"a": station(), "b": station(2.00001)}), ["b"]),
        (made_day({"a": station(), "b": station(readings=2)}), ["b"]),
        (made_day({"a": station(least=1.1), "b": station(greatest=2.9)}), ["a", "b"]),
        (made_day({"a": station()}), ["b"]),
        (made_day({"a": station(), "b": station(), "c": station()}), ["c"]),
        (made_day({"a": station(), "b": {"mean": 2.0}}), ["b"]),
    ],
)
def test_any_station_that_differs_is_told_and_fails_the_demo(
    day: Day, wrong: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is missing, one too many, or one whose sums are not those of its readings."""
    assert day.wrong == wrong
    assert report.show_day(Console(width=report.WIDTH), day, Path("objects")) == bool(wrong)
    assert ("different from their files" in capsys.readouterr().out) == bool(wrong)


def test_a_task_that_reports_other_readings_than_there_are_fails_the_demo(capsys: pytest.CaptureFixture[str]) -> None:
    """Though every station's line is right, what the task says has to be as well."""
    day = made_day({"a": station(), "b": station()}, readings=5)
    assert report.show_day(Console(width=report.WIDTH), day, Path("objects")) == 1
    assert "5 of 6 readings" in capsys.readouterr().out


def test_a_day_is_made_of_the_same_bytes_every_time(tmp_path: Path) -> None:
    """Thousands of objects, the marker after them, and every station in the sums."""
    days = [tmp_path / name for name in ("one", "two")]
    made = [make_day(day, "2024-01-01") for day in days]
    found = [{path.relative_to(day): path.read_bytes() for path in day.rglob("*") if path.is_file()} for day in days]
    assert found[0] == found[1]
    assert made == [len(found[0]) - 1] * 2
    assert made[0] > 4000
    assert found[0][Path("readings/date=2024-01-01/_SUCCESS")] == b""
    assert len(sum_up(days[0], "2024-01-01")) == STATIONS


FAMILY = """
import os, subprocess, time
print(os.getpid(), subprocess.Popen(["sleep", "60"]).pid, flush=True)
time.sleep(60)
"""


def test_what_the_demo_starts_ends_with_it(tmp_path: Path) -> None:
    """The whole family, also what a child has started itself."""
    log = tmp_path / "log"
    with running([sys.executable, "-c", FAMILY], log=log, env=os.environ):
        assert _soon(lambda: len(log.read_text().split()) == 2)
    pids = [int(pid) for pid in log.read_text().split()]
    assert _soon(lambda: not any(_lives(pid) for pid in pids))


def test_a_command_that_fails_or_has_no_hope_names_its_log(tmp_path: Path) -> None:
    """Whoever reads the message can read on in the log."""
    for code, settings, told in (
        ("raise SystemExit(3)", {}, "exit code 3"),
        ("import time; time.sleep(60)", {"hopeless": lambda: "a task failed"}, "a task failed"),
        ("import time; time.sleep(60)", {"timeout": 0.1}, "takes too long"),
    ):
        with pytest.raises(DemoFailed, match=told) as failure:
            run([sys.executable, "-c", code], log=tmp_path / "log", env=os.environ, **{"timeout": 20, **settings})
        assert failure.value.log == tmp_path / "log"


def _soon(happens: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while not happens() and time.monotonic() < deadline:
        time.sleep(0.02)
    return happens()


def _lives(pid: int) -> bool:
    """Whether the process runs; one that ended and waits for its parent's look does not."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
