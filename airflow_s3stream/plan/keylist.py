"""Lists of keys as files: text, CSV and JSON lines."""

from __future__ import annotations

import csv
import json
import re
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, NoReturn
from urllib.parse import unquote_plus

from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.objects import ObjectEntry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

Kind = Literal["text", "csv", "jsonl"]

_MAX_KEY = 1024  # bytes of UTF-8; S3's limit
_MAX_LINE = 64 * 1024  # bytes; a key and what is told of it never need more
_ENDINGS: dict[str, Kind] = {".csv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".txt": "text"}
# Names of CSV columns, compared without case, blanks, hyphens and underscores. Others are passed over.
_COLUMNS = {
    "bucket": "bucket",
    "key": "key",
    "encodedkey": "encoded_key",
    "size": "size",
    "etag": "etag",
    "lastmodified": "modified",
    "lastmodifieddate": "modified",
    "storageclass": "storage_class",
    "islatest": "is_latest",
    "isdeletemarker": "is_delete_marker",
}
_INVENTORY = ("bucket", "encoded_key", "size", "etag")
# What URL-encoding leaves of a key: no blank, no quote, nothing beyond ASCII, and no lone percent sign.
_ENCODED = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/]|%[0-9A-Fa-f]{2})+")


class Line(NamedTuple):
    """Where something was read, for errors."""

    name: str
    number: int

    def wrong(self, what: str) -> NoReturn:
        """Raise the error about this line."""
        raise ConfigError(f"{self.name} line {self.number}: {what}")


def kind_of(name: str, first: bytes) -> Kind:
    """
    Tell what a list of keys is written in: by the ending of its name, else by its first line.

    A first line that is a JSON object is JSON lines; one that names CSV columns, ``key`` among them, is CSV;
    everything else is text.
    """
    base = name.lower().rstrip("'\"")  # it may be quoted for errors
    for ending, kind in _ENDINGS.items():
        if base.endswith(ending):
            return kind
    text = first.removeprefix(b"\xef\xbb\xbf").decode(errors="replace").strip()
    if text.startswith("{") and text.endswith("}"):
        return "jsonl"
    return "csv" if "," in text and _header(next(csv.reader([text]), [])) else "text"


def parse_keys(
    lines: Iterable[bytes],
    *,
    bucket: str = "",
    kind: Kind | None = None,
    name: str = "manifest",
    statuses: frozenset[str] | None = None,
) -> Iterator[ObjectEntry]:
    """
    Read a list of keys, one line at a time.

    - ``text``: a key or ``s3://bucket/key`` on each line, exactly as it is, blanks included. Empty lines are passed
      over.
    - ``csv`` whose first line names the columns: ``key`` (as it is) or ``encoded_key`` (URL-encoded), and as many
      as wanted of ``bucket``, ``size``, ``etag``, ``last_modified``, ``storage_class``; rows with ``is_latest``
      false or ``is_delete_marker`` true are passed over; other columns too.
    - ``csv`` without such a line: ``bucket,key[,size[,etag]]``, the order of S3 Inventory and of S3 Batch Operations,
      which URL-encode the keys by definition, so these are decoded. A key that was not encoded is an error.
    - ``jsonl``: an object on each line with ``key`` and, as wanted, ``bucket``, ``size``, ``etag``,
      ``last_modified`` (seconds since the epoch or ISO 8601) and ``storage_class``. A result log is one such list.

    :param lines: with their ends; a binary file is such a thing.
    :param bucket: the bucket that will be read; a line that names another one is an error.
    :param kind: None: told from ``name`` and the first line.
    :param name: the field and the file, for errors.
    :param statuses: take only lines of a result log with one of these, and of those nothing but the key.
    :raises ConfigError: naming the line that is wrong.
    """
    bounded = _bounded(lines, name)
    first = next(bounded, None)
    if first is None:
        return
    kind = kind or kind_of(name, first[1].encode())
    rows = chain([first], bounded)
    if kind == "csv":
        yield from _csv(rows, bucket, name)
    elif kind == "jsonl":
        for number, text in rows:
            if text.strip():
                entry = _json(text, bucket, Line(name, number), statuses)
                if entry is not None:
                    yield entry
    else:
        for number, text in rows:
            if text:
                yield _text(text, bucket, Line(name, number))


def _bounded(lines: Iterable[bytes], name: str) -> Iterator[tuple[int, str]]:
    """Decode and number the lines, without their ends."""
    for number, line in enumerate(lines, 1):
        if len(line) > _MAX_LINE:
            Line(name, number).wrong(f"it has {len(line)} bytes, more than {_MAX_LINE}; this is no list of keys")
        if number == 1 and line.startswith(b"\x1f\x8b"):
            Line(name, number).wrong("it is compressed by gzip; decompress it first")
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            Line(name, number).wrong(f"it is not UTF-8 ({error.reason} at byte {error.start})")
        if number == 1:
            text = text.removeprefix("\ufeff")
        yield number, text.removesuffix("\n").removesuffix("\r")


