"""Figure 1: a server that lies, against copies and downloads, and against other tools."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence

from reliability import cases
from reliability.figure import Case, Figure, Finding, Settings
from reliability.lying import LIES, SILENT, copying, many, one, peers

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
_TRIALS = 5
"""Seeds for each of the other tools: they are to show that the rig finds something."""
_WORDS = ("right", "refused", "weak", "not told")
_NOTES = (
    "A seed draws the object's size, parts, connections, what the store knows of it (its MD5, a checksum, checksums of "
    "its parts, nothing), whether the download is strict, which requests are lied to, and by how much.",
    "Wrong: reported as done with other bytes, and strict, or with a verification that claims more than the length, or "
    "although the answer itself gave the lie away; so is anything left behind by a refusal.",
    "Right: the bytes came, or a newer version came whole. Refused: an error of its own, and what lay there before "
    "still does.",
    "Weak: other bytes under right headers of an object of which nobody knows a checksum, so that nothing can tell; "
    'the result says `verification: "size"`, and strict refuses it.',
    "A copy proves what it stored against what it read; what it read it can prove only by `expected_checksum`, which "
    "it is given where a lie shows in no header. The rows without one are what comes of it otherwise.",
    "Where an object of many is one GET without a range, it is told the like: a body longer than listed, another "
    "object's, its later half, or 206 unasked.",
    "Not told: the request that was to be lied to never came; such a seed proves nothing.",
    "The tools download an object of 20 to 25 MiB with its MD5 as its ETag, in parts of 5 MiB (one), or list four "
    "objects and download them (many); a figure is how many seeds ended in a wrong file reported as done.",
)


def check(kind: str, seed: int) -> Finding:
    job, _, lie = kind.partition(": ")
    return JOBS[job](Case("lies", kind, seed), lie)


def run(settings: Settings) -> Figure:
    began, seeds = time.monotonic(), settings.count(full=100, quick=3)
    findings = cases.run(cases.every("lies", KINDS, seeds), settings)
    trials = min(settings.count(full=_TRIALS, quick=1), _TRIALS)
    found, absent = peers.run(trials, settings.jobs), peers.absent()
    tools = [tool for tool in peers.TOOLS if tool not in absent]
    failures = [*cases.failures(findings), *_too_good(found, tools)]
    return Figure(
        number=NUMBER,
        title=TITLE,
        target=TARGET,
        columns=("job", "lie", "seeds", *_WORDS, "**wrong**", *(f"{tool}: wrong" for tool in tools)),
        rows=[_row(kind, [one for one in findings if one.case.kind == kind], found, tools) for kind in KINDS],
        verdict="missed" if failures else "met",
        seconds=time.monotonic() - began,
        seeds=f"0 to {seeds - 1} of each row; 0 to {trials - 1} for the other tools",
        notes=(*_NOTES, *(f"{tool} is left out: {why}." for tool, why in absent.items())),
        failures=failures,
    )


def _row(
    kind: str, findings: Sequence[Finding], found: dict[tuple[str, str, str], Counter[str]], tools: Sequence[str]
) -> list[str]:
    job, _, lie = kind.partition(": ")
    counts = Counter(finding.outcome for finding in findings)
    wrong = sum(1 for finding in findings if finding.wrong)
    others = [_of(found.get((tool, job, lie))) for tool in tools]
    return [job, lie, str(len(findings)), *[str(counts[word]) for word in _WORDS], f"**{wrong}**", *others]


def _of(outcomes: Counter[str] | None) -> str:
    return f"{outcomes['wrong']} of {outcomes.total()}" if outcomes else ""


def _too_good(found: dict[tuple[str, str, str], Counter[str]], tools: Sequence[str]) -> list[str]:
    """Name the tools that are known to believe some of these lies, and believed none here."""
    wrong = Counter[str]()
    for (tool, _job, _lie), outcomes in found.items():
        wrong[tool] += outcomes["wrong"]
    return [
        f"the rig found nothing in {tool}, so it is broken"
        for tool in peers.MUST_FAIL
        if tool in tools and not wrong[tool]
    ]
