"""Records: one JSON file per figure and day, and what they were measured on."""

from __future__ import annotations

import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import airflow_s3stream
from benchmarks import machine
from reliability.environment import ROOT
from reliability.figure import Figure

FOLDER = ROOT / "reliability" / "results"
Record = dict[str, Any]


def record(name: str, figure: Figure) -> Record:
    """Give the figure with what must be known of the day and the machine."""
    facts = machine.facts()
    facts["versions"] = {"airflow-s3stream": airflow_s3stream.__version__, **facts["versions"]}
    return {"name": name, "date": time.strftime("%Y-%m-%d"), **asdict(figure), "machine": facts}


def write(found: Record, folder: Path = FOLDER) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{found['date']}-{found['name']}.json"
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return path


def newest(folder: Path = FOLDER) -> list[Record]:
    """Read the newest record of every figure, in the order of the page."""
    found: dict[str, Record] = {}
    for path in sorted(folder.glob("*.json")):  # The date leads the name.
        one = json.loads(path.read_text())
        found[one["name"]] = one
    return sorted(found.values(), key=lambda one: (one["number"], one["name"]))
