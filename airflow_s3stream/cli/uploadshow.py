"""How the command shows uploads: tables in a terminal, a line each elsewhere, or as JSON lines."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from airflow_s3stream.config import format_size
from airflow_s3stream.engine.reporting import describe, duration
from airflow_s3stream.exceptions import printable
from airflow_s3stream.plan.uploads import ListResult

if TYPE_CHECKING:
    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.plan.uploads import FoundUpload, UploadOptions

_ROWS = 200  # of one table; there may be more uploads than fit into memory


class UploadRows:
    """
    Shows uploads as they come, and counts them.

    :param quiet: show nothing.
    :param as_json: a JSON object for each, and no words.
    """

    def __init__(self, bucket: str, prefix: str, options: UploadOptions, *, quiet: bool, as_json: bool) -> None:
        self._bucket = bucket
        self._uri = f"s3://{bucket}/{prefix}"
        self._options = options
        self._quiet = quiet
        self._json = as_json
        self._console = Console()
        self._waiting: list[FoundUpload] = []
        self._count = self._parts = self._bytes = 0
        self._oldest: FoundUpload | None = None

    def note(self, event: Event) -> None:
        """Say what happens meanwhile, on stderr: stdout is for the list."""
        if not self._quiet:
            print(describe(event), file=sys.stderr)

    def add(self, upload: FoundUpload) -> None:
        """Show one."""
        self._count += 1
        self._parts += upload.parts or 0
        self._bytes += upload.bytes or 0
        if self._oldest is None or upload.begun < self._oldest.begun:
            self._oldest = upload
        if self._quiet:
            return
        if self._json:
            print(json.dumps(upload.to_json()))
        elif not self._console.is_terminal:
            print(self._line(upload))
        else:
            self._waiting.append(upload)
            if len(self._waiting) >= _ROWS:
                self._flush()

    def finish(self, others: dict[str, int]) -> ListResult:
        """Show the rest and the totals; return these."""
        sizes = self._options.sizes
        result = ListResult(
            uri=self._uri,
            uploads=self._count,
            parts=self._parts if sizes else None,
            bytes=self._bytes if sizes else None,
            oldest=self._oldest.begun.isoformat(timespec="seconds") if self._oldest else None,
            others=others,
        )
        if not self._quiet and not self._json:
            self._flush()
            print(self._summary(result))
        return result

    def _line(self, upload: FoundUpload) -> str:
        begun = upload.begun.isoformat(timespec="seconds")
        fields = [begun, f"{duration(upload.age)} ago"]
        if upload.parts is not None:
            fields += [f"{upload.parts} parts", format_size(upload.bytes or 0)]
        if not self._options.only_own:
            fields.append(upload.missing_mark or "as s3stream begins them")
        return "\t".join([*fields, printable(f"s3://{self._bucket}/{upload.key}"), printable(upload.upload_id)])

    def _flush(self) -> None:
        if not self._waiting:
            return
        table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
        sizes, everyone = self._options.sizes, not self._options.only_own
        table.add_column("begun (UTC)", no_wrap=True)
        table.add_column("age", justify="right", no_wrap=True)
        if sizes:
            table.add_column("parts", justify="right", no_wrap=True)
            table.add_column("size", justify="right", no_wrap=True)
        if everyone:
            table.add_column("marks", overflow="fold")
        table.add_column("key", overflow="fold")
        table.add_column("upload id", overflow="fold", style="dim")
        for upload in self._waiting:
            cells = [f"{upload.begun:%Y-%m-%d %H:%M}", duration(upload.age)]
            if sizes:
                cells += [str(upload.parts), format_size(upload.bytes or 0)]
            if everyone:
                cells.append(upload.missing_mark or "s3stream's")
            table.add_row(*map(Text, cells), Text(printable(upload.key)), Text(printable(upload.upload_id)))
        self._console.print(table)
        self._waiting = []

    def _summary(self, result: ListResult) -> str:
        size = "" if result.bytes is None else f", {result.parts} parts, {format_size(result.bytes)}"
        text = f"{result.uploads} uploads below {printable(self._uri)}{size}"
        if result.others:
            text += "; not listed: " + ", ".join(f"{n} {reason}" for reason, n in sorted(result.others.items()))
        return text
