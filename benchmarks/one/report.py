"""Turns the newest records of one huge object into Markdown, for a third place in the README."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.one import scenarios
from benchmarks.report import GiB, MiB, Record, done, failed, layout, machine, of, shown

START, END = "<!-- bench-one:start -->", "<!-- bench-one:end -->"
OWN = "its own clock"
Rows = tuple[list[str], Iterator[list[str]]]
Summary = Mapping[str, Any]


def markdown(records: Sequence[Record]) -> str:
    """Write all tables."""
    tables = "\n\n".join(table(record) for record in records)
    return f"{tables}\n\n{machine(records[-1])}" if records else "No results yet: run `make bench`."


def table(record: Record) -> str:
    """Write one scenario's table."""
    kinds: dict[str, Callable[[Record], Rows]] = {
        "fast": _fast,
        "far": _far,
        "line": _line,
        "stream": _stream,
        "memory": _memory,
        "resume": _resume,
    }
    measured = {record["entries"][name]["peer"] for name in record["summary"]}
    return layout(record, *kinds[record["kind"]](record), measured)


def _table(record: Record, columns: list[str], cells: Callable[[Summary], list[str]]) -> Rows:
    """Give a row for each tool: its name, the cells, and how often it ran."""

    def rows() -> Iterator[list[str]]:
        for name, summary in done(record):
            yield [name, *cells(summary), str(summary["rounds"])]
        yield from failed(record, len(columns) + 1)

    return [*columns, "rounds"], rows()


def _fast(record: Record) -> Rows:
    columns = ["tool, and where to", "seconds", "MB/s", f"MB/s, {OWN}", "MB/s until on disk"]

    def cells(summary: Summary) -> list[str]:
        return [
            of(summary["wall"], 1, 2),
            of(summary["mb_per_second"], 1, 0),
            of(summary.get("transfer_mb_per_second"), 1, 0),
            of(summary.get("safe_mb_per_second"), 1, 0),
            of(summary.get("speed_ratio"), 1, 2),
            *_cost(summary),
        ]

    return _table(record, [*columns, f"speed x {scenarios.GET}", *_COST], cells)


_COST = ["CPU-s/GiB", "less its start", "peak MiB", "over idle, MiB"]


def _cost(summary: Summary) -> list[str]:
    return [
        of(summary["cpu_per_gib"], 1, 2),
        of(summary.get("net_cpu_per_gib"), 1, 2),
        of(summary["peak_rss"], MiB, 0),
        of(summary.get("grown"), MiB, 0),
    ]


def _far(record: Record) -> Rows:
    columns = ["tool", "MB/s", "of the limit", f"MB/s, {OWN}", "of the limit", f"speed x {scenarios.GET}"]

    def cells(summary: Summary) -> list[str]:
        return [
            of(summary["mb_per_second"], 1, 0),
            _percent(summary.get("share")),
            of(summary.get("transfer_mb_per_second"), 1, 0),
            _percent(summary.get("own_share")),
            of(summary.get("speed_ratio"), 1, 2),
            *_cost(summary),
        ]

    return _table(record, [*columns, *_COST], cells)


def _percent(share: Mapping[str, float] | None) -> str:
    return f"{of(share, 0.01, 1)} %" if share else ""


def _line(record: Record) -> Rows:
    """Give a row for each tool, and one more by its own clock; a column for each number of connections."""
    columns = ["of the line, with so many connections", *map(str, scenarios.CONNECTIONS)]

    def rows() -> Iterator[list[str]]:
        finished = dict(done(record))
        for peer in dict.fromkeys(name.rpartition(", ")[0] for name in finished):
            found = [finished.get(f"{peer}, {count}", {}) for count in scenarios.CONNECTIONS]
            yield [peer, *(_percent(each.get("share")) for each in found)]
            if any("own_share" in each for each in found):
                yield [f"{peer}, {OWN}", *(_percent(each.get("own_share")) for each in found)]
        yield from failed(record, len(columns))

    return columns, rows()


def _stream(record: Record) -> Rows:
    columns = ["link, and reader", "MB/s", f"MB/s, {OWN}", f"x {scenarios.GET}", f"x, {OWN}"]

    def cells(summary: Summary) -> list[str]:
        return [
            of(summary["mb_per_second"], 1, 0),
            of(summary.get("transfer_mb_per_second"), 1, 0),
            of(summary.get("speed_ratio"), 1, 2),
            of(summary.get("own_speed_ratio"), 1, 2),
            *_cost(summary),
        ]

    return _table(record, [*columns, *_COST], cells)


def _memory(record: Record) -> Rows:
    columns = ["s3stream reads", "GiB moved", "imported MiB", "idle MiB", "peak MiB", "over imported", "over idle"]

    def cells(summary: Summary) -> list[str]:
        imported = summary.get("imported")
        return [
            of(summary["moved"], GiB, 1),
            f"{imported / MiB:.1f}" if imported else "",
            f"{summary['idle']['peak_rss'] / MiB:.1f}",
            of(summary["peak_rss"], MiB, 1),
            of(summary.get("grown_imported"), MiB, 1),
            of(summary.get("grown"), MiB, 1),
        ]

    return _table(record, columns, cells)


def _resume(record: Record) -> Rows:
    columns = [
        "s3stream get",
        "kills",
        "went on",
        "fetched again, MiB",
        "allowed, MiB",
        "within",
        "wrong bytes",
    ]

    def rows() -> Iterator[list[str]]:
        for name, summary in done(record):
            if "kills" in summary:
                yield [
                    f"{name} ({shown(summary['size'])})",
                    str(summary["kills"]),
                    str(summary["kills"] - summary["afresh"]),
                    of(summary["refetched"], MiB, 1),
                    of(summary["limit"], MiB, 0),
                    f"{summary['within']} of {summary['kills']}",
                    "0",  # A run with one counts as failed, and has its line below.
                ]
        yield from failed(record, len(columns))

    return columns, rows()
