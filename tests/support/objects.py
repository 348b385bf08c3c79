"""Objects as an S3 bucket keeps them: bytes that are a function of (key, offset), and what S3 says about them."""

from __future__ import annotations

import base64
import hashlib
import time
import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal

from awscrt import checksums as crt

from tests.support.content import PERIOD, Content
from tests.support.resource import Reply, Request, Resource

Checksum = Literal["crc32", "crc32c", "crc64nvme", "sha1", "sha256"]

_EPOCH = 1_750_000_000.0
"""When every object was last modified unless told otherwise: a whole second, as S3 has it."""


def error_xml(code: str, message: str = "as told") -> bytes:
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code><Message>{message}</Message>'
        "<RequestId>0</RequestId><HostId>0</HostId></Error>"
    ).encode()


def refusal(status: int, code: str) -> Reply:
    """Return an S3 error as an answer."""
    return Reply(status, [("Content-Type", "application/xml")], text=error_xml(code))


def checksum_of(content: Content, algorithm: Checksum) -> str:
    """Return the full-object checksum in base64, as S3 writes it."""
    body = content.bytes()
    if algorithm in ("sha1", "sha256"):
        digest = hashlib.new(algorithm, body).digest()
    elif algorithm == "crc64nvme":
        digest = crt.crc64nvme(body).to_bytes(8, "big")
    else:
        digest = (crt.crc32c(body) if algorithm == "crc32c" else zlib.crc32(body)).to_bytes(4, "big")
    return base64.b64encode(digest).decode()


def etag_of(content: Content, part_size: int | None) -> str:
    """Return the ETag, quoted: the MD5, or for an object uploaded in parts the MD5 of their MD5s and their number."""
    if part_size is None:
        return f'"{content.digest("md5").hex()}"'
    starts = range(0, content.size, part_size)
    parts = [hashlib.md5(content.bytes(at, min(at + part_size, content.size))).digest() for at in starts]
    return f'"{hashlib.md5(b"".join(parts)).hexdigest()}-{len(parts)}"'


@dataclass(frozen=True, slots=True)
class StoredObject(Resource):
    """
    One version of an object.

    :param shift: decides, with the seed, which bytes it has; see :class:`Content`.
    :param part_size: the size of the parts it was uploaded in; None: by one PutObject.
    """

    key: str = ""
    shift: int = 0
    part_size: int | None = None
    checksum: Checksum | None = None
    checksum_says: str | None = None
    """Sent instead of the right checksum."""
    storage_class: str = "STANDARD"
    modified_at: float = _EPOCH

    @property
    def content(self) -> Content:
        return Content(self.size, self.seed, self.shift)

    def rewritten(self, etag: str = "", seed: int = 0, **changes: Any) -> StoredObject:
        """Return the version that another writer puts in this one's place: other bytes of the same length."""
        newer = replace(self, seed=seed or self.seed + 1, modified_at=self.modified_at + 60, **changes)
        return replace(newer, etag=etag or etag_of(newer.content, newer.part_size), modified=_date(newer.modified_at))

    def answer(self, request: Request) -> Reply:
        """Answer as S3 does: errors as XML, a checksum only with the whole object and when asked for."""
        if self.storage_class in ("GLACIER", "DEEP_ARCHIVE"):
            return refusal(403, "InvalidObjectState")
        reply = Resource.answer(self, request)
        if reply.status == 412:
            return refusal(412, "PreconditionFailed")
        if reply.status == 416:
            return refusal(416, "InvalidRange")
        asked = (request.header("x-amz-checksum-mode") or "").upper() == "ENABLED"
        if self.checksum and reply.status == 200 and asked:
            value = self.checksum_says or checksum_of(self.content, self.checksum)
            reply.set(f"x-amz-checksum-{self.checksum}", value)
            reply.set("x-amz-checksum-type", "COMPOSITE" if "-" in value else "FULL_OBJECT")
        return reply


def _date(seconds: float) -> str:
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


def stored(key: str, size: int, *, seed: int = 1, modified_at: float = _EPOCH, **about: Any) -> StoredObject:
    """Return an object whose bytes only its key, the seed and the offset decide."""
    # Not crc32: of keys that differ in one digit it differs in few bits, which makes bodies overlap.
    shift = int.from_bytes(hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()[:8], "big") % PERIOD
    etag = about.pop("etag", None) or etag_of(Content(size, seed, shift), about.get("part_size"))
    return StoredObject(
        size, seed, etag, _date(modified_at), key=key, shift=shift, modified_at=modified_at,
        content_type="binary/octet-stream", **about,
    )  # fmt: skip
