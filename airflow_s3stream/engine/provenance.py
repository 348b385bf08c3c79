"""What a copied object tells of where it came from: in its metadata, for later copies to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow_s3stream.engine.protocols import ObjectHeaders, StoredObject
from airflow_s3stream.engine.publish import MARKER
from airflow_s3stream.plan.names import metadata_value
from airflow_s3stream.plan.resume import digest

if TYPE_CHECKING:
    from airflow_s3stream.engine.protocols import Source
    from airflow_s3stream.plan.probe import Probe
    from airflow_s3stream.plan.resume import ResumeToken

SOURCE, SOURCE_ID, SOURCE_ETAG, SOURCE_MODIFIED = (
    "s3stream-source",
    "s3stream-source-id",
    "s3stream-source-etag",
    "s3stream-source-last-modified",
)


def object_headers(source: Source, probe: Probe, marker: str) -> ObjectHeaders:
    """
    Say what goes with the object when it is created.

    :param marker: the transfer's random name.
    """
    told = {
        MARKER: marker,
        SOURCE: source.name,
        SOURCE_ID: digest(source.identity),
        SOURCE_ETAG: probe.etag,
        SOURCE_MODIFIED: probe.last_modified,
    }
    return ObjectHeaders(
        content_type=probe.content_type,
        content_encoding=probe.content_encoding,
        metadata={name: metadata_value(value) for name, value in told.items() if value},
    )


def is_of(existing: StoredObject, token: ResumeToken) -> bool:
    """Whether an object was made by the transfer of a token."""
    return (existing.metadata or {}).get(MARKER) == token.marker


def is_unchanged(source: Source, probe: Probe, existing: StoredObject) -> bool:
    """Whether the object was made from the source as it is now: by its ETag, else by Last-Modified and length."""
    metadata = existing.metadata or {}
    if metadata.get(SOURCE_ID) != digest(source.identity):
        return False  # two sources may well have the same ETag: nginx makes it of time and size alone
    same_size = probe.size is None or existing.size == probe.size
    if probe.etag and SOURCE_ETAG in metadata:
        return metadata[SOURCE_ETAG] == metadata_value(probe.etag) and same_size
    if probe.last_modified and SOURCE_MODIFIED in metadata:
        return metadata[SOURCE_MODIFIED] == metadata_value(probe.last_modified) and same_size and probe.size is not None
    return False
