"""
The benchmark's command: ``python -m benchmarks [SCENARIO...]``, ``python -m benchmarks report``.

Without a scenario it runs them all and writes the README's tables; ``copy``, ``many`` and ``one`` stand for those
of one kind. Each scenario leaves a record in benchmarks/results, unless it was quick or against a server of the user's;
``--results`` keeps those too.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks import report, scenarios
from benchmarks.bench import Bench, say
from benchmarks.endpoint import Endpoint
from benchmarks.many import report as many_report
from benchmarks.many import scenarios as many_scenarios
from benchmarks.many.bench import ManyBench
from benchmarks.one import report as one_report
from benchmarks.one import scenarios as one_scenarios
from benchmarks.one.bench import DEADLINE, OneBench

HERE = Path(__file__).resolve().parent
COPY, MANY, ONE = scenarios.everything(), many_scenarios.everything(), one_scenarios.everything()
GROUPS = {"copy": list(COPY), "many": list(MANY), "one": list(ONE)}


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = [*COPY, *MANY, *ONE, *GROUPS, "report"]
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=", ".join(known))
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it runs")
    parser.add_argument("--rounds", type=int, help="at most so many rounds")
    parser.add_argument("--peers", help="only these, comma separated")
    parser.add_argument("--results", type=Path, help="folder of the records (default: benchmarks/results)")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    parser.add_argument("--base-url", help="measure against a server that runs already, with its own link model")
    parser.add_argument("--tls-base-url", help="the same server over https")
    parser.add_argument("--ca-file", type=Path, help="the CA of --tls-base-url")
    temporary = Path(tempfile.gettempdir())
    parser.add_argument("--disk", type=Path, default=temporary, help="a folder on the disk that files are written to")
    parser.add_argument(
        "--deadline", type=float, default=DEADLINE, help="seconds after which a run of one-memory's hugest ends"
    )
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in known]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def names(options: argparse.Namespace) -> list[str]:
    """Give the names of the scenarios that were asked for."""
    asked = options.scenarios or list(GROUPS)
    return [name for asked_name in asked for name in GROUPS.get(asked_name, [asked_name])]


def copying(options: argparse.Namespace, name: str) -> scenarios.Scenario:
    """Give a scenario of one URL, cut down as asked."""
    scenario = scenarios.quick(COPY[name]) if options.quick else COPY[name]
    scenario = scenarios.only(scenario, wanted(options)) if options.peers else scenario
    return scenarios.at_most(scenario, options.rounds) if options.rounds else scenario


def fetching(options: argparse.Namespace, name: str) -> many_scenarios.Scenario:
    """Give a scenario of many objects, cut down as asked."""
    scenario = many_scenarios.quick(MANY[name]) if options.quick else MANY[name]
    scenario = many_scenarios.only(scenario, wanted(options)) if options.peers else scenario
    return many_scenarios.at_most(scenario, options.rounds) if options.rounds else scenario


def fetching_one(options: argparse.Namespace, name: str) -> one_scenarios.Scenario:
    """Give a scenario of one huge object, cut down as asked."""
    scenario = one_scenarios.quick(ONE[name]) if options.quick else ONE[name]
    scenario = one_scenarios.only(scenario, wanted(options)) if options.peers else scenario
    return one_scenarios.at_most(scenario, options.rounds) if options.rounds else scenario


def wanted(options: argparse.Namespace) -> set[str]:
    return {name.strip() for name in options.peers.split(",")}


def given(options: argparse.Namespace) -> Endpoint | None:
    """Give the server that the user runs, if he does."""
    if not options.base_url:
        return None
    tls = options.tls_base_url.rstrip("/") if options.tls_base_url else None
    return Endpoint(options.base_url.rstrip("/"), tls, options.ca_file, own=False)


class Benches:
    """All kinds of measuring, each for its scenarios."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._copy = Bench(given(options))
        self._many = ManyBench((options.base_url or "").rstrip("/"), options.disk)
        self._one = OneBench(given(options), options.disk, options.deadline)

    def measure(self, name: str) -> tuple[dict[str, Any], str] | None:
        """Give a scenario's record and its table; None if no peer of it was asked for."""
        if name in COPY:
            copied = copying(self._options, name)
            record = self._copy.measure(copied) if copied.entries else None
            return (record, report.table(record)) if record else None
        if name in ONE:
            one = fetching_one(self._options, name)
            record = self._one.measure(one) if one.entries else None
            return (record, one_report.table(record)) if record else None
        fetched = fetching(self._options, name)
        record = self._many.measure(fetched) if fetched.entries else None
        return (record, many_report.table(record)) if record else None


def write_readme(readme: Path, folder: Path) -> None:
    """Write all kinds of tables into the README."""
    report.write(readme, report.markdown(report.newest(folder)))
    many = many_report.markdown(report.newest(folder, list(MANY)))
    report.write(readme, many, many_report.START, many_report.END)
    one = one_report.markdown(report.newest(folder, list(ONE)))
    report.write(readme, one, one_report.START, one_report.END)


def main() -> int:
    options = parse()
    folder = options.results or HERE / "results"
    if options.scenarios == ["report"]:
        write_readme(options.readme, folder)
        return 0
    benches, failed = Benches(options), False
    for name in names(options):
        measured = benches.measure(name)
        if not measured:
            continue
        record, table = measured
        print(table, end="\n\n", flush=True)
        failed |= bool(record["absent"]) or any("failed" in row for row in record["summary"].values())
        if options.results or not (options.quick or options.base_url):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{record['date']}-{name}.json"
            path.write_text(json.dumps(record, indent=1) + "\n")
            say(f"   record: {path.name}")
    if not (options.scenarios or options.quick or options.base_url or options.results):
        write_readme(options.readme, folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
