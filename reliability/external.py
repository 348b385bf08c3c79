"""Figures that a rig of the tests measures by itself: it prints one JSON object, and that becomes a table."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from reliability.environment import ROOT
from reliability.figure import Figure, not_measured


def measured(number: int, title: str, target: str, command: Sequence[str], *, timeout: float) -> Figure:
    """
    Run ``python -m MODULE ARGUMENTS...`` and make a figure of what it prints.

    :param command: the module and its arguments. Its exit code says whether the target is met; of its JSON object
        ``rows`` (a list of objects), ``notes`` and ``failures`` are taken as they are, and every other member is a row.
    :param timeout: seconds.
    """
    if importlib.util.find_spec(command[0]) is None:
        return not_measured(number, title, target, f"there is no {command[0]} yet")
    began = time.monotonic()
    try:
        done = subprocess.run(
            [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False
        )
    except subprocess.TimeoutExpired:
        return not_measured(number, title, target, f"`{' '.join(command)}` was not done after {timeout:g} s")
    told = last_object(done.stdout)
    if told is None:
        why = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        return not_measured(
            number, title, target, f"`{' '.join(command)}` printed no JSON object; its last word: {why}"
        )
    columns, rows = table(told)
    listed = told.get("failures", ())
    failures = tuple(map(shown, listed if isinstance(listed, list) else [listed] if listed else ()))
    return Figure(
        number=number,
        title=title,
        target=target,
        columns=columns,
        rows=rows,
        verdict="met" if done.returncode == 0 and not failures else "missed",
        seconds=time.monotonic() - began,
        notes=tuple(map(str, told.get("notes", ()))),
        failures=failures,
    )


def last_object(text: str) -> dict[str, Any] | None:
    """Read the JSON object that was printed last, on one line or on several."""
    lines = text.strip().splitlines()
    for first in range(len(lines) - 1, -1, -1):
        if lines[first].startswith("{"):
            try:
                told = json.loads("\n".join(lines[first:]))
            except ValueError:
                continue
            return told if isinstance(told, dict) else None
    return None


def table(told: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Give columns and rows: of ``rows``, where the object has them, else one row per member."""
    rows = told.get("rows")
    if isinstance(rows, list) and rows and all(isinstance(row, dict) for row in rows):
        columns = list(dict.fromkeys(name for row in rows for name in row))
        return columns, [[shown(row.get(name, "")) for name in columns] for row in rows]
    plain = {name: value for name, value in told.items() if name not in ("notes", "failures", "rows")}
    return ["", ""], [[name.replace("_", " "), shown(value)] for name, value in plain.items()]


def shown(value: object) -> str:
    """Show a value of JSON in a table's cell."""
    if isinstance(value, float):
        return f"{value:.3g}"
    if isinstance(value, dict):
        return ", ".join(f"{name}: {shown(one)}" for name, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(shown, value)) if value else "none"
    return str(value)
