"""ListObjectsV2 as S3 answers it, and as some of its imitators do."""

from __future__ import annotations

import bisect
import time
import urllib.parse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from tests.support.objects import StoredObject, refusal
from tests.support.resource import Reply, Request


@dataclass(frozen=True, slots=True)
class Listing:
    """
    A bucket's listing.

    :param keys: of ``objects``, in the order of their UTF-8 bytes.
    """

    bucket: str
    keys: Sequence[str]
    objects: dict[str, StoredObject]
    obeys_start_after: bool = True
    obeys_encoding: bool = True

    def answer(self, request: Request) -> Reply:
        query = dict(urllib.parse.parse_qsl(request.target.partition("?")[2], keep_blank_values=True))
        if query.get("list-type") != "2":
            return refusal(501, "NotImplemented")
        try:
            page = self._page(query)
        except ValueError:  # a token that this bucket never gave
            return refusal(400, "InvalidArgument")
        return Reply(200, [("Content-Type", "application/xml")], text=page.encode())

    def _page(self, query: dict[str, str]) -> str:
        prefix, delimiter = query.get("prefix", ""), query.get("delimiter", "")
        most = min(int(query.get("max-keys") or 1000), 1000)
        after = query.get("start-after", "") if self.obeys_start_after else ""
        token = query.get("continuation-token")
        found = list(self._entries(prefix, delimiter, bytes.fromhex(token).decode() if token else after, most + 1))
        url = query.get("encoding-type") == "url" and self.obeys_encoding
        truncated, found = len(found) > most, found[:most]
        lines = [f"<Name>{self.bucket}</Name><Prefix>{_text(prefix, url)}</Prefix><KeyCount>{len(found)}</KeyCount>"]
        lines.append(f"<MaxKeys>{most}</MaxKeys><IsTruncated>{str(truncated).lower()}</IsTruncated>")
        if url:
            lines.append("<EncodingType>url</EncodingType>")
        if delimiter:
            lines.append(f"<Delimiter>{_text(delimiter, url)}</Delimiter>")
        if truncated:
            last = found[-1]
            # After a common prefix, everything below it is behind us.
            behind = last.key if isinstance(last, StoredObject) else last + "\U0010ffff"
            lines.append(f"<NextContinuationToken>{behind.encode().hex()}</NextContinuationToken>")
        lines += [_entry(one, url) for one in found if isinstance(one, StoredObject)]
        lines += [
            f"<CommonPrefixes><Prefix>{_text(one, url)}</Prefix></CommonPrefixes>"
            for one in found if isinstance(one, str)
        ]  # fmt: skip
        head = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        )
        return f"{head}{''.join(lines)}</ListBucketResult>"

    def _entries(self, prefix: str, delimiter: str, after: str, most: int) -> Iterator[StoredObject | str]:
        at = max(bisect.bisect_right(self.keys, after), bisect.bisect_left(self.keys, prefix)) if after else 0
        at = max(at, bisect.bisect_left(self.keys, prefix))
        given = 0
        while at < len(self.keys) and self.keys[at].startswith(prefix) and given < most:
            key = self.keys[at]
            cut = key.find(delimiter, len(prefix)) if delimiter else -1
            if cut < 0:
                yield self.objects[key]
                at += 1
            else:
                common = key[: cut + len(delimiter)]
                at = bisect.bisect_left(self.keys, common + "\U0010ffff")
                if after.startswith(common):
                    continue  # it was given before, or asked to be behind us
                yield common
            given += 1


def _text(text: str, url: bool) -> str:
    return urllib.parse.quote_plus(text, safe="/") if url else escape(text)


def _entry(one: StoredObject, url: bool) -> str:
    when = time.strftime("%Y-%m-%dT%H:%M:%S.000Z", time.gmtime(one.modified_at))
    return (
        f"<Contents><Key>{_text(one.key, url)}</Key><LastModified>{when}</LastModified>"
        f"<ETag>{escape(one.etag or '', {chr(34): '&quot;'})}</ETag><Size>{one.size}</Size>"
        f"<StorageClass>{one.storage_class}</StorageClass></Contents>"
    )
