"""The S3 endpoint: bucket ``bench``, path style, as much XML as boto3, rclone and s5cmd need to upload."""

from __future__ import annotations

import hashlib
import itertools
import os
import re
from base64 import b64encode
from types import MappingProxyType
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

from benchmarks.server import content, origin
from benchmarks.server.body import Body, swallow
from benchmarks.server.link import Link, Pace
from benchmarks.server.state import Part, RemoteState

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from benchmarks.server.wire import Connection, Request

BUCKET = "bench"
BIG = "big/"
"""Before the number of bytes of a huge object; all share the origin's content."""
BIG_PART = 64 * 2**20
CHECKSUM = "x-amz-checksum-crc64nvme"
ALGORITHM = "x-amz-checksum-algorithm"
_KEEPS = {ALGORITHM: "CRC64NVME", "x-amz-checksum-type": "FULL_OBJECT"}
_XMLNS = 'xmlns="http://s3.amazonaws.com/doc/2006-03-01/"'
_MODIFIED = "2026-08-01T00:00:00.000Z"
_numbers = itertools.count(1)


class S3:
    """Answers one connection's requests below /bench."""

    def __init__(self, connection: Connection, state: RemoteState, link: Link, *, check: bool) -> None:
        self._connection = connection
        self._state = state
        self._link = link
        self._check = check
        self.received = 0

    def serve(self, request: Request) -> None:
        """Answer one request; ``received`` then tells the bytes of content that came with it."""
        self.received = 0
        key = request.path.removeprefix(f"/{BUCKET}").removeprefix("/")
        self._route(request, key)(request, key)

    def _route(self, request: Request, key: str) -> Callable[[Request, str], None]:
        method, query = request.method, request.query
        if method == "PUT":
            return self._put_part if "uploadId" in query else self._put_object
        if method == "POST" and key:
            return self._create if "uploads" in query else self._complete
        if method in ("GET", "HEAD"):
            if not key:
                return self._list
            return self._list_parts if "uploadId" in query else self._get
        if method == "DELETE":
            return self._delete
        return self._refuse

    def _refuse(self, request: Request, key: str) -> None:
        self._error(405, "MethodNotAllowed")

    def _error(self, status: int, code: str) -> None:
        self._xml(f"<Error><Code>{code}</Code><Message>{code}</Message></Error>", status)

    def _xml(self, text: str, status: int = 200, more: Mapping[str, str] = MappingProxyType({})) -> None:
        body = f'<?xml version="1.0" encoding="UTF-8"?>{text}'.encode()
        self._connection.respond(status, {"Content-Type": "application/xml", **more}, body)

    def _swallow(self, request: Request) -> tuple[Body, Part]:
        if request.headers.get("expect", "").lower() == "100-continue":
            self._connection.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        with Pace(self._link, self._link.up) as pace:
            body = swallow(self._connection, request, None if self._link.free else pace, check=self._check)
        self.received = body.size
        checksum = body.trailer.get(CHECKSUM) or request.headers.get(CHECKSUM, "")
        if self._check and checksum and _base64(body.crc64nvme) != checksum:
            raise ValueError(f"the client says {checksum}, its bytes have {_base64(body.crc64nvme)}")
        return body, Part(body.size, _etag(), body.crc64nvme, checksum, _kept(request))

    def _put_object(self, request: Request, key: str) -> None:
        _body, made = self._swallow(request)
        if key:
            self._state.ask("put", key, made)
        self._connection.respond(200, _answer(made))

    def _put_part(self, request: Request, key: str) -> None:
        _body, part = self._swallow(request)
        if self._state.ask("put_part", request.query["uploadId"], int(request.query["partNumber"]), part):
            self._connection.respond(200, _answer(part))
        else:
            self._error(404, "NoSuchUpload")

    def _create(self, request: Request, key: str) -> None:
        self._connection.read(request.length)
        upload_id = self._state.ask("create", key, _kept(request))
        self._xml(
            f"<InitiateMultipartUploadResult {_XMLNS}><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
            f"<UploadId>{upload_id}</UploadId></InitiateMultipartUploadResult>",
            # Only who checks may say so: clients then rely on it.
            more=_KEEPS if self._check and request.headers.get(ALGORITHM) == "CRC64NVME" else {},
        )

    def _complete(self, request: Request, key: str) -> None:
        listed = self._connection.read(request.length)
        numbers = [int(number) for number in re.findall(rb"<PartNumber>(\d+)</PartNumber>", listed)]
        etag = _etag()[:-1] + f'-{len(numbers)}"'
        checksum = request.headers.get(CHECKSUM, "")
        wrong = self._state.ask("complete", request.query.get("uploadId", ""), numbers, etag, checksum)
        if wrong:
            self._error(404 if wrong == "NoSuchUpload" else 400, wrong)
            return
        proof = f"<ChecksumCRC64NVME>{checksum}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType>"
        self._xml(
            f"<CompleteMultipartUploadResult {_XMLNS}><Bucket>{BUCKET}</Bucket><Key>{escape(key)}</Key>"
            f"<ETag>{escape(etag)}</ETag>{proof if checksum else ''}</CompleteMultipartUploadResult>"
        )

    def _list_parts(self, request: Request, key: str) -> None:
        parts = self._state.ask("parts", request.query["uploadId"])
        if parts is None:
            self._error(404, "NoSuchUpload")
            return
        listed = "".join(
            f"<Part><PartNumber>{number}</PartNumber><ETag>{escape(part.etag)}</ETag><Size>{part.size}</Size>"
            f"{_listed(part)}</Part>"
            for number, part in parts.items()
        )
        self._xml(f"<ListPartsResult {_XMLNS}><IsTruncated>false</IsTruncated>{listed}</ListPartsResult>")

    def _get(self, request: Request, key: str) -> None:
        if key.startswith(BIG) and key.removeprefix(BIG).isdigit():
            self._get_big(request, int(key.removeprefix(BIG)))
            return
        found = self._state.ask("get", key)
        if found is None:
            self._error(404, "NoSuchKey") if request.method == "GET" else self._connection.respond(404)
            return
        headers = {**found.headers, **_answer(found), "Last-Modified": origin.MODIFIED}
        origin.send_ranged(self._connection, request, self._link, found.size, headers)

    def _get_big(self, request: Request, size: int) -> None:
        """Answer for the huge object that every number names: nothing of it was ever stored."""
        # The ETag of an upload in parts, as S3 has it for every object that is huge: no MD5 of the content.
        etag = f'"{hashlib.md5(str(size).encode()).hexdigest()}-{max(1, -(-size // BIG_PART))}"'
        headers = {"ETag": etag, "Last-Modified": origin.MODIFIED, "Content-Type": "binary/octet-stream"}
        proof = {}
        if request.headers.get("x-amz-checksum-mode", "").upper() == "ENABLED":
            proof = {CHECKSUM: _base64(content.crc64nvme(size)), "x-amz-checksum-type": "FULL_OBJECT"}
        origin.send_ranged(self._connection, request, self._link, size, headers, proof)

    def _delete(self, request: Request, key: str) -> None:
        if "uploadId" not in request.query:
            self._state.ask("delete", key)
        elif not self._state.ask("abort", request.query["uploadId"]):
            self._error(404, "NoSuchUpload")
            return
        self._connection.send(b"HTTP/1.1 204 No Content\r\n\r\n")

    def _list_uploads(self, prefix: str) -> None:
        listed = "".join(
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId><Initiated>{began}</Initiated></Upload>"
            for upload_id, key, began in self._state.ask("uploads", prefix)
        )
        self._xml(f"<ListMultipartUploadsResult {_XMLNS}><IsTruncated>false</IsTruncated>{listed}"
                  "</ListMultipartUploadsResult>")  # fmt: skip

    def _list(self, request: Request, key: str) -> None:
        if request.method == "HEAD":
            self._connection.respond(200)
            return
        query = request.query
        if "uploads" in query:
            self._list_uploads(query.get("prefix", ""))
            return
        if "location" in query:
            self._xml(f"<LocationConstraint {_XMLNS}></LocationConstraint>")
            return
        after = query.get("continuation-token") or query.get("start-after") or query.get("marker") or ""
        most = min(int(query.get("max-keys", 1000)), 1000)
        found = self._state.ask("keys", query.get("prefix", ""), after, most)
        self._xml(_page(found[:most], more=len(found) > most))


