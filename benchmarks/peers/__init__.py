"""
The tools that are measured, one module each. A new one is one more module with its ``PEERS``; nothing lists them.

Each run is a fresh process of its own, so that CPU and memory are of that tool alone. The Python peers are
run as ``python -m benchmarks.peers.<module>``; they read their task from BENCH_* environment variables.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import pkgutil
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage

MiB = 2**20
GiB = 2**30
REGION = "us-east-1"
ACCESS_KEY = "benchmark"
SECRET_KEY = "benchmark"  # noqa: S105  (the server checks none)


def environ(home: Path, ca: Path | None = None) -> dict[str, str]:
    """Give what every tool finds in its environment, whatever its task; ``ca`` is what it is to trust."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LD_LIBRARY_PATH") if name in os.environ}
    bundles = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
    return {
        **kept,
        **(dict.fromkeys(bundles, str(ca)) if ca else {}),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), kept.get("PATH", os.defpath)]),
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
        "AWS_DEFAULT_REGION": REGION,
        "AWS_EC2_METADATA_DISABLED": "true",
    }


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One URL to copy to ``s3://bench/key``."""

    base: str
    """Of the origin and of the S3 endpoint."""
    size: int
    key: str
    connections: int
    source: str = "origin"
    """``origin`` takes ranges; ``plain`` and ``chunked`` do not."""
    ca: Path | None = None
    home: Path
    """An empty folder, so that no peer reads the user's own settings."""
    part_size: int | None = None
    max_memory: int | None = None

    @property
    def path(self) -> str:
        return f"{self.source}/{self.size}"

    @property
    def url(self) -> str:
        return f"{self.base}/{self.path}"

    def environ(self) -> dict[str, str]:
        """Give what every peer finds in its environment."""
        told = {"BENCH_URL": self.url, "BENCH_ENDPOINT": self.base, "BENCH_KEY": self.key}
        return {**environ(self.home, self.ca), **told}


class Peer(Protocol):
    """One tool."""

    name: str
    note: str
    """What a reader of the table must know of it; may be empty."""

    def missing(self) -> str:
        """Tell what it lacks on this machine; empty when it can run."""

    def command(self, job: Job) -> Sequence[str]:
        """Give the command that copies the job's URL."""


def learnt(peer: Peer, usage: Usage) -> Mapping[str, Any]:
    """Give what the peer itself tells of the run, if it does."""
    tell = getattr(peer, "learnt", None)
    return tell(usage) if tell else {}


def program(name: str) -> str | None:
    """Find a program beside this Python or on the path."""
    return shutil.which(str(Path(sys.executable).parent / name)) or shutil.which(name)


def module_missing(*names: str) -> str:
    """Tell which Python modules are not installed; empty if all are."""
    lacking = [name for name in names if importlib.util.find_spec(name) is None]
    return f"{' and '.join(lacking)} not installed" if lacking else ""


def load() -> dict[str, Peer]:
    """Give every peer by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    peers = [peer for module in modules for peer in getattr(module, "PEERS", ())]
    return {peer.name: peer for peer in peers}
