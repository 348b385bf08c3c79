"""One object to fetch, as a listing, a list of keys or a manifest names it."""

from __future__ import annotations

from typing import NamedTuple


class ObjectEntry(NamedTuple):
    """
    An S3 object before it is fetched. A tuple, for millions of them are made.

    ``size`` is bytes, None where it is not known before the GET; ``etag`` comes without its quotes, "" unknown;
    ``modified`` is Last-Modified in seconds since the epoch, 0 unknown; ``storage_class`` is "" where unknown.
    """

    key: str
    size: int | None = None
    etag: str = ""
    modified: float = 0.0
    storage_class: str = ""
