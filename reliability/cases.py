"""Runs the cases of a figure, in processes of their own and each within its time."""

from __future__ import annotations

import faulthandler
import multiprocessing
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from types import FrameType

from reliability import corpus, figures
from reliability.environment import prepare
from reliability.figure import Case, Finding, Settings

LIMIT = 120.0
"""Seconds after which a case hangs; what is shorter is the figure's own to say."""
_AGAIN = 10.0
"""Seconds after which it rings again, for what is raised inside a finalizer is swallowed."""
_BATCH = 5
"""Cases that a process takes at a time."""
_TOLD = 10
"""Wrong ones that are told at once; the record has all."""


class Hang(BaseException):
    """Past its time. No Exception, so that nobody who catches those goes on."""


def every(figure: str, kinds: Sequence[str], seeds: int) -> list[Case]:
    """Give the cases of these kinds, seeds from 0 on."""
    return [Case(figure, kind, seed) for seed in range(seeds) for kind in kinds]


def check(case: Case, limit: float = LIMIT) -> Finding:
    """Do one case. To be called on a process's main thread."""
    module = figures.load(case.figure)
    return within(limit, case, lambda: module.check(case.kind, case.seed))


def within(limit: float, case: Case, work: Callable[[], Finding]) -> Finding:
    """Do the work of a case; whatever is raised, and a hang, is a finding. On a process's main thread."""
    began = time.monotonic()

    def ring(number: int, frame: FrameType | None) -> None:
        faulthandler.dump_traceback(sys.__stderr__ or sys.stderr)
        raise Hang(f"not done after {limit:g} s")

    before = signal.signal(signal.SIGALRM, ring)
    # pytest may have an alarm of its own.
    alarm = signal.setitimer(signal.ITIMER_REAL, limit, _AGAIN)
    try:
        found = work()
    except (Exception, Hang) as error:  # noqa: BLE001  (a case that breaks is a result, and the others go on)
        found = Finding(case, f"{type(error).__name__}: {error}", "broken")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        signal.setitimer(signal.ITIMER_REAL, *alarm)
    return replace(found, case=case, seconds=time.monotonic() - began)


def run(cases: Sequence[Case], settings: Settings, limit: float = LIMIT) -> list[Finding]:
    """Do all cases; what went wrong is told on stderr at once, and written into the corpus if that is wanted."""
    found, wrong = [], 0
    for finding in _in_turn(cases, limit) if settings.jobs == 1 else _spread(cases, settings.jobs, limit):
        found.append(finding)
        wrong += bool(finding.wrong)
        if finding.wrong and wrong <= _TOLD:
            print(f"   WRONG: {finding.wrong}\n   again: {finding.case.replay}", file=sys.stderr, flush=True)
    found.sort(key=lambda finding: finding.case)
    if settings.remember:
        corpus.add(found)
    return found


def _in_turn(cases: Sequence[Case], limit: float) -> Iterator[Finding]:
    return (check(case, limit) for case in cases)


def _spread(cases: Sequence[Case], jobs: int, limit: float) -> Iterator[Finding]:
    # Spawned: a process that was forked while threads ran may hold their locks.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=prepare) as pool:
        batches = [cases[at : at + _BATCH] for at in range(0, len(cases), _BATCH)]
        for done in as_completed([pool.submit(_batch, batch, limit) for batch in batches]):
            yield from done.result()


def _batch(cases: Sequence[Case], limit: float) -> list[Finding]:
    return [check(case, limit) for case in cases]


def failures(findings: Sequence[Finding]) -> list[str]:
    """Tell what was wrong, each with the command that does it again."""
    return [f"{finding.wrong}: `{finding.case.replay}`" for finding in findings if finding.wrong]
