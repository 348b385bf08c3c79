"""What every Sink does, whichever it is; where a store cannot, the test says which and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

import pytest

from airflow_s3stream.config import MiB, Timeouts
from airflow_s3stream.engine.checksums import combine, crc64nvme, crc64nvme_text
from airflow_s3stream.engine.protocols import CompletedPart, ObjectHeaders, Sink, Upload
from airflow_s3stream.engine.s3client import transfer_config
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
    SinkConflict,
    SinkMissing,
    SinkRejected,
    SinkUnavailable,
    SourceTruncated,
    UploadVanished,
)
from tests.support.content import Content
from tests.support.memory import ContentPart, MemorySink, MemoryStore
from tests.support.servers import SESSION
from tests.support.stores import Store
from tests.support.storetable import StoreTable

HEADERS = ObjectHeaders(content_type="text/x-odd", content_encoding=None, metadata={"owner": "tests"})
SIZE = 11 * MiB
PART = 5 * MiB
CONTENT = Content(SIZE)


class Seen(Protocol):
    """The store as one who looks from outside sees it."""

    def get(self, key: str) -> bytes: ...
    def keys(self) -> list[str]: ...
    def uploads(self) -> list[str]: ...


@dataclass
class SeenMemory:
    store: MemoryStore

    def get(self, key: str) -> bytes:
        return self.store.objects[key][0]

    def keys(self) -> list[str]:
        return list(self.store.objects)

    def uploads(self) -> list[str]:
        return list(self.store.uploads)


@dataclass
class Place:
    """A sink for ``key``, and the store behind it."""

    kind: str
    sink: Sink
    seen: Seen


@pytest.fixture(params=["memory", "localstack", "moto", "rclone"])
def place(request: pytest.FixtureRequest) -> Iterator[Place]:
    """Every Sink."""
    if request.param == "memory":
        store = MemoryStore()
        yield Place("memory", MemorySink(store, "key"), SeenMemory(store))
        return
    s3: Store = request.getfixturevalue(request.param)
    config = transfer_config(None, connections=4, timeouts=Timeouts(connect=2, read=15))
    client = SESSION.client("s3", endpoint_url=s3.endpoint_url, config=config)
    yield Place(request.param, S3Sink(client, s3.bucket, "key"), s3)
    client.close()


def part(number: int, **how: int) -> ContentPart:
    start = (number - 1) * PART
    return ContentPart(CONTENT, start, min(start + PART, SIZE), **how)  # type: ignore[arg-type]


def send_all(sink: Sink, upload: Upload) -> list[CompletedPart]:
    return [sink.put_part(upload, number, part(number)) for number in (1, 2, 3)]


def complete(sink: Sink, upload: Upload, parts: list[CompletedPart], *, replaces: str | None = None) -> object:
    crc = combine("crc64nvme", [(done.crc, done.size) for done in parts])
    return sink.complete(upload, parts, size=SIZE, crc=crc, replaces=replaces)


def put(sink: Sink, body: bytes, *, replaces: str | None = None) -> object:
    return sink.put(body, crc64nvme(body), HEADERS, replaces=replaces)


def refused(
    place: Place,
    table: StoreTable,
    what: str,
    error: type[S3StreamError],
    action: Callable[[], object],
    *,
    but: tuple[str, ...] = (),
) -> bool:
    """
    Do what a store must refuse; tell whether this one did.

    The stores named in ``but`` are known to let it pass. That is asserted too, so that the published table stays
    true when one of them learns it.
    """
    try:
        action()
    except error as caught:
        assert type(caught) is error, repr(caught)
        was_refused = True
    else:
        was_refused = False
    if place.kind != "memory":
        table.note(what, place.kind, "refused" if was_refused else "let pass")
    assert was_refused == (place.kind not in but)
    return was_refused


def test_nothing_at_the_key_is_none(place: Place) -> None:
    """An answer, not an error."""
    assert place.sink.head() is None


@pytest.mark.parametrize("body", [b"", b"x", Content(100_000).bytes()], ids=len)
def test_put_stores_the_bytes_and_head_describes_them(place: Place, body: bytes) -> None:
    """Size, ETag and metadata; the checksum where the store has one."""
    put(place.sink, body)
    found = place.sink.head()
    assert found is not None
    assert place.seen.get("key") == body
    assert found.size == len(body)
    assert found.etag
    assert {name.lower(): text for name, text in (found.metadata or {}).items()}["owner"] == "tests"
    assert found.checksum in (None, crc64nvme_text(crc64nvme(body)))


def test_names_of_metadata_are_lower_case(place: Place) -> None:
    """They are header names, whose case a server may change; whoever looks for one must find it."""
    put(place.sink, b"x")
    found = place.sink.head()
    assert found is not None
    assert (found.metadata or {}).get("owner") == "tests"


def test_put_takes_a_bytearray(place: Place) -> None:
    """Part buffers are."""
    body = bytearray(b"hello")
    place.sink.put(body, crc64nvme(body), HEADERS, replaces=None)
    assert place.seen.get("key") == b"hello"


def test_put_replaces_what_is_there(place: Place) -> None:
    """Unless told otherwise."""
    put(place.sink, b"old")
    put(place.sink, b"new")
    assert place.seen.get("key") == b"new"


def test_put_of_a_key_that_must_be_free_is_a_conflict(place: Place, store_table: StoreTable) -> None:
    """And what is there stays."""
    put(place.sink, b"old", replaces="")
    what = "PutObject with `If-None-Match: *` of a key that exists"
    again = partial(put, place.sink, b"new", replaces="")
    was_refused = refused(place, store_table, what, SinkConflict, again, but=("rclone",))
    assert place.seen.get("key") == (b"old" if was_refused else b"new")


def test_put_of_wrong_bytes_is_refused(place: Place, store_table: StoreTable) -> None:
    """The checksum given is not theirs."""
    what = "PutObject with a CRC64NVME that is not that of the bytes"
    wrong = partial(place.sink.put, b"hello", crc64nvme(b"other"), HEADERS, replaces=None)
    if refused(place, store_table, what, IntegrityError, wrong, but=("rclone", "moto")):
        assert place.sink.head() is None


def test_parts_become_the_object_when_completed(place: Place) -> None:
    """Sent in any order, listed in theirs; visible when complete, and not before."""
    upload = place.sink.begin(HEADERS)
    order = (1, 2, 3) if place.kind == "rclone" else (3, 1, 2)
    sent = {number: place.sink.put_part(upload, number, part(number)) for number in order}
    assert place.sink.head() is None
    assert place.seen.uploads() == [upload.upload_id]
    complete(place.sink, upload, [sent[number] for number in (1, 2, 3)])
    assert place.seen.get("key") == CONTENT.bytes()
    assert place.seen.uploads() == []


def test_completed_part_tells_what_was_sent(place: Place) -> None:
    """Number, size and checksum, and the store's name for it."""
    upload = place.sink.begin(HEADERS)
    done = place.sink.put_part(upload, 3, part(3))
    assert (done.number, done.size) == (3, SIZE - 2 * PART)
    assert done.crc == crc64nvme(CONTENT.bytes(2 * PART, SIZE))
    assert done.etag


