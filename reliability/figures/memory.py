"""Figure 10: memory, of copies and of downloads, however large the object is."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path

from airflow_s3stream.config import CopyOptions, GiB, KiB, MiB, TiB
from airflow_s3stream.plan.getting import GetOptions
from benchmarks import endpoint
from benchmarks.endpoint import Endpoint, LinkOptions
from reliability.environment import ROOT
from reliability.figure import Figure, Settings
from reliability.held import MAX_MEMORY

NUMBER, TITLE = 10, "Memory"
TARGET = "Peak within the documented formula at 1 GiB and at 1 TiB (synthetic, time-limited), slope 0."

_COPY, _GET = CopyOptions(), GetOptions()
_LIBRARIES = 32 * MiB
"""What CopyOptions allows the client libraries for 16 connections."""
FORMULAS = {
    "relay": _COPY.connections * MiB + _LIBRARIES,
    "spool": MAX_MEMORY["spool"] + MiB + _LIBRARIES,
    "unknown": MAX_MEMORY["unknown"] + MiB + _LIBRARIES,
    "file": 16 * MiB + _GET.connections * 768 * KiB,
    "stream": _GET.max_memory + 16 * MiB,
}
"""Bytes beyond the idle process, by the docstrings of CopyOptions and GetOptions."""
SHOWN = {
    "relay": ("copy, source with ranges", "16 connections x 1 MiB + 32 MiB"),
    "spool": ("copy, source without ranges", "`max_memory` 256 MiB + 1 MiB + 32 MiB"),
    "unknown": ("copy, source without a length", "`max_memory` 64 MiB + 1 MiB + 32 MiB"),
    "file": ("get into a file", "16 MiB + 16 connections x 0.75 MiB"),
    "stream": ("get as a stream", "`max_memory` 128 MiB + 16 MiB"),
}
LEVEL = 2 * MiB
"""Bytes by which a run's last quarter may hold more than its second and still count as level."""
_SAMPLE = 0.05
_LEAST = 12 * GiB
"""Bytes after which what is ever to be held is held, and a slope would show."""
_MEMORY = Path("/dev/shm")  # noqa: S108  (a file system in memory is what it is there for)
_NOTES = (
    "Each transfer is a process of its own with default settings, against the synthetic server of the benchmarks, on "
    "loopback. Growth is its peak (VmHWM) beyond what it has once everything is loaded, a client made and nothing "
    "asked.",
    "A transfer of 1 TiB is ended after 90 s and 12 GiB, or after 6 min; what it had moved by then is in the table. Of "
    "a file only 1 GiB is measured: 1 TiB has no room.",
    "Slope: the most in use in the last quarter of the run's time, less the most in its second quarter; up to "
    f"{LEVEL // MiB} MiB counts as 0.",
)


@dataclass(frozen=True, slots=True)
class Enough:
    """When a transfer that would take hours is ended."""

    seconds: float
    least: int
    """Bytes that must have moved too, but for at most four times the seconds."""

    def reached(self, seconds: float, server: Endpoint) -> bool:
        return seconds >= self.seconds and (seconds >= 4 * self.seconds or _moved(server) >= self.least)


@dataclass(slots=True)
class Run:
    """What one transfer held."""

    way: str
    size: int
    idle: int = 0
    peak: int = 0
    moved: int = 0
    failed: str = ""
    samples: list[int] = field(default_factory=list)
    """Bytes in use, at even times."""

    @property
    def grown(self) -> int:
        return self.peak - self.idle

    @property
    def slope(self) -> int:
        quarter = len(self.samples) // 4
        if not quarter:
            return 0
        later, earlier = self.samples[-quarter:], self.samples[quarter : 2 * quarter]
        return max(later) - max(earlier)

    def wrong(self, *, sloping: bool) -> str:
        """Tell what is not as documented; ``sloping``: the run was long enough for a slope to show."""
        what = f"{SHOWN[self.way][0]}, {self.size // GiB} GiB"
        if self.failed:
            return f"{what}: {self.failed}"
        if self.grown > FORMULAS[self.way]:
            return f"{what}: grew by {self.grown / MiB:.1f} MiB, {FORMULAS[self.way] / MiB:.0f} MiB are documented"
        if sloping and self.slope > LEVEL:
            return f"{what}: still growing, by {self.slope / MiB:.1f} MiB"
        return ""


