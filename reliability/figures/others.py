"""Figure 12: other tools, through the same lost answer and the same signals. A rig that finds nothing is broken."""

from __future__ import annotations

import random
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from reliability import stores
from reliability.copying.tools import CONNECTIONS, KEY, OURS, PART, TOOLS, Upload
from reliability.environment import ROOT
from reliability.figure import Figure, Settings
from tests.support import s3fault
from tests.support.content import Content
from tests.support.origin import serving
from tests.support.s3fault import S3FaultProxy
from tests.support.stores import Store

NUMBER, TITLE = 12, "Other tools, through the same faults"
TARGET = "the rig finds in them what they are known for, and nothing in this project's command."

ROWS = LOST, TERM, INT, KILL, AGAIN = (
    "answer to Complete lost: reported as failed",
    "SIGTERM between parts: uploads left",
    "SIGINT between parts: uploads left",
    "SIGKILL, and then again: uploads left",
    "SIGKILL, and then again: parts sent twice",
)
KNOWN = {LOST: ("boto3", "s5cmd", "rclone", "obstore"), TERM: ("boto3", "s5cmd", "obstore"), KILL: ("boto3", "s5cmd")}
"""Who is known to do what is not wanted (loopback measurements of these versions, November 2026)."""
_TRIALS = 5
_TIMEOUT = 60.0
_SETTLE = 0.5
"""Seconds for what was under way when a process ended to arrive."""


