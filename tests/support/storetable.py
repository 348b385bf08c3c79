"""What each store proved, as a table that a test run writes."""

from __future__ import annotations

import json
from pathlib import Path

STORES = ("localstack", "moto", "rclone")


class StoreTable:
    """Rows of behaviour, a column per store, filled by the tests that saw it."""

    def __init__(self) -> None:
        self._rows: dict[str, dict[str, str]] = {}

    def note(self, behaviour: str, store: str, outcome: str) -> None:
        self._rows.setdefault(behaviour, {})[store] = outcome

    def write(self, path: Path) -> None:
        """Write JSON or, by the name's ending, Markdown. Nothing is written when nothing was seen."""
        if not self._rows:
            return
        if path.suffix == ".json":
            path.write_text(json.dumps(self._rows, indent=2) + "\n")
            return
        lines = [f"| behaviour | {' | '.join(STORES)} |", f"|---|{'---|' * len(STORES)}"]
        for behaviour, outcomes in self._rows.items():
            lines.append(f"| {behaviour} | {' | '.join(outcomes.get(store, 'not run') for store in STORES)} |")
        path.write_text("\n".join(lines) + "\n")
