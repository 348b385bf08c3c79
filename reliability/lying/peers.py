"""
Other tools before the same lying store: a rig that finds nothing in anyone is broken.

They are the benchmark's plug-ins, as it runs them; the object has its MD5 as its ETag, and no other checksum.
"""

from __future__ import annotations

import functools
import random
import tempfile
import urllib.parse
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from airflow_s3stream.config import MiB
from airflow_s3stream.plan.download import WHOLE
from benchmarks import measure
from benchmarks.many import peers as many_peers
from benchmarks.many.task import Task as ManyTask
from benchmarks.one import peers as one_peers
from benchmarks.one.task import BUCKET, Task
from benchmarks.server.keyspace import PREFIX, KeySpace
from reliability.lying import FAR, LIES, drawn, lie_of
from reliability.lying.many import of_whole
from tests.support import readlies, readstore
from tests.support.faults import Fault
from tests.support.readstore import ReadStore
from tests.support.resource import Request

TOOLS: Mapping[str, Mapping[str, str]] = {
    "boto3": {"one": "boto3 download_file", "many": "boto3 in threads"},
    "s5cmd": {"one": "s5cmd cp", "many": "s5cmd"},
    "rclone": {"one": "rclone copyto", "many": "rclone copy"},
    "obstore": {"one": "obstore get_range", "many": "obstore in threads"},
    "awscrt": {"one": "awscrt S3Client", "many": "awscrt S3Client"},
    "aria2c": {"one": "aria2c"},
}
"""Which of the benchmark's peers does which job."""
MUST_FAIL = ("boto3", "s5cmd")
"""Known to believe some of these lies: if they do not, it is the rig that is wrong."""
_TIMEOUT = 60.0
_PART = 5 * MiB
_CONNECTIONS = 4
_OBJECTS = 4


class _Bench(ReadStore):
    """A store whose bucket has the name that the benchmark's peers ask for; it checks no signature."""

    def __init__(self) -> None:
        super().__init__(credentials=None)

    def find(self, request: Request) -> Any:
        path = urllib.parse.unquote(request.target)
        if path.partition("?")[0].removeprefix("/").partition("/")[0] == BUCKET:
            request = replace(request, target=request.target.replace(BUCKET, readstore.BUCKET, 1))
        return super().find(request)


@dataclass(frozen=True, slots=True)
class Trial:
    """One tool, one job, one lie, one seed."""

    tool: str
    job: str
    lie: str
    seed: int


def absent() -> dict[str, str]:
    """Tell which tools are not there, and why."""
    found = {tool: _load("one", names["one"]).missing() for tool, names in TOOLS.items()}
    return {tool: why for tool, why in found.items() if why}


def run(seeds: int, jobs: int) -> dict[tuple[str, str, str], Counter[str]]:
    """Count what each tool that is there made of each job and lie: ``right``, ``error``, ``wrong``."""
    there = [tool for tool in TOOLS if tool not in absent()]
    trials = [
        Trial(tool, job, lie, seed)
        for seed in range(seeds)
        for tool in there
        for job in TOOLS[tool]
        for lie in LIES
    ]  # fmt: skip
    counts: dict[tuple[str, str, str], Counter[str]] = {}
    with ThreadPoolExecutor(jobs) as pool:
        for trial, outcome in zip(trials, pool.map(outcome_of, trials), strict=True):
            counts.setdefault((trial.tool, trial.job, trial.lie), Counter())[outcome] += 1
    return counts


def outcome_of(trial: Trial) -> str:
    """Give what the tool made of it; ``wrong``: it said that it was done, and the bytes are not the object's."""
    rng = drawn(f"{trial.job}: {trial.lie}", trial.seed)
    with tempfile.TemporaryDirectory(prefix="lies-") as name, _Bench() as store:
        home, folder = Path(name) / "home", Path(name) / "to"
        home.mkdir()
        folder.mkdir()
        return (_one if trial.job == "one" else _many)(rng, trial, store, home, folder)


def _one(rng: random.Random, trial: Trial, store: _Bench, home: Path, folder: Path) -> str:
    size = 4 * _PART + rng.randrange(FAR + 1, _PART)
    task = Task(
        what="file", base=store.endpoint_url, size=size, connections=_CONNECTIONS, home=home, folder=folder,
        part_size=_PART,
    )  # fmt: skip
    store.put(task.key, size)
    only = functools.partial(readlies.of, task.key)
    # Not every tool asks for the ranges of one size, but each asks for several.
    store.faults = [lie_of(rng, trial.lie, only, size=size, part=_PART, requests=2)]
    peer = _load("one", TOOLS[trial.tool]["one"])
    done = measure.run(peer.command(task), task.environ(), timeout=_TIMEOUT)
    return _judged(done.returncode, task.path, [store.body(task.key)])


def _many(rng: random.Random, trial: Trial, store: _Bench, home: Path, folder: Path) -> str:
    large = rng.random() < 0.5
    size = WHOLE + rng.randrange(FAR + 1, MiB) if large else rng.randrange(FAR + 1, 60_000)
    task = ManyTask(
        what="download", base=store.endpoint_url, objects=_OBJECTS, connections=_CONNECTIONS, listers=1, folders=False,
        home=home, directory=folder,
    )  # fmt: skip
    keys = list(KeySpace(_OBJECTS, 1)[:])
    for key in keys:
        store.put(key, 1000)
    lied = keys[2]
    store.put(lied, size)
    store.faults = [readlies.of(lied, _of_either(rng, trial.lie, size))]
    peer = _load("many", TOOLS[trial.tool]["many"])
    done = measure.run(peer.command(task), task.environ(), timeout=_TIMEOUT)
    newer = store.objects[lied].rewritten().content.bytes()
    return _judged(done.returncode, folder / lied.removeprefix(PREFIX), [store.body(lied), newer])


def _of_either(rng: random.Random, lie: str, size: int) -> Fault:
    """Tell the lie of a range where one is asked for, and its like of a whole body where none is."""
    whole = of_whole(rng, lie, size)
    ranged = lie_of(rng, lie, lambda fault: fault, size=size, part=size, requests=1)

    def spoil(request: Request, reply: Any) -> None:
        told = ranged if request.range is not None else whole
        if told.spoil and told.when(request):
            told.spoil(request, reply)

    def version(resource: Any) -> Any:
        told = whole.version or ranged.version
        return told(resource) if told else resource

    return Fault(f"{whole.name} or {ranged.name}", spoil, version)


def _judged(returncode: int, path: Path, right: Sequence[bytes]) -> str:
    if returncode != 0:
        return "error"
    return "right" if path.is_file() and path.read_bytes() in right else "wrong"


@functools.cache
def _loaded(job: str) -> Mapping[str, Any]:
    return one_peers.load() if job == "one" else many_peers.load()


def _load(job: str, name: str) -> Any:
    return _loaded(job)[name]