@pytest.mark.parametrize("step", [4099, 65_536, MiB - 1, 1024 * 1024])
def test_pieces_of_any_size_are_sent_as_they_come(place: Place, step: int) -> None:
    """None is kept while the next is made: they lie in the same memory."""
    upload = place.sink.begin(HEADERS)
    parts = [place.sink.put_part(upload, number, part(number, step=step)) for number in (1, 2, 3)]
    complete(place.sink, upload, parts)
    assert place.seen.get("key") == CONTENT.bytes()


@pytest.mark.parametrize("ask_first", [False, True])
def test_sent_is_noted_once_when_all_bytes_are_given(place: Place, ask_first: bool) -> None:
    """So that the next range can be opened while the store's answer is on its way."""
    upload = place.sink.begin(HEADERS)
    body = part(3)
    place.sink.put_part(upload, 3, body, ask_first=ask_first)
    assert body.sent_at == [body.size]


def test_part_of_the_same_number_replaces_the_first(place: Place, store_table: StoreTable) -> None:
    """How a part is repeated after an answer was lost."""
    upload = place.sink.begin(HEADERS)
    place.sink.put_part(upload, 1, ContentPart(Content(PART, seed=9), 0, PART))
    if place.kind == "rclone":
        # It hands parts on as they come and takes none back.
        with pytest.raises(S3StreamError, match="cannot be replaced"):
            place.sink.put_part(upload, 1, part(1))
        store_table.note("part sent again with other bytes", place.kind, "refused")
        return
    complete(place.sink, upload, send_all(place.sink, upload))
    assert place.seen.get("key") == CONTENT.bytes()
    if place.kind != "memory":
        store_table.note("part sent again with other bytes", place.kind, "replaced")


def test_part_repeated_with_the_same_bytes_is_fine_everywhere(place: Place) -> None:
    """Also on a store that hands parts on."""
    upload = place.sink.begin(HEADERS)
    place.sink.put_part(upload, 1, part(1))
    complete(place.sink, upload, send_all(place.sink, upload))
    assert place.seen.get("key") == CONTENT.bytes()