def _text(text: str, bucket: str, line: Line) -> ObjectEntry:
    if not text.startswith("s3://"):
        return ObjectEntry(_key(text, line))
    named, _, key = text[5:].partition("/")
    _same_bucket(named, bucket, line)
    return ObjectEntry(_key(key, line))


def _csv(rows: Iterator[tuple[int, str]], bucket: str, name: str) -> Iterator[ObjectEntry]:
    reader = csv.reader((text + "\n" for _, text in rows), strict=True)
    columns: tuple[str, ...] | None = None
    while True:
        line = Line(name, reader.line_num + 1)
        try:
            row = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            line.wrong(f"it is not CSV: {error}")
        if not row:
            continue
        if columns is None:
            columns = _header(row)
            if columns:
                continue
            columns = _INVENTORY
        entry = _row(dict(zip(columns, row, strict=False)), bucket, line)
        if entry is not None:
            yield entry


def _header(row: list[str]) -> tuple[str, ...]:
    """Give the columns that a first line names, or nothing if it is no such line."""
    names = tuple(_COLUMNS.get(re.sub(r"[\s_-]", "", field).lower(), "") for field in row)
    return names if "key" in names or "encoded_key" in names else ()


def _row(fields: dict[str, str], bucket: str, line: Line) -> ObjectEntry | None:
    if "bucket" in fields:
        _same_bucket(fields["bucket"], bucket, line)
    if fields.get("is_latest", "").lower() == "false" or fields.get("is_delete_marker", "").lower() == "true":
        return None
    if "key" in fields:
        key = fields["key"]
    elif "encoded_key" in fields:
        key = _decoded(fields["encoded_key"], line)
    else:
        line.wrong("it has no key; a line must be bucket,key[,size[,etag]] unless the first one names the columns")
    size = fields.get("size", "")
    if size and not (size.isascii() and size.isdigit()):
        line.wrong(f"size {size!r} is not a number of bytes; name the columns in a first line if they are others")
    return ObjectEntry(
        _key(key, line),
        int(size) if size else None,
        fields.get("etag", "").strip('"'),
        _seconds(fields.get("modified", ""), line),
        fields.get("storage_class", ""),
    )


def _decoded(key: str, line: Line) -> str:
    if not key:
        line.wrong("the key is empty")
    if not _ENCODED.fullmatch(key):
        line.wrong(f"key {key[:80]!r} is not URL-encoded; let a first line bucket,key say that keys are as they are")
    try:
        return unquote_plus(key, errors="strict")
    except UnicodeDecodeError:
        line.wrong(f"key {key[:80]!r} does not decode to UTF-8")


def _json(text: str, bucket: str, line: Line, statuses: frozenset[str] | None) -> ObjectEntry | None:
    try:
        fields: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        line.wrong(f"it is not JSON ({error})")
    if not isinstance(fields, dict) or not isinstance(fields.get("key"), str):
        line.wrong('it must be an object with "key", as {"key": "a/b"}')
    if fields.get("bucket") is not None:
        _same_bucket(str(fields["bucket"]), bucket, line)
    key = _key(fields["key"], line)
    if statuses is not None:
        if not isinstance(fields.get("status"), str):
            line.wrong('it has no "status"; only the results of an earlier run tell what failed')
        return ObjectEntry(key) if fields["status"] in statuses else None
    size = fields.get("size")
    if size is not None and (isinstance(size, bool) or not isinstance(size, int) or size < 0):
        line.wrong(f"size {size!r} is not a number of bytes")
    return ObjectEntry(
        key,
        size,
        _string(fields, "etag", line).strip('"'),
        _seconds(fields.get("last_modified") or "", line),
        _string(fields, "storage_class", line),
    )


def _string(fields: dict[str, Any], name: str, line: Line) -> str:
    value = fields.get(name)
    if value is not None and not isinstance(value, str):
        line.wrong(f"{name} {value!r} is not text")
    return value or ""


def _seconds(value: object, line: Line) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value == "":
        return 0.0
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        line.wrong(f"last_modified {value!r} is neither seconds since the epoch nor ISO 8601")
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _same_bucket(named: str, bucket: str, line: Line) -> None:
    if bucket and named != bucket:
        line.wrong(f"bucket {named!r} is not {bucket!r}, the one to be read")


def _key(key: str, line: Line) -> str:
    if not key:
        line.wrong("the key is empty")
    if len(key) * 4 > _MAX_KEY or not key.isascii():
        try:
            size = len(key.encode())
        except UnicodeEncodeError:
            line.wrong(f"key {key[:80]!a} is not text that UTF-8 can carry")
        if size > _MAX_KEY:
            line.wrong(f"the key has {size} bytes; S3 allows {_MAX_KEY}")
    return key
