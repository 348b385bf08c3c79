"""Objects that are named one by one: in a list, in a manifest, among the failures of an earlier run."""

from __future__ import annotations

import io
import os
from itertools import chain
from typing import TYPE_CHECKING, Any, BinaryIO

from airflow_s3stream.config import KiB
from airflow_s3stream.engine.resultlog import read_failed
from airflow_s3stream.engine.s3errors import translated
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.keylist import parse_keys
from airflow_s3stream.plan.names import key_in_bucket, parse_s3_uri, shown
from airflow_s3stream.plan.objects import ObjectEntry
from airflow_s3stream.plan.values import texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mypy_boto3_s3 import S3Client

_LONGEST_LINE = 128 * KiB  # what is longer comes in pieces, and parse_keys refuses the first


def named_entries(
    client: S3Client,
    bucket: str,
    *,
    keys: Iterable[str] | None = None,
    manifest: str | None = None,
    retry_failed: str | None = None,
) -> Iterator[ObjectEntry] | None:
    """
    Give the objects that one of three ways names, one at a time; None if none of them was used.

    :raises ConfigError: two of them, or a manifest that cannot be read.
    """
    given = [name for name, value in (("keys", keys), ("manifest", manifest), ("retry_failed", retry_failed)) if value]
    if len(given) > 1:
        raise ConfigError(f"{' and '.join(given)} cannot be given together; one of them names the objects")
    if keys is not None and not manifest and not retry_failed:
        return entries_of(keys, bucket)[1]
    if manifest:
        return parse_keys(_lines(client, manifest), bucket=bucket, kind=None, name=f"manifest={shown(manifest)!r}")
    if retry_failed:
        return _failed(retry_failed)
    return None


def entries_of(keys: Iterable[str | ObjectEntry], bucket: str | None) -> tuple[str | None, Iterator[ObjectEntry]]:
    """
    Turn keys, ``s3://`` URIs or entries into entries of one bucket.

    :returns: the bucket, None if it is not given and there is no key to tell it.
    :raises ConfigError: a key without a bucket, or of another.
    """
    if isinstance(keys, str):
        listed = texts(keys)
        if listed == [keys]:
            raise ConfigError(f"keys={shown(keys)!r} is one text; give a list of keys")
        keys = listed
    rest = iter(keys)
    if bucket is None:
        first = next(rest, None)
        if first is None:
            return None, iter(())
        bucket, _ = key_in_bucket(first.key if isinstance(first, ObjectEntry) else first, None)
        rest = chain([first], rest)
    return bucket, _entries(rest, bucket)


def _entries(keys: Iterator[str | ObjectEntry], bucket: str) -> Iterator[ObjectEntry]:
    for key in keys:
        yield key if isinstance(key, ObjectEntry) else ObjectEntry(key_in_bucket(key, bucket)[1])


def _failed(path: str) -> Iterator[ObjectEntry]:
    _open(path, "retry_failed").close()
    return read_failed(path)


def _lines(client: S3Client, manifest: str) -> Iterator[bytes]:
    if manifest == "-":
        # A reader of its own: a thread that hangs in sys.stdin keeps the interpreter from ending.
        return _read(open(os.dup(0), "rb"), "stdin")
    if not manifest.startswith("s3://"):
        return _read(_open(manifest, "manifest"), manifest)
    bucket, key = parse_s3_uri(manifest)
    with translated("GetObject", manifest):
        body: Any = client.get_object(Bucket=bucket, Key=key)["Body"]
    return _read(io.BufferedReader(body), manifest)


def _open(path: str, name: str) -> BinaryIO:
    try:
        return open(path, "rb")
    except OSError as error:
        raise ConfigError(f"{name}={shown(path)!r} cannot be read: {error.strerror}") from None


def _read(file: BinaryIO | io.BufferedReader, name: str) -> Iterator[bytes]:
    with file, translated("GetObject", name):
        while line := file.readline(_LONGEST_LINE):
            yield line
