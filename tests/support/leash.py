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


def _end_with_the_parent(child: subprocess.Popen[bytes]) -> None:
    # os.read rather than sys.stdin: a thread that waits in sys.stdin holds a lock the interpreter needs to exit.
    while os.read(0, 4096):
        pass
    child.kill()


def main(command: list[str]) -> None:
    """Start the command; return never, ending as the head of a process group that ends whole."""
    child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    threading.Thread(target=_end_with_the_parent, args=(child,), daemon=True).start()
    # Waited for here, because not every machine's first process collects orphans.
    child.wait()
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(sys.argv[1:])
