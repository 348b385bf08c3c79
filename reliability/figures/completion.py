"""Figure 3: the store publishes, and its answer is lost on the way."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence

from airflow_s3stream.config import MiB
from reliability import cases, stores
from reliability.copying.oracle import KEY, OLD, Judge, attempt
from reliability.figure import Case, Figure, Finding, Settings
from tests.support import s3fault
from tests.support.origin import serving
from tests.support.s3fault import S3Fault, S3FaultProxy
from tests.support.transfers import PART, transfer
from tests.support.trystate import KeptState

NUMBER, TITLE = 3, "Lost answers to the request that publishes"
TARGET = "500 schedules: 0 false failures, 0 false successes."

_Make = Callable[[random.Random, str], S3Fault]
_LOST: dict[str, _Make] = {
    "done, connection closed": lambda rng, op: s3fault.lose_answer(op),
    "done, connection reset": lambda rng, op: s3fault.lose_answer(op, reset=True),
    "done, answer cut": lambda rng, op: s3fault.cut_answer(op, rng.randrange(0, 60)),
    "done, 500": lambda rng, op: s3fault.error_after(op, 500, "InternalError"),
    "done, 503": lambda rng, op: s3fault.error_after(op, 503, "SlowDown"),
    "done, 200 and an error": lambda rng, op: s3fault.error_in_200(op, done=True),
    "done, no answer in time": lambda rng, op: s3fault.hold_answer(op, 5.0),
}
_NOT_DONE: dict[str, _Make] = {
    "not done, 500": lambda rng, op: s3fault.refuse(op, 500, "InternalError"),
    "not done, connection closed": lambda rng, op: s3fault.drop_request(op),
    "not done, 404 NoSuchUpload": lambda rng, op: s3fault.refuse(op, 404, "NoSuchUpload"),
    "not done, 412": lambda rng, op: s3fault.refuse(op, 412, "PreconditionFailed"),
}
KINDS: Sequence[str] = (*_LOST, *_NOT_DONE)
_STORES = ("localstack", "localstack", "moto", "rclone")


def check(kind: str, seed: int) -> Finding:
    case, rng = Case("completion", kind, seed), random.Random(f"completion {kind} {seed}")
    store, state = stores.store(rng.choice(_STORES)), KeptState()
    small = rng.random() < 0.3
    operation = "PutObject" if small else "CompleteMultipartUpload"
    size = rng.randrange(1, 100_000) if small else rng.randrange(9 * MiB, 16 * MiB)
    if_exists = rng.choice(["overwrite", "overwrite", "fail", "skip_unchanged"])
    judge = Judge(store, state, old=if_exists != "fail" and rng.random() < 0.5)
    if judge.old:
        store.put(KEY, OLD)
    done = kind in _LOST
    # What was not done is refused for ever: a success would be a false one. What was done is told of once or twice.
    fault = (_LOST[kind] if done else _NOT_DONE[kind])(rng, operation)
    fault = fault.on(1, rng.choice([1, 1, 2])) if done else fault.always()
    try:
        with serving(size, seed=seed) as origin, S3FaultProxy(store.endpoint_url, fault) as proxy:
            judge.versions.append(origin.resource.content)
            tried = attempt(
                lambda: transfer(
                    origin.url, store, KEY, endpoint_url=proxy.endpoint_url, if_exists=if_exists, part_size=PART,
                    connections=2, resume=state.resume(again=False),
                )
            )  # fmt: skip
            struck = sum(1 for call in proxy.calls if call.fault)
        wrong = judge.wrong(tried, None)
        there = judge.published
    finally:
        stores.remove(store)
    if not struck:
        return Finding(case, "the fault did not strike; the case proves nothing", "broken")
    if not wrong and tried.result and not there:
        wrong = "a false success: nothing was published"
    if not wrong and tried.error and done:
        wrong = f"a false failure: {tried.said}"
    return Finding(case, wrong, "copied" if tried.result else "failed")


def run(settings: Settings) -> Figure:
    began, seeds = time.monotonic(), settings.count(full=50, quick=2)
    with stores.serving(("localstack", "moto", "rclone")):
        findings = cases.run(cases.every("completion", KINDS, seeds), settings)
    failures = cases.failures(findings)
    rows = []
    for kind in KINDS:
        found = [one for one in findings if one.case.kind == kind]
        counts, wrong = Counter(one.outcome for one in found), sum(1 for one in found if one.wrong)
        rows.append([kind, str(len(found)), str(counts["copied"]), str(counts["failed"]), f"**{wrong}**"])
    return Figure(
        number=NUMBER, title=TITLE, target=TARGET,
        columns=("what becomes of the request", "schedules", "copied", "failed", "**false**"), rows=rows,
        verdict="missed" if failures else "met", seconds=time.monotonic() - began,
        seeds=f"0 to {seeds - 1} of each row",
        notes=(
            "CompleteMultipartUpload, or PutObject of a small source, to LocalStack, moto or rclone's serve s3, over "
            "an old object or a free key, with each of three settings of if_exists. Where the work was done, the "
            "answer is lost once or twice: anything but success is a false failure. Where it was not done, it never "
            "is: any success is a false one.",
        ),
        failures=failures,
    )  # fmt: skip
