"""The XML of a ListObjectsV2 answer, read by expat: any legal document, and no other."""

from __future__ import annotations

from typing import NamedTuple, NoReturn
from xml.parsers import expat

from airflow_s3stream.exceptions import SourceMisbehaved

_ROOT = "ListBucketResult"
_PASSING = frozenset({"InternalError", "ServiceUnavailable", "SlowDown"})  # a later request may succeed
_IN_ROOT = frozenset({"IsTruncated", "NextContinuationToken", "EncodingType"})
_IN_CONTENTS = frozenset({"Key", "LastModified", "ETag", "Size", "StorageClass"})


class ListDocument(NamedTuple):
    """What a listing's document says, undecoded: every text as it stands between the tags."""

    fields: dict[str, str]
    contents: list[dict[str, str]]
    prefixes: list[str]


def misbehaved(what: str, *, retryable: bool = False) -> SourceMisbehaved:
    """Make the one error of a page that cannot be trusted."""
    return SourceMisbehaved(f"The store's listing cannot be trusted: {what}.", op="ListObjectsV2", retryable=retryable)


def read_document(body: bytes) -> ListDocument:
    """
    Read the answer's body.

    :raises SourceMisbehaved: it is not XML, declares a document type, or is not a listing.
    """
    reader = _Reader()
    # Namespaces are resolved by expat, so that a store's prefix (s3:Key) does not hide its elements.
    parser = expat.ParserCreate(namespace_separator="}")
    parser.buffer_text = True
    parser.StartElementHandler = reader.start
    parser.EndElementHandler = reader.end
    parser.CharacterDataHandler = reader.text
    parser.StartDoctypeDeclHandler = _refuse_doctype
    try:
        parser.Parse(body, True)
    except expat.ExpatError as error:
        raise misbehaved(f"it is not XML ({error}; {len(body)} bytes)") from None
    except (LookupError, ValueError) as error:  # the encoding that it declares
        raise misbehaved(f"it is not XML ({error})") from None
    return reader.document()


def _refuse_doctype(*declared: object) -> NoReturn:
    # A document type is where entities are declared, and a few of them are enough to fill the memory.
    raise misbehaved("it declares a document type, which S3 never does")


class _Reader:
    """
    Expat's handlers. ``_path`` holds the open elements' local names.

    They are called twenty times per object, so what they do for each is little.
    """

    def __init__(self) -> None:
        self._path: list[str] = []
        self._text: list[str] = []  # since the last tag that began
        self.text = self._text.append  # a handler in C costs a third of one in Python
        self._root = ""
        self._fields: dict[str, str] = {}
        self._row: dict[str, str] = {}
        self._contents: list[dict[str, str]] = []
        self._prefixes: list[str] = []

    def start(self, tag: str, attributes: dict[str, str]) -> None:
        name = tag.rpartition("}")[2]
        path = self._path
        path.append(name)
        self._text.clear()
        if len(path) == 2 and name == "Contents":
            self._row = {}
            self._contents.append(self._row)
        elif len(path) == 1:
            self._root = name

    def end(self, tag: str) -> None:
        path = self._path
        name = path.pop()
        if len(path) == 2:
            if name in _IN_CONTENTS and path[1] == "Contents":
                if name in self._row:
                    raise misbehaved(f"<{name}> stands twice in one object")
                self._row[name] = "".join(self._text)
            elif name == "Prefix" and path[1] == "CommonPrefixes":
                self._prefixes.append("".join(self._text))
        elif len(path) == 1 and (name in _IN_ROOT or self._root == "Error"):
            if name in self._fields:
                raise misbehaved(f"<{name}> stands twice")
            self._fields[name] = "".join(self._text)
        self._text.clear()

    def document(self) -> ListDocument:
        if self._root == "Error":
            code = self._fields.get("Code", "no code")
            raise misbehaved(
                f"it is an error with the status of a success ({code}: {self._fields.get('Message', '')[:200]})",
                retryable=code in _PASSING,
            )
        if self._root != _ROOT:
            raise misbehaved(f"its root is <{self._root[:80]}>, not <{_ROOT}>")
        return ListDocument(self._fields, self._contents, self._prefixes)
