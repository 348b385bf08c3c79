"""What the figures were measured on: nothing that names the machine or its places."""

from __future__ import annotations

import os
import platform
import re
import ssl
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.peers import program

_WARM = 4 << 30
"""Bytes of free memory that are touched at most."""

_PACKAGES = (
    "apache-airflow",
    "apache-airflow-providers-amazon",
    "apache-airflow-providers-http",
    "awscrt",
    "boto3",
    "obstore",
    "pycurl",
    "requests",
    "urllib3",
)
_PROGRAMS = {"aria2c": ("--version",), "rclone": ("version",), "s5cmd": ("version",), "curl": ("--version",)}
_FLAGS = ("aes", "vaes", "sha_ni", "avx512f")
"""Processor features that decide what TLS and SHA-256 cost."""


def facts() -> dict[str, Any]:
    cpu = Path("/proc/cpuinfo").read_text()
    memory = re.search(r"MemTotal: +(\d+)", Path("/proc/meminfo").read_text())
    model = re.search(r"model name\s*: (.*)", cpu)
    flags = re.search(r"flags\s*: (.*)", cpu)
    return {
        "cores": len(os.sched_getaffinity(0)),
        "processor": model[1] if model else platform.machine(),
        "features": [flag for flag in _FLAGS if flags and flag in flags[1].split()],
        "memory_gib": round(int(memory[1]) / 2**20) if memory else None,
        "kernel": "".join(re.findall(r"^[\d.]+", platform.release())),
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION.split()[1],
        "versions": {**_packages(), **_programs()},
    }


def _packages() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _programs() -> dict[str, str]:
    found = {}
    for name, ask in _PROGRAMS.items():
        if path := program(name):
            told = subprocess.run([path, *ask], capture_output=True, text=True, check=False).stdout
            if match := re.search(r"\d+(\.\d+)+", told):
                found[name] = match[0]
    return found


def busy_seconds() -> float:
    """CPU seconds that the whole machine has worked, or was kept waiting by its host, since it started."""
    fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def warm(folder: Path, size: int) -> None:
    """
    Touch as much free memory as a file of ``size`` bytes will take.

    A virtual machine's host may take back what is free, and whoever touches it first waits for the host. Unless
    somebody does so before each run, it is the length of the pause before it that decides what a write costs.

    :param folder: on a file system in memory.
    """
    chunk = bytes(1 << 20)
    with suppress(OSError), tempfile.TemporaryFile(dir=folder) as file:  # as far as there is room
        for _ in range(min(size, _WARM) >> 20):
            file.write(chunk)
