"""What this process spends on a trial: CPU, memory, and whether it could have spent more."""

from __future__ import annotations

import ctypes
import gc
import os
import time
from contextlib import suppress
from typing import NamedTuple

from airflow_s3stream.config import KiB

_STATUS, _CLEAR = "/proc/self/status", "/proc/self/clear_refs"
_RESET_PEAK = b"5"  # proc(5): sets VmHWM to what is resident now
_M_TRIM_THRESHOLD = -1
_SCHEDSTAT = "/proc/thread-self/schedstat"  # nanoseconds on the CPU, and waiting for it
_CPU_MAX = "/sys/fs/cgroup/cpu.max"


class PeakMemory:
    """
    The most memory that was resident at once, over what was when this was made. Linux tells, others do not.

    What is left by one trial must not count for the next: so free memory is given back to the system first, as far as
    the C library knows how to.
    """

    def __init__(self) -> None:
        _keep_little()
        _give_back()
        self._idle = _resident("VmRSS")
        self._known = False

    def begin(self) -> None:
        """Begin a new peak."""
        _give_back()
        self._known = False
        with suppress(OSError), open(_CLEAR, "wb", buffering=0) as clear:
            clear.write(_RESET_PEAK)
            self._known = True

    def peak(self) -> int | None:
        """Give the bytes over idle since :meth:`begin`; None where the system does not tell."""
        peak = _resident("VmHWM") if self._known else None
        return None if peak is None or self._idle is None else max(0, peak - self._idle)


def _resident(name: str) -> int | None:
    with suppress(OSError), open(_STATUS, encoding="ascii") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) * KiB
    return None


def _give_back() -> None:
    gc.collect()
    with suppress(OSError, AttributeError):  # musl and others have none
        ctypes.CDLL(None).malloc_trim(0)


def _keep_little() -> None:
    """
    Fix the size from which free memory goes back to the system at its default.

    glibc raises it as it sees fit (mallopt(3)), and then keeps half a megabyte of each thread that has ended.
    """
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, 128 * KiB)


class Spent(NamedTuple):
    """Seconds since the start of something, of CPU. ``waited``: in which the thread was ready, and others ran."""

    process: float
    thread: float
    waited: float


class Processors:
    """
    CPU time, and how near it is to all that is to be had.

    :param alone: the transfer lives on the thread that asks, so that this thread is its limit.
    """

    def __init__(self, *, alone: bool) -> None:
        self._alone = alone
        self._cores = available_cores()

    def read(self) -> Spent:
        """Take the time."""
        return Spent(time.process_time(), time.thread_time(), _waited())

    def busy(self, since: Spent, now: Spent, seconds: float) -> float:
        """
        Tell which share of ``seconds`` the transfer was bound by the CPU; 1.0: it could not have moved more.

        A download lives on one thread: what counts is the time in which that ran, or wanted to and had to wait for
        others. A copy has many: what counts is how much of the cores that this process may use it used.
        """
        if self._alone:
            share = (now.thread - since.thread + now.waited - since.waited) / seconds
        else:
            share = (now.process - since.process) / (seconds * self._cores)
        return min(max(share, 0.0), 1.0)


def available_cores(cpu_max: str = _CPU_MAX) -> float:
    """Tell how many cores this process may use; a container's share may be a part of one."""
    cores = float(len(os.sched_getaffinity(0)))
    with suppress(OSError, ValueError), open(cpu_max, encoding="ascii") as limit:
        quota, period = limit.read().split()
        cores = min(cores, int(quota) / int(period))
    return cores


def _waited() -> float:
    """Give the seconds this thread has waited on a run queue; 0 where the system does not tell."""
    with suppress(OSError, ValueError, IndexError), open(_SCHEDSTAT, encoding="ascii") as schedstat:
        return int(schedstat.read().split()[1]) / 1e9
    return 0.0
