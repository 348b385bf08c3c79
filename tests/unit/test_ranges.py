"""A range on its way: what it takes, from which of its GETs, and to whom the rest belongs."""

from __future__ import annotations

import pytest

from airflow_s3stream.engine.ranges import RangeJob
from airflow_s3stream.engine.reader import Get
from airflow_s3stream.exceptions import S3StreamError, SourceMisbehaved, SourceTruncated


class Owner:
    """Keeps what it is given."""

    key, etag, size = "key", "v1", 1000

    def __init__(self) -> None:
        self.taken: list[tuple[int, bytes]] = []
        self.ended: list[RangeJob] = []

    def asked(self, job: RangeJob) -> None:
        pass

    def begun(self, job: RangeJob) -> None:
        pass

    def take(self, job: RangeJob, pieces: list[bytes]) -> None:
        self.taken.append((job.position, b"".join(pieces)))

    def arrived(self, job: RangeJob) -> None:
        self.ended.append(job)

    def lost(self, job: RangeJob, error: S3StreamError, *, general: bool) -> None:
        raise error


def answer(get: Get, text: str, status: int = 206, etag: str = "v1") -> S3StreamError | None:
    """Give the GET this head; return what the range says of it."""
    get.status = status
    get.head_lines = [f"HTTP/1.1 {status} OK\r\n".encode(), f'ETag: "{etag}"\r\n'.encode()]
    if text:
        get.head_lines.append(f"Content-Range: {text}\r\n".encode())
    assert get.begin
    return get.begin(get)


def write(get: Get, *pieces: bytes) -> bool:
    assert get.write
    return get.write(list(pieces))


def test_more_bytes_than_were_asked_for_are_refused() -> None:
    """However right the head was; and none of them is taken."""
    owner = Owner()
    get = RangeJob(owner, 100, 200).again()
    assert answer(get, "bytes 100-199/1000") is None
    assert not write(get, b"x" * 60)
    with pytest.raises(SourceMisbehaved, match="more bytes than were asked for"):
        write(get, b"y" * 41)
    assert owner.taken == [(100, b"x" * 60)]


def test_a_lowered_range_ends_early_and_takes_nothing_behind() -> None:
    """The rest is somebody else's."""
    owner = Owner()
    job = RangeJob(owner, 100, 200)
    get = job.again()
    write(get, b"a" * 30)
    assert job.lower(150)
    assert write(get, b"b" * 10, b"c" * 20)
    assert owner.taken == [(100, b"a" * 30), (130, b"b" * 10 + b"c" * 10)]
    assert job.complete
    job.answered(get)
    assert owner.ended == [job]


@pytest.mark.parametrize("stop", [100, 130, 200, 300])
def test_only_what_is_still_to_come_can_be_given_away(stop: int) -> None:
    """Not what has come, and not what was never there."""
    job = RangeJob(Owner(), 100, 200)
    write(job.again(), b"a" * 30)
    assert not job.lower(stop)
    assert job.stop == 200


def test_bytes_of_an_earlier_get_are_not_taken() -> None:
    """A thread that was left behind may still bring them."""
    owner = Owner()
    job = RangeJob(owner, 100, 200)
    old = job.again()
    write(old, b"a" * 30)
    new = job.again()
    assert new.span == (130, 200)
    assert write(old, b"late")
    write(new, b"b" * 70)
    assert owner.taken == [(100, b"a" * 30), (130, b"b" * 70)]


def test_a_range_that_ended_early_is_not_complete() -> None:
    """It is asked for again, from where it broke."""
    job = RangeJob(Owner(), 100, 200)
    get = job.again()
    write(get, b"a" * 99)
    assert not job.complete
    with pytest.raises(SourceTruncated, match="1 bytes early"):
        job.answered(get)


@pytest.mark.parametrize(
    ("text", "status", "etag", "says"),
    [
        ("", 206, "v1", "missing or malformed"),
        ("bytes 100-", 206, "v1", "missing or malformed"),
        ("bytes 0-99/1000", 206, "v1", "were asked for"),
        ("bytes 101-199/1000", 206, "v1", "were asked for"),
        ("bytes 100-200/1000", 206, "v1", "were asked for"),
        ("bytes 100-199/1001", 206, "v1", "had 1000"),
        ("bytes 100-199/1000", 206, "v2", "replaced"),
        ("", 200, "v1", "ignores Range"),
    ],
)
def test_an_answer_that_is_not_the_range_is_refused(text: str, status: int, etag: str, says: str) -> None:
    """Start, end, total and version are all looked at."""
    error = answer(RangeJob(Owner(), 100, 200).again(), text, status, etag)
    assert error is not None
    assert says in str(error)


@pytest.mark.parametrize(("size", "etag", "good"), [(1000, "v1", True), (999, "v1", False), (1000, "v2", False)])
def test_the_whole_object_will_do_where_the_whole_was_asked_for(size: int, etag: str, good: bool) -> None:
    """As stores without ranges answer, if it is this version."""
    assert (answer(RangeJob(Owner(), 0, size).again(), "", 200, etag) is None) == good
