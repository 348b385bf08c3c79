"""S3 requests and answers as they lie on the wire: which operation a request is, and an answer as a whole."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass

from tests.support import wire
from tests.support.wire import Head


@dataclass(slots=True)
class Call:
    """One S3 request as the client sent it, and how it was answered."""

    operation: str
    key: str
    part: int | None
    upload_id: str | None
    head: Head
    status: int | None = None
    """What the client was told; None when it was told nothing."""
    reached_store: bool = False
    received: int = 0
    """Bytes of the request's body, framing included."""
    fault: str | None = None


@dataclass(slots=True)
class Answer:
    """A whole answer of the store."""

    head: Head
    body: bytes

    @property
    def status(self) -> int:
        return int(self.head.start.split(" ")[1])

    def encode(self, *, bodiless: bool) -> bytes:
        headers = wire.without(self.head.headers, "Transfer-Encoding", "Connection")
        if not bodiless:
            headers = [*wire.without(headers, "Content-Length"), ("Content-Length", str(len(self.body)))]
        return Head(self.head.start, headers).encode() + (b"" if bodiless else self.body)


def name_operation(head: Head) -> Call:
    """Tell which S3 operation a path-style request is."""
    method, target, _ = head.start.split(" ", 2)
    path, _, query_text = target.partition("?")
    _, _, key = path.lstrip("/").partition("/")
    query = dict(urllib.parse.parse_qsl(query_text, keep_blank_values=True))
    upload_id = query.get("uploadId")
    part = int(query["partNumber"]) if "partNumber" in query else None
    if not key:
        names = {"PUT": "CreateBucket", "HEAD": "HeadBucket", "DELETE": "DeleteBucket", "GET": "ListObjects"}
        operation = "ListMultipartUploads" if "uploads" in query else names.get(method, method)
    elif "uploads" in query:
        operation = "CreateMultipartUpload"
    elif upload_id is not None:
        names = {"PUT": "UploadPart", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
        operation = names.get(method, "ListParts")
    else:
        operation = {"PUT": "Put", "GET": "Get", "HEAD": "Head", "DELETE": "Delete"}.get(method, method) + "Object"
        sub = next((name for name in ("tagging", "attributes", "acl") if name in query), "")
        operation += sub.title()
    return Call(operation, urllib.parse.unquote(key), part, upload_id, head)
