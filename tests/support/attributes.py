"""GetObjectAttributes as S3 answers it: what the store keeps of an object's parts."""

from __future__ import annotations

from dataclasses import dataclass

from tests.support.objects import StoredObject, b64, refusal
from tests.support.resource import Reply, Request

_KNOWN = ("ETag", "Checksum", "ObjectParts", "StorageClass", "ObjectSize")
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Attributes:
    """
    What is kept of one object.

    As LocalStack, and by its snapshots AWS, has it: the ETag without quotes; a composite checksum without the number
    of parts; If-Match unheard; of an upload whose checksum is that of the whole the number of parts and no more.
    """

    one: StoredObject

    def answer(self, request: Request) -> Reply:
        wanted = {name.strip() for name in (request.header("x-amz-object-attributes") or "").split(",") if name.strip()}
        if not wanted or wanted - set(_KNOWN):
            return refusal(400, "InvalidArgument")
        found = {
            "ETag": (self.one.etag or "").strip('"'),
            "Checksum": self._checksum(),
            "ObjectParts": self._parts(request) if self.one.part_size else "",
            "StorageClass": self.one.storage_class,
            "ObjectSize": str(self.one.size),
        }
        inside = "".join(f"<{name}>{found[name]}</{name}>" for name in _KNOWN if name in wanted and found[name])
        text = (
            '<?xml version="1.0" encoding="UTF-8"?>\n<GetObjectAttributesResponse '
            f'xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inside}</GetObjectAttributesResponse>'
        )
        headers = [("Content-Type", "application/xml")]
        if self.one.modified:
            headers.append(("Last-Modified", self.one.modified))
        return Reply(200, headers, text=text.encode())

    def _checksum(self) -> str:
        if not self.one.checksum:
            return ""
        kind = "COMPOSITE" if self.one.composite else "FULL_OBJECT"
        return f"{self._value(self.one.checksum_text.partition('-')[0])}<ChecksumType>{kind}</ChecksumType>"

    def _parts(self, request: Request) -> str:
        spans = self.one.spans
        count = f"<PartsCount>{len(spans)}</PartsCount>"
        if not self.one.composite:
            return count
        most = min(int(request.header("x-amz-max-parts") or _MOST), _MOST)
        after = int(request.header("x-amz-part-number-marker") or 0)
        shown = list(zip(range(1, len(spans) + 1), spans, self.one.part_digests, strict=True))[after : after + most]
        last = shown[-1][0] if shown else after
        parts = "".join(
            f"<Part><Size>{stop - start}</Size><PartNumber>{number}</PartNumber>{self._value(b64(digest))}</Part>"
            for number, (start, stop), digest in shown
        )
        return (
            f"{count}<IsTruncated>{str(last < len(spans)).lower()}</IsTruncated><MaxParts>{most}</MaxParts>"
            f"<PartNumberMarker>{after}</PartNumberMarker><NextPartNumberMarker>{last}</NextPartNumberMarker>{parts}"
        )

    def _value(self, text: str) -> str:
        name = f"Checksum{str(self.one.checksum).upper()}"
        return f"<{name}>{text}</{name}>"
