"""Figure 2: seeded schedules of faults, through tries that go on where the one before was."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

from airflow_s3stream.config import MiB, RetryPolicy, TransferResult
from airflow_s3stream.engine.stop import StopFlag
from reliability import cases, stores
from reliability.copying.oracle import KEY, OLD, Judge, attempt, kind_of
from reliability.figure import Case, Figure, Finding, Settings
from tests.support import faults, s3fault
from tests.support.faults import Fault
from tests.support.origin import Origin
from tests.support.resource import Resource
from tests.support.s3fault import S3Fault, S3FaultProxy
from tests.support.transfers import PART, QUICK, transfer
from tests.support.trystate import KeptState

NUMBER, TITLE = 2, "Seeded schedules of faults"
TARGET = "1,000 schedules: 0 corrupt, 0 untracked uploads, 0 hangs past the deadline and a tenth of it."
KINDS: Sequence[str] = ("localstack", "moto", "rclone")
_SHARE = {"localstack": 500, "moto": 250, "rclone": 250}
"""Seeds of each, of the thousand."""
_DEADLINE = 20.0
_TRIES = 3
_RETRY = RetryPolicy(attempts=3, budget=12, base=0.01, cap=0.05, retry_after_cap=0.5)

_Source = Callable[[random.Random, int], Fault]
_Sink = Callable[[random.Random], S3Fault]

_AT_THE_SOURCE: tuple[_Source, ...] = (
    lambda rng, size: faults.close_after(rng.randrange(size)),
    lambda rng, size: faults.reset_after(rng.randrange(size)),
    lambda rng, size: faults.stall_after(rng.randrange(size)),
    lambda rng, size: faults.shorter_length(rng.randrange(1, 1000)),
    lambda rng, size: faults.longer_length(rng.randrange(1, 1000)),
    lambda rng, size: faults.ignore_range(),
    lambda rng, size: faults.wrong_start(rng.randrange(1, 1000)),
    lambda rng, size: faults.short_range(rng.randrange(1, MiB)),
    lambda rng, size: faults.multipart_ranges(),
    lambda rng, size: faults.content_range(None),
    lambda rng, size: faults.status(rng.choice([500, 502, 503, 504, 403, 404])),
    lambda rng, size: faults.throttle(rng.choice([429, 503]), rng.choice([None, "0", "1", "soon"])),
    lambda rng, size: faults.relabelled('"other"'),
)
_OPERATIONS = ("CreateMultipartUpload", "HeadObject", "UploadPart", "CompleteMultipartUpload", "PutObject", "ListParts")
"""The first not with moto: it says of each upload that it was begun in 2010, so a lost one is not found by its age."""
_AT_THE_STORE: tuple[Callable[[random.Random, str], S3Fault], ...] = (
    lambda rng, op: s3fault.refuse(op, rng.choice([500, 502, 504]), "InternalError"),
    lambda rng, op: s3fault.refuse(op, 503, "SlowDown"),
    lambda rng, op: s3fault.refuse(op, 400, rng.choice(["RequestTimeout", "ExpiredToken"])),
    lambda rng, op: s3fault.refuse(op, 403, "AccessDenied"),
    lambda rng, op: s3fault.drop_request(op, rng.randrange(2 * MiB), reset=rng.random() < 0.5),
    lambda rng, op: s3fault.lose_answer(op, reset=rng.random() < 0.5),
    lambda rng, op: s3fault.cut_answer(op, rng.randrange(1, 200)),
    lambda rng, op: s3fault.error_after(op, 500, "InternalError"),
    lambda rng, op: s3fault.hold_answer(op, rng.choice([0.3, 3.0])),
)


def check(kind: str, seed: int) -> Finding:
    case, rng = Case("schedules", kind, seed), random.Random(f"schedules {kind} {seed}")
    store, state = stores.store(kind), KeptState()
    judge = Judge(store, state, old=rng.random() < 0.5)
    if judge.old:
        store.put(KEY, OLD)
    size = rng.choice([rng.randrange(1, 9 * MiB), rng.randrange(9 * MiB, 32 * MiB)])
    outcomes, struck = [], 0
    try:
        with Origin(Resource(size, seed=seed, ranges=rng.random() < 0.85)) as origin:
            judge.versions.append(origin.resource.content)
            for _ in range(_TRIES):
                wrong, outcome, hits = _try(rng, origin, judge, size)
                struck += hits
                outcomes.append(outcome)
                if wrong:
                    return Finding(case, wrong, "wrong")
                if outcome == "copied":
                    break
            else:
                wrong = _last(rng, origin, judge)
                if wrong:
                    return Finding(case, wrong, "wrong")
            wrong = judge.wrong_at_the_end()
    finally:
        stores.remove(store)
    outcome = "copied at once" if len(outcomes) == 1 else f"copied by try {len(outcomes)}"
    return Finding(case, wrong, outcome, numbers=(("tries", len(outcomes)), ("faults", struck)))


def _try(rng: random.Random, origin: Origin, judge: Judge, size: int) -> tuple[str, str, int]:
    """Make one try under faults; give what is wrong, the outcome, and how many faults struck."""
    before = len(origin.exchanges)
    origin.faults = [
        replace(rng.choice(_AT_THE_SOURCE)(rng, size), every=rng.randrange(1, 4), most=rng.randrange(1, 3))
        for _ in range(rng.choice([0, 0, 1, 1, 2]))
    ]
    operations = _OPERATIONS[judge.store.name == "moto" :]
    at_the_store = [
        rng.choice(_AT_THE_STORE)(rng, rng.choice(operations)).on(rng.randrange(1, 5), rng.choice([1, 1, 2, 3]))
        for _ in range(rng.choice([0, 1, 1, 2, 3]))
    ]
    if rng.random() < 0.15:  # the source becomes another version between two tries
        origin.resource = origin.resource.rewritten(f'"{len(judge.versions) + 1}"', seed=rng.randrange(10**6))
        judge.versions.append(origin.resource.content)
    again, stop = rng.random() < 0.8, StopFlag()
    if rng.random() < 0.3:
        origin.when_sent(rng.randrange(size), lambda: stop.request("the schedule says so"))
    with S3FaultProxy(judge.store.endpoint_url, *at_the_store) as proxy:
        tried = attempt(lambda: _copy(origin, judge, proxy.endpoint_url, stop, again=again))
        struck = sum(1 for call in proxy.calls if call.fault)
    struck += sum(1 for exchange in origin.exchanges[before:] if exchange.faults)
    return judge.wrong(tried, _DEADLINE), kind_of(tried), struck


def _last(rng: random.Random, origin: Origin, judge: Judge) -> str:
    """Try once more without a fault: it must succeed, whatever the tries before have left."""
    origin.faults = []
    tried = attempt(lambda: _copy(origin, judge, judge.store.endpoint_url, StopFlag(), again=False))
    if tried.error:
        return f"the last try failed although it met no fault: {tried.said}"
    return judge.wrong(tried, _DEADLINE)


def _copy(origin: Origin, judge: Judge, endpoint: str, stop: StopFlag, *, again: bool) -> TransferResult:
    return transfer(
        origin.url, judge.store, KEY, endpoint_url=endpoint, stop=stop, resume=judge.state.resume(again=again),
        retry=_RETRY, timeouts=replace(QUICK, deadline=_DEADLINE), store_timeouts=replace(QUICK, read=2),
        part_size=PART, connections=3,
    )  # fmt: skip


def run(settings: Settings) -> Figure:
    began, wanted = time.monotonic(), settings.count(full=1000, quick=12)
    todo = [Case("schedules", kind, seed) for kind in KINDS for seed in range(max(1, wanted * _SHARE[kind] // 1000))]
    with stores.serving(KINDS):
        findings = cases.run(todo, settings)
    failures = cases.failures(findings)
    return Figure(
        number=NUMBER, title=TITLE, target=TARGET,
        columns=("store", "schedules", "faults that struck", "copied at once", "by a later try", "**wrong**"),
        rows=[_row(kind, [one for one in findings if one.case.kind == kind]) for kind in KINDS],
        verdict="missed" if failures else "met",
        seconds=time.monotonic() - began,
        seeds=", ".join(f"0 to {max(1, wanted * _SHARE[kind] // 1000) - 1} of {kind}" for kind in KINDS),
        notes=(
            "A schedule draws a source of up to 32 MiB, with ranges or without, over an old object or a free key; then "
            "for each of up to three tries faults of the source (13 kinds) and of the store (9 kinds, before and after "
            "the work is done, in 6 operations; 5 with moto, which dates every upload 2010), perhaps a new version of "
            "the source, perhaps a stop at some byte, with another try to follow or none. Then a try without a fault, "
            "which must succeed.",
            "Wrong after a try, in this order: reported as done with other bytes; a failure that left something wrong "
            "visible, or an error of another kind; an upload known neither to the state nor to the error; past the "
            "deadline of 20 s and a tenth. At the end: any upload left, or a state that was not cleared.",
        ),
        failures=failures,
    )  # fmt: skip


def _row(kind: str, findings: Sequence[Finding]) -> list[str]:
    counts = Counter(finding.outcome for finding in findings)
    later = sum(count for outcome, count in counts.items() if outcome.startswith("copied by"))
    wrong = sum(1 for finding in findings if finding.wrong)
    struck = int(sum(finding.number("faults") for finding in findings))
    return [kind, str(len(findings)), str(struck), str(counts["copied at once"]), str(later), f"**{wrong}**"]