def _listed(part: Part) -> str:
    """Tell the checksum of a part that was taken from its bytes."""
    if part.crc64nvme is None:
        return ""
    return f"<ChecksumCRC64NVME>{_base64(part.crc64nvme)}</ChecksumCRC64NVME>"


def _page(found: list[tuple[str, Part]], *, more: bool) -> str:
    contents = "".join(
        f"<Contents><Key>{escape(key)}</Key><LastModified>{_MODIFIED}</LastModified><ETag>{escape(part.etag)}</ETag>"
        f"<Size>{part.size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for key, part in found
    )
    last = escape(found[-1][0]) if found else ""
    following = f"<NextContinuationToken>{last}</NextContinuationToken><NextMarker>{last}</NextMarker>"
    return (
        f"<ListBucketResult {_XMLNS}><Name>{BUCKET}</Name><KeyCount>{len(found)}</KeyCount>"
        f"<IsTruncated>{str(more).lower()}</IsTruncated>{following if more else ''}{contents}</ListBucketResult>"
    )


def _etag() -> str:
    return f'"{os.getpid():08x}{next(_numbers):024x}"'


def _base64(crc: int | None) -> str:
    return b64encode((crc or 0).to_bytes(8, "big")).decode()


def _kept(request: Request) -> dict[str, str]:
    return {
        name: value
        for name, value in request.headers.items()
        if name.startswith("x-amz-meta-") or name == "content-type"
    }


def _answer(made: Part) -> Mapping[str, str]:
    headers = {"ETag": made.etag}
    if made.checksum:
        headers |= {CHECKSUM: made.checksum, "x-amz-checksum-type": "FULL_OBJECT"}
    if made.crc64nvme is not None:
        headers["x-bench-crc64nvme"] = _base64(made.crc64nvme)
    return headers
