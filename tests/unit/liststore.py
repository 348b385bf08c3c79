"""An S3 bucket in memory that answers ListObjectsV2, with the liberties that stores take."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from urllib.parse import parse_qs, quote_plus
from xml.sax.saxutils import escape


@dataclass
class ListStore:
    """Answers as S3 does; each flag is one thing that some store does otherwise."""

    keys: list[str]
    most: int = 1000
    """Keys in a page at most, whatever max-keys asks for."""
    honours_start_after: bool = True
    honours_encoding: bool = True
    empties: bool = False
    """Every second truncated page holds no keys, only a token."""
    counts: bool = True
    usual: bool = True
    """Objects are written as AWS writes them; else with their elements in another order, and a comment."""
    requests: int = 0
    _order: list[str] = field(init=False)

    def __post_init__(self) -> None:
        self._order = sorted(set(self.keys), key=lambda key: key.encode())  # the order that S3 documents

    def answer(self, query: str) -> bytes:
        self.requests += 1
        asked = {
            name: values[0] for name, values in parse_qs(query, keep_blank_values=True, strict_parsing=True).items()
        }
        assert asked["list-type"] == "2"
        prefix, token = asked["prefix"], asked.get("continuation-token", "")
        after = asked.get("start-after", "") if self.honours_start_after else ""
        hollow = self.empties and not token.startswith("hollow:")
        if token:
            after = bytes.fromhex(token.partition(":")[2]).decode()
        matching = [key for key in self._order if key.startswith(prefix)]
        first = bisect_right(matching, after)
        last = min(first + min(int(asked["max-keys"]), self.most), len(matching))
        if hollow and last < len(matching):
            return self._page([], _token("hollow", after), encoded=False)
        page = matching[first:last]
        encoded = self.honours_encoding and asked.get("encoding-type") == "url"
        return self._page(page, _token("token", page[-1]) if last < len(matching) else "", encoded=encoded)

    def _page(self, keys: list[str], token: str, *, encoded: bool) -> bytes:
        return (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            + ("<EncodingType>url</EncodingType>" if encoded else "")
            + (f"<KeyCount>{len(keys)}</KeyCount>" if self.counts else "")
            + f"<IsTruncated>{'true' if token else 'false'}</IsTruncated>"
            + (f"<NextContinuationToken>{escape(token)}</NextContinuationToken>" if token else "")
            + "".join(self._object(quote_plus(key, safe="/") if encoded else escape(key)) for key in keys)
            + "</ListBucketResult>"
        ).encode()

    def _object(self, key: str) -> str:
        etag, modified = "<ETag>&quot;5d41402a&quot;</ETag>", "<LastModified>2026-08-01T00:00:01.500Z</LastModified>"
        if self.usual:
            rest = "<Size>5</Size><StorageClass>STANDARD</StorageClass>"
            return f"<Contents><Key>{key}</Key>{modified}{etag}{rest}</Contents>"
        return f"<Contents><!-- one --><Size>5</Size>{etag}<Key>{key}</Key>{modified}</Contents>"


def _token(kind: str, after: str) -> str:
    return f"{kind}:{after.encode().hex()}"
