"""Turns the newest records into docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from reliability.environment import ROOT
from reliability.results import Record

PAGE = ROOT / "docs" / "reliability.md"
MOST = 10
"""Failures of a figure that the page shows; the record has them all."""

_HEAD = """# How reliable it is, in figures

Written by `make reliability` from the records in [reliability/results](../reliability/results); do not edit. What a
figure is measured with is in [reliability/README.md](../reliability/README.md).

One seed is done again by

    python -m reliability FIGURE --seed S --kind 'KIND'

(without `--kind`: that seed of every kind). A seed that failed once is kept in [tests/corpus](../tests/corpus), and
every `make test` does all of those again.
"""


def page(records: Sequence[Record]) -> str:
    """Write the whole page."""
    if not records:
        return f"{_HEAD}\nNo results yet: run `make reliability`.\n"
    pieces = [_HEAD, _summary(records), *[_section(one) for one in records], _machine(records[-1])]
    return "\n".join(pieces).rstrip() + "\n"


def _summary(records: Iterable[Record]) -> str:
    rows = [
        [_number(one), f"[{one['title']}](#{_anchor(_heading(one))})", one["target"], _verdict(one), _time(one)]
        for one in records
    ]
    return table(["", "figure", "target", "reached", "measured in"], rows)


def _section(one: Record) -> str:
    lines = [f"## {_heading(one)}", "", f"Target: {one['target']} **{_verdict(one).strip('*').capitalize()}.**", ""]
    if one["rows"]:
        lines += [table(one["columns"], one["rows"])]
    lines += [f"- {note}" for note in one["notes"]]
    lines += [""] if one["notes"] else []
    lines += list(_failures(one["failures"]))
    seeds = f" Seeds {one['seeds']}." if one["seeds"] else ""
    return "\n".join([*lines, f"<sub>{one['date']}; `python -m reliability {one['name']}`.{seeds}</sub>", ""])


def _failures(failures: Sequence[str]) -> Iterator[str]:
    if not failures:
        return
    yield "What was wrong:"
    yield ""
    yield from (f"- {failure}" for failure in failures[:MOST])
    if len(failures) > MOST:
        yield f"- and {len(failures) - MOST} more."
    yield ""


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    lines = [_row(columns), _row(["---"] * len(columns)), *[_row(cells) for cells in rows]]
    return "\n".join([*lines, ""])


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(str(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def _number(one: Record) -> str:
    return str(one["number"])


def _heading(one: Record) -> str:
    return f"{_number(one)}. {one['title']}"


def _anchor(heading: str) -> str:
    """Give the name that GitHub gives a heading."""
    kept = "".join(letter for letter in heading.lower() if letter.isalnum() or letter in " -_")
    return kept.replace(" ", "-")


def _verdict(one: Record) -> str:
    return {"met": "yes", "missed": "**no**", "not measured": "not measured"}[one["verdict"]]


def _time(one: Record) -> str:
    return f"{one['seconds'] / 60:.1f} min" if one["seconds"] >= 60 else f"{one['seconds']:.0f} s"


def _machine(one: Record) -> str:
    facts = one["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in facts["versions"].items())
    return (
        f"<sub>{facts['cores']} cores, {facts['processor']}, Linux {facts['kernel']}, Python {facts['python']}, "
        f"OpenSSL {facts['openssl']}; {versions}.</sub>"
    )


def write(records: Sequence[Record], path: Path = PAGE) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(page(records))
