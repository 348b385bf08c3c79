"""Figure 7: keys that lead elsewhere, and directories that do."""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import stat
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from reliability import cases, hostile
from reliability.figure import Case, Figure, Finding, Settings
from tests.support.downloads import OWN, fetch, litter, rows
from tests.support.readstore import ReadStore

NUMBER, TITLE = 7, "Hostile keys"
TARGET = "10,200 hostile keys x 3 symlink set-ups: 0 bytes outside, 0 keys silently missing."
BATCH = 100
_BATCHES = 102
_PREFIX = "p/"
_PAIRS = 50
_WORDS = ("keys", "fetched", "refused", "markers", "failed")
_NOTES = (
    'Each batch of 100 keys is put into a store below one prefix and downloaded with `on_error="continue"`: 2 batches '
    "of listed keys, 100 of generated ones.",
    "No link: an empty directory. Planted links: directories and files of the target are links that lead out of it, "
    "up, in a circle or nowhere, and a tenth more keys go through them. Raced links: 50 directories are exchanged with "
    "links that lead out, and back, all the while, and a key goes into each.",
    "Outside: anything beside the target that is new, gone or has other bytes afterwards. Missing: a key without "
    "exactly one line in the result log, or one that is fetched without the right bytes under its name, reached "
    "through no link; so is a file that no key stands for.",
)
_RENAME_EXCHANGE = 2

Setup = tuple[list[str], Callable[[], None]]
"""More keys, and what begins once all is in place."""


def run(settings: Settings) -> Figure:
    began, seeds = time.monotonic(), settings.count(full=_BATCHES, quick=4)
    findings = cases.run(cases.every("keys", KINDS, seeds), settings)
    failures = cases.failures(findings)
    return Figure(
        number=NUMBER,
        title=TITLE,
        target=TARGET,
        columns=("set-up", "keys", "fetched", "refused by name", "directory markers", "failed", "**wrong**"),
        rows=[_row(kind, [one for one in findings if one.case.kind == kind]) for kind in KINDS],
        verdict="missed" if failures else "met",
        seconds=time.monotonic() - began,
        seeds=f"0 to {seeds - 1} of each row, {BATCH} keys each",
        notes=_NOTES,
        failures=failures,
    )


def _row(kind: str, findings: Sequence[Finding]) -> list[str]:
    totals = {word: round(sum(finding.number(word) for finding in findings)) for word in _WORDS}
    wrong = sum(1 for finding in findings if finding.wrong)
    shown = [f"{totals[word]:,}" for word in _WORDS]
    return [kind, *shown, f"**{wrong}**"]


def check(kind: str, seed: int) -> Finding:
    case = Case("keys", kind, seed)
    with tempfile.TemporaryDirectory(prefix="keys-") as folder, ReadStore() as store:
        place = Path(folder)
        target, outside = place / "top" / "to", place / "outside"
        target.mkdir(parents=True)
        outside.mkdir()
        (outside / "precious").write_bytes(b"precious")
        told = hostile.keys(seed, BATCH)
        with _SETUPS[kind](target, outside) as (more, begin):
            _fill(store, [*told, f"/{outside}/absolute", *more], random.Random(f"bodies/{seed}"))
            before = _outside(place, target)
            begin()
            result = fetch(store, target, _PREFIX, on_error="continue", connections=16)
        lines = rows(result)
        wrong = _wrong(store, target, lines) or _moved(before, _outside(place, target))
        counts = Counter(line["status"] for line in lines)
        numbers = {"keys": len(store.objects), "fetched": counts["fetched"], "refused": counts["refused"]}
        numbers |= {"markers": counts["skipped"], "failed": counts["failed"]}
        return Finding(case, wrong, "wrong" if wrong else "right", tuple(numbers.items()))


def _fill(store: ReadStore, keys: Sequence[str], rng: random.Random) -> None:
    for key in keys:
        # A console's marker of a folder is empty; whatever else is, is a file.
        store.put(_PREFIX + key, rng.choice([0, 1, 60]) if key.endswith("/") else rng.randrange(60))


