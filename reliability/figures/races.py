"""Figure 6: two attempts at one key, both alive."""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.events import Event, Listener, Started
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import SinkConflict
from reliability import cases, stores
from reliability.copying.oracle import KEY, OLD, Judge, Try, attempt
from reliability.figure import Case, Figure, Finding, Settings
from tests.support.origin import Origin
from tests.support.resource import Resource
from tests.support.s3calls import Answer, Call
from tests.support.s3fault import S3FaultProxy
from tests.support.transfers import PART, quick, transfer
from tests.support.trystate import KeptState, stopped

NUMBER, TITLE = 6, "Two attempts at one key"
TARGET = "1,000 races: one winner, 0 mixed objects, 0 false failures for equal content."
SAME, OTHER, SHARED = "the same bytes", "other bytes", "one upload, shared by two tries"
KINDS: Sequence[str] = (SAME, OTHER, SHARED)
_SHARE = {SAME: 350, OTHER: 350, SHARED: 300}


class _Meeting:
    """Both wait until both have looked at the key: else one would simply come after the other."""

    def __init__(self, pause: float) -> None:
        self._barrier = threading.Barrier(2)
        self._pause = pause

    def listener(self, late: bool) -> Listener:
        waited = False

        def hear(event: Event) -> None:
            nonlocal waited
            if isinstance(event, Started) and not waited:
                waited = True  # a copy that begins afresh starts twice, and must not wait for one that has ended
                self._barrier.wait(20)
                if late:
                    time.sleep(self._pause)

        return hear


class Atomic(S3FaultProxy):
    """Lets one request publish at a time, as if each were atomic: S3's are, LocalStack's are not."""

    def __init__(self, endpoint_url: str) -> None:
        super().__init__(endpoint_url)
        self._publishing = threading.Lock()

    def _ask_store(self, body: Iterator[bytes], call: Call) -> Answer:
        if call.operation not in ("CompleteMultipartUpload", "PutObject"):
            return super()._ask_store(body, call)
        pieces = list(body)  # first: a client that is slow must not hold up the other
        with self._publishing:
            return super()._ask_store(iter(pieces), call)


def check(kind: str, seed: int) -> Finding:
    case, rng = Case("races", kind, seed), random.Random(f"races {kind} {seed}")
    store = stores.store("localstack")
    size = rng.choice([rng.randrange(1, 100_000), rng.randrange(9 * MiB, 14 * MiB)])
    if kind == SHARED:
        size = rng.randrange(16 * MiB, 24 * MiB)
    second = Resource(size, seed=seed + 1, etag='"v2"') if kind == OTHER else Resource(size, seed=seed)
    judge = Judge(store, KeptState(), old=rng.random() < 0.5)
    if judge.old:
        store.put(KEY, OLD)
    try:
        with Origin(Resource(size, seed=seed)) as a, Origin(second) as b, Atomic(store.endpoint_url) as proxy:
            judge.versions += [a.resource.content, b.resource.content]
            states = [KeptState(), KeptState()]
            if kind == SHARED:
                b = a
                stopped(a, store, states[0], PART + rng.randrange(PART), connections=2)
                states[1].text = states[0].text
            tries = _race(rng, [a, b], states, judge, proxy.endpoint_url)
        wrong = next(filter(None, (judge.wrong(one, None) for one in tries)), "") or judge.wrong_at_the_end()
    finally:
        stores.remove(store)
    return Finding(case, wrong or _unfair(kind, tries), " and ".join(sorted(_outcome(one) for one in tries)))


def _race(rng: random.Random, origins: list[Origin], states: list[KeptState], judge: Judge, endpoint: str) -> list[Try]:
    tries, meeting, late = [Try(), Try()], _Meeting(rng.choice([0, rng.random() * 0.05])), rng.randrange(2)

    def run(number: int) -> None:
        tries[number] = attempt(
            lambda: transfer(
                origins[number].url, judge.store, KEY, endpoint_url=endpoint, resume=states[number].resume(again=False),
                part_size=PART, connections=2, listener=meeting.listener(number == late), stop=StopFlag(),
                timeouts=quick(deadline=60),
            )
        )  # fmt: skip

    threads = [threading.Thread(target=run, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tries


def _outcome(tried: Try) -> str:
    return "copied" if tried.result else type(tried.error).__name__


def _unfair(kind: str, tries: list[Try]) -> str:
    """Say what is wrong with who won."""
    lost = [one for one in tries if one.error]
    if kind != OTHER:
        return f"a false failure although the bytes are the same: {lost[0].said}" if lost else ""
    if len(lost) != 1:
        return f"{2 - len(lost)} winners of two that have other bytes"
    return "" if isinstance(lost[0].error, SinkConflict) else f"the loser was told something else: {lost[0].said}"


def run(settings: Settings) -> Figure:
    began, wanted = time.monotonic(), settings.count(full=1000, quick=9)
    todo = [Case("races", kind, seed) for kind in KINDS for seed in range(max(1, wanted * _SHARE[kind] // 1000))]
    with stores.serving(("localstack",)):
        findings = cases.run(todo, settings)
    failures = cases.failures(findings)
    return Figure(
        number=NUMBER, title=TITLE, target=TARGET,
        columns=("two attempts with", "races", "both copied", "one copied, one in conflict", "**wrong**"),
        rows=[_row(kind, [one for one in findings if one.case.kind == kind]) for kind in KINDS],
        verdict="missed" if failures else "met", seconds=time.monotonic() - began,
        seeds=", ".join(f"0 to {max(1, wanted * _SHARE[kind] // 1000) - 1} of {kind}" for kind in KINDS),
        notes=(
            "Both have looked at the key before either goes on; then they run at once, one up to 50 ms behind, over an "
            "old object or a free key, small (one PutObject) or in parts.",
            "LocalStack checks conditions, but not in one step with what it publishes, and mixes objects of one upload "
            "that is completed twice at once; S3 does neither. So a proxy lets one request publish at a time.",
            "Shared: a try was stopped, and two others go on with its upload, as when one thought dead is not.",
        ),
        failures=failures,
    )  # fmt: skip


def _row(kind: str, findings: Sequence[Finding]) -> list[str]:
    counts = Counter(finding.outcome for finding in findings)
    wrong = sum(1 for finding in findings if finding.wrong)
    return [
        kind, str(len(findings)), str(counts["copied and copied"]), str(counts["SinkConflict and copied"]),
        f"**{wrong}**",
    ]  # fmt: skip
