"""One page of a listing: the request for it, and the answer read into entries."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import NamedTuple
from urllib.parse import quote, unquote_to_bytes

from airflow_s3stream.plan.listxml import ListDocument, misbehaved, read_document
from airflow_s3stream.plan.objects import ObjectEntry

_UNRESERVED = "-_.~"  # what SigV4 leaves as it is in a query; the letters and digits go without saying

# The usual page, whose <Contents> all look like AWS's, is read by one regular expression: several times quicker than
# expat calling back for every tag. It must match text without markup, entities and control characters only, so that
# what it matches means the same to every XML reader; any other page goes to expat as a whole (see _read_quickly).
_TEXT = rb"[^<>&\x00-\x1f]"
_QUOTE = rb"(?:&quot;|&#34;|\")?"
_NAME = rb"(?:<ID>" + _TEXT + rb"*</ID>\s*)?(?:<DisplayName>" + _TEXT + rb"*</DisplayName>\s*)?"
_CONTENTS = re.compile(
    rb"\s*<Contents>\s*<Key>(" + _TEXT + rb"+)</Key>\s*<LastModified>(" + _TEXT + rb"+)</LastModified>\s*"
    rb"(?:<ETag>" + _QUOTE + rb"([^<>&\"\x00-\x1f]*)" + _QUOTE + rb"</ETag>\s*)?"
    rb"(?:<ChecksumAlgorithm>" + _TEXT + rb"*</ChecksumAlgorithm>\s*)*"
    rb"(?:<ChecksumType>" + _TEXT + rb"*</ChecksumType>\s*)?"
    rb"<Size>([0-9]{1,19})</Size>\s*(?:<Owner>\s*" + _NAME + rb"</Owner>\s*)?"
    rb"(?:<StorageClass>(" + _TEXT + rb"*)</StorageClass>\s*)?(?:<Owner>\s*" + _NAME + rb"</Owner>\s*)?"
    rb"(?:<Type>" + _TEXT + rb"*</Type>\s*)?</Contents>"
)
_GROUPS = _CONTENTS.groups
_UTF8 = re.compile(rb"<(?!\?)|<\?xml version=[\"']1\.0[\"'](?: encoding=[\"']utf-8[\"'])?\s*\?>", re.IGNORECASE)
_SIZE = re.compile(r"[0-9]{1,19}", re.ASCII)


@dataclass(frozen=True, slots=True)
class ListRequest:
    """A ListObjectsV2 request. ``token``, where there is one, says where to go on; else ``start_after`` does."""

    prefix: str
    start_after: str = ""
    token: str = ""
    max_keys: int = 1000

    @property
    def query(self) -> str:
        """Give the query string, encoded and sorted as SigV4 wants it."""
        fields = [("continuation-token", self.token)] if self.token else []
        fields += [("encoding-type", "url"), ("list-type", "2"), ("max-keys", str(self.max_keys))]
        fields.append(("prefix", self.prefix))
        if self.start_after and not self.token:
            fields.append(("start-after", self.start_after))
        return "&".join(f"{name}={quote(value, safe=_UNRESERVED)}" for name, value in fields)


class KeyRange(NamedTuple):
    """The keys after ``start_after``, up to and including ``last``; None: to the end."""

    start_after: str = ""
    last: str | None = None


class ListPage(NamedTuple):
    """What one answer says: objects in ascending order of their keys, and whether there are more."""

    entries: list[ObjectEntry]
    prefixes: list[str]
    truncated: bool
    token: str | None


class _Columns(NamedTuple):
    keys: list[bytes]
    modified: list[str]
    etags: list[str]
    sizes: list[int]
    classes: list[str]


def parse_page(body: bytes) -> ListPage:
    """
    Read an answer to a :class:`ListRequest`.

    :raises SourceMisbehaved: it is not a listing, or contradicts itself.
    """
    document, columns = _read_quickly(body) or _read_any(body)
    fields = document.fields
    truncated = fields.get("IsTruncated", "missing").strip()
    if truncated not in {"true", "false"}:
        raise misbehaved(f"IsTruncated is {truncated[:80]!r}, not true or false")
    encoded = fields.get("EncodingType", "").strip() == "url"  # some stores take no notice of what was asked
    keys = _decode(columns.keys, encoded=encoded)
    _check_order(keys)
    entries = list(
        map(
            ObjectEntry,
            keys,
            columns.sizes,
            columns.etags,
            _seconds(columns.modified),
            ["" if name == "STANDARD" else name for name in columns.classes],
        )
    )
    prefixes = _decode([prefix.encode() for prefix in document.prefixes], encoded=encoded)
    return ListPage(entries, prefixes, truncated == "true", fields.get("NextContinuationToken") or None)


def check_prefix(prefix: str, page: ListPage) -> None:
    """
    Check that the page holds no key outside the prefix.

    :raises SourceMisbehaved: it does.
    """
    # Keys ascend, so all of them have the prefix that the first and the last have.
    for entry in (*page.entries[:1], *page.entries[-1:]):
        if not entry.key.startswith(prefix):
            raise misbehaved(f"it holds {entry.key[:200]!r}, which is outside the prefix {prefix[:200]!r}")


def _read_quickly(body: bytes) -> tuple[ListDocument, _Columns] | None:
    """Read the page if all its <Contents> are of the usual form, in one unbroken row; None: expat must read it."""
    if not _UTF8.match(body):
        return None
    pieces = _CONTENTS.split(body)
    step = _GROUPS + 1
    if len(pieces) == 1 or any(pieces[step:-1:step]):
        return None
    # Expat reads what is left with one empty element in place of the row, and so still judges the document; that this
    # element is found where objects stand proves that the row was no text inside something else.
    document = read_document(pieces[0] + b"<Contents/>" + pieces[-1])
    if document.contents != [{}]:
        return None
    columns = [pieces[group::step] for group in range(1, step)]
    texts = [[(text or b"").decode() for text in columns[group]] for group in (1, 2, 4)]
    return document, _Columns(columns[0], texts[0], texts[1], list(map(int, columns[3])), texts[2])


def _read_any(body: bytes) -> tuple[ListDocument, _Columns]:
    """Read the page by expat alone."""
    document = read_document(body)
    columns = _Columns([], [], [], [], [])
    for fields in document.contents:
        key = fields.get("Key", "")
        if not key:
            raise misbehaved("it holds an object without a key")
        size = fields.get("Size", "").strip()
        if not _SIZE.fullmatch(size):
            raise misbehaved(f"the size of {key[:200]!r} is {size[:80]!r}, not a number of bytes")
        columns.keys.append(key.encode())
        columns.modified.append(fields.get("LastModified", "").strip())
        columns.etags.append(fields.get("ETag", "").strip().strip('"'))
        columns.sizes.append(int(size))
        columns.classes.append(fields.get("StorageClass", "").strip())
    return document, columns


def _decode(raw: list[bytes], *, encoded: bool) -> list[str]:
    """Decode keys: percent-encoded form (a space is "+", as S3 writes it) and UTF-8."""
    if encoded:
        # All at once, for a call per key costs more than the decoding. 0xFF joins them, which UTF-8 never contains.
        whole = b"\xff".join(raw)
        if b"+" in whole:
            whole = whole.replace(b"+", b" ")
        if b"%" in whole:
            whole = unquote_to_bytes(whole)
            decoded = whole.split(b"\xff") if raw else []
            if len(decoded) != len(raw):
                raise misbehaved("a key is not UTF-8")
            raw = decoded
        elif raw:
            raw = whole.split(b"\xff")
    try:
        return [key.decode() for key in raw]
    except UnicodeDecodeError:
        raise misbehaved("a key is not UTF-8") from None


def _check_order(keys: list[str]) -> None:
    # The quick test is sorted(), in C and linear on what is in order already; the slow one finds what to name.
    if sorted(set(keys)) == keys:
        return
    for key, following in pairwise(keys):
        if following <= key:
            raise misbehaved(f"its keys do not ascend: {following[:200]!r} follows {key[:200]!r}")


def _seconds(modified: list[str]) -> list[float]:
    """Turn times of last modification into seconds since the epoch."""
    return [_time(text) if text else 0.0 for text in modified]


def _time(text: str) -> float:
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise misbehaved(f"{text[:80]!r} is no time of last modification") from None
    return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
