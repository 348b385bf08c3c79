"""
Guards, taken out one by one: each must be missed by somebody. ``python -m reliability.mutations [NAME...]``

In a copy of the checkout one text is replaced by another, and what is named beside it must then fail, as it must not
fail before: some tests, or seeds of a figure. The lists are in :mod:`reliability.guards`.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from reliability import cases, guards, stores
from reliability.environment import ROOT, prepare
from reliability.figure import Case
from reliability.guards import Check, Mutation, Seeds, Tests

_COPIED = ("airflow_s3stream", "benchmarks", "reliability", "tests")
_FILES = ("pyproject.toml",)
_TIMEOUT = 100.0
_NAME = 80
"""Letters of a test's name that are shown."""
Fate = Literal["killed", "survived", "stale", "broken"]
"""``stale``: the text to replace is not there, once. ``broken``: what must fail fails without the mutation, or says
nothing of use."""


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one mutation."""

    mutation: Mutation
    fate: Fate
    by: str
    """What failed: the seed or the test; else what is wrong with the mutation."""
    seconds: float = 0.0


def run(mutations: Sequence[Mutation], jobs: int) -> list[Result]:
    """Try each in turn, in as many copies as there are jobs; in the order given."""
    sound: dict[Check, tuple[bool | None, str]] = {}
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(jobs) as pool:
        copies: queue.Queue[Path] = queue.Queue()
        for _ in range(jobs):
            copies.put(stack.enter_context(_copy()))

        def in_a_copy(mutation: Mutation) -> Result:
            tree, began = copies.get(), time.monotonic()
            try:
                fate, by = _tried(mutation, tree, sound)
                result = Result(mutation, fate, by, time.monotonic() - began)
                print(f"   {fate:9}{result.seconds:5.0f} s  {mutation.name}: {by}"[:300], flush=True)
                return result
            finally:
                copies.put(tree)

        return list(pool.map(in_a_copy, mutations))


@contextlib.contextmanager
def _copy() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        tree = Path(folder)
        for name in _COPIED:
            shutil.copytree(ROOT / name, tree / name, ignore=shutil.ignore_patterns("__pycache__"))
        for name in _FILES:
            shutil.copy(ROOT / name, tree / name)
        yield tree


def _tried(mutation: Mutation, tree: Path, sound: dict[Check, tuple[bool | None, str]]) -> tuple[Fate, str]:
    """
    Take the guard out, and give what comes of it.

    :param sound: what checks say of the tree as it is; added to.
    """
    path = tree / mutation.file
    text = path.read_text()
    if text.count(mutation.old) != 1:
        return "stale", f"{mutation.old[:60]!r} is {text.count(mutation.old)} times in {mutation.file}"
    if mutation.check not in sound:
        sound[mutation.check] = _checked(mutation.check, tree)
    if sound[mutation.check][0] is not False:  # once more: a busy machine may have been too slow
        sound[mutation.check] = _checked(mutation.check, tree)
    failed, told = sound[mutation.check]
    if failed is not False:
        return "broken", f"fails without it: {told}"
    path.write_text(text.replace(mutation.old, mutation.new))
    try:
        failed, told = _checked(mutation.check, tree)
    finally:
        path.write_text(text)
    if failed is None:
        return "broken", told
    return ("killed", told) if failed else ("survived", str(mutation.check))


def _checked(check: Check, tree: Path) -> tuple[bool | None, str]:
    """Give whether the check fails in this tree, and what of it; None where it says nothing of use."""
    environ = {**os.environ, "PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    environ["AIRFLOW_HOME"] = str(tree / ".airflow")
    try:
        done = subprocess.run(
            _command(check), cwd=tree, env=environ, capture_output=True, text=True, timeout=_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired:
        return True, "not done in time"
    lines = done.stdout.strip().splitlines() or [""]
    if done.returncode not in (0, 1):
        return None, (done.stderr.strip().splitlines() or lines)[-1]
    return done.returncode == 1, _first_failure(lines) if isinstance(check, Tests) else lines[-1]


def _command(check: Check) -> list[str]:
    if isinstance(check, Seeds):
        hunt = ["--hunt", check.figure, check.kind, str(check.count)]
        return [sys.executable, "-m", "reliability.mutations", *hunt]
    return [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", *check.arguments]


def _first_failure(lines: Sequence[str]) -> str:
    failed = [line.partition(" ")[2] for line in lines if line.startswith(("FAILED ", "ERROR "))]
    file, _, name = (failed or [""])[0].partition(" - ")[0].partition("::")
    return f"{Path(file).name}, {name[:_NAME]}"


def hunt(figure: str, kind: str, count: int) -> int:
    """Do seeds until one is wrong; then say which, and return 1."""
    for seed in range(count):
        found = cases.check(Case(figure, kind, seed), limit=20)
        if found.wrong:
            print(f"{figure}, {kind}, seed {seed}: {found.wrong}"[:300])
            return 1
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m reliability.mutations", description=__doc__)
    parser.add_argument("names", nargs="*", help="only guards with one of these in their names")
    parser.add_argument("--jobs", type=int, default=2, help="copies that are tried at once (default: %(default)s)")
    parser.add_argument("--hunt", nargs=3, metavar=("FIGURE", "KIND", "SEEDS"), help="do seeds until one is wrong")
    options = parser.parse_args()
    prepare(Path.cwd())
    if options.hunt:
        figure, kind, count = options.hunt
        return hunt(figure, kind, int(count))
    wanted = [
        one for one in guards.everything() if not options.names or any(name in one.name for name in options.names)
    ]
    with stores.serving(("localstack",)):
        results = run(wanted, options.jobs)
    return 1 if any(result.fate != "killed" for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
