"""A process that this one did not start: sent signals and seen to end, with no other mistaken for it."""

from __future__ import annotations

import os
import select
import signal
import time
from pathlib import Path
from types import TracebackType
from typing import Self


class OtherProcess:
    """
    Holds on to a process by a descriptor, so that a number that was given out again is never signalled.

    :raises ProcessLookupError: there is no such process.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._descriptor = os.pidfd_open(pid)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    @property
    def parent(self) -> int:
        return int(Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[1])

    @property
    def title(self) -> str:
        """What ``ps`` shows of it."""
        return Path(f"/proc/{self.pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()

    def send(self, number: signal.Signals) -> None:
        signal.pidfd_send_signal(self._descriptor, number)

    def wait(self, seconds: float) -> float | None:
        """Return after how many seconds it had ended; None: not within ``seconds``."""
        began = time.monotonic()
        ended, _, _ = select.select([self._descriptor], [], [], seconds)
        return time.monotonic() - began if ended else None