def run(settings: Settings) -> Figure:
    began, seconds = time.monotonic(), 4.0 if settings.quick else 90.0
    small = 256 * MiB if settings.quick else GiB
    with endpoint.started(LinkOptions()) as server:
        runs = [measured(server, way, small, timeout=120) for way in FORMULAS]
        enough = Enough(seconds, 0 if settings.quick else _LEAST)
        long = [measured(server, way, TiB, enough=enough) for way in FORMULAS if way != "file"]
    wrong = [one.wrong(sloping=one in long and not settings.quick) for one in (*runs, *long)]
    failures = [f"{why}: `python -m reliability memory`" for why in wrong if why]
    return Figure(
        number=NUMBER,
        title=TITLE,
        target=TARGET,
        columns=("transfer", "size", "moved", "idle MiB", "grown by MiB", "documented MiB", "formula", "slope MiB"),
        rows=[_row(one, sloping=one in long) for one in sorted((*runs, *long), key=_place)],
        verdict="missed" if failures else "met",
        seconds=time.monotonic() - began,
        notes=_NOTES,
        failures=failures,
    )


def _place(one: Run) -> tuple[int, int]:
    return list(FORMULAS).index(one.way), one.size


def _row(one: Run, *, sloping: bool) -> list[str]:
    name, formula = SHOWN[one.way]
    size = f"{one.size // TiB} TiB" if one.size >= TiB else f"{one.size / GiB:g} GiB"
    figures = [f"{one.idle / MiB:.0f}", f"{one.grown / MiB:.1f}", f"{FORMULAS[one.way] / MiB:.0f}"]
    slope = f"{one.slope / MiB:+.1f}" if sloping else ""
    return [name, size, one.failed or f"{one.moved / GiB:.1f} GiB", *figures, formula, slope]


def measured(server: Endpoint, way: str, size: int, *, enough: Enough | None = None, timeout: float = 600) -> Run:
    """
    Do one transfer and look at its memory.

    :param enough: when it is ended; None: it must come to its end.
    :param timeout: seconds after which it has failed.
    """
    one = Run(way, size)
    server.reset()
    place = _MEMORY if _MEMORY.is_dir() else None
    with tempfile.TemporaryDirectory(prefix="memory-", dir=place) as folder:
        process = subprocess.Popen(
            [sys.executable, "-m", "reliability.held", way, server.http, str(size), folder],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        killer = threading.Timer(timeout, process.kill)
        killer.start()
        try:
            _watch(process, one, server, enough)
        finally:
            killer.cancel()
            process.kill()
            out, err = process.communicate()
    one.moved = _moved(server)
    if not out.strip().endswith("done") and (enough is None or err.strip()):
        one.failed = (err.strip().splitlines() or ["it was not done in time"])[-1]
    return one


def _watch(process: subprocess.Popen[str], one: Run, server: Endpoint, enough: Enough | None) -> None:
    assert process.stdin
    assert process.stdout
    if process.stdout.readline().strip() != "idle":
        return
    one.idle = _memory(process.pid, "VmRSS")
    process.stdin.write("go\n")
    process.stdin.flush()
    began = time.monotonic()
    while process.poll() is None and not (enough and enough.reached(time.monotonic() - began, server)):
        held, peak = _memory(process.pid, "VmRSS"), _memory(process.pid, "VmHWM")
        if held:
            one.samples.append(held)
            one.peak = max(one.peak, peak)
        time.sleep(_SAMPLE)


def _moved(server: Endpoint) -> int:
    """Give the bytes that the server has sent since it was reset."""
    return server.stats()["BytesOut"]


def _memory(pid: int, name: str) -> int:
    """Give one of the sizes in a process's status; 0 when it has ended."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) * KiB for line in status.splitlines() if line.startswith(f"{name}:")), 0)