@dataclass(slots=True)
class _Counts:
    """What one tool did."""

    bad: dict[str, int] = field(default_factory=lambda: dict.fromkeys((LOST, TERM, INT, KILL), 0))
    ran_on: dict[str, int] = field(default_factory=lambda: dict.fromkeys((TERM, INT), 0))
    """How often it did not hear the signal, and went on to a good end."""
    twice: list[int] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def cell(self, row: str, trials: int) -> str:
        if row == AGAIN:
            return f"{statistics.median(self.twice):g}" if self.twice else ""
        deaf = self.ran_on.get(row, 0)
        return f"{self.bad[row]} of {trials}" + (f" ({deaf} ran on)" if deaf else "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """One upload about to be made."""

    store: Store
    upload: Upload
    proxy: S3FaultProxy
    content: Content


@contextmanager
def scene(seed: int) -> Iterator[Scene]:
    store, size = stores.store("localstack"), 4 * PART + random.Random(f"others {seed}").randrange(1, PART)
    try:
        with (
            tempfile.TemporaryDirectory(prefix="s3stream-") as name,
            serving(size, seed=seed) as origin,
            S3FaultProxy(store.endpoint_url) as proxy,
        ):
            file, content = Path(name, "file"), origin.resource.content
            file.write_bytes(content.bytes())
            upload = Upload(
                file=file, url=origin.url, endpoint=proxy.endpoint_url, bucket=store.bucket, state=Path(name, "state")
            )
            yield Scene(store=store, upload=upload, proxy=proxy, content=content)
    finally:
        stores.remove(store)


def _start(tool: str, upload: Upload) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        TOOLS[tool].command(upload), env=dict(upload.environ()), cwd=ROOT, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def _end(process: subprocess.Popen[bytes]) -> int:
    try:
        return process.wait(_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def lose(tool: str, scene: Scene) -> bool:
    """Lose the answer to the request that publishes; whether the tool calls that a failure."""
    scene.proxy.faults = [s3fault.lose_answer("CompleteMultipartUpload")]
    failed = _end(_start(tool, scene.upload)) != 0
    if scene.store.get(KEY) != scene.content.bytes():
        raise AssertionError("the object is not whole")
    return failed


def _strike(tool: str, scene: Scene, number: signal.Signals) -> int:
    """Signal when two parts are stored and more are under way; wait for the end and give the exit code."""
    scene.proxy.faults = [s3fault.hold_answer("UploadPart", 2.0).on(3, None)]
    process, ends = _start(tool, scene.upload), time.monotonic() + _TIMEOUT
    while len(scene.proxy.parts()) < 3 and process.poll() is None and time.monotonic() < ends:
        time.sleep(0.01)
    if process.poll() is not None:
        raise AssertionError(f"it ended with {process.returncode} before the signal")
    process.send_signal(number)
    code = _end(process)
    time.sleep(_SETTLE)
    return code


def _again(tool: str, scene: Scene) -> tuple[bool, int]:
    """Kill it and run it again: whether uploads are left after that, and how many parts were sent twice."""
    scene = replace(scene, upload=replace(scene.upload, resume=True))
    _strike(tool, scene, signal.SIGKILL)
    scene.proxy.faults = []
    if _end(_start(tool, scene.upload)) != 0 or scene.store.get(KEY) != scene.content.bytes():
        raise AssertionError("the second run did not copy it")
    parts = -(-scene.upload.file.stat().st_size // PART)
    return bool(scene.store.uploads()), len(scene.proxy.parts()) - parts


def _tried(tool: str, trials: int) -> _Counts:
    counts = _Counts()
    for seed in range(trials):
        try:
            with scene(seed) as one:
                counts.bad[LOST] += lose(tool, one)
            for row, number in ((TERM, signal.SIGTERM), (INT, signal.SIGINT)):
                with scene(seed) as one:
                    counts.ran_on[row] += _strike(tool, one, number) == 0
                    counts.bad[row] += bool(one.store.uploads())
            with scene(seed) as one:
                left, twice = _again(tool, one)
                counts.bad[KILL] += left
                counts.twice.append(twice)
        except (AssertionError, OSError) as error:
            counts.broken.append(f"{tool}, seed {seed}: {error}")
    return counts


def run(settings: Settings) -> Figure:
    began, trials = time.monotonic(), min(settings.count(full=_TRIALS, quick=1), _TRIALS)
    absent = {name: why for name, tool in TOOLS.items() if (why := tool.missing())}
    with stores.serving(("localstack",)):
        found = {name: _tried(name, trials) for name in TOOLS if name not in absent}
    failures = [*_ours(found[OURS]), *_too_good(found), *(text for counts in found.values() for text in counts.broken)]
    return Figure(
        number=NUMBER, title=TITLE, target=TARGET, columns=("", *found),
        rows=[[row, *(counts.cell(row, trials) for counts in found.values())] for row in ROWS],
        verdict="missed" if failures else "met", seconds=time.monotonic() - began, seeds=f"0 to {trials - 1}",
        notes=(
            f"A file of 20 to 25 MiB, for s3stream a URL, goes to LocalStack in five parts over {CONNECTIONS} "
            "connections, where the tool lets one choose. The store has published when the answer is lost. A signal "
            "comes when two parts are stored and the third is under way.",
            "SIGKILL leaves an upload in any case; counted is what is left when the same command was run again and "
            "has succeeded. s3stream goes on with `--resume`; the others cannot, and send all parts again. Parts sent "
            "twice: the median, those under way at the signal included.",
            *(f"{tool} is left out: {why}." for tool, why in absent.items()),
        ),
        failures=failures,
    )  # fmt: skip


def _ours(counts: _Counts) -> list[str]:
    wrong = [f"{OURS}: {row}: {bad}" for row, bad in counts.bad.items() if bad]
    wrong += [f"{OURS}: {row}: {deaf} ran on" for row, deaf in counts.ran_on.items() if deaf]
    most = CONNECTIONS + 2
    return wrong + [f"{OURS} sent {twice} parts twice, more than {most}" for twice in counts.twice if twice > most]


def _too_good(found: dict[str, _Counts]) -> list[str]:
    """Name the tools that are known for something which was not seen."""
    return [
        f"the rig found nothing in {tool} ({row}), so it is broken"
        for row, tools in KNOWN.items()
        for tool in tools
        if tool in found and not found[tool].bad[row]
    ]
