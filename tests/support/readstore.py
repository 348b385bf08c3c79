"""A small S3 for readers: lists and serves objects honestly until told to lie, checks signatures, counts everything."""

from __future__ import annotations

import contextlib
import ssl
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.support import servers
from tests.support.attributes import Attributes
from tests.support.content import Kept, Quiet
from tests.support.faults import Fault
from tests.support.listings import Listing
from tests.support.objects import StoredObject, etag_of, refusal, stored
from tests.support.origin import Exchange, Origin
from tests.support.resource import Reply, Request, Resource
from tests.support.signatures import Credentials, check

KEYS = Credentials(servers.ACCESS_KEY, servers.SECRET_KEY, region=servers.REGION)
BUCKET = "lake"


def key_of(request: Request) -> str | None:
    """Return the key that a path-style request names; None for the bucket itself."""
    path = urllib.parse.unquote(request.path, errors="surrogateescape")
    return path.removeprefix("/").partition("/")[2] or None


class _Refused:
    """What is found where an error is the answer."""

    def __init__(self, status: int, code: str, **headers: str) -> None:
        self._error = (status, code)
        self._headers = [(name.replace("_", "-"), value) for name, value in headers.items()]

    def answer(self, request: Request) -> Reply:
        reply = refusal(*self._error)
        reply.headers += self._headers
        return reply


class _Bucket:
    """What HeadBucket finds."""

    def answer(self, request: Request) -> Reply:
        return Reply(200, [("x-amz-bucket-region", KEYS.region)], text=b"")


class ReadStore(Origin):
    """
    One bucket, ``lake``, under ``endpoint_url``, in path style.

    ``credentials`` are what clients must sign with, and may be changed while it runs; None: whoever comes is served.
    """

    def __init__(
        self, *faults: Fault, credentials: Credentials | None = KEYS, tls: ssl.SSLContext | None = None
    ) -> None:
        super().__init__(Resource(0), *faults, tls=tls)
        self.credentials = credentials
        self.expired: frozenset[str] = frozenset()
        self.objects: dict[str, StoredObject] = {}
        self.listed: dict[str, StoredObject | None] = {}
        """What the listing says of a key instead of the truth; None: nothing."""
        self.obeys_start_after = True
        self.obeys_encoding = True
        self._keys: list[str] | None = None
        self._readers: list[Any] = []

    def __exit__(self, *about: Any) -> None:
        super().__exit__(*about)
        for client in self._readers:
            client.close()

    def reader(self, make: Callable[[], Any]) -> Any:
        """Return a client made by ``make``, the same each time, for making one takes longer than using it."""
        if not self._readers:
            self._readers.append(make())
        return self._readers[0]

    @property
    def endpoint_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def put(self, key: str, size: int = 1024, **about: Any) -> StoredObject:
        """Keep an object of this size, whose bytes its key decides; see :func:`stored`."""
        self.objects[key] = stored(key, size, **about)
        self._keys = None
        return self.objects[key]

    def keep(self, key: str, body: bytes, **about: Any) -> StoredObject:
        """Keep an object of these bytes."""
        etag = etag_of(Kept(body), about.get("part_size"))
        return self.put(key, len(body), kept=body, **{"etag": etag, **about})

    def fill(self, count: int, size: int = 1024, prefix: str = "p/") -> list[str]:
        """Keep ``count`` objects of about ``size`` bytes, no two of the same bytes; return their keys."""
        keys = [f"{prefix}{number // 100:03d}/{number:06d}.bin" for number in range(count)]
        for number, key in enumerate(keys):
            self.objects[key] = stored(key, size + number % 7)
        self._keys = None
        return keys

    def overwrite(self, key: str, **changes: Any) -> StoredObject:
        """Put another version in the object's place: other bytes, another ETag."""
        self.objects[key] = self.objects[key].rewritten(**changes)
        return self.objects[key]

    def overwrite_behind_the_listing(self, key: str, **changes: Any) -> StoredObject:
        """Put another version in its place, while the listing still shows the old one."""
        self.listed[key] = self.objects[key]
        return self.overwrite(key, **changes)

    def remove_behind_the_listing(self, key: str) -> None:
        """Delete the object, while the listing still shows it."""
        self.listed[key] = self.objects.pop(key)

    def body(self, key: str) -> bytes:
        return Quiet(self.objects[key].content.bytes())

    def find(self, request: Request) -> Any:
        if self.credentials is not None:
            verdict = check(request, self.credentials, expired=self.expired)
            if verdict is not None:
                return _Refused(verdict.status, verdict.code)
        bucket = urllib.parse.unquote(request.path).removeprefix("/").partition("/")[0]
        if bucket != BUCKET:
            return _Refused(404, "NoSuchBucket")
        key = key_of(request)
        if key is None:
            return _Bucket() if request.method == "HEAD" else self._listing()
        found = self.objects.get(key)
        if found is None:
            return _Refused(404, "NoSuchKey")
        return Attributes(found) if is_attributes(request) else found

    def _listing(self) -> Listing:
        shown = self.objects
        if self.listed:
            changed = {**self.objects, **self.listed}
            shown = {key: entry for key, entry in changed.items() if entry is not None}
        if self._keys is None or self.listed:
            # S3 sorts by UTF-8 bytes, which is the order of code points.
            self._keys = sorted(shown)
        return Listing(BUCKET, self._keys, shown, self.obeys_start_after, self.obeys_encoding)

    @property
    def gets(self) -> list[Exchange]:
        """The GETs of objects, in order of arrival."""
        return [exchange for exchange in list(self.exchanges) if is_get(exchange.request)]

    @property
    def listings(self) -> list[Exchange]:
        return [exchange for exchange in list(self.exchanges) if is_listing(exchange.request)]

    @property
    def attributes(self) -> list[Exchange]:
        """The GetObjectAttributes, in order of arrival."""
        return [exchange for exchange in list(self.exchanges) if is_attributes(exchange.request)]

    @property
    def gets_per_key(self) -> Counter[str]:
        return Counter(str(key_of(exchange.request)) for exchange in self.gets)

    def ranges_of(self, key: str) -> list[tuple[int, int | None] | None]:
        return [exchange.range for exchange in self.gets if key_of(exchange.request) == key]

    def client(self) -> Any:
        """Return a boto3 client for it that owes nothing to the package under test."""
        return servers.plain_client(self.endpoint_url)


def is_get(request: Request) -> bool:
    return request.method == "GET" and key_of(request) is not None and not is_attributes(request)


def is_attributes(request: Request) -> bool:
    # With or without "=", S3 does not mind.
    names = (piece.partition("=")[0] for piece in request.target.partition("?")[2].split("&"))
    return request.method == "GET" and "attributes" in names


def is_listing(request: Request) -> bool:
    return request.method == "GET" and key_of(request) is None


@contextlib.contextmanager
def serving_objects(
    sizes: dict[str, int], *faults: Fault, tls: ssl.SSLContext | None = None, **about: Any
) -> Iterator[ReadStore]:
    """Run a store of these objects: ``serving_objects({"a": 1000, "b": 12 * MiB}, lie.on("b"))``."""
    with ReadStore(*faults, tls=tls) as store:
        for key, size in sizes.items():
            store.put(key, size, **about)
        yield store
