"""Figure 4: a copy of 1 GiB is killed anywhere, and run again."""

from __future__ import annotations

import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from airflow_s3stream.engine.checksums import crc64nvme_text
from benchmarks import endpoint
from benchmarks.endpoint import Endpoint, LinkOptions
from benchmarks.one.resume import Counters, kill_at
from benchmarks.server import content
from reliability.environment import ROOT
from reliability.figure import Case, Figure, Finding, Settings

NUMBER, TITLE = 4, "Copies that are killed"
TARGET = (
    "SIGKILL at 300 seeded offsets of a copy of 1 GiB, then the next try: at most connections + 2 parts sent again."
)
MiB = 2**20
PART, CONNECTIONS = 8 * MiB, 8
MOST = CONNECTIONS + 2
KINDS: Sequence[str] = ("1 GiB", "64 MiB")
_SIZES = {"1 GiB": 1024 * MiB, "64 MiB": 64 * MiB}
_PATIENCE = 100.0


def check(kind: str, seed: int) -> Finding:
    """Kill one copy, and run it again; on a server of its own."""
    with endpoint.started(LinkOptions(), check=True) as server:
        return _kill(server, kind, seed)


def _kill(server: Endpoint, kind: str, seed: int) -> Finding:
    case, size = Case("kills", kind, seed), _SIZES[kind]
    place = random.Random(f"kills {kind} {seed}").randrange(size)
    key, counters = f"{seed}-{time.monotonic_ns()}", Counters(server)
    server.reset()
    try:
        with tempfile.TemporaryDirectory(prefix="s3stream-") as folder:
            command = _command(server, size, key, Path(folder) / "state.json")
            code, said = kill_at(command, os.environ, counters, place, timeout=_PATIENCE)
            sent = counters.settled()
            begun, stored_before = counters.look()["Put"], server.stored(key)
            if code != -9 and stored_before is None:
                return Finding(case, f"it ended by itself with {code}: {said}", "broken")
            done = subprocess.run(
                command, env=os.environ, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE, check=False
            )
            again = counters.settled() - size
            parts = counters.look()["Put"] - -(-size // PART)
            left = counters.look()["OpenUploads"]
    finally:
        counters.close()
    numbers = (
        ("parts sent again", float(parts)), ("bytes read again", float(max(0, again))),
        ("killed at", float(sent)), ("parts begun", float(begun)),
    )  # fmt: skip
    return Finding(case, _wrong(server, key, size, done, parts, left), "resumed", numbers)


def _command(server: Endpoint, size: int, key: str, state: Path) -> list[str]:
    return [
        sys.executable, "-m", "airflow_s3stream.cli", "copy", f"{server.http}/origin/{size}", f"s3://bench/{key}",
        "--endpoint-url", server.http, "--part-size", str(PART), "--connections", str(CONNECTIONS), "--quiet",
        "--resume", "--state", str(state),
    ]  # fmt: skip


def _wrong(server: Endpoint, key: str, size: int, done: subprocess.CompletedProcess[str], parts: int, left: int) -> str:
    if done.returncode:
        return f"the next try failed: {done.stderr.strip()[-300:]}"
    stored = server.stored(key)
    if stored is None or stored.size != size:
        return f"the store has {stored}"
    if stored.crc64nvme != crc64nvme_text(content.crc64nvme(size)):
        return f"the object has the checksum {stored.crc64nvme}"
    if parts > MOST:
        return f"{parts} parts were sent again, more than {MOST}"
    return f"{left} uploads are left" if left else ""


def run(settings: Settings) -> Figure:
    began, seeds = time.monotonic(), settings.count(full=300, quick=2)
    kind = KINDS[1] if settings.quick else KINDS[0]
    findings = []
    with endpoint.started(LinkOptions(), check=True) as server:
        for seed in range(seeds):
            findings.append(_kill(server, kind, seed))
            if findings[-1].wrong:
                print(f"   WRONG: {findings[-1].wrong}\n   again: {findings[-1].case.replay}", file=sys.stderr)
    wrong = [finding for finding in findings if finding.wrong]
    again = [finding.number("parts sent again") for finding in findings]
    read = [finding.number("bytes read again") / MiB for finding in findings]
    return Figure(
        number=NUMBER, title=TITLE, target=TARGET,
        columns=("size", "kills", "parts sent again: most", "median", "MiB read again: most", "median", "**wrong**"),
        rows=[[
            kind, str(seeds), f"{max(again):.0f} of {MOST} allowed", f"{statistics.median(again):.0f}",
            f"{max(read):.0f}", f"{statistics.median(read):.0f}", f"**{len(wrong)}**",
        ]],
        verdict="missed" if wrong else "met", seconds=time.monotonic() - began, seeds=f"0 to {seeds - 1}",
        notes=(
            f"`s3stream copy --resume` with parts of {PART // MiB} MiB and {CONNECTIONS} connections, killed when the "
            "source has sent a seeded number of bytes; then the same command again. The store takes the CRC-64/NVME of "
            "all it receives, and its object must have that of the source.",
            "Parts sent again: UploadPart requests of both runs, less the parts of the object. Read again: bytes that "
            "the source has sent beyond its size, those that were still in socket buffers included.",
        ),
        failures=[f"{finding.wrong}: `{finding.case.replay}`" for finding in wrong],
    )  # fmt: skip
