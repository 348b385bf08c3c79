"""
The search of ``s3stream tune`` beside its full grid: ``python -m benchmarks.tune [LINK...]``.

For each model of a link: the full grid once, the search some times, each as the command that people type. What the
search found and what the grid found best are then measured again, in turn, for a figure of one setting among forty is
the best also by luck. ``--results FILE`` keeps a record with every sample, ``--plot FOLDER`` the pictures.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import endpoint, machine, measure
from benchmarks.endpoint import LinkOptions

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks.endpoint import Endpoint

MB, MiB, GiB = 1_000_000, 2**20, 2**30
SIZE = 100 * GiB
LINKS = {
    "fat and far": LinkOptions(latency=0.040, conn_mbps=25),
    "thin and near": LinkOptions(latency=0.001, total_mbps=125),
    "capped": LinkOptions(latency=0.020, conn_mbps=10, total_mbps=200),
}
_AGAIN = 3  # times that both finds are measured again
_LONG = ("--max-seconds", "3600", "--max-bytes", "10TiB")
_HEAD = (
    "link",
    "found",
    "MB/s",
    "best of the grid",
    "MB/s",
    "found / best",
    "of the grid's bytes",
    "settings",
    "seconds",
)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__)
    parser.add_argument("links", nargs="*", metavar="LINK", help=f"{', '.join(LINKS)} (default: all)")
    parser.add_argument("--searches", type=int, default=3, help="of each link (default 3)")
    parser.add_argument("--copy", action="store_true", help="tune copies of a URL instead of downloads")
    parser.add_argument("--tls", action="store_true", help="over https")
    parser.add_argument("--results", type=Path, help="write the record there")
    parser.add_argument("--plot", type=Path, help="write the grids' and the searches' pictures into this folder")
    parser.add_argument("--base-url", help="measure against a server that runs already, with its own link model")
    options = parser.parse_args()
    unknown = [name for name in options.links if name not in LINKS]
    if unknown:
        parser.error(f"no link {', '.join(unknown)}; there are {', '.join(LINKS)}")
    return options


class Tunes:
    """Runs the command against one server."""

    def __init__(self, server: Endpoint, options: argparse.Namespace) -> None:
        base = server.base(tls=options.tls)
        target = [f"{base}/origin/{SIZE}", "s3://bench/copy.bin"] if options.copy else [f"s3://bench/big/{SIZE}"]
        self._words = [sys.executable, "-m", "airflow_s3stream.cli", "tune", *target, "--endpoint-url", base]
        self._words += ["--ca-bundle", str(server.ca)] if options.tls else []
        self._environ = {
            **os.environ, "AWS_ACCESS_KEY_ID": "bench", "AWS_SECRET_ACCESS_KEY": "bench",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1",
        }  # fmt: skip

    def run(self, *words: str) -> dict[str, Any]:
        """Run it; give its result."""
        command = [*self._words, "--json", "--quiet", *words]
        done = subprocess.run(command, cwd=measure.ROOT, env=self._environ, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"s3stream tune failed: {done.stderr.strip()}")
        return dict(json.loads(done.stdout.splitlines()[-1]))

    def again(self, setting: tuple[int, int]) -> float:
        """Measure one setting for as long as the grid does; give its bytes per second."""
        result = self.run("--connections", str(setting[0]), "--part-sizes", str(setting[1]), "--full-grid")
        return next(sample["bytes_per_second"] for sample in result["samples"] if of(sample) == setting)


def of(sample: dict[str, Any]) -> tuple[int, int]:
    """Give the setting of a sample."""
    return sample["connections"], sample["part_size"]


def compare(tunes: Tunes, name: str, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one link; give its part of the record."""
    pictures = options.plot / name.replace(" ", "-") if options.plot else None
    before = machine.busy_seconds()
    grid = tunes.run("--full-grid", *_LONG, *(["--plot", f"{pictures}-grid.png"] if pictures else []))
    searches = [tunes.run(*(["--plot", f"{pictures}.png"] if pictures else [])) for _ in range(options.searches)]
    best = of(grid["best"])
    ratios, seen = [], {}
    for search in searches:
        found = of(search["recommended"])
        if found not in seen:
            pairs = [(tunes.again(found), tunes.again(best)) for _ in range(_AGAIN)] if found != best else [(1.0, 1.0)]
            seen[found] = statistics.median(one for one, _ in pairs) / statistics.median(other for _, other in pairs)
        ratios.append(seen[found])
    return {
        "link": name,
        "busy_seconds": round(machine.busy_seconds() - before, 1),
        "grid": grid,
        "searches": searches,
        "found_over_best": [round(ratio, 4) for ratio in ratios],
        "bytes_over_grid": [round(search["bytes"] / grid["bytes"], 4) for search in searches],
    }


def rows(record: dict[str, Any]) -> Iterable[tuple[str, ...]]:
    """Give one row for each search."""
    grid = record["grid"]
    best = grid["best"]
    finds = zip(record["searches"], record["found_over_best"], record["bytes_over_grid"], strict=True)
    for search, ratio, share in finds:
        found = search["recommended"]
        yield (
            record["link"], said(found), f"{found['bytes_per_second'] / MB:.0f}", said(best),
            f"{best['bytes_per_second'] / MB:.0f}", f"{ratio:.3f}", f"{100 * share:.1f} %",
            f"{len(search['samples'])} of {len(grid['samples'])}", f"{search['seconds']:.1f} of {grid['seconds']:.0f}",
        )  # fmt: skip


def said(sample: dict[str, Any]) -> str:
    return f"{sample['connections']} x {sample['part_size'] // MiB} MiB"


def table(records: list[dict[str, Any]]) -> str:
    """Show records as a table in Markdown."""
    lines = [_HEAD, ("---", "---", "---:", "---", "---:", "---:", "---:", "---:", "---:")]
    lines += [row for record in records for row in rows(record)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> int:
    options = parse()
    records = []
    for name in options.links or LINKS:
        if options.base_url:
            own = endpoint.Endpoint(options.base_url.rstrip("/"), None, None, own=False)
            records.append(compare(Tunes(own, options), name, options))
        else:
            with endpoint.started(LINKS[name]) as server:
                records.append(compare(Tunes(server, options), name, options))
        print(table(records[-1:]), flush=True)
    if options.results:
        about = {"kind": "copy" if options.copy else "get", "machine": machine.facts(), "links": records}
        options.results.write_text(json.dumps(about, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
