"""Bytes on their way into a file: written by several threads, summed, noted, and no more after the end."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.absorb import Absorber
from airflow_s3stream.engine.checksums import combine, continued
from airflow_s3stream.engine.objectfile import Written
from airflow_s3stream.exceptions import DiskFull, S3StreamError, Stopped

CONTENT = bytes(range(256)) * 4096  # 1 MiB


@dataclass
class File:
    """Keeps what it is given; ``at_write`` is called before it does."""

    at_write: Any = lambda: None
    full: bool = False
    content: bytearray = field(default_factory=lambda: bytearray(len(CONTENT)))
    noted: list[Written] = field(default_factory=list)
    flushed: list[tuple[int, int]] = field(default_factory=list)

    def write(self, chunks: list[bytes], offset: int) -> None:
        self.at_write()
        body = b"".join(chunks)
        self.content[offset : offset + len(body)] = body

    def note(self, piece: Written) -> None:
        if self.full:
            raise DiskFull("no space left")
        self.noted.append(piece)

    def flush(self, start: int, stop: int) -> None:
        self.flushed.append((start, stop))


@dataclass(eq=False)
class Job:
    start: int
    stop: int
    position: int


def job_of(start: int, stop: int) -> Any:
    return cast("Any", Job(start, stop, start))


def bring(absorber: Absorber, job: Any, size: int) -> None:
    absorber.put(job, [CONTENT[job.position : job.position + size]])
    job.position += size


def crc(start: int, stop: int) -> int:
    return continued("crc64nvme", CONTENT[start:stop], 0)


def test_many_threads_bring_what_one_would() -> None:
    """Ranges of several parts of the object each, and no checksum that goes across a part's end."""
    file, step = File(), len(CONTENT) // 8
    ends = [step // 2 * number for number in range(1, 17)]
    absorber = Absorber(file, "crc64nvme", ends=ends)

    def bring_all(number: int) -> None:
        job = job_of(number * step, (number + 1) * step)
        while job.position < job.stop:
            bring(absorber, job, min(1000, job.stop - job.position))
        absorber.complete(job)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(bring_all, range(8)))
    absorber.close()
    assert file.content == CONTENT
    assert absorber.stored == len(CONTENT)
    pieces = absorber.pieces
    assert [(piece.start, piece.stop) for piece in pieces] == list(zip([0, *ends[:-1]], ends, strict=True))
    assert [piece.checksum for piece in pieces] == [crc(piece.start, piece.stop) for piece in pieces]
    assert sorted(file.noted) == pieces
    assert sorted(file.flushed) == [(piece.start, piece.stop) for piece in pieces]


def test_the_end_waits_for_those_who_write_and_lets_nobody_in() -> None:
    inside, go_on = threading.Event(), threading.Event()

    def at_write() -> None:
        inside.set()
        assert go_on.wait(10)

    file = File(at_write)
    absorber, job = Absorber(file, "crc64nvme"), job_of(0, 1000)
    writer = threading.Thread(target=bring, args=(absorber, job, 600))
    writer.start()
    assert inside.wait(10)
    closer = threading.Thread(target=absorber.close)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive(), "it ended while somebody was writing"
    with pytest.raises(Stopped):
        absorber.put(job_of(1000, 2000), [b"late"])
    go_on.set()
    closer.join(10)
    writer.join(10)
    assert file.noted == [Written(0, 600, crc(0, 600))], "what had been written was not noted for a later run"
    absorber.close()
    assert len(file.noted) == 1


def test_who_ends_it_again_waits_too() -> None:
    """What a signal raises may break off the first wait; the file must not be closed under the one who writes."""
    inside, go_on = threading.Event(), threading.Event()

    def at_write() -> None:
        inside.set()
        assert go_on.wait(10)

    class Struck(threading.Condition):
        struck = False

        def wait(self, timeout: float | None = None) -> bool:
            if not self.struck:
                self.struck = True
                raise KeyboardInterrupt
            return super().wait(timeout)

    file = File(at_write)
    absorber, job = Absorber(file, "crc64nvme"), job_of(0, 1000)
    absorber._changed = Struck()
    writer = threading.Thread(target=bring, args=(absorber, job, 600))
    writer.start()
    assert inside.wait(10)
    with pytest.raises(KeyboardInterrupt):
        absorber.close()
    closer = threading.Thread(target=absorber.close)
    closer.start()
    closer.join(0.2)
    assert closer.is_alive(), "it ended while somebody was writing"
    go_on.set()
    closer.join(10)
    writer.join(10)
    assert file.noted == [Written(0, 600, crc(0, 600))]


def test_a_range_under_way_is_noted_now_and_then() -> None:
    """So that a kill costs no more than some megabytes of each."""

    class Large(File):
        def write(self, chunks: list[bytes], offset: int) -> None:
            pass

    file = Large()
    absorber, job = Absorber(file, "crc64nvme"), job_of(0, 64 * MiB)
    for _ in range(20):
        absorber.put(job, [CONTENT])
        job.position += len(CONTENT)
    assert [piece.stop for piece in file.noted] == [8 * MiB, 16 * MiB]
    assert file.flushed == [(0, 8 * MiB), (8 * MiB, 16 * MiB)]
    assert file.noted[-1].checksum == combine("crc64nvme", [(crc(0, len(CONTENT)), len(CONTENT))] * 16)


def test_what_cannot_be_written_is_not_counted() -> None:
    def at_write() -> None:
        raise DiskFull("no space left")

    absorber, job = Absorber(File(at_write), "crc64nvme"), job_of(0, 1000)
    with pytest.raises(DiskFull):
        bring(absorber, job, 600)
    absorber.close()
    assert (absorber.stored, absorber.pieces) == (0, [])


def test_a_journal_that_cannot_be_written_ends_the_range_but_not_the_end() -> None:
    """There is another error then, which should not be hidden."""
    file = File(full=True)
    absorber, job, other = Absorber(file, "crc64nvme"), job_of(0, 1000), job_of(2000, 3000)
    bring(absorber, job, 1000)
    bring(absorber, other, 10)
    with pytest.raises(S3StreamError):
        absorber.complete(job)
    absorber.close()


def test_how_far_all_bytes_are_there() -> None:
    absorber = Absorber(File(), "crc64nvme", done=[Written(0, 100, crc(0, 100))])
    first, second = job_of(100, 200), job_of(200, 300)
    assert absorber.reach(0, 0) == (100, 100)
    bring(absorber, second, 100)
    absorber.complete(second)
    assert absorber.reach(100, 100) == (100, 100)
    bring(absorber, first, 60)
    assert absorber.reach(100, 100) == (100, 160)
    bring(absorber, first, 40)
    absorber.complete(first)
    assert absorber.reach(100, 160) == (300, 300)
