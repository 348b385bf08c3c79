"""Multipart uploads left behind in a store, as this package leaves them and as others do, and sweeps over them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from airflow_s3stream.config import KiB, Timeouts
from airflow_s3stream.engine.protocols import ObjectHeaders
from airflow_s3stream.engine.s3client import transfer_config
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.uploads import abort_uploads, list_uploads
from airflow_s3stream.plan.uploads import AbortResult, FoundUpload, UploadOptions
from tests.support.content import Content
from tests.support.memory import ContentPart
from tests.support.servers import SESSION
from tests.support.stores import Store
from tests.support.transfers import EAGER, PATIENT

PART = 64 * KiB
_HEADERS = ObjectHeaders(content_type=None, content_encoding=None, metadata={})
_LISTS = {"most_uploads": ("ListMultipartUploads", "MaxUploads"), "most_parts": ("ListParts", "MaxParts")}


@contextmanager
def client_of(endpoint_url: str, **most: int) -> Iterator[Any]:
    """
    Give a client as the package makes them.

    :param most: ``most_uploads`` and ``most_parts`` of a page, so that few make several.
    """
    config = transfer_config(None, connections=4, timeouts=Timeouts(connect=2, read=15))
    client = SESSION.client("s3", endpoint_url=endpoint_url, config=config)
    for name, count in most.items():
        operation, parameter = _LISTS[name]

        def narrow(params: dict[str, Any], parameter: str = parameter, count: int = count, **_: Any) -> None:
            params.setdefault(parameter, count)

        client.meta.events.register(f"provide-client-params.s3.{operation}", narrow)
    try:
        yield client
    finally:
        client.close()


def leave(store: Store, key: str, parts: int = 1) -> str:
    """Begin an upload as a copy does, send parts, and go away; return its id."""
    with client_of(store.endpoint_url) as client:
        sink = S3Sink(client, store.bucket, key)
        upload = sink.begin(_HEADERS)
        for number in range(1, parts + 1):
            sink.put_part(upload, number, ContentPart(Content(PART), 0, PART))
        return upload.upload_id


def leave_as_others(store: Store, key: str, parts: int = 1, **about: Any) -> str:
    """Begin an upload as a client that knows no checksums does, or with ``about``."""
    upload_id = str(store.client.create_multipart_upload(Bucket=store.bucket, Key=key, **about)["UploadId"])
    for number in range(1, parts + 1):
        store.client.upload_part(Bucket=store.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=b"x" * PART)
    return upload_id


def options(**changes: Any) -> UploadOptions:
    """Return options of a test: quick, and uploads of any age are meant."""
    return UploadOptions(**{"connections": 4, "timeouts": PATIENT, "retry": EAGER, **changes})


def sweep(
    store: Store, prefix: str = "", *, endpoint_url: str | None = None, most: Any = None, **how: Any
) -> AbortResult:
    """Abort below a prefix. ``stop``, ``listener`` and ``chances`` are passed on, the rest are options."""
    passed = {name: how.pop(name) for name in ("stop", "listener", "chances") if name in how}
    with client_of(endpoint_url or store.endpoint_url, **(most or {})) as client:
        return abort_uploads(client, store.bucket, prefix, options(**how), **passed)


def listed(
    store: Store, prefix: str = "", *, endpoint_url: str | None = None, most: Any = None, others: Any = None, **how: Any
) -> list[FoundUpload]:
    """List below a prefix."""
    with client_of(endpoint_url or store.endpoint_url, **(most or {})) as client:
        return list(list_uploads(client, store.bucket, prefix, options(**how), others=others))
