"""Both ends, read again by means that share no code with the package, side by side."""

from __future__ import annotations

import hashlib
import json
import math
import urllib.request
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.table import Table

from demo.processes import DemoFailed

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console, JustifyMethod

    from demo.store import Store

MB = 1_000_000
WIDTH = 120
"""Columns that the table needs."""


@dataclass(frozen=True)
class Copy:
    """One copied month: what the operator says, and what was found at both ends."""

    result: dict[str, Any]
    """The operator's TransferResult, from XCom."""
    source_sha256: str
    object_sha256: str
    recorded_sha256: str
    """Of the file when it was made."""
    object_size: int

    @property
    def agrees(self) -> bool:
        """Whether the object is the source, to the byte, and the operator says no more than is so."""
        one_digest = {self.source_sha256, self.object_sha256, self.recorded_sha256}
        return len(one_digest) == 1 and self.object_size == self.result["bytes"]


def compare(result: dict[str, Any] | None, origin: str, store: Store, recorded: dict[str, str]) -> Copy:
    """Read the month again from the origin and from the store."""
    if not result or result["status"] != "copied":
        raise DemoFailed(f"the task `copy` left no copy, but {result}")
    bucket, _, key = result["uri"].removeprefix("s3://").partition("/")
    name = key.rpartition("/")[2]
    with urllib.request.urlopen(f"{origin}/{name}", timeout=60) as body:
        source_sha256 = hashlib.file_digest(body, "sha256").hexdigest()
    object_sha256, size = store.sha256(bucket, key)
    return Copy(result, source_sha256, object_sha256, recorded[name], size)


def show(console: Console, copies: list[Copy], objects: Path) -> int:
    """Print the table and the verdict; return the exit code."""
    console.print(_table(copies))
    for copy in copies:
        console.print(f"{copy.source_sha256}  {copy.result['source']}")
        console.print(f"{copy.object_sha256}  {copy.result['uri']}")
    wrong = [copy.result["uri"] for copy in copies if not copy.agrees]
    if wrong:
        console.print(f"[bold red]different from their sources:[/] {', '.join(wrong)}")
        return 1
    console.print(
        f"[bold green]{len(copies)} of {len(copies)} objects are their sources, byte for byte[/]; see {objects}"
    )
    return 0


@dataclass(frozen=True)
class Day:
    """One aggregated day: what the task says, what stands in the store, and what the day's files add up to."""

    result: dict[str, Any]
    """The task's, from XCom."""
    stored: dict[str, dict[str, Any]]
    expected: dict[str, dict[str, Any]]

    @property
    def wrong(self) -> list[str]:
        """The stations that are missing, too many, or not what their readings come to."""
        stations = sorted(self.stored.keys() | self.expected.keys())
        return [name for name in stations if not _same(self.stored.get(name), self.expected.get(name))]


def _same(stored: dict[str, Any] | None, expected: dict[str, Any] | None) -> bool:
    if not stored or not expected or stored.keys() != expected.keys():
        return False
    # A sum of floating-point numbers depends on their order.
    exact = all(stored[name] == expected[name] for name in expected if name != "mean")
    return exact and math.isclose(stored["mean"], expected["mean"], abs_tol=1e-9)


def compare_day(result: dict[str, Any] | None, store: Store, expected: dict[str, dict[str, Any]]) -> Day:
    """Read the day's outcome from the store."""
    if not result:
        raise DemoFailed("the task `aggregate` returned nothing")
    bucket, _, key = result["uri"].removeprefix("s3://").partition("/")
    with store.client.get_object(Bucket=bucket, Key=key)["Body"] as body:
        rows = [json.loads(line) for line in body.read().splitlines()]
    return Day(result, {row.pop("station"): row for row in rows}, expected)


def show_day(console: Console, day: Day, objects: Path) -> int:
    """Print what came of the day and the verdict; return the exit code."""
    result = day.result
    console.print(
        f"{result['objects']:,} objects with {result['readings']:,} readings, read in memory and summed up in "
        f"{result['seconds']:.2f} s: [bold]{result['objects_per_second']:,.0f} objects/s[/]"
    )
    readings = sum(row["readings"] for row in day.expected.values())
    if day.wrong or result["readings"] != readings:
        console.print(
            f"[bold red]different from their files:[/] {len(day.wrong)} stations ({', '.join(day.wrong[:5])}); "
            f"{result['readings']:,} of {readings:,} readings"
        )
        return 1
    stations = f"{len(day.stored)} of {len(day.expected)} stations"
    console.print(f"[bold green]{stations} are what their files add up to[/]; see {objects}")
    return 0


def _table(copies: list[Copy]) -> Table:
    table = Table(box=SIMPLE_HEAD, pad_edge=False)
    for heading in ("object", "MB", "seconds", "MB/s", "parts", "verification", "SHA-256: source", "object"):
        justify: JustifyMethod = "right" if heading in ("MB", "seconds", "MB/s", "parts") else "left"
        table.add_column(heading, justify=justify, no_wrap=True)
    for copy in copies:
        result = copy.result
        table.add_row(
            result["uri"].rpartition("/")[2],
            f"{result['bytes'] / MB:.1f}",
            f"{result['seconds']:.2f}",
            f"{result['bytes_per_second'] / MB:.0f}",
            str(result["parts"]),
            result["verification"],
            f"{copy.source_sha256[:12]}…",
            f"{copy.object_sha256[:12]}…",
            style=None if copy.agrees else "bold red",
        )
    return table
