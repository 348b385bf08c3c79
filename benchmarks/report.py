"""Turns the newest record of each scenario into Markdown, and writes it into the README between two markers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
MiB = 2**20
GiB = 2**30
Record = Mapping[str, Any]
TITLES = ("wan", "cpu-http", "cpu-tls", "memory")
NOISE = 0.1
"""Cores kept busy by others, above which a record says so."""


def newest(folder: Path, scenarios: Sequence[str] = TITLES) -> list[Record]:
    """Read the newest record of each of these scenarios, in the order of the tables."""
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")):  # The date leads the name.
        record = json.loads(path.read_text())
        found[record["scenario"]] = record
    return [found[name] for name in scenarios if name in found]


def markdown(records: Sequence[Record]) -> str:
    """Write all tables."""
    tables = "\n\n".join(table(record) for record in records)
    return f"{tables}\n\n{machine(records[-1])}" if records else "No results yet: run `make bench`."


def table(record: Record) -> str:
    """Write one scenario's table."""
    kinds: dict[str, Callable[[Record], tuple[list[str], Iterator[list[str]]]]] = {
        "speed": _speed,
        "cpu": _cpu,
        "memory": _memory,
    }
    return layout(record, *kinds[record["kind"]](record))


def layout(
    record: Record, columns: Sequence[str], rows: Iterable[Sequence[str]], measured: Iterable[str] | None = None
) -> str:
    """
    Write a table with its title above it, and below it who is absent and what must be known of the others.

    ``measured`` are the tools that have a row, where that is not named for its tool.
    """
    present = set(record["summary"] if measured is None else measured)
    lines = [f"**{record['title']}**", "", row(columns), row(["---", *["---:"] * (len(columns) - 1)])]
    lines += [row(cells) for cells in rows]
    lines += [f"\n{name}: {why}." for name, why in {**record["missing"], **record["absent"]}.items()]
    remarks = [f"{name} ({note})" for name, note in record["notes"].items() if note and name in present]
    lines += ["", "<sub>" + "; ".join(remarks) + ".</sub>"] if remarks else []
    return "\n".join(lines)


def row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def of(value: Mapping[str, float] | None, scale: float, digits: int) -> str:
    """Show a median, and its spread where there was more than one round."""
    if value is None:
        return ""
    middle, least, most = (f"{value[name] / scale:.{digits}f}" for name in ("median", "min", "max"))
    return middle if least == most else f"{middle} ({least} to {most})"


def done(record: Record) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, summary in record["summary"].items():
        if summary["rounds"]:
            yield name, summary


def failed(record: Record, columns: int) -> Iterator[list[str]]:
    for name, summary in record["summary"].items():
        for why in summary.get("failed", []):
            yield [name, f"failed: {why}", *[""] * (columns - 2)]


def _speed(record: Record) -> tuple[list[str], Iterator[list[str]]]:
    columns = ["tool", "MB/s, whole process", "MB/s, its own clock", "CPU-s/GiB", "peak MiB", "rounds"]

    def rows() -> Iterator[list[str]]:
        for name, summary in done(record):
            yield [
                _sized(name, summary, record),
                of(summary["mb_per_second"], 1, 0),
                of(summary.get("transfer_mb_per_second"), 1, 0),
                of(summary["cpu_per_gib"], 1, 2),
                of(summary["peak_rss"], MiB, 0),
                str(summary["rounds"]),
            ]
        yield from failed(record, len(columns))

    return columns, rows()


def _cpu(record: Record) -> tuple[list[str], Iterator[list[str]]]:
    columns = ["tool", "CPU-s/GiB", f"x {record['reference']}", "MB/s", "start, CPU-s", "peak MiB", "rounds"]

    def rows() -> Iterator[list[str]]:
        for name, summary in done(record):
            yield [
                _sized(name, summary, record),
                of(summary["cpu_per_gib"], 1, 2),
                of(summary.get("cpu_ratio"), 1, 2),
                of(summary["mb_per_second"], 1, 0),
                f"{summary['idle']['cpu']:.2f}",
                of(summary["peak_rss"], MiB, 0),
                str(summary["rounds"]),
            ]
        yield from failed(record, len(columns))

    return columns, rows()


def _memory(record: Record) -> tuple[list[str], Iterator[list[str]]]:
    columns = ["s3stream copies", "size", "idle MiB", "peak MiB", "grown by MiB", "rounds"]

    def rows() -> Iterator[list[str]]:
        for name, summary in done(record):
            yield [
                name,
                shown(summary["size"]),
                f"{summary['idle']['peak_rss'] / MiB:.1f}",
                of(summary["peak_rss"], MiB, 1),
                of(summary["grown"], MiB, 1),
                str(summary["rounds"]),
            ]
        yield from failed(record, len(columns))

    return columns, rows()


def _sized(name: str, summary: Mapping[str, Any], record: Record) -> str:
    """Name a row, with its size where that is not the scenario's largest."""
    largest = max(other["size"] for other in record["summary"].values())
    size = summary["size"]
    return name if size == largest else f"{name} ({shown(size)})"


def shown(size: int) -> str:
    """Show a size in a unit that suits it."""
    return f"{size / GiB:g} GiB" if size >= GiB else f"{size / MiB:g} MiB"


def machine(record: Record) -> str:
    facts = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    busy = [run["others"] for run in record["runs"] if run["others"] > NOISE]
    disk = f", the working disk is {facts['disk']}" if "disk" in facts else ""
    noise = f" In {len(busy)} of {len(record['runs'])} runs other work took more than {NOISE} cores." if busy else ""
    return (
        f"<sub>{record['date']}; {facts['cores']} cores, {facts['processor']}"
        f" ({', '.join(facts['features'])}), Linux {facts['kernel']}, Python {facts['python']},"
        f" OpenSSL {facts['openssl']}{disk}; {versions}. Client and server share the machine; CPU and memory are of the"
        f" client's process tree, its start included. Medians, with the least and the most.{noise}</sub>"
    )


def write(readme: Path, text: str, start: str = START, end: str = END) -> None:
    """Put the tables between the README's markers."""
    old = readme.read_text()
    if start not in old or end not in old:
        raise SystemExit(f"{readme.name} has no {start} and {end}")
    before, _, rest = old.partition(start)
    after = rest.partition(end)[2]
    readme.write_text(f"{before}{start}\n{text}\n{end}{after}")
