"""
The benchmark's command: ``python -m benchmarks [SCENARIO...]``, ``python -m benchmarks report``.

Without a scenario it runs them all and writes the README's tables. Each scenario leaves a record in
benchmarks/results, unless it was quick or against a server of the user's; ``--results`` keeps those too.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from benchmarks import report, scenarios
from benchmarks.bench import Bench, say
from benchmarks.endpoint import Endpoint

HERE = Path(__file__).resolve().parent


def parse(known: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"{', '.join(known)}; or report")
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it runs")
    parser.add_argument("--rounds", type=int, help="at most so many rounds")
    parser.add_argument("--peers", help="only these, comma separated")
    parser.add_argument("--results", type=Path, help="folder of the records (default: benchmarks/results)")
    parser.add_argument("--readme", type=Path, default=HERE.parent / "README.md")
    parser.add_argument("--base-url", help="measure against a server that runs already, with its own link model")
    parser.add_argument("--tls-base-url", help="the same server over https")
    parser.add_argument("--ca-file", type=Path, help="the CA of --tls-base-url")
    options = parser.parse_args()
    unknown = [name for name in options.scenarios if name not in (*known, "report")]
    if unknown:
        parser.error(f"no scenario {', '.join(unknown)}; there are {', '.join(known)}, and report")
    return options


def chosen(options: argparse.Namespace, known: dict[str, scenarios.Scenario]) -> list[scenarios.Scenario]:
    """Give the scenarios that were asked for, cut down as asked."""
    found = [known[name] for name in options.scenarios or known]
    if options.quick:
        found = [scenarios.quick(scenario) for scenario in found]
    if options.rounds:
        found = [scenarios.at_most(scenario, options.rounds) for scenario in found]
    if options.peers:
        found = [scenarios.only(scenario, {name.strip() for name in options.peers.split(",")}) for scenario in found]
    return [scenario for scenario in found if scenario.entries]


def given(options: argparse.Namespace) -> Endpoint | None:
    """Give the server that the user runs, if he does."""
    if not options.base_url:
        return None
    tls = options.tls_base_url.rstrip("/") if options.tls_base_url else None
    return Endpoint(options.base_url.rstrip("/"), tls, options.ca_file, own=False)


def main() -> int:
    known = dict(scenarios.everything())
    options = parse(list(known))
    folder = options.results or HERE / "results"
    if options.scenarios == ["report"]:
        report.write(options.readme, report.markdown(report.newest(folder)))
        return 0
    bench, failed = Bench(given(options)), False
    for scenario in chosen(options, known):
        record = bench.measure(scenario)
        print(report.table(record), end="\n\n", flush=True)
        failed |= bool(record["absent"]) or any("failed" in row for row in record["summary"].values())
        if options.results or not (options.quick or bench.given):
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{record['date']}-{scenario.name}.json"
            path.write_text(json.dumps(record, indent=1) + "\n")
            say(f"   record: {path.name}")
    if not (options.scenarios or options.quick or bench.given or options.results):
        report.write(options.readme, report.markdown(report.newest(folder)))
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