def _wrong(store: ReadStore, target: Path, lines: Sequence[dict[str, object]]) -> str:
    """Tell which key has not become what its line says, or which file is no key's."""
    named = Counter(str(line["key"]) for line in lines)
    if missing := sorted(store.objects.keys() - named.keys()):
        return f"no line for {missing[0]!a}"
    if often := [key for key, count in named.items() if count > 1 or key not in store.objects]:
        return f"{named[often[0]]} lines for {often[0]!a}"
    fetched = {str(line["key"]).removeprefix(_PREFIX) for line in lines if line["status"] == "fetched"}
    found = dict(_files(target))
    for name in sorted(fetched):
        if found.get(name) != store.body(_PREFIX + name):
            return f"{name!a} was fetched, and is {'another file' if name in found else 'not there'}"
    if more := sorted(found.keys() - fetched):
        return f"{more[0]!a} is the file of no key"
    if left := litter(target):
        return f"left behind: {left[0]}"
    if silent := [line["key"] for line in lines if line["status"] in ("refused", "failed") and not line.get("error")]:
        return f"{silent[0]!a} was refused without a word"
    return ""


def _files(root: Path) -> Iterator[tuple[str, bytes]]:
    """Give the files of a directory, by relative path and without going through a link."""
    for folder, names, files in os.walk(root, followlinks=False):
        if folder == os.fspath(root) and OWN in names:
            names.remove(OWN)
        for name in files:
            path = os.path.join(folder, name)
            if stat.S_ISREG(os.lstat(path).st_mode):
                with open(path, "rb") as file:
                    yield os.path.relpath(path, root), file.read()


def _outside(place: Path, target: Path) -> dict[str, bytes]:
    """Give what lies beside the target: files with their bytes, directories and links with what they are."""
    found: dict[str, bytes] = {}
    for folder, names, files in os.walk(place, followlinks=False):
        if Path(folder) == target.parent:
            names.remove(target.name)
        for name in (*names, *files):
            path = os.path.join(folder, name)
            mode = os.lstat(path).st_mode
            found[os.path.relpath(path, place)] = Path(path).read_bytes() if stat.S_ISREG(mode) else b"%o" % mode
    return found


def _moved(before: dict[str, bytes], after: dict[str, bytes]) -> str:
    if before == after:
        return ""
    name = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))[0]
    return f"{name!a} lies outside and {'has changed' if name in before else 'is new'}"


@contextlib.contextmanager
def _no_link(target: Path, outside: Path) -> Iterator[Setup]:
    yield [], _nothing


@contextlib.contextmanager
def _planted(target: Path, outside: Path) -> Iterator[Setup]:
    (target / "deep").mkdir()
    leading = {"link": outside, "deep/link": outside, "file": outside / "precious", "new": outside / "new"}
    for name, to in {**leading, "up": Path(".."), "root": Path("/"), "circle": Path("circle")}.items():
        (target / name).symlink_to(to)
    below = ["link/x", "deep/link/y/z", "up/beside", "up/to/again", "root/tmp/x", "circle/x"]
    yield [*below, "link", "file", "new", "d/x"], _nothing


def _nothing() -> None:
    """Begin nothing."""


@contextlib.contextmanager
def _raced(target: Path, outside: Path) -> Iterator[Setup]:
    """Exchange directories with links, and back, all the while; the names are never missing."""
    names = [f"race{number}" for number in range(_PAIRS)]
    over, swaps = threading.Event(), target.parent / "swaps"
    swaps.mkdir()
    for name in names:
        (target / name).mkdir()
        (swaps / name).symlink_to(outside)

    def race() -> None:
        while not over.is_set():
            for name in (*names, *names):  # all there, and all back
                _exchange(target / name, swaps / name)

    thread = threading.Thread(target=race)
    try:
        yield [f"{name}/sub/x" if number % 2 else f"{name}/x" for number, name in enumerate(names)], thread.start
    finally:
        over.set()
        thread.join()


def _exchange(one: Path, other: Path) -> None:
    """Let two names change places in one step (Linux, renameat2)."""
    libc, here = ctypes.CDLL(None, use_errno=True), -100  # AT_FDCWD
    if libc.renameat2(here, os.fsencode(one), here, os.fsencode(other), _RENAME_EXCHANGE):
        raise OSError(ctypes.get_errno(), f"cannot exchange {one.name}")


_SETUPS: dict[str, Callable[[Path, Path], contextlib.AbstractContextManager[Setup]]] = {
    "no link": _no_link,
    "planted links": _planted,
    "raced links": _raced,
}
KINDS: Sequence[str] = tuple(_SETUPS)
