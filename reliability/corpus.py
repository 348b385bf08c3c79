"""
The corpus: seeds that found something once, and a few chosen ones of each kind.

One file per figure in tests/corpus/, and every run of the tests does all of them again.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from reliability.environment import ROOT
from reliability.figure import Case, Finding

FOLDER = ROOT / "tests" / "corpus"
_MOST = 3
"""Seeds of one kind that one run adds: more of what is broken for all would tell no more."""


def read(folder: Path = FOLDER) -> list[Case]:
    """Give every case of the corpus."""
    return [
        Case(path.stem, entry["kind"], entry["seed"])
        for path in sorted(folder.glob("*.json"))
        for entry in json.loads(path.read_text())
    ]


def add(findings: Iterable[Finding], folder: Path = FOLDER) -> list[Case]:
    """Write down what went wrong; what is there already stays as it is. Give the new ones."""
    known, new, counts = set(read(folder)), [], Counter[str]()
    for finding in findings:
        if finding.wrong and finding.case not in known and counts[finding.case.kind] < _MOST:
            counts[finding.case.kind] += 1
            new.append(finding)
    for figure in sorted({finding.case.figure for finding in new}):
        path = folder / f"{figure}.json"
        entries = json.loads(path.read_text()) if path.exists() else []
        entries += [
            {"kind": finding.case.kind, "seed": finding.case.seed, "why": finding.wrong}
            for finding in new
            if finding.case.figure == figure
        ]
        folder.mkdir(parents=True, exist_ok=True)
        lines = ",\n".join(f"  {json.dumps(entry, ensure_ascii=False)}" for entry in entries)
        path.write_text(f"[\n{lines}\n]\n")
    return [finding.case for finding in new]
