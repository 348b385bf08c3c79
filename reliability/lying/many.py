"""Many objects out of a store that lies about one of them."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

from airflow_s3stream.config import MiB
from airflow_s3stream.exceptions import IntegrityError, S3StreamError
from airflow_s3stream.plan.download import WHOLE
from reliability.figure import Case, Finding
from reliability.lying import FAR, SILENT, Outcome, drawn, judged, lie_of, nothing
from tests.support import faults, readlies
from tests.support.downloads import entry_of, fetch, files, litter, row, shards
from tests.support.faults import Fault
from tests.support.reading import read_all
from tests.support.readstore import ReadStore, serving_objects

HONEST = ("p/a", "p/b", "p/z")
KEY, NAME = "p/lied", "lied"
OLD = b"what lay there before"


def check(case: Case, lie: str) -> Finding:
    """Download a prefix as files, as tar shards or into memory; half of the time the lied-of object is one GET."""
    rng = drawn(case.kind, case.seed)
    large = rng.random() < 0.5
    size = WHOLE + rng.randrange(FAR + 1, MiB) if large else rng.randrange(FAR + 1, 60_000)
    strict = rng.random() < 0.5
    about = _about(rng, size, strict)
    only = functools.partial(readlies.of, KEY)
    fault = lie_of(rng, lie, only, size=size, part=WHOLE, requests=2) if large else only(of_whole(rng, lie, size))
    sizes = {key: rng.randrange(2000) for key in HONEST}
    with serving_objects(sizes, fault) as store:
        store.put(KEY, size, **about)
        take = rng.choice([_as_files, _as_tar, _in_memory])
        options = {"connections": rng.randrange(1, 9), "strict": strict, "on_error": "continue"}
        with tempfile.TemporaryDirectory(prefix="lies-") as folder:
            outcome = take(store, Path(folder) / "to", options)
        struck = any(exchange.faults for exchange in store.exchanges)
        right = store.body(KEY)
        if outcome.body is not None and _is_announced(outcome.body, store, large=large):
            right = outcome.body
        silent = lie in SILENT and about == nothing(size)
        return judged(case, outcome, right, strict=strict, silent=silent, struck=struck)


def _about(rng: random.Random, size: int, strict: bool) -> dict[str, Any]:
    """Draw what the store knows of the object; where it is nothing, strict would refuse before a lie is told."""
    known: list[dict[str, Any]] = [
        {},
        {**nothing(size), "checksum": rng.choice(["crc64nvme", "crc32", "crc32c"])},
    ]
    return rng.choice(known) if strict or rng.random() < 0.5 else nothing(size)


def of_whole(rng: random.Random, lie: str, size: int) -> Fault:
    """Draw the same lie about a body that is asked for without a range."""
    half = rng.randrange(1, size)
    told = {
        "ignores Range": readlies.longer_body(half),
        "right Content-Range, wrong bytes": readlies.other_object(),
        "Content-Range starts elsewhere": _later_half(half),
        "overwritten, If-Match ignored": readlies.other_version(etag_tells=True),
        "one bit flipped": faults.flip_bit(half),
        "206 shorter than asked": readlies.unasked_range(),
    }[lie]
    return told.once() if rng.random() < 0.3 else told


def _later_half(start: int) -> Fault:
    return Fault(f"206 from {start} on", lambda request, reply: reply.show(start, reply.content.size))


def _is_announced(body: bytes, store: ReadStore, *, large: bool) -> bool:
    """Whether this is, whole, a newer version that the answer said it was: right, if the object is one GET."""
    return not large and body == store.objects[KEY].rewritten().content.bytes()


def _as_files(store: ReadStore, directory: Path, options: dict[str, Any]) -> Outcome:
    directory.mkdir()
    (directory / NAME).write_bytes(OLD)
    result = fetch(store, directory, **options)
    found = files(directory)
    return _outcome(store, result, directory, {name: bytes(body) for name, body in found.items() if body != OLD})


def _as_tar(store: ReadStore, directory: Path, options: dict[str, Any]) -> Outcome:
    result = fetch(store, directory, sink="tar", **options)
    return _outcome(store, result, directory, {name: bytes(body) for _, name, body in shards(directory)})


def _outcome(store: ReadStore, result: Any, directory: Path, found: dict[str, bytes]) -> Outcome:
    left = litter(directory) + _honest(store, {f"p/{name}": body for name, body in found.items()})
    told = row(result, KEY)
    if told["status"] == "fetched":
        return Outcome(body=found.get(NAME, b"no file"), level=told["verification"], left=left)
    left += [f"a wrong {NAME}"] if NAME in found else []
    return Outcome(body=None, error=IntegrityError(told["error"], op="download", target=KEY), left=left)


def _in_memory(store: ReadStore, directory: Path, options: dict[str, Any]) -> Outcome:
    entries = [entry_of(store.objects[key]) for key in sorted({*HONEST, KEY})]
    got = dict(read_all(store, entries, **options))
    left = _honest(store, got)
    if isinstance(got[KEY], S3StreamError):
        return Outcome(body=None, error=got[KEY], left=left)
    return Outcome(body=got[KEY], left=left)


def _honest(store: ReadStore, found: dict[str, Any]) -> list[str]:
    """Name what was told the truth about and did not come right."""
    return [f"no right {key}" for key in HONEST if found.get(key) != store.body(key)]
