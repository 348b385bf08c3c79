"""Killed at every step, and two at once: the file is the old one or the new one, and the next run completes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

# Run as the child, which imports once and then forks for each run. A run kills itself before its n-th call of the
# kernel, which covers everything between two of them, too: nothing else outlives a process.
PREPARE = """
import json, os, random, signal, sys, threading
from airflow_s3stream.engine.checksums import continued
from airflow_s3stream.engine.objectfile import ObjectFile, Version, Written
from airflow_s3stream.exceptions import FileBusy

folder = sys.argv[1]
path = os.path.join(folder, "file")
chance = random.Random(20241121)
SIZE, STEP = 40_000, 10_000
CALLS = {"posix", "fcntl"}
nothing = lambda fd: None  # what is killed is a process, not the machine

class Object:
    def __init__(self, number):
        self.body = random.Random(number).randbytes(SIZE)
        self.version = Version("s3://b/k", f"etag {number}", SIZE, 1709251200.0 + number)

def die_before(count):
    def look(frame, event, called):
        nonlocal count
        if event == "c_call" and called.__module__ in CALLS:
            count -= 1
            if count < 0:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.setprofile(look)

def run(kind, if_exists, resume=True):
    # Gives what it found: the pieces, or how the finished file was verified.
    file = ObjectFile(path, if_exists=if_exists, resume=resume, sync=nothing)
    if file.is_same(kind.version):
        found = file.verification
        file.keep()
        return found
    have = file.begin(kind.version, "crc64nvme")
    at = {piece.start: piece.stop for piece in have}
    for start in (20_000, 0, 30_000, 10_000):
        if at.get(0) == SIZE:
            break
        for stop in (start + STEP // 2, start + STEP):
            if stop <= at.get(start, start):
                continue
            file.write([kind.body[at.get(start, start) : stop]], at.get(start, start))
            at[start] = stop
            file.note(Written(start, stop, continued("crc64nvme", kind.body[start:stop], 0)))
    file.commit("crc64nvme")
    return have

def forked(work):
    # Gives what work returned, or None if it was killed.
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        try:
            answer = json.dumps(work()).encode()
            sys.setprofile(None)
            os.write(writer, answer)
            os._exit(0)
        except BaseException as error:
            sys.setprofile(None)
            os.write(2, f"{type(error).__name__}: {error}\\n".encode())
            os._exit(1)
    os.close(writer)
    with open(reader, "rb") as answer:
        read = answer.read()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert status in (0, -signal.SIGKILL), status
    return json.loads(read) if status == 0 else None

def content():
    try:
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None

def reset(*bodies):
    for name in os.listdir(folder):
        os.unlink(os.path.join(folder, name))
    for body in bodies:
        with open(path, "wb") as file:
            file.write(body)

def noted(text):
    # What a run of the same version must have: a line counts with its end. Half a piece may still grow.
    lines = [json.loads(line) for line in text.split(b"\\n")[:-1]]
    return {start: stop for start, stop, _ in (line for line in lines if isinstance(line, list))}
"""
EVERY_STEP = """
if_exists, before = sys.argv[2], sys.argv[3]
new, other = Object(1), Object(2)
old = b"" if if_exists == "fail" else b"old"
told = {"kills": 0, "named": 0, "kept": 0}
for count in range(10_000):
    reset(*([old] if old else []))
    if before == "other version":
        file = ObjectFile(path, sync=nothing)
        file.begin(other.version, "crc64nvme")
        file.write([other.body], 0)
        file.note(Written(0, SIZE, continued("crc64nvme", other.body, 0)))
        file.keep()
    elif before.startswith("all pieces"):
        file = ObjectFile(path, sync=nothing)
        file.begin(new.version, "crc64nvme")
        file.write([new.body], 0)
        file.note(Written(0, SIZE, continued("crc64nvme", new.body, 0)))
        file.keep()
    die = lambda: (die_before(count), run(new, if_exists, resume=before != "all pieces but no resume"))
    ended = forked(die) is not None
    shown = content()
    assert shown in (old or None, new.body), count
    expected = {}
    if not ended and os.path.exists(f"{folder}/.file.s3stream.journal"):
        with open(f"{folder}/.file.s3stream.journal", "rb") as journal:
            text = journal.read()
        if b'"etag":"etag 1"' in text:
            expected = noted(text)
    # Without a journal that run had nothing left to do, and this one is another.
    over = shown == new.body and not os.path.exists(f"{folder}/.file.s3stream.journal")
    found = forked(lambda: run(new, "overwrite" if over else if_exists))
    if ended:
        break
    told["kills"] += 1
    if shown == new.body:
        told["named"] += found == "crc64nvme"
        assert (found == "crc64nvme") is not over, (count, found)
    else:
        assert {start: stop for start, stop, _ in found} == expected, (count, found, expected)
        told["kept"] += bool(expected)
    assert content() == new.body, count
    assert os.listdir(folder) == ["file"], (count, os.listdir(folder))
print(json.dumps(told))
"""
MANY_KILLS = """
told = {"kills": 0, "named": 0}
for number in range(50):
    kind = Object(number)
    reset(b"old")
    steps = 0
    while True:
        steps += 1
        count = chance.choice((chance.randrange(12), chance.randrange(90)))
        die = lambda: (die_before(count), run(kind, "overwrite"))
        if forked(die) is not None:
            break
        told["kills"] += 1
        assert content() in (b"old", kind.body)
        if steps > 6:  # enough; this one may end
            run_to_end = forked(lambda: run(kind, "overwrite"))
            assert run_to_end is not None
            told["named"] += run_to_end == "crc64nvme"
            break
    assert content() == kind.body
    assert os.listdir(folder) == ["file"]
print(json.dumps(told))
"""
TWO_AT_ONCE = """
# Each holds a mark in another directory while it has the file; two marks at once are two holders.
rounds = int(sys.argv[2])
marks = os.path.join(folder, "marks")
os.mkdir(marks)
folder = os.path.join(folder, "d")
path = os.path.join(folder, "file")

def hold(kind, mine):
    told = {"held": 0, "busy": 0, "shared": 0, "kept": 0, "wrong": 0}
    while told["held"] < rounds:
        try:
            file = ObjectFile(path, sync=nothing)
        except FileBusy as error:
            assert "another run is writing to" in str(error)
            told["busy"] += 1
            continue
        told["held"] += 1
        with open(os.path.join(marks, mine), "w"):
            told["shared"] += len(os.listdir(marks)) > 1
            pieces = file.begin(kind.version, "crc64nvme")
            told["kept"] += bool(pieces)
            for start in range(0, SIZE, STEP):
                body = kind.body[start : start + STEP]
                if not any(piece.start == start for piece in pieces):
                    file.write([body], start)
                    file.note(Written(start, start + STEP, continued("crc64nvme", body, 0)))
            told["shared"] += len(os.listdir(marks)) > 1
        os.unlink(os.path.join(marks, mine))
        end = chance.randrange(3)
        file.commit("size") if end == 0 else file.keep() if end == 1 else file.discard()
        told["wrong"] += content() not in (None, first.body, second.body)
    return told

def start(kind, mine):
    chance.seed(mine)
    return forked(lambda: hold(kind, mine))

first, second = Object(1), Object(2)
answers = {}
threads = [threading.Thread(target=lambda kind=kind, mine=mine: answers.update({mine: start(kind, mine)}))
           for kind, mine in ((first, "first"), (second, "second"))]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
file = ObjectFile(path)
file.discard()
answers["left"] = os.listdir(folder)
print(json.dumps(answers))
"""


def child(root: Path, code: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", "-c", PREPARE + code, str(root), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=50)
    assert done.returncode == 0, done.stderr
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


@pytest.mark.parametrize(
    ("if_exists", "before"),
    [("overwrite", "nothing"), ("overwrite", "other version"), ("overwrite", "all pieces but no resume"),
     ("fail", "nothing"), ("fail", "all pieces")],
)  # fmt: skip
def test_killed_before_any_call_of_the_kernel(tmp_path: Path, if_exists: str, before: str) -> None:
    """The name shows old or new bytes; the next run has every piece that was noted, completes, and leaves no litter."""
    told = child(tmp_path, EVERY_STEP, if_exists, before)
    assert told["kills"] > 25, told
    assert told["kept"] > 3, told
    assert told["named"] >= 2, told  # killed between the name and the end, it is found finished


def test_killed_again_and_again(tmp_path: Path) -> None:
    """Each run goes on where the last was killed, whichever step that was."""
    told = child(tmp_path, MANY_KILLS)
    assert told["kills"] > 100, told
    assert told["named"] > 0, told


def test_two_processes_never_have_one_file(tmp_path: Path) -> None:
    """However they race for the journal that the other is about to take away."""
    told = child(tmp_path, TWO_AT_ONCE, "300")
    assert told["left"] in ([], ["file"])
    for one in (told["first"], told["second"]):
        assert (one["held"], one["shared"], one["wrong"]) == (300, 0, 0), told
    assert told["first"]["busy"] + told["second"]["busy"] > 0, told
