"""Kills a tool (SIGKILL, its whole session) when the server has sent so much, then sees what the next run does."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from benchmarks import measure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.endpoint import Endpoint

SEED = 4
SETTLE = 5.0
"""Seconds at most until the server has noticed that its client is gone."""


def offset(name: str, number: int, size: int) -> int:
    """Give the byte at which to kill: the same in every benchmark, another in every round."""
    return random.Random(f"{SEED} {name} {number}").randrange(size)


class Counters:
    """The server's counters over one connection that stays open: a look takes half a millisecond."""

    def __init__(self, server: Endpoint) -> None:
        self._connection = http.client.HTTPConnection(urlsplit(server.http).netloc, timeout=10)

    def look(self) -> Mapping[str, int]:
        self._connection.request("GET", "/_stats")
        found: dict[str, Any] = json.load(self._connection.getresponse())
        return found

    def settled(self) -> int:
        """Wait until no request is under way; give the bytes that were sent, received by the client or not."""
        until = time.monotonic() + SETTLE
        while (now := self.look())["InFlight"] and time.monotonic() < until:
            time.sleep(0.005)
        return now["BytesOut"]

    def close(self) -> None:
        self._connection.close()


def kill_at(
    command: Sequence[str], environ: Mapping[str, str], counters: Counters, place: int, *, timeout: float
) -> tuple[int, str]:
    """
    Run a command and kill it when the server has sent ``place`` bytes.

    Give its exit code, -9 if it was killed, and the last of what it said if it ended by itself.
    """
    until = time.monotonic() + timeout
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command, env=environ, cwd=measure.ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=said,
            start_new_session=True,
        )  # fmt: skip
        try:
            while process.poll() is None and counters.look()["BytesOut"] < place and time.monotonic() < until:
                time.sleep(0.0005)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        said.seek(0)
        return process.returncode, said.read().decode(errors="replace").strip()[-200:]


def account(
    size: int, place: int, sent: tuple[int, int], learnt: Mapping[str, Any], connections: int
) -> dict[str, int]:
    """
    Say what a kill has cost, from the bytes that the server has sent before and after it.

    What was sent and not received counts as fetched too, so this is more than the tool itself can know.
    """
    before, after = sent
    return {
        "ended": 0,
        "place": place,
        "sent_before": before,
        "sent_after": after,
        "refetched": max(0, before + after - size),
        "kept": int(learnt.get("resumed", size - after)),
        "limit": (connections + 2) * int(learnt.get("part_size", 0)),
    }
