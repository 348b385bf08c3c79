"""AWS Signature Version 4 as a server checks it, written from its specification and from nobody's client.

S3's variant: the path is decoded once and encoded once, dot segments and double slashes stay, the payload's
hash is a header. A checker that shares code with the client under test would agree with its mistakes.
"""

from __future__ import annotations

import calendar
import hashlib
import hmac
import re
import time
import urllib.parse
from dataclasses import dataclass

from tests.support.resource import Request

_AUTHORIZATION = re.compile(
    r"AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)/([^/]+)/aws4_request, ?"
    r"SignedHeaders=([^,]+), ?Signature=([0-9a-f]{64})"
)
_SKEW = 15 * 60


def _encoded(text: bytes, safe: str = "") -> str:
    return urllib.parse.quote(text, safe=safe + "-._~")


def canonical_path(raw: str) -> str:
    """Decode what stands on the wire and encode it as the specification says, slashes aside."""
    return _encoded(urllib.parse.unquote_to_bytes(raw), "/")


def canonical_query(raw: str) -> str:
    """Return the parameters decoded, encoded as the specification says, and sorted."""
    pairs = (piece.partition("=")[::2] for piece in raw.split("&") if piece)
    decoded = ((_plus(name), _plus(value)) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in sorted((_encoded(n), _encoded(v)) for n, v in decoded))


def _plus(text: str) -> bytes:
    return urllib.parse.unquote_to_bytes(text.replace("+", " "))


@dataclass(frozen=True)
class Credentials:
    """What a client must sign with. ``token``: the session token, which must be sent and signed."""

    access_key: str
    secret_key: str
    token: str | None = None
    region: str = "us-east-1"


@dataclass(frozen=True)
class Verdict:
    """Why a request is refused, as S3 says it."""

    status: int
    code: str


def check(request: Request, accepted: Credentials, *, expired: frozenset[str] = frozenset()) -> Verdict | None:
    """
    Return what is wrong with the request's signature, None when nothing is.

    :param expired: access keys that were good once.
    """
    match = _AUTHORIZATION.fullmatch(request.header("Authorization") or "")
    if not match:
        return Verdict(403, "AccessDenied")
    access_key, day, region, service, names, signature = match.groups()
    if access_key in expired:
        return Verdict(400, "ExpiredToken")
    if access_key != accepted.access_key:
        return Verdict(403, "InvalidAccessKeyId")
    if (region, service) != (accepted.region, "s3"):
        return Verdict(400, "AuthorizationHeaderMalformed")
    if request.header("x-amz-security-token") != accepted.token:
        return Verdict(400, "InvalidToken")
    when = request.header("x-amz-date") or ""
    if not _recent(when) or not when.startswith(day):
        return Verdict(403, "RequestTimeTooSkewed")
    signed = names.split(";")
    must = {"host"} | {name.lower() for name, _ in request.headers if name.lower().startswith("x-amz-")}
    if signed != sorted(signed) or must - set(signed) or request.header("x-amz-content-sha256") is None:
        return Verdict(403, "AccessDenied")
    right = _sign(_canonical(request, signed), accepted.secret_key, when, f"{day}/{region}/{service}/aws4_request")
    return None if hmac.compare_digest(right, signature) else Verdict(403, "SignatureDoesNotMatch")


def _recent(when: str) -> bool:
    try:
        return abs(calendar.timegm(time.strptime(when, "%Y%m%dT%H%M%SZ")) - time.time()) < _SKEW
    except ValueError:
        return False


def _canonical(request: Request, signed: list[str]) -> str:
    path, _, query = request.target.partition("?")
    headers = "".join(f"{name}:{' '.join((request.header(name) or '').split())}\n" for name in signed)
    payload = request.header("x-amz-content-sha256") or ""
    parts = [request.method, canonical_path(path), canonical_query(query), headers, ";".join(signed), payload]
    return "\n".join(parts)


def _sign(canonical: str, secret: str, when: str, scope: str) -> str:
    text = "\n".join(["AWS4-HMAC-SHA256", when, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{secret}".encode()
    for step in scope.split("/"):
        key = hmac.new(key, step.encode(), hashlib.sha256).digest()
    return hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
