"""A copy from a source that lies, into a store that checks everything S3 checks."""

from __future__ import annotations

import random
from typing import Any, cast

from airflow_s3stream.config import CopyOptions, MiB, S3Limits
from airflow_s3stream.engine.checksums import crc64nvme
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.protocols import ObjectHeaders
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import S3StreamError
from reliability.figure import Case, Finding
from reliability.lying import FAR, SILENT, Outcome, drawn, judged, lie_of
from tests.support import faults
from tests.support.content import Content
from tests.support.memory import MemorySink, MemoryStore
from tests.support.objects import Checksum, b64, digest_of
from tests.support.origin import Origin, serving
from tests.support.sources import http_source
from tests.support.transfers import EAGER, QUICK

KEY, OLD = "key", b"what lay there before"
STREAMED = ("md5", "sha256")
"""Checksums that must see the bytes in order, so that the source is read as one stream."""
LEAST = MiB
"""Of a part, in this store: so that a small object has many."""


def check(case: Case, lie: str) -> Finding:
    """Copy; where no answer tells of the lie, the caller knows the object's checksum."""
    return _check(case, lie, told=lie in SILENT)


def check_untold(case: Case, lie: str) -> Finding:
    """Copy what nobody knows a checksum of: what comes of it is told, and no client can do better."""
    return _check(case, lie, told=False)


def _check(case: Case, lie: str, *, told: bool) -> Finding:
    rng = drawn(case.kind, case.seed)
    part = LEAST * rng.choice([1, 1, 2])
    size = rng.randrange(0, 5) * part + rng.randrange(FAR + 1, part)
    strict, store = rng.random() < 0.5, MemoryStore()
    checksum = rng.choice([*STREAMED, "crc32", "crc32c", "crc64nvme"]) if told else ""
    one_stream = checksum in STREAMED or size <= part
    # A source that is read as one stream is asked for a range only where it breaks.
    breaks = [faults.close_after(rng.randrange(size // 2)).once()] if one_stream else []
    requests = 2 if one_stream else -(-size // part)
    fault = lie_of(rng, lie, lambda fault: fault, size=size, part=part, requests=requests)
    sink = MemorySink(store, KEY)
    _put_old(sink)
    with serving(size, *breaks, fault) as origin:
        options = _options(rng, part, strict, origin, checksum)
        outcome = _copy(origin, sink, store, options)
        struck = any(fault.name in exchange.faults for exchange in origin.exchanges)
        silent = lie in SILENT and not told
        right = _version(outcome, origin.resource.content.bytes(), size)
        return judged(case, outcome, right, strict=strict and not silent, silent=silent, struck=struck)


def _version(outcome: Outcome, right: bytes, size: int) -> bytes:
    """Give the object that the copy should be: the newer version, whole, is one too, for it may be all that was met."""
    newer = Content(size, 2).bytes()
    return newer if outcome.body == newer else right


def _options(rng: random.Random, part: int, strict: bool, origin: Origin, checksum: str) -> CopyOptions:
    settings: dict[str, Any] = {}
    if checksum:
        content = origin.resource.content
        known = content.digest(checksum) if checksum in STREAMED else digest_of(content, cast(Checksum, checksum))
        settings["expected_checksum"] = f"{checksum}:{b64(known)}"
    return CopyOptions(
        part_size=part, connections=rng.randrange(1, 9), strict=strict, timeouts=QUICK, retry=EAGER,
        limits=S3Limits(min_part=LEAST), max_memory=rng.choice([2, 4]) * MiB, **settings,
    )  # fmt: skip


def _put_old(sink: MemorySink) -> None:
    headers = ObjectHeaders(content_type=None, content_encoding=None, metadata={})
    sink.put(OLD, crc64nvme(OLD), headers, replaces=None)


def _copy(origin: Origin, sink: MemorySink, store: MemoryStore, options: CopyOptions) -> Outcome:
    source = http_source(origin.url, timeouts=options.timeouts, connections=options.connections)
    try:
        result = copy(source, sink, options, stop=StopFlag())
    except S3StreamError as error:
        left = [f"upload {name}" for name in store.uploads]
        left += [] if store.objects[KEY][0] == OLD else ["another object at the key"]
        return Outcome(body=None, error=error, left=left)
    # A copy proves what it stored against what it read; of the source it proves what the caller told it.
    level = result.verification if options.expected_checksum else ""
    return Outcome(body=store.objects[KEY][0], level=level, left=list(store.uploads))
