"""What one thread puts, another gets; and whoever waits in vain waits no longer than it said."""

from __future__ import annotations

import threading
from itertools import count
from queue import Empty

import pytest

from airflow_s3stream.engine.mailbox import Mailbox
from tests.support.waiting import SOON


def test_in_order() -> None:
    box: Mailbox[int | None] = Mailbox()
    for item in (1, None, 3):
        box.put(item)
    assert (box.get(0), box.get_nowait(), box.get(60)) == (1, None, 3)
    for get in (box.get_nowait, lambda: box.get(0), lambda: box.get(0.01), lambda: box.get(-1)):
        with pytest.raises(Empty):
            get()


def test_one_that_waits_is_woken() -> None:
    box: Mailbox[int] = Mailbox()
    timer = threading.Timer(0.1, box.put, [7])
    timer.start()
    assert box.get(60) == 7
    timer.join()


def test_each_of_several_is_woken_for_its_own() -> None:
    """Although the bell rings once for two that were put at the same time."""
    box: Mailbox[int] = Mailbox()
    got: list[int] = []
    threads = [threading.Thread(target=lambda: got.append(box.get(60))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for number in range(8):
        box.put(number)
    for thread in threads:
        thread.join(SOON)
    assert sorted(got) == list(range(8))


def test_a_wait_that_is_interrupted_ends_in_its_time() -> None:
    """The bell still rings for what somebody else has taken, and by then it is late."""
    seconds = count()
    box: Mailbox[int] = Mailbox(clock=lambda: float(next(seconds)))
    box.put(1)
    assert box.get_nowait() == 1
    ended = threading.Event()

    def get() -> None:
        with pytest.raises(Empty):
            box.get(1.5)
        ended.set()

    threading.Thread(target=get, daemon=True).start()
    assert ended.wait(SOON)


def test_many_on_either_side_lose_nothing_and_end() -> None:
    box: Mailbox[int] = Mailbox()
    over = threading.Event()
    got: list[int] = []

    def take() -> None:
        while not over.is_set():
            try:
                got.append(box.get(0.001))
            except Empty:
                continue

    takers = [threading.Thread(target=take, daemon=True) for _ in range(8)]
    givers = [threading.Thread(target=lambda: [box.put(number) for number in range(2000)]) for _ in range(2)]
    for thread in takers + givers:
        thread.start()
    for thread in givers:
        thread.join()
    waited = threading.Event()
    while len(got) < 4000 and any(thread.is_alive() for thread in takers):
        waited.wait(0.01)
    over.set()
    for thread in takers:
        thread.join(SOON)
        assert not thread.is_alive()
    assert sorted(got) == sorted([*range(2000)] * 2)
