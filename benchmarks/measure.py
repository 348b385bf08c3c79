"""Runs a command and tells what its whole process tree cost: wall, CPU, peak memory."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).resolve().parents[1]
"""Where the commands run: a checkout, so that the package need not be installed."""

SAMPLE = 0.05
"""Seconds between two looks at the tree's memory, and at most a third of the time that it has run for."""
_SHORTEST = 0.002
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Usage:
    """What one run cost."""

    returncode: int
    wall: float
    user: float
    system: float
    peak_rss: int
    """Bytes: the most that all processes of the tree together have had resident, each at its own peak."""
    stdout: str
    stderr: str

    @property
    def cpu(self) -> float:
        return self.user + self.system


def run(command: Sequence[str], environ: Mapping[str, str], *, timeout: float) -> Usage:
    """Run a command in a session of its own; kill the session when it takes too long."""
    with tempfile.TemporaryFile() as stdout, tempfile.TemporaryFile() as stderr:
        start = time.perf_counter()
        process = subprocess.Popen(
            command, env=environ, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr,
            start_new_session=True,
        )  # fmt: skip
        memory = _MemorySampler(process.pid)
        killer = threading.Timer(timeout, os.killpg, (process.pid, signal.SIGKILL))
        killer.start()
        try:
            _pid, status, used = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            raise
        finally:
            killer.cancel()
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        peak = memory.stop(used.ru_maxrss * 1024)
        return Usage(process.returncode, wall, used.ru_utime, used.ru_stime, peak, _text(stdout), _text(stderr))


def _text(stream: IO[bytes]) -> str:
    stream.seek(0)
    return stream.read().decode(errors="replace")


class _MemorySampler:
    """
    Follows the high-water marks of a process tree.

    ``ru_maxrss`` alone is not enough: it is the largest process of a pipeline, not their sum, and a child
    starts out with the resident size of the process that forked it.
    """

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._peaks: dict[int, int] = {}
        self._floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._thread.start()

    def _sample(self) -> None:
        began = time.monotonic()
        while not self._stopped.wait(max(_SHORTEST, min(SAMPLE, (time.monotonic() - began) / 3))):
            for pid in tree(self._pid):
                self._peaks[pid] = max(self._peaks.get(pid, 0), _peak_rss(pid))

    def stop(self, maxrss: int) -> int:
        self._stopped.set()
        self._thread.join()
        sampled = sum(self._peaks.values())
        # The last sample may be one interval old; ru_maxrss is not, and can be trusted above our own size.
        return max(sampled, maxrss) if maxrss > self._floor else sampled


def tree(pid: int) -> list[int]:
    """Give a process and all its living descendants."""
    found = [pid]
    for parent in found:
        try:
            tasks = os.listdir(f"/proc/{parent}/task")
            children = [Path(f"/proc/{parent}/task/{task}/children").read_text() for task in tasks]
        except OSError:
            continue  # It ended between two looks.
        found += [int(child) for line in children for child in line.split()]
    return found


def _peak_rss(pid: int) -> int:
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    for line in status.splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0  # A zombie has no memory left.


def tree_cpu_seconds(pid: int) -> float:
    """Give the CPU seconds that a process and its living descendants have used so far."""
    ticks = 0
    for member in tree(pid):
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICK
