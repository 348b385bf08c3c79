"""A run's figures are those of its whole process tree, and of nothing else."""

from __future__ import annotations

import os
import sys

import pytest

from benchmarks import measure

MiB = 2**20
HOLD = "import sys, time; held = bytearray(b'x') * (int(sys.argv[1]) << 20); time.sleep(0.4)"


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-c", code, *arguments]


def test_cpu_seconds_are_those_of_children_too() -> None:
    """A process that lets a child work is charged for it; sleeping costs wall time alone."""
    burn = "import time\nwhile time.process_time() < 0.5: pass"
    outer = "import subprocess, sys, time; subprocess.run([sys.executable, '-c', sys.argv[1]]); time.sleep(0.3)"
    usage = measure.run(python(outer, burn), os.environ, timeout=30)
    assert usage.returncode == 0
    assert 0.5 <= usage.cpu < 0.9
    assert usage.wall >= 0.8


def test_peak_memory_is_the_sum_of_the_tree() -> None:
    """Two processes of a pipeline that hold 60 MiB each count as 120 MiB."""
    pipeline = f'{sys.executable} -c "{HOLD}" 60 | {sys.executable} -c "{HOLD}" 60'
    both = measure.run(["bash", "-c", pipeline], os.environ, timeout=30)
    one = measure.run(python(HOLD, "60"), os.environ, timeout=30)
    assert both.returncode == one.returncode == 0
    assert 60 * MiB < one.peak_rss < 85 * MiB
    assert 120 * MiB < both.peak_rss < 170 * MiB


def test_memory_of_the_harness_is_not_the_tools() -> None:
    """A child does not inherit the resident size of the process that started it."""
    ours = bytearray(b"x") * (200 * MiB)
    small = measure.run(python("import time; time.sleep(0.3)"), os.environ, timeout=30)
    assert len(ours) > 5 * small.peak_rss > 0


def test_a_run_that_takes_too_long_is_ended_with_its_children() -> None:
    """After the timeout the whole session is killed, and the run counts as failed."""
    usage = measure.run(["bash", "-c", "sleep 60 | sleep 60"], os.environ, timeout=0.3)
    assert usage.returncode < 0
    assert usage.wall < 5


@pytest.mark.parametrize("code", [0, 3])
def test_the_exit_code_and_output_are_told(code: int) -> None:
    """What a tool printed and how it ended come back."""
    usage = measure.run(python(f"print('out'); raise SystemExit({code})"), os.environ, timeout=30)
    assert (usage.returncode, usage.stdout) == (code, "out\n")
