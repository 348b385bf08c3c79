"""Turns the newest records of very many objects into Markdown, for a second place in the README."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.many import scenarios
from benchmarks.report import MiB, Record, done, failed, layout, machine, of

START, END = "<!-- bench-many:start -->", "<!-- bench-many:end -->"
Rows = tuple[list[str], Iterator[list[str]]]
Summary = Mapping[str, Any]


def markdown(records: Sequence[Record]) -> str:
    """Write all tables."""
    tables = "\n\n".join(table(record) for record in records)
    return f"{tables}\n\n{machine(records[-1])}" if records else "No results yet: run `make bench`."


def table(record: Record) -> str:
    """Write one scenario's table."""
    kinds: dict[str, Callable[[Record], Rows]] = {
        "download": _download,
        "read": _read,
        "list": _list,
        "peak": _peak,
        "default": _default,
    }
    return layout(record, *kinds[record["kind"]](record))


def _table(record: Record, columns: list[str], cells: Callable[[str, Summary], list[str]]) -> Rows:
    """Give a row for each tool: its name, the cells, and how often it ran."""

    def rows() -> Iterator[list[str]]:
        for name, summary in done(record):
            yield [_named(name, summary, record), *cells(name, summary), str(summary["rounds"])]
        yield from failed(record, len(columns) + 1)

    return [*columns, "rounds"], rows()


def _download(record: Record) -> Rows:
    reference = scenarios.S5CMD
    columns = ["tool", "objects/s", f"x {reference}", "until on disk, objects/s", "CPU us/object", f"CPU x {reference}"]

    def cells(_name: str, summary: Summary) -> list[str]:
        return [
            of(summary["rate"], 1, 0),
            of(summary.get("speed_ratio"), 1, 2),
            of(summary["safe_rate"], 1, 0),
            of(summary["cpu_per_object"], 1, 0),
            of(summary.get("cpu_ratio"), 1, 2),
            *_start_and_peak(summary),
        ]

    return _table(record, [*columns, "start, CPU-s", "peak MiB"], cells)


def _read(record: Record) -> Rows:
    reference = scenarios.BOTO3
    shares = any("share" in summary for summary in record["summary"].values())
    columns = ["tool", "objects/s", *(["share of connections / latency"] if shares else []), f"x {reference}"]

    def cells(_name: str, summary: Summary) -> list[str]:
        return [
            of(summary["own_rate"], 1, 0),
            *([of(summary.get("share"), 0.01, 0) + " %"] if shares else []),
            of(summary.get("own_speed_ratio"), 1, 1),
            of(summary["cpu_per_object"], 1, 0),
            *_start_and_peak(summary),
        ]

    return _table(record, [*columns, "CPU us/object", "start, CPU-s", "peak MiB"], cells)


def _start_and_peak(summary: Summary) -> list[str]:
    return [f"{summary['idle']['cpu']:.2f}" if "idle" in summary else "", of(summary["peak_rss"], MiB, 0)]


def _list(record: Record) -> Rows:
    columns = ["lister", "keys/s, whole process", "seconds", "x 1 lister", "CPU us/key", "peak MiB"]

    def cells(_name: str, summary: Summary) -> list[str]:
        return [
            of(summary["rate"], 1, 0),
            of(summary["wall"], 1, 1),
            of(summary.get("speed_ratio"), 1, 1),
            of(summary["cpu_per_object"], 1, 1),
            of(summary["peak_rss"], MiB, 0),
        ]

    return _table(record, columns, cells)


def _peak(record: Record) -> Rows:
    columns = ["s3stream", "peak MiB", "more than with 10,000, MiB", "objects/s"]

    def cells(_name: str, summary: Summary) -> list[str]:
        return [
            of(summary["peak_rss"], MiB, 1),
            of(summary.get("rss_growth"), MiB, 1),
            of(summary["rate"], 1, 0),
        ]

    return _table(record, columns, cells)


def _default(record: Record) -> Rows:
    columns = ["latency", "default, objects/s", "connections it came to", "best, objects/s", "with", "default / best"]

    def rows() -> Iterator[list[str]]:
        finished = dict(done(record))
        for name, default in finished.items():
            latency, _, setting = name.partition(", ")
            if setting != scenarios.DEFAULT:
                continue
            tried = {other: it for other, it in finished.items() if other.startswith(f"{latency}, ")}
            best = max(tried, key=lambda other: tried[other]["rate"]["median"])
            share = default["rate"]["median"] / tried[best]["rate"]["median"]
            yield [
                latency,
                of(default["rate"], 1, 0),
                _connections(record, name),
                of(tried[best]["rate"], 1, 0),
                best.partition(", ")[2],
                f"{share:.0%}",
            ]
        yield from failed(record, len(columns))

    return columns, rows()


def _connections(record: Record, name: str) -> str:
    """Give how many connections the runs of a row came to, as they told themselves."""
    told = sorted({run["learnt"].get("connections") or 0 for run in record["runs"] if run["entry"] == name} - {0})
    return ", ".join(str(count) for count in told)


def _named(name: str, summary: Summary, record: Record) -> str:
    """Name a row, with its number of objects where that is not the scenario's largest and not in its name."""
    largest = max(other["objects"] for other in record["summary"].values())
    count = summary["objects"]
    return name if count == largest or f"{count:,}" in name else f"{name} ({count:,})"
