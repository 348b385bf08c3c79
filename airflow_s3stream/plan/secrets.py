"""What in a URL, a header or a setting is secret, and the forms in which it may be written."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from urllib.parse import quote, quote_plus, unquote, unquote_plus, urlsplit

LEAST = 5
"""Characters below which Airflow masks nothing, for too much else would look the same."""

# Whoever reads a log may know what these say, and masks of such common words would make it unreadable.
_OPEN_HEADERS = frozenset(
    {
        "accept", "accept-charset", "accept-encoding", "accept-language", "cache-control", "connection",
        "content-type", "from", "if-modified-since", "if-none-match", "origin", "pragma", "te", "user-agent",
    }
)  # fmt: skip
_SECRET_NAME = re.compile(r"sig|token|key|secret|passw|credential|auth|session|policy|code|jwt", re.IGNORECASE)
_LONG = 20  # characters from which a value of a query or a cookie is taken for a token, whatever its name says
_SCHEMES = ("basic", "bearer", "digest", "token", "apikey", "negotiate")  # words before the secret in Authorization


def url_secrets(url: str) -> set[str]:
    """
    Give what must not be read of a URL: its password, its query and fragment as a whole, and each value in them that
    is a secret by its name or its length.

    Not each value alone: a mask of ``2024-01-01`` would hide the date wherever it stands.
    """
    found: set[str] = set()
    try:
        parts = urlsplit(url)
    except ValueError:
        return {url}
    credentials, told, _ = parts.netloc.rpartition("@")
    if told:
        user, _, password = credentials.partition(":")
        found |= {credentials, *_forms(password or user)}
        found.add(_encoded(f"{unquote(user)}:{unquote(password)}"))
    elif "@" in parts.path and not parts.netloc:
        found.add(parts.path.rpartition("@")[0])
    for text in (parts.query, parts.fragment):
        found |= {text, unquote(text), unquote_plus(text)}
        for field in re.split("[&;]", text):
            name, given, value = field.partition("=")
            value = value if given else name
            if len(value) >= _LONG or (given and _SECRET_NAME.search(unquote(name))):
                found |= _forms(value)
    return _worth(found)


def header_secrets(headers: Mapping[str, object]) -> set[str]:
    """Give what must not be read of request headers: every value but those of a few that are the same for everybody."""
    found: set[str] = set()
    for name, value in headers.items():
        if str(name).lower() in _OPEN_HEADERS or value is None:
            continue
        text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
        found |= _forms(text)
        scheme, _, rest = text.partition(" ")
        if scheme.lower() in _SCHEMES:
            found |= _forms(rest.strip())
        if str(name).lower() == "cookie":
            values = (pair.partition("=")[2].strip() for pair in text.split(";"))
            found.update(*(_forms(value) for value in values if len(value) >= _LONG))
    return _worth(found)


def login_secrets(user: str, password: str) -> set[str]:
    """Give the forms of a password, and of what basic authentication makes of it and the user's name."""
    return _worth({*_forms(password), _encoded(f"{user}:{password}")})


def setting_secrets(value: object) -> set[str]:
    """Give the secrets of all URLs in a setting, such as that of a proxy, however deep they stand."""
    return _worth({secret for text in _texts(value) if "@" in text or "://" in text for secret in url_secrets(text)})


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _texts(item)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _texts(item)


def _forms(secret: str) -> set[str]:
    """Give the forms of one secret: as it came, decoded, encoded for a URL in either way, in Base64, escaped."""
    plain = unquote(secret).encode("utf-8", "replace").decode()
    for_urls = {quote(plain), quote(plain, safe=""), quote_plus(plain)}
    return {secret, plain, *for_urls, _encoded(plain), json.dumps(plain)[1:-1], repr(plain)[1:-1]}


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode("utf-8", "replace")).decode()


def _worth(found: set[str]) -> set[str]:
    return {secret for secret in found if len(secret) >= LEAST}
