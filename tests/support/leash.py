"""Run a command that cannot outlive whoever started it: ``python -m tests.support.leash COMMAND...``

It ends, with everything it started, when its own standard input is closed. The kernel closes that when the
parent ends, in whichever way: a test run that was interrupted or killed leaves no server behind.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Leashed:
    """
    A command in a session of its own, on the leash; its working directory is this repository.

    :param log: where its output goes.
    :param environment: all of it.
    """

    def __init__(self, command: Sequence[str], log: Path, environment: Mapping[str, str]) -> None:
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, *command], stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT, cwd=REPOSITORY, env=environment, start_new_session=True,
            )  # fmt: skip

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    @property
    def session(self) -> int:
        """The session of the command and of all it starts."""
        return self._process.pid

    def stop(self) -> None:
        """End the command and whatever it started; nothing here is worth a graceful end."""
        assert self._process.stdin
        self._process.stdin.close()  # the leash lets go
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(10)


def _end_with_the_parent(child: subprocess.Popen[bytes]) -> None:
    # os.read rather than sys.stdin: a thread that waits in sys.stdin holds a lock the interpreter needs to exit.
    while os.read(0, 4096):
        pass
    child.kill()


def _others_of_this_session() -> list[int]:
    """Find the living processes of this session but this one."""
    session, found = os.getsid(0), []
    for name in os.listdir("/proc"):
        if name.isdecimal() and int(name) != os.getpid():
            with suppress(OSError):
                state, _, _, of = Path("/proc", name, "stat").read_text().rpartition(")")[2].split()[:4]
                # The dead who are still listed wait for a first process that may never collect them.
                if int(of) == session and state not in "ZX":
                    found.append(int(name))
    return found


def main(command: list[str]) -> None:
    """Start the command; return never, ending as the head of a session that ends whole."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_the_parent, args=(child,), daemon=True).start()
    # Waited for here, because not every machine's first process collects orphans.
    child.wait()
    # One by one, because some make groups of their own, and again, because some were starting others.
    while others := _others_of_this_session():
        for pid in others:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
