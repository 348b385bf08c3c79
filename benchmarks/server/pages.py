"""Pages of ListObjectsV2 and of its older form, made as they are asked for."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from typing import TYPE_CHECKING
from urllib.parse import quote
from xml.sax.saxutils import escape

from benchmarks.server.keyspace import BODIES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from benchmarks.server.keyspace import KeySpace

MOST = 1000
MODIFIED = "2026-08-01T00:00:00.000Z"
_LAST = "\U0010ffff"


class Pages:
    """
    Answers listings of a key space.

    Only digits and slashes are in its keys, so that with ``encoding-type=url`` they look the same.
    """

    def __init__(self, space: KeySpace) -> None:
        self._space = space
        # All that stands behind a key; made once, for a page of 1000 is made of these.
        self._rests = [
            f"</Key><LastModified>{MODIFIED}</LastModified><ETag>&quot;{etag}&quot;</ETag>"
            f"<Size>{space.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            for etag in space.etags
        ]

    def page(self, query: Mapping[str, str]) -> bytes:
        """Give the page that a request's query asks for."""
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = min(int(query.get("max-keys", MOST)), MOST)
        first, last = self._bounds(prefix, query)
        if delimiter:
            listed, count, following = self._grouped(prefix, delimiter, range(first, last), most)
        else:
            following = min(last, first + most)
            listed, count = self._contents(range(first, following)), following - first
        return _result(query, listed, count, following if following < last and most else None, self._space)

    def _bounds(self, prefix: str, query: Mapping[str, str]) -> tuple[int, int]:
        """Give the first number to list and the one behind the last; a token is a number."""
        first, last = bisect_left(self._space, prefix), bisect_right(self._space, prefix + _LAST)
        if token := query.get("continuation-token"):
            return max(first, int(token)), last
        after = max(query.get("start-after", ""), query.get("marker", ""))
        return max(first, bisect_right(self._space, after)), last

    def _contents(self, numbers: range) -> str:
        rests = self._rests
        pairs = zip(self._space[numbers.start : numbers.stop], numbers, strict=True)
        return "".join([f"<Contents><Key>{key}{rests[number % BODIES]}" for key, number in pairs])

    def _grouped(self, prefix: str, delimiter: str, numbers: range, most: int) -> tuple[str, int, int]:
        """Give one page of objects and common prefixes, how many they are, and the number to go on from."""
        listed: list[str] = []
        at = numbers.start
        while at < numbers.stop and len(listed) < most:
            key = self._space[at]
            inside, found, _ = key[len(prefix) :].partition(delimiter)
            if not found:
                listed.append(self._contents(range(at, at + 1)))
                at += 1
                continue
            common = f"{prefix}{inside}{delimiter}"
            listed.append(f"<CommonPrefixes><Prefix>{escape(common)}</Prefix></CommonPrefixes>")
            at = bisect_right(self._space, common + _LAST)
        return "".join(listed), len(listed), at


def _result(query: Mapping[str, str], listed: str, count: int, following: int | None, space: KeySpace) -> bytes:
    echoed = {"Prefix": query.get("prefix", ""), "Delimiter": query.get("delimiter", "")}
    echoed["StartAfter"] = query.get("start-after", "")
    more = ""
    if following is not None:
        marker = f"<NextMarker>{space[following - 1]}</NextMarker>" if "list-type" not in query else ""
        more = f"<NextContinuationToken>{following}</NextContinuationToken>{marker}"
    if query.get("encoding-type") == "url":
        echoed = {name: quote(text, safe="/") for name, text in echoed.items()}
        more += "<EncodingType>url</EncodingType>"
    fields = "".join(f"<{name}>{escape(text)}</{name}>" for name, text in echoed.items() if text)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>bench</Name>'
        f"{fields}<MaxKeys>{query.get('max-keys', MOST)}</MaxKeys><KeyCount>{count}</KeyCount>{more}"
        f"<IsTruncated>{str(following is not None).lower()}</IsTruncated>{listed}</ListBucketResult>"
    ).encode()
