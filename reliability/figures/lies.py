"""Figure 1: a server that lies, against copies and downloads, and against other tools."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from reliability import cases
from reliability.figure import Case, Figure, Finding, Settings
from reliability.lying import LIES, SILENT, copying, many, one

NUMBER, TITLE = 1, "Servers that lie"
TARGET = "6 lies x (copy, download many, download one) x 100 seeds: 0 wrong objects reported as done."

JOBS: dict[str, Callable[[Case, str], Finding]] = {
    "copy": copying.check,
    "many": many.check,
    "one": one.check,
    "copy without a checksum": copying.check_untold,
}
KINDS: Sequence[str] = (
    *(f"{job}: {lie}" for job in ("copy", "many", "one") for lie in LIES),
    *(f"copy without a checksum: {lie}" for lie in LIES if lie in SILENT),
)


def check(kind: str, seed: int) -> Finding:
    job, _, lie = kind.partition(": ")
    return JOBS[job](Case("lies", kind, seed), lie)


def run(settings: Settings) -> Figure:
    began, seeds = time.monotonic(), settings.count(full=100, quick=3)
    findings = cases.run(cases.every("lies", KINDS, seeds), settings)
    failures = cases.failures(findings)
    return Figure(
        number=NUMBER,
        title=TITLE,
        target=TARGET,
        columns=("job", "lie", "seeds", "right", "refused", "weak", "not told", "wrong"),
        rows=[_row(kind, [one for one in findings if one.case.kind == kind]) for kind in KINDS],
        verdict="missed" if failures else "met",
        seconds=time.monotonic() - began,
        seeds=f"0 to {seeds - 1} of each row",
        failures=failures,
    )


def _row(kind: str, findings: Sequence[Finding]) -> list[str]:
    job, _, lie = kind.partition(": ")
    counts = Counter(finding.outcome for finding in findings)
    words = ("right", "refused", "weak", "not told")
    wrong = sum(1 for finding in findings if finding.wrong)
    return [job, lie, str(len(findings)), *[str(counts[word]) for word in words], str(wrong)]
