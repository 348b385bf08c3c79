"""Objects as an S3 bucket keeps them: bytes that are a function of (key, offset), and what S3 says about them."""

from __future__ import annotations

import base64
import functools
import hashlib
import time
import zlib
from dataclasses import dataclass, replace
from typing import Any, Literal

from awscrt import checksums as crt

from tests.support.content import PERIOD, Content, Kept
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


PartSizes = int | tuple[int, ...]
"""Of an upload in parts: all but the last of this size, or each of its own."""


def spans_of(size: int, part_size: PartSizes) -> list[tuple[int, int]]:
    """Return where each part begins and ends; an empty object has one empty part."""
    if isinstance(part_size, int):
        return [(at, min(at + part_size, size)) for at in range(0, max(size, 1), part_size)]
    ends = [sum(part_size[: number + 1]) for number in range(len(part_size))]
    assert ends[-1] == size, "the parts do not add up to the object"
    return [(end - length, end) for end, length in zip(ends, part_size, strict=True)]


@functools.lru_cache(maxsize=1024)
def digest_of(content: Content | Kept, algorithm: Checksum, start: int = 0, stop: int | None = None) -> bytes:
    """Return the raw checksum of some of the content; remembered, for a store is asked for it over and over."""
    if algorithm in ("sha1", "sha256"):
        digest = hashlib.new(algorithm)
        for view in content.views(start, stop):
            digest.update(view)
        return digest.digest()
    compute = {"crc32": zlib.crc32, "crc32c": crt.crc32c, "crc64nvme": crt.crc64nvme}[algorithm]
    value = 0
    for view in content.views(start, stop):
        value = compute(bytes(view), value)
    return value.to_bytes(8 if algorithm == "crc64nvme" else 4, "big")


def composite_of(algorithm: Checksum, parts: list[bytes]) -> bytes:
    """Return the checksum of the parts' checksums, which is what S3 keeps of the whole in its place."""
    if algorithm in ("sha1", "sha256"):
        return hashlib.new(algorithm, b"".join(parts)).digest()
    compute = {"crc32": zlib.crc32, "crc32c": crt.crc32c, "crc64nvme": crt.crc64nvme}[algorithm]
    return compute(b"".join(parts)).to_bytes(8 if algorithm == "crc64nvme" else 4, "big")


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


def etag_of(content: Content | Kept, part_size: PartSizes | None) -> str:
    """Return the ETag, quoted: the MD5, or for an object uploaded in parts the MD5 of their MD5s and their number."""
    if part_size is None:
        return f'"{content.digest("md5").hex()}"'
    parts = [hashlib.md5(content.bytes(*span)).digest() for span in spans_of(content.size, part_size)]
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
    part_size: PartSizes | None = None
    checksum: Checksum | None = None
    composite: bool = False
    """Whether the checksum is that of the parts' checksums; needs ``part_size``."""
    checksum_says: str | None = None
    """Sent instead of the right checksum."""
    storage_class: str = "STANDARD"
    modified_at: float = _EPOCH
    kept: bytes | None = None
    """Its bytes, where it is not the key that decides them."""

    @property
    def content(self) -> Content | Kept:
        return Content(self.size, self.seed, self.shift) if self.kept is None else Kept(self.kept)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """Where each part begins and ends."""
        return spans_of(self.size, self.part_size or max(self.size, 1))

    @property
    def part_digests(self) -> list[bytes]:
        """The raw checksum of each part."""
        assert self.checksum
        return [digest_of(self.content, self.checksum, *span) for span in self.spans]

    @property
    def checksum_text(self) -> str:
        """What HEAD and GET tell as the checksum: base64, and for a composite one the number of parts behind it."""
        assert self.checksum
        if not self.composite:
            return b64(digest_of(self.content, self.checksum))
        return f"{b64(composite_of(self.checksum, self.part_digests))}-{len(self.spans)}"

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
            value = self.checksum_says or self.checksum_text
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
