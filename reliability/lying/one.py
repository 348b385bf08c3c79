"""One object out of a store that lies about its ranges."""

from __future__ import annotations

import functools
import random
import tempfile
from pathlib import Path
from typing import Any

from airflow_s3stream.config import KiB
from airflow_s3stream.exceptions import IntegrityError, S3StreamError, SourceChanged
from reliability.figure import Case, Finding
from reliability.lying import FAR, SILENT, Outcome, drawn, judged, lie_of, nothing
from tests.support import readlies
from tests.support.getting import get, opened, siblings
from tests.support.readstore import ReadStore, serving_objects

OLD = b"what lay there before"
KEY = "big"


def check(case: Case, lie: str) -> Finding:
    """Download one object as a file or as a stream."""
    rng = drawn(case.kind, case.seed)
    part = rng.choice([64, 96, 128, 200]) * KiB
    size = rng.randrange(0, 12) * part + rng.randrange(FAR + 1, part)
    strict, connections = rng.random() < 0.5, rng.randrange(1, 9)
    about = _about(rng, size, part, strict)
    as_file = rng.random() < 0.6
    # A stream of one connection is one GET, with nothing read ahead.
    requests = -(-size // part) if as_file or connections > 1 else 1
    fault = lie_of(rng, lie, functools.partial(readlies.of, KEY), size=size, part=part, requests=requests)
    options: dict[str, Any] = {"part_size": part, "connections": connections, "strict": strict}
    with serving_objects({}, fault) as store:
        store.put(KEY, size, **about)
        outcome = (_as_file if as_file else _as_stream)(rng, store, options)
        struck = any(exchange.faults for exchange in store.exchanges)
        silent = lie in SILENT and about == nothing(size)
        return judged(case, outcome, store.body(KEY), strict=strict, silent=silent, struck=struck)


def _about(rng: random.Random, size: int, part: int, strict: bool) -> dict[str, Any]:
    """
    Draw what the store knows of the object: its MD5, a checksum of it or of its parts, or nothing.

    Of nothing, strict would refuse before a lie is told.
    """
    known: list[dict[str, Any]] = [
        {},
        {**nothing(size), "checksum": rng.choice(["crc64nvme", "crc32", "crc32c"])},
        {"part_size": part + 1000, "checksum": rng.choice(["sha256", "crc32c", "sha1"]), "composite": True},
    ]
    return rng.choice(known) if strict or rng.random() < 0.5 else nothing(size)


def _as_file(rng: random.Random, store: ReadStore, options: dict[str, Any]) -> Outcome:
    with tempfile.TemporaryDirectory(prefix="lies-") as folder:
        path = Path(folder) / "file"
        path.write_bytes(OLD)
        try:
            result = get(store, path, KEY, **options)
        except S3StreamError as error:
            left = [] if path.read_bytes() == OLD else ["a changed file"]
            # What a later run can go on with may stay, unless it is known to be wrong.
            left += siblings(path) if isinstance(error, IntegrityError | SourceChanged) else []
            return Outcome(body=None, error=error, left=left)
        return Outcome(body=path.read_bytes(), level=result.verification, left=siblings(path))


def _as_stream(rng: random.Random, store: ReadStore, options: dict[str, Any]) -> Outcome:
    piece, got = rng.choice([-1, 10_001, 100_003]), bytearray()
    try:
        with opened(store, KEY, **options) as stream:
            while read := stream.read(piece):
                got += read
            return Outcome(body=bytes(got), level=stream.verification)
    except S3StreamError as error:
        return Outcome(body=None, error=error)
