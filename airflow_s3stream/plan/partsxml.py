"""The answer to GetObjectAttributes: the sizes of an object's parts."""

from __future__ import annotations

import re
from typing import NamedTuple

from airflow_s3stream.exceptions import SourceMisbehaved

PAGE = 1000
"""Parts in one answer; S3's own limit."""

_PART = re.compile(rb"<Part>(.*?)</Part>", re.DOTALL)
_SIZE = re.compile(rb"<Size>\s*([0-9]{1,15})\s*</Size>")
_MORE = re.compile(rb"<IsTruncated>\s*true\s*</IsTruncated>", re.IGNORECASE)
_MARKER = re.compile(rb"<NextPartNumberMarker>\s*([0-9]{1,5})\s*</NextPartNumberMarker>")


class PartsPage(NamedTuple):
    """Sizes in bytes, in order; ``marker`` is where the next page begins, 0 if there is none."""

    sizes: list[int]
    marker: int


def parse_parts(body: bytes) -> PartsPage:
    """
    Read a page of parts. Of what it holds nothing but the sizes is used, so no parser of XML is exposed to it.

    :raises SourceMisbehaved: it is not what S3 answers.
    """
    if b"<GetObjectAttributes" not in body[:1024]:
        raise SourceMisbehaved("the store's answer to GetObjectAttributes is something else")
    sizes = []
    for part in _PART.findall(body):
        size = _SIZE.search(part)
        if size is None:
            raise SourceMisbehaved("the store tells a part without its size")
        sizes.append(int(size[1]))
    if not _MORE.search(body):
        return PartsPage(sizes, 0)
    marker = _MARKER.search(body)
    if marker is None or not sizes:
        raise SourceMisbehaved("the store says that there are more parts, and not where")
    return PartsPage(sizes, int(marker[1]))
