"""
The figures' command: ``python -m reliability [FIGURE...]``, ``python -m reliability report``.

Without a figure it measures all but the guards, and writes docs/reliability.md. Each leaves a record in
reliability/results, unless it was quick or narrowed; ``--results`` keeps those too.
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from dataclasses import replace
from pathlib import Path

from reliability import cases, figures, report, results
from reliability.environment import prepare
from reliability.figure import Case, Figure, Module, Settings, not_measured

APART = ("guards",)
"""Measured only if named: it takes as long as all others, and what it shows changes with the code alone."""


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m reliability", description=__doc__)
    known = [*figures.names(), "report"]
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(known))
    parser.add_argument("--seeds", type=int, help="so many per kind (default: what the target names)")
    parser.add_argument("--quick", action="store_true", help="few seeds, small sizes: shows that it runs")
    parser.add_argument("--jobs", type=int, default=2, help="processes (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="do this one again, and tell what comes of it")
    parser.add_argument("--kind", help="with --seed: of this kind only")
    parser.add_argument("--results", type=Path, help="folder of the records (default: reliability/results)")
    parser.add_argument("--page", type=Path, default=report.PAGE)
    options = parser.parse_args()
    unknown = [name for name in options.figures if name not in known]
    if unknown:
        parser.error(f"no figure {', '.join(unknown)}; there are {', '.join(known)}")
    if options.seed is not None and (len(options.figures) != 1 or not figures.kinds(options.figures[0])):
        parser.error(f"--seed needs one figure that has seeds: {', '.join(filter(figures.kinds, figures.names()))}")
    return options


def replay(name: str, seed: int, kind: str | None) -> int:
    """Do one seed again; 1 if it is wrong."""
    kinds = [kind] if kind else figures.kinds(name)
    found = [cases.check(Case(name, one, seed)) for one in kinds]
    for finding in found:
        numbers = "".join(f", {what} {value:g}" for what, value in finding.numbers)
        print(f"{finding.case.kind}: {finding.wrong or finding.outcome or 'right'}{numbers} ({finding.seconds:.1f} s)")
    return 1 if any(finding.wrong for finding in found) else 0


def measure(name: str, module: Module, settings: Settings) -> Figure:
    print(f"== {module.NUMBER}. {module.TITLE} ({name})", flush=True)
    began = time.monotonic()
    try:
        figure = module.run(settings)
    except Exception as error:  # noqa: BLE001  (the other figures are to be measured all the same)
        traceback.print_exc()
        why = f"{type(error).__name__}: {error}"
        figure = replace(not_measured(module.NUMBER, module.TITLE, module.TARGET, why), verdict="missed")
    print(f"   {figure.verdict}, {time.monotonic() - began:.0f} s", flush=True)
    if figure.rows:
        print(report.table(figure.columns, figure.rows), flush=True)
    for line in (*figure.notes, *figure.failures[: report.MOST]):
        print(f"   {line}", flush=True)
    return figure


def main() -> int:
    options = parse()
    prepare()
    folder = options.results or results.FOLDER
    if options.figures == ["report"]:
        report.write(results.newest(folder), options.page)
        return 0
    if options.seed is not None:
        return replay(options.figures[0], options.seed, options.kind)
    settings = Settings(seeds=options.seeds, quick=options.quick, jobs=options.jobs, remember=True)
    chosen = options.figures or [name for name in figures.everything() if name not in APART]
    keep = bool(options.results) or not (options.quick or options.seeds)
    missed = False
    for name in chosen:
        figure = measure(name, figures.load(name), settings)
        missed |= figure.verdict == "missed"
        if keep:
            results.write(results.record(name, figure), folder)
    if keep and not options.figures:
        report.write(results.newest(folder), options.page)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
