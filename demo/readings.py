"""A day of sensor readings as thousands of small objects: made up, and the same bytes on every run."""

from __future__ import annotations

import json
import random
import statistics
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

STATIONS = 200
HOURS = 24
READINGS = 12
"""In an object: one every five minutes of its hour."""


def make_day(bucket: Path, day: str) -> int:
    """
    Lay a day's objects into a bucket's folder, and return how many.

    As files, since the server's objects are files: thousands of PUTs would take longer than all else the demo does.
    """
    draw = random.Random(day)
    partition = bucket / "readings" / f"date={day}"
    for station in range(STATIONS):
        folder = partition / f"station-{station:04d}"
        folder.mkdir(parents=True)
        for hour in range(HOURS):
            (folder / f"{hour:02d}.jsonl").write_text(_hour(draw, folder.name, f"{day}T{hour:02d}"))
    # Last, as whoever fills a partition does.
    (partition / "_SUCCESS").touch()
    return STATIONS * HOURS


def sum_up(bucket: Path, day: str) -> dict[str, dict[str, Any]]:
    """Return what the day's files add up to, by station."""
    celsius: dict[str, list[float]] = {}
    for path in (bucket / "readings" / f"date={day}").rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            reading = json.loads(line)
            celsius.setdefault(reading["station"], []).append(reading["celsius"])
    return {
        station: {
            "readings": len(values),
            "mean": statistics.fmean(values),
            "least": min(values),
            "greatest": max(values),
        }
        for station, values in celsius.items()
    }


def _hour(draw: random.Random, station: str, hour: str) -> str:
    readings = (
        {"station": station, "at": f"{hour}:{minute:02d}:00Z", "celsius": round(draw.gauss(11.0, 8.0), 2)}
        for minute in range(0, 60, 60 // READINGS)
    )
    return "".join(f"{json.dumps(reading)}\n" for reading in readings)
