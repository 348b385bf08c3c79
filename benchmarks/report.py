"""Turns the newest record of each scenario into Markdown, and writes it into the README between two markers."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

START, END = "<!-- bench:start -->", "<!-- bench:end -->"
MiB = 2**20
GiB = 2**30
Record = Mapping[str, Any]
_TITLES = ("wan", "cpu-http", "cpu-tls", "memory")
NOISE = 0.1
"""Cores kept busy by others, above which a record says so."""


def newest(folder: Path) -> list[Record]:
    """Read the newest record of each scenario, in the order of the tables."""
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")):  # The date leads the name.
        record = json.loads(path.read_text())
        found[record["scenario"]] = record
    return sorted(found.values(), key=lambda record: _TITLES.index(record["scenario"]))


def markdown(records: Sequence[Record]) -> str:
    """Write all tables."""
    tables = "\n\n".join(table(record) for record in records)
    return f"{tables}\n\n{_machine(records[-1])}" if records else "No results yet: run `make bench`."


def table(record: Record) -> str:
    """Write one scenario's table."""
    kinds: dict[str, Callable[[Record], tuple[list[str], Iterator[list[str]]]]] = {
        "speed": _speed,
        "cpu": _cpu,
        "memory": _memory,
    }
    columns, rows = kinds[record["kind"]](record)
    lines = [f"**{record['title']}**", "", _row(columns), _row(["---", *["---:"] * (len(columns) - 1)])]
    lines += [_row(row) for row in rows]
    lines += [f"\n{name}: {why}." for name, why in {**record["missing"], **record["absent"]}.items()]
    remarks = [f"{name} ({note})" for name, note in record["notes"].items() if note and name in record["summary"]]
    lines += ["", "<sub>" + "; ".join(remarks) + ".</sub>"] if remarks else []
    return "\n".join(lines)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _of(value: Mapping[str, float] | None, scale: float, digits: int) -> str:
    """Show a median, and its spread where there was more than one round."""
    if value is None:
        return ""
    middle, least, most = (f"{value[name] / scale:.{digits}f}" for name in ("median", "min", "max"))
    return middle if least == most else f"{middle} ({least} to {most})"


def _done(record: Record) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, summary in record["summary"].items():
        if summary["rounds"]:
            yield name, summary


def _failed(record: Record, columns: int) -> Iterator[list[str]]:
    for name, summary in record["summary"].items():
        for why in summary.get("failed", []):
            yield [name, f"failed: {why}", *[""] * (columns - 2)]


def _speed(record: Record) -> tuple[list[str], Iterator[list[str]]]:
    columns = ["tool", "MB/s, whole process", "MB/s, its own clock", "CPU-s/GiB", "peak MiB", "rounds"]

    def rows() -> Iterator[list[str]]:
        for name, summary in _done(record):
            yield [
                _sized(name, summary, record),
                _of(summary["mb_per_second"], 1, 0),
                _of(summary.get("transfer_mb_per_second"), 1, 0),
                _of(summary["cpu_per_gib"], 1, 2),
                _of(summary["peak_rss"], MiB, 0),
                str(summary["rounds"]),
            ]
        yield from _failed(record, len(columns))

    return columns, rows()


def _cpu(record: Record) -> tuple[list[str], Iterator[list[str]]]:
    columns = ["tool", "CPU-s/GiB", f"x {record['reference']}", "MB/s", "start, CPU-s", "peak MiB", "rounds"]

    def rows() -> Iterator[list[str]]:
        for name, summary in _done(record):
            yield [
                _sized(name, summary, record),
                _of(summary["cpu_per_gib"], 1, 2),
                _of(summary.get("cpu_ratio"), 1, 2),
                _of(summary["mb_per_second"], 1, 0),
                f"{summary['idle']['cpu']:.2f}",
                _of(summary["peak_rss"], MiB, 0),
                str(summary["rounds"]),
            ]
        yield from _failed(record, len(columns))

    return columns, rows()


def _memory(record: Record) -> tuple[list[str], Iterator[list[str]]]:
    columns = ["s3stream copies", "size", "idle MiB", "peak MiB", "grown by MiB", "rounds"]

    def rows() -> Iterator[list[str]]:
        for name, summary in _done(record):
            yield [
                name,
                _shown(summary["size"]),
                f"{summary['idle']['peak_rss'] / MiB:.1f}",
                _of(summary["peak_rss"], MiB, 1),
                _of(summary["grown"], MiB, 1),
                str(summary["rounds"]),
            ]
        yield from _failed(record, len(columns))

    return columns, rows()


def _sized(name: str, summary: Mapping[str, Any], record: Record) -> str:
    """Name a row, with its size where that is not the scenario's largest."""
    largest = max(other["size"] for other in record["summary"].values())
    size = summary["size"]
    return name if size == largest else f"{name} ({_shown(size)})"


def _shown(size: int) -> str:
    return f"{size / GiB:g} GiB" if size >= GiB else f"{size / MiB:g} MiB"


def _machine(record: Record) -> str:
    facts = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    busy = [run["others"] for run in record["runs"] if run["others"] > NOISE]
    noise = f" In {len(busy)} of {len(record['runs'])} runs other work took more than {NOISE} cores." if busy else ""
    return (
        f"<sub>{record['date']}; {facts['cores']} cores, {facts['processor']}"
        f" ({', '.join(facts['features'])}), Linux {facts['kernel']}, Python {facts['python']},"
        f" OpenSSL {facts['openssl']}; {versions}. Client and server share the machine; CPU and memory are of the"
        f" client's process tree, its start included. Medians, with the least and the most.{noise}</sub>"
    )


def write(readme: Path, text: str) -> None:
    """Put the tables between the README's markers."""
    old = readme.read_text()
    if START not in old or END not in old:
        raise SystemExit(f"{readme.name} has no {START} and {END}")
    before, _, rest = old.partition(START)
    after = rest.partition(END)[2]
    readme.write_text(f"{before}{START}\n{text}\n{END}{after}")