def test_part_whose_source_breaks_raises_that_error_and_is_not_stored(place: Place) -> None:
    """It is the source's failure, not the store's, and the upload can go on."""
    upload = place.sink.begin(HEADERS)
    error = SourceTruncated("the test says so")
    broken = ContentPart(CONTENT, 0, PART, breaks_at=MiB, error=error)
    with pytest.raises(SourceTruncated) as caught:
        place.sink.put_part(upload, 1, broken)
    assert caught.value is error
    assert broken.sent_at == []
    complete(place.sink, upload, send_all(place.sink, upload))
    assert place.seen.get("key") == CONTENT.bytes()


def test_complete_of_wrong_parts_is_refused(place: Place, store_table: StoreTable) -> None:
    """The checksum of the whole is not that of the parts listed."""
    upload = place.sink.begin(HEADERS)
    parts = send_all(place.sink, upload)
    what = "Complete with a full-object CRC64NVME that is not the parts'"
    wrong = partial(place.sink.complete, upload, parts, size=SIZE, crc=1, replaces=None)
    if refused(place, store_table, what, IntegrityError, wrong, but=("rclone", "moto")):
        assert place.sink.head() is None


def test_complete_of_the_wrong_size_is_refused(place: Place, store_table: StoreTable) -> None:
    """A part that is missing from the list would make a shorter object; rclone has it already and objects."""
    upload = place.sink.begin(HEADERS)
    parts = send_all(place.sink, upload)[:2]
    crc = combine("crc64nvme", [(done.crc, done.size) for done in parts])
    what = "Complete that leaves out the last part"
    kind = IntegrityError if place.kind == "memory" else SinkRejected
    wrong = partial(place.sink.complete, upload, parts, size=SIZE, crc=crc, replaces=None)
    if refused(place, store_table, what, kind, wrong, but=("moto",)):
        assert place.sink.head() is None


def test_complete_of_a_key_that_must_be_free_is_a_conflict(place: Place, store_table: StoreTable) -> None:
    """Decided by the store at the last moment."""
    upload = place.sink.begin(HEADERS)
    parts = send_all(place.sink, upload)
    put(place.sink, b"the other writer's")
    what = "Complete with `If-None-Match: *` of a key that exists"
    late = partial(complete, place.sink, upload, parts, replaces="")
    if refused(place, store_table, what, SinkConflict, late, but=("rclone",)):
        assert place.seen.get("key") == b"the other writer's"
        place.sink.abort(upload)
    assert place.seen.uploads() == []


def test_abort_removes_everything_and_may_be_repeated(place: Place) -> None:
    """The second time there is nothing to remove, which is what was wanted."""
    upload = place.sink.begin(HEADERS)
    place.sink.put_part(upload, 1, part(1))
    place.sink.abort(upload)
    assert place.seen.uploads() == []
    assert place.seen.keys() == []
    place.sink.abort(upload)


def test_upload_that_is_gone_is_named_so(place: Place) -> None:
    """A lifecycle rule, or another writer's abort."""
    upload = place.sink.begin(HEADERS)
    done = place.sink.put_part(upload, 1, part(1))
    place.sink.abort(upload)
    # moto answers 500 to an UploadPart it does not know the upload of.
    expected = (UploadVanished, SinkUnavailable) if place.kind == "moto" else UploadVanished
    with pytest.raises(expected):
        place.sink.put_part(upload, 2, part(2))
    with pytest.raises(expected):
        complete(place.sink, upload, [done])


def test_command_to_abort_names_the_upload(place: Place) -> None:
    """A person can act on it."""
    upload = place.sink.begin(HEADERS)
    assert upload.upload_id in place.sink.how_to_abort(upload)
    assert "key" in place.sink.how_to_abort(upload)
    place.sink.abort(upload)


class TestS3:
    """What only S3 can show."""

    @pytest.fixture
    def nowhere(self, s3_store: Store) -> Iterator[S3Sink]:
        """A key of a bucket that does not exist."""
        config = transfer_config(None, connections=4, timeouts=Timeouts(connect=2, read=15))
        client = SESSION.client("s3", endpoint_url=s3_store.endpoint_url, config=config)
        yield S3Sink(client, "no-such-bucket", "key")
        client.close()

    def test_bucket_that_does_not_exist(self, nowhere: S3Sink) -> None:
        """Named so, whatever was asked of it."""
        with pytest.raises(SinkMissing):
            put(nowhere, b"x")
        with pytest.raises(SinkMissing):
            nowhere.begin(HEADERS)

    def test_upload_says_whether_the_store_keeps_checksums(self, s3_store: Store) -> None:
        """It decides whether parts carry theirs."""
        config = transfer_config(None, connections=4, timeouts=Timeouts(connect=2, read=15))
        client = SESSION.client("s3", endpoint_url=s3_store.endpoint_url, config=config)
        sink = S3Sink(client, s3_store.bucket, "key")
        upload = sink.begin(HEADERS)
        assert upload.checksums == (s3_store.name != "rclone")
        sink.abort(upload)
        client.close()
