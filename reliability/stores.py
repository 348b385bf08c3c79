"""Real S3 servers for the cases of a figure: started once, found by all processes."""

from __future__ import annotations

import atexit
import contextlib
import itertools
import os
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.support.servers import SERVERS, plain_client
from tests.support.stores import Store

_VARIABLE = "S3STREAM_RELIABILITY_{}"
_numbers = itertools.count(1)
_clients: dict[str, Any] = {}


@contextlib.contextmanager
def serving(names: Sequence[str]) -> Iterator[None]:
    """Run these servers; processes that are started meanwhile find them."""
    with contextlib.ExitStack() as stack:
        for name in names:
            if _VARIABLE.format(name.upper()) not in os.environ:
                stack.enter_context(_running(name))
        yield


@contextlib.contextmanager
def _running(name: str) -> Iterator[None]:
    variable = _VARIABLE.format(name.upper())
    with tempfile.TemporaryDirectory(prefix="s3stream-") as folder, SERVERS[name](Path(folder)) as server:
        os.environ[variable] = server.endpoint_url
        try:
            yield
        finally:
            del os.environ[variable]


def store(name: str) -> Store:
    """Give a bucket of its own on a server, which is started if nobody has, and then ends with this process."""
    variable = _VARIABLE.format(name.upper())
    if variable not in os.environ:
        running = contextlib.ExitStack()
        running.enter_context(_running(name))
        atexit.register(running.close)
    endpoint = os.environ[variable]
    if endpoint not in _clients:
        _clients[endpoint] = plain_client(endpoint)
    client = _clients[endpoint]
    bucket = f"case-{os.getpid()}-{next(_numbers)}"
    client.create_bucket(Bucket=bucket)
    return Store(name, endpoint, client, bucket)


def remove(found: Store) -> None:
    """Empty and remove the bucket, so that a thousand cases do not fill the machine."""
    with contextlib.suppress(Exception):  # what is left is gone with the server
        keys = found.keys()
        for key in keys:
            found.client.delete_object(Bucket=found.bucket, Key=key)
        for upload in found.client.list_multipart_uploads(Bucket=found.bucket).get("Uploads", []):
            found.client.abort_multipart_upload(Bucket=found.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        found.client.delete_bucket(Bucket=found.bucket)
