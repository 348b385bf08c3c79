"""What every Reader does, whichever it is."""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any, Protocol

import pycurl
import pytest

from airflow_s3stream.config import MiB, Timeouts
from airflow_s3stream.engine.address import find_address
from airflow_s3stream.engine.boto3reader import Boto3Reader
from airflow_s3stream.engine.curlcrew import CurlCrew
from airflow_s3stream.engine.curlreader import CurlReader, signable
from airflow_s3stream.engine.reader import Get, Reader
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.exceptions import (
    IntegrityError,
    SourceDenied,
    SourceMisbehaved,
    SourceStalled,
    SourceTruncated,
    SourceUnavailable,
    Stopped,
)
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.faults import Fault
from tests.support.hostile import DOT_KEYS, HOSTILE_KEYS
from tests.support.readstore import BUCKET, KEYS, ReadStore, key_of
from tests.support.servers import free_port
from tests.support.tls import Authority
from tests.support.waiting import SOON, wait_for

SIZE = 300_000
TIMEOUTS = Timeouts(connect=2, read=1, stall=1)


class Make(Protocol):
    """Makes a reader of a store's bucket."""

    def __call__(self, store: ReadStore | str, *, bucket: str = BUCKET, verify: str | None = None) -> Reader: ...


@pytest.fixture(params=["curl", "crew", "boto3"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def make(kind: str) -> Iterator[Make]:
    """Every Reader; all of them are closed in the end."""
    with contextlib.ExitStack() as stack:

        def reader(store: ReadStore | str, *, bucket: str = BUCKET, verify: str | None = None) -> Reader:
            url = store if isinstance(store, str) else store.endpoint_url
            client = new_client(endpoint_url=url, verify=verify, connections=8, timeouts=TIMEOUTS)
            stack.callback(client.close)
            made: Reader
            if kind == "curl":
                made = CurlReader(find_address(client, bucket), connections=8, timeouts=TIMEOUTS)
            elif kind == "crew":
                made = CurlCrew(find_address(client, bucket), connections=8, timeouts=TIMEOUTS, threads=2)
            else:
                made = Boto3Reader(client, bucket)
            stack.callback(made.close)
            return made

        yield reader


@pytest.fixture
def store() -> Iterator[ReadStore]:
    with ReadStore() as store:
        yield store


def run(reader: Reader, *gets: Get, seconds: float = 10) -> tuple[Get, ...]:
    """Submit all, and poll until each has ended, once."""
    for get in gets:
        reader.submit(get)
    left, ends = set(map(id, gets)), time.monotonic() + seconds
    while left:
        for get in reader.poll(0.5):
            assert id(get) in left, "given twice, or never asked for"
            left.remove(id(get))
        assert time.monotonic() < ends, f"{len(left)} GETs did not end"
    return gets


def whole(reader: Reader, key: str, **about: Any) -> Get:
    about.setdefault("limit", SIZE)
    return run(reader, Get(key, **about))[0]


def body(get: Get) -> bytes:
    assert get.error is None, get.error
    return Quiet(b"".join(get.body))


class Taken:
    """What a GET with a writer hands out."""

    def __init__(self, refuse: Callable[[Get], Any] = lambda get: None, *, enough: float = math.inf) -> None:
        self._enough = enough
        self.begun: list[tuple[int, dict[str, str]]] = []
        self.bytes = bytearray()
        self._refuse = refuse

    def begin(self, get: Get) -> Any:
        assert not self.bytes, "begin comes before the first byte"
        self.begun.append((get.status, get.headers))
        return self._refuse(get)

    def write(self, pieces: list[bytes]) -> bool:
        self.bytes += b"".join(pieces)
        return len(self.bytes) >= self._enough


class TestBodies:
    @pytest.mark.parametrize("size", [0, 1, 1023, SIZE, 3 * MiB])
    def test_a_whole_object_comes_with_its_head(self, make: Make, store: ReadStore, size: int) -> None:
        """Every byte, and what the store said about them."""
        one = store.put("key", size)
        get = whole(make(store), "key", limit=size)
        assert (get.status, get.headers["etag"], get.headers["content-length"]) == (200, one.etag, str(size))
        assert body(get) == store.body("key")
        assert get.headers["last-modified"] == one.modified

    @pytest.mark.parametrize("span", [(0, 1), (0, SIZE), (SIZE - 1, SIZE), (100_000, 200_001)])
    def test_a_range_is_its_bytes(self, make: Make, store: ReadStore, span: tuple[int, int]) -> None:
        """From the first to before the last."""
        store.put("key", SIZE)
        get = whole(make(store), "key", span=span)
        assert (get.status, get.headers["content-range"]) == (206, f"bytes {span[0]}-{span[1] - 1}/{SIZE}")
        assert body(get) == store.body("key")[slice(*span)]

    def test_a_range_does_not_stick_to_the_next_get(self, make: Make, store: ReadStore) -> None:
        """Nor a condition, a limit, a writer or the lack of a body."""
        one = store.put("key", SIZE)
        reader, taken = make(store), Taken()
        whole(reader, "key", span=(5, 10), etag=str(one.etag).strip('"'), begin=taken.begin, write=taken.write)
        assert Quiet(taken.bytes) == store.body("key")[5:10]
        assert whole(reader, "key", head=True).body == []
        store.overwrite("key")
        get = whole(reader, "key")
        assert (get.status, body(get)) == (200, store.body("key"))
        last = store.gets[-1]
        assert (last.range, last.header("If-Match")) == (None, None)

    def test_many_at_once_each_get_their_own(self, make: Make, store: ReadStore) -> None:
        """Four hundred over eight connections, kept."""
        keys = store.fill(400, 1000)
        reader = make(store)
        for at in range(0, 400, 8):
            for get in run(reader, *(Get(key) for key in keys[at : at + 8])):
                assert body(get) == store.body(str(get.key)), get.key
        assert store.connections <= 8 + 1
        assert store.gets_per_key == dict.fromkeys(keys, 1)

    def test_more_than_there_are_connections_may_be_submitted(self, make: Make, store: ReadStore) -> None:
        """None is lost."""
        keys = store.fill(60, 1000)
        for get in run(make(store), *(Get(key) for key in keys)):
            assert body(get) == store.body(str(get.key))

    def test_a_writer_takes_the_body_as_it_comes(self, make: Make, store: ReadStore) -> None:
        """After one look at the head; nothing is collected."""
        one = store.put("key", 3 * MiB)
        taken = Taken()
        get = whole(make(store), "key", span=(MiB, 2 * MiB), limit=MiB, begin=taken.begin, write=taken.write)
        assert get.error is None
        assert (len(taken.begun), taken.begun[0][0], taken.begun[0][1]["etag"]) == (1, 206, one.etag)
        assert Quiet(taken.bytes) == store.body("key")[MiB : 2 * MiB]
        assert get.body == []

    def test_an_answer_that_is_refused_at_its_head_is_not_read(self, make: Make, store: ReadStore) -> None:
        """The error is the one that was returned."""
        store.put("key", 3 * MiB)
        refused = IntegrityError("not this one")
        taken = Taken(lambda get: refused)
        get = whole(make(store), "key", limit=3 * MiB, begin=taken.begin, write=taken.write)
        assert get.error is refused
        assert not taken.bytes

    def test_a_writer_that_fails_ends_the_get(self, make: Make, store: ReadStore) -> None:
        """With its own error, and the reader lives on."""
        store.put("key", 3 * MiB)
        reader, broken = make(store), IntegrityError("full")

        def write(pieces: list[bytes]) -> bool:
            raise broken

        get = whole(reader, "key", limit=3 * MiB, begin=Taken().begin, write=write)
        assert get.error is broken
        assert body(whole(reader, "key", limit=3 * MiB)) == store.body("key")

    def test_a_writer_may_have_enough(self, make: Make, store: ReadStore) -> None:
        """Then the GET ends, as if that had been all, and the reader lives on."""
        store.put("key", 3 * MiB)
        store.faults = [faults.drip(64_000, 0.01)]
        reader, taken = make(store), Taken(enough=500_000)
        get = whole(reader, "key", limit=3 * MiB, begin=taken.begin, write=taken.write)
        assert (get.error, get.status) == (None, 206 if get.span else 200)
        assert 500_000 <= len(taken.bytes) < 3 * MiB
        store.faults = []
        assert body(whole(reader, "key", limit=3 * MiB)) == store.body("key")

    def test_a_paused_get_takes_no_more_until_it_is_resumed(self, make: Make, store: ReadStore) -> None:
        """And then all that is left."""
        size = 40 * MiB  # more than the kernel keeps for both ends
        store.put("key", size)
        reader, taken = make(store), Taken()
        get = Get("key", limit=size, begin=taken.begin, write=taken.write)
        reader.submit(get)
        ends = time.monotonic() + 5
        while not taken.bytes and time.monotonic() < ends:
            assert reader.poll(0.01) == []
        reader.pause(get)
        came = size
        while came > 256 * 1024 and time.monotonic() < ends + 30:  # another thread may have to hear of it first
            had = len(taken.bytes)
            for _ in range(5):
                assert reader.poll(0.1) == []
            came = len(taken.bytes) - had
        assert came <= 256 * 1024, "it flows on"
        # libcurl 8.11 takes a buffer with every turn of its loop although it is paused; a crew turns without end.
        assert len(taken.bytes) < size or pycurl.version_info()[2] < 0x080C00
        reader.resume(get)
        while not (ended := reader.poll(1)) and time.monotonic() < ends + 60:
            pass
        assert ended == [get]
        assert get.error is None
        assert Quiet(taken.bytes) == store.body("key")

    def test_an_error_is_no_body_for_a_writer(self, make: Make, store: ReadStore) -> None:
        """It is collected, to be read."""
        taken = Taken()
        get = whole(make(store), "none", begin=taken.begin, write=taken.write)
        assert (get.status, get.error, taken.begun, bytes(taken.bytes)) == (404, None, [], b"")
        assert b"<Code>NoSuchKey</Code>" in b"".join(get.body)

    def test_a_head_has_no_body(self, make: Make, store: ReadStore) -> None:
        """And leaves the connection of use to others."""
        one = store.put("key", SIZE)
        reader = make(store)
        get = whole(reader, "key", head=True, limit=0)  # there are no bytes to limit, whatever the length says
        assert get.error is None
        assert (get.status, get.headers["etag"], get.headers["content-length"]) == (200, one.etag, str(SIZE))
        assert get.body == []
        assert whole(reader, "none", head=True).status == 404
        assert body(whole(reader, "key")) == store.body("key")

    def test_bytes_are_as_they_are_kept(self, make: Make, store: ReadStore) -> None:
        """An object that says it is compressed is not decompressed, and none is asked to be compressed."""
        store.put("key", SIZE, encoding="gzip")
        assert body(whole(make(store), "key")) == store.body("key")
        assert "gzip" not in (store.gets[0].header("Accept-Encoding") or "")

    @pytest.mark.parametrize("framing", ["chunked", "close"])
    def test_a_body_without_a_length_arrives_whole(self, make: Make, store: ReadStore, framing: str) -> None:
        store.put("key", SIZE, framing=framing)
        assert body(whole(make(store), "key")) == store.body("key")

    def test_checksums_are_asked_for(self, make: Make, store: ReadStore) -> None:
        """The store's word is handed on, not judged."""
        store.put("key", 1000, checksum="crc64nvme")
        assert whole(make(store), "key").headers["x-amz-checksum-crc64nvme"]


class TestKeys:
    def test_every_key_is_signed_and_found(self, make: Make, store: ReadStore, kind: str) -> None:
        """By a store that checks signatures, whatever the key; beside it lie what a careless path leads to."""
        for key in HOSTILE_KEYS:
            store.put(key, 100)
        for decoy in ("dots/here", "there", "first", "up", "leading", "double/slash", "twice", "", "trailing"):
            store.put(decoy, 100)
        keys = [key for key in HOSTILE_KEYS if kind == "boto3" or signable(key)]
        reader = make(store)
        for key in keys:
            get = whole(reader, key)
            assert (key, get.status, body(get)) == (key, 200, store.body(key))

    def test_libcurl_says_which_keys_it_cannot_sign(self) -> None:
        """Those with dot segments, and no others."""
        assert {key for key in HOSTILE_KEYS if not signable(key)} == set(DOT_KEYS)

    @pytest.mark.parametrize("token", [None, "a/session+token=="])
    def test_a_session_token_is_sent_and_signed(
        self, make: Make, store: ReadStore, token: str | None, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """For objects and for pages."""
        store.credentials = replace(KEYS, token=token)
        if token:
            monkeypatch.setenv("AWS_SESSION_TOKEN", token)
        store.put("key", 100)
        reader = make(store)
        assert whole(reader, "key").status == 200
        page = run(reader, Get(None, query="encoding-type=url&list-type=2&prefix=", limit=MiB))[0]
        assert page.status == 200

    def test_a_wrong_secret_is_an_answer(self, make: Make, store: ReadStore, monkeypatch: pytest.MonkeyPatch) -> None:
        """403, with the store's own words."""
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong")
        store.put("key", 100)
        get = whole(make(store), "key")
        assert (get.status, get.error) == (403, None)
        assert b"SignatureDoesNotMatch" in b"".join(get.body)

    @pytest.mark.parametrize(
        "query",
        [
            "encoding-type=url&list-type=2&max-keys=3&prefix=p%2F&start-after=p%2F000%2F000001.bin",
            "delimiter=%2F&encoding-type=url&list-type=2&max-keys=5&prefix=p%2F",
            "encoding-type=url&list-type=2&prefix=a%20b%2Bc%25d%26e%3Df%27g~h%2Ai%C3%A4",
            "continuation-token=1%2FabC%2B%2F%3D&encoding-type=url&list-type=2&prefix=",
        ],
    )
    def test_a_page_of_the_list_is_signed_as_it_is_asked(self, make: Make, store: ReadStore, query: str) -> None:
        """With every parameter as it was given, in whichever order."""
        store.fill(10)
        if "token" in query:
            store.faults = [readlies.listings(faults.status(200, b"<page/>"))]
        get = run(make(store), Get(None, query=query, limit=MiB))[0]
        assert get.status == 200, b"".join(get.body)
        sent = store.listings[0].request.target.removeprefix(f"/{BUCKET}?")
        assert sorted(sent.split("&")) == query.split("&")
        if "start-after" in query:
            assert body(get).count(b"<Key>") == 3


class TestErrors:
    """A status is an answer; what breaks on the way is an error, named."""

    @pytest.mark.parametrize(
        ("fault", "status"),
        [
            (readlies.refuse(403, "AccessDenied"), 403),
            (readlies.refuse(404, "NoSuchKey"), 404),
            (readlies.refuse(500, "InternalError"), 500),
            (readlies.refuse(503, "SlowDown", Retry_After="7"), 503),
            (readlies.refuse(400, "ExpiredToken"), 400),
            (readlies.wrong_region(), 301),
            (faults.status(304), 304),
            (faults.status(204), 204),
        ],
        ids=lambda value: getattr(value, "name", value),
    )
    def test_a_status_is_handed_on_with_what_was_said(
        self, make: Make, store: ReadStore, kind: str, fault: Fault, status: int
    ) -> None:
        """Once: the reader itself repeats nothing, but that boto3 looks for a bucket in another region."""
        store.put("key", SIZE)
        store.faults = [fault]
        get = whole(make(store), "key")
        assert (get.status, get.error) == (status, None)
        if status not in (204, 304):
            assert b"<Error>" in b"".join(get.body)
        assert get.headers.get("retry-after") == ("7" if status == 503 else None)
        assert len(store.gets) == (2 if kind == "boto3" and status == 301 else 1)

    def test_another_version_is_refused_by_the_store(self, make: Make, store: ReadStore) -> None:
        """The ETag is sent as If-Match, in quotes."""
        one = store.put("key", SIZE)
        reader, etag = make(store), str(one.etag).strip('"')
        assert whole(reader, "key", etag=etag).status == 200
        store.overwrite("key")
        get = whole(reader, "key", etag=etag)
        assert (get.status, get.error) == (412, None)
        assert store.gets[-1].header("If-Match") == one.etag

    def test_a_redirect_is_not_followed(self, make: Make, store: ReadStore) -> None:
        """Nobody else is sent our signature."""
        store.put("key", SIZE)
        with ReadStore() as elsewhere:
            elsewhere.put("key", SIZE)
            store.faults = [readlies.redirect(f"{elsewhere.endpoint_url}/{BUCKET}/key")]
            get = whole(make(store), "key")
            assert get.status == 307 or get.error
            assert not get.body
            assert elsewhere.exchanges == []

    @pytest.mark.parametrize(
        ("fault", "errors"),
        [
            (faults.close_after(1000), (SourceTruncated, SourceUnavailable)),
            (faults.reset_after(1000), (SourceTruncated, SourceUnavailable)),
            (faults.reset_after(0), (SourceTruncated, SourceUnavailable)),
            (faults.longer_length(5), (SourceTruncated, SourceUnavailable)),
            (readlies.whole_lies(SIZE)["chunked and cut"], (SourceTruncated, SourceUnavailable)),
            (faults.stall_after(1000), (SourceStalled, SourceUnavailable)),
            (faults.stall_after(0), (SourceStalled, SourceUnavailable)),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    @pytest.mark.parametrize("writes", [False, True])
    def test_a_body_that_breaks_is_an_error_that_may_pass(
        self, make: Make, store: ReadStore, fault: Fault, errors: tuple[type[Exception], ...], writes: bool
    ) -> None:
        """Collected or written; and the reader goes on with the next."""
        store.put("key", SIZE)
        store.faults = [readlies.gets(fault).once()]
        reader, taken = make(store), Taken()
        about = {"begin": taken.begin, "write": taken.write} if writes else {}
        get = whole(reader, "key", limit=2 * SIZE, **about)
        assert isinstance(get.error, errors), get.error
        assert get.error.retryable
        assert body(whole(reader, "key")) == store.body("key")

    def test_a_store_that_is_not_there_is_unavailable(self, make: Make) -> None:
        get = whole(make(f"http://127.0.0.1:{free_port()}"), "key")
        assert isinstance(get.error, SourceUnavailable)
        assert get.error.retryable

    def test_a_store_that_does_not_speak_http_is_an_error(self, make: Make, store: ReadStore) -> None:
        """Whatever it is called, nothing is taken for a body."""
        store.put("key", SIZE)
        store.faults = [faults.lengths("5", "6")]
        get = whole(make(store), "key")
        assert get.error is not None or get.status != 200 or len(b"".join(get.body)) != SIZE

    @pytest.mark.parametrize("framing", ["length", "chunked", "close"])
    @pytest.mark.parametrize("writes", [False, True])
    def test_more_bytes_than_are_accepted_end_the_get(
        self, make: Make, store: ReadStore, framing: str, writes: bool
    ) -> None:
        """Whether or not the answer says beforehand how many will come; memory stays bounded."""
        store.put("key", 6 * MiB, framing=framing)
        taken = Taken()
        about = {"begin": taken.begin, "write": taken.write} if writes else {}
        store.faults = [faults.ignore_range()]
        get = whole(make(store), "key", span=(0, MiB), limit=MiB, **about)
        assert isinstance(get.error, SourceMisbehaved), get.error
        assert sum(map(len, get.body)) <= 2 * MiB
        assert len(taken.bytes) <= 3 * MiB

    def test_a_certificate_of_nobody_is_refused(self, make: Make, authority: Authority) -> None:
        """And one that we are told to trust is not."""
        with ReadStore(tls=authority.server()) as store:
            store.put("key", SIZE)
            trusted = whole(make(store, verify=str(authority.bundle)), "key")
            assert body(trusted) == store.body("key")
            get = whole(make(store), "key")
            assert isinstance(get.error, SourceDenied), get.error
            assert not get.error.retryable


class TestWaiting:
    def test_poll_returns_when_its_time_is_over(self, make: Make, store: ReadStore) -> None:
        """With nothing under way, or with something that hangs."""
        store.put("key", SIZE)
        store.faults = [faults.stall_after(10)]
        reader = make(store)
        for submitted in (False, True):
            if submitted:
                reader.submit(Get("key", limit=SIZE))
            ends = time.monotonic() + 0.4
            while (left := ends - time.monotonic()) > 0:
                assert reader.poll(left) == []
            assert time.monotonic() - ends < SOON

    def test_another_thread_wakes_poll(self, make: Make, store: ReadStore) -> None:
        """At once; and a wake that comes first is not lost."""
        reader = make(store)
        for delay in (0.1, 0.0):
            timer = threading.Timer(delay, reader.wake)
            timer.start()
            if not delay:
                timer.join()
            began = time.monotonic()
            reader.poll(60)
            assert time.monotonic() - began < SOON
            timer.join()

    def test_a_get_that_is_dropped_is_not_given(self, make: Make, store: ReadStore) -> None:
        """The others go on."""
        store.put("stalls", SIZE)
        store.put("key", SIZE)
        store.faults = [readlies.of("stalls", faults.stall_after(1000))]
        reader, dropped = make(store), Get("stalls", limit=SIZE)
        reader.submit(dropped)
        time.sleep(0.1)
        reader.poll(0.1)
        reader.cancel(dropped)
        for _ in range(5):
            assert body(whole(reader, "key")) == store.body("key")
        ends = time.monotonic() + 1.5
        while time.monotonic() < ends:
            assert reader.poll(0.2) == []

    def test_a_get_may_be_dropped_while_its_body_is_written(self, make: Make, store: ReadStore) -> None:
        """From the poll after its first bytes on, none is written any more."""
        store.put("key", 3 * MiB)
        store.faults = [faults.drip(64_000, 0.02)]
        reader, taken = make(store), Taken()
        get = Get("key", limit=3 * MiB, begin=taken.begin, write=taken.write)
        reader.submit(get)
        ends = time.monotonic() + 5
        while not taken.bytes and time.monotonic() < ends:
            assert reader.poll(0.1) == []
        reader.cancel(get)
        reader.poll(0.05)
        written = len(taken.bytes)
        reader.poll(0.3)
        size = len(taken.bytes)
        assert 0 < written == size < 3 * MiB

    def test_closing_leaves_nothing_behind(self, make: Make, store: ReadStore) -> None:
        """No descriptor and no thread, although GETs hang; it does not wait for them, and may be done twice."""
        store.put("key", SIZE)
        make(store).close()  # what a first use loads and opens stays
        store.faults = [faults.stall_after(1000)]
        before = _descriptors(store), threading.active_count()
        reader = make(store)
        for _ in range(4):
            reader.submit(Get("key", limit=SIZE))
        reader.poll(0.2)
        began = time.monotonic()
        reader.close()
        reader.close()
        assert time.monotonic() - began < SOON
        reader.wake()  # a late one harms nobody
        ends = time.monotonic() + 5
        while (_descriptors(store), threading.active_count()) > before:
            assert time.monotonic() < ends, (before, _descriptors(store), threading.enumerate())
            time.sleep(0.05)


def test_a_get_that_cannot_begin_does_not_keep_the_reader_from_closing(store: ReadStore) -> None:
    """Nor is what went wrong hidden by the end."""
    store.put("key", 100)

    class Refusing:
        def __init__(self, multi: Any) -> None:
            self._multi = multi

        def __getattr__(self, name: str) -> Any:
            return getattr(self._multi, name)

        def add_handle(self, easy: object) -> None:
            raise pycurl.error(1, "invalid handle")

    with contextlib.closing(new_client(endpoint_url=store.endpoint_url)) as client:
        address = find_address(client, BUCKET)
    before = _descriptors(store)
    reader = CurlReader(address, connections=8, timeouts=TIMEOUTS)
    assert whole(reader, "key").status == 200
    reader._multi = Refusing(reader._multi)
    with pytest.raises(pycurl.error, match="invalid handle"):
        reader.submit(Get("key"))
    reader.close()
    wait_for(lambda: _descriptors(store) <= before)


def test_a_handle_that_is_gone_does_not_keep_the_others_open(store: ReadStore) -> None:
    """Whatever libcurl says of one, connections and descriptors are closed."""
    store.put("key", 40 * MiB)
    with contextlib.closing(new_client(endpoint_url=store.endpoint_url)) as client:
        address = find_address(client, BUCKET)
    before = _descriptors(store)
    reader = CurlReader(address, connections=8, timeouts=TIMEOUTS)
    gone, other = Get("key", limit=40 * MiB), Get("key", limit=40 * MiB)
    reader.submit(gone)
    reader.submit(other)
    reader.poll(0.1)
    reader._multi.remove_handle(gone.line.easy)
    reader.close()
    assert other.line is None
    wait_for(lambda: _descriptors(store) <= before)


def _descriptors(store: ReadStore) -> int:
    """Count this process's open sockets and the like, the store's own aside."""
    with store._lock:
        own = len(store._open)
    return len(os.listdir("/proc/self/fd")) - own


class TestCredentials:
    def test_those_that_boto3_renewed_are_used_for_the_next(self, store: ReadStore, kind: str) -> None:
        """A store that refuses the old ones is asked with the new ones, without a new reader."""
        one = store.put("key", 100)
        client = new_client(endpoint_url=store.endpoint_url, connections=4, timeouts=TIMEOUTS)
        credentials = client._request_signer._credentials
        where = find_address(client, BUCKET)
        minutes = itertools.count()
        where.credentials.clock = lambda: 60.0 * next(minutes)  # as if each look came a minute after the one before
        reader: Reader = (
            CurlReader(where, connections=4, timeouts=TIMEOUTS) if kind == "curl" else Boto3Reader(client, BUCKET)
        )
        with contextlib.closing(client), contextlib.closing(reader):
            assert whole(reader, "key").status == 200
            credentials.access_key, credentials.secret_key, credentials.token = "second", "second-secret", "tok"
            store.expired = frozenset({KEYS.access_key})
            store.credentials = replace(KEYS, access_key="second", secret_key="second-secret", token="tok")
            ends = time.monotonic() + 5
            while whole(reader, "key").status != 200:
                assert time.monotonic() < ends, "the old credentials were used on and on"
            assert key_of(store.gets[-1].request) == one.key


class TestAddress:
    """Both readers ask where boto3 would ask, signed for what boto3 would sign for."""

    @pytest.mark.parametrize(
        ("bucket", "base", "region"),
        [
            ("plain", "https://plain.s3.us-west-2.amazonaws.com", "us-west-2"),
            ("dotted.name", "https://s3.us-west-2.amazonaws.com/dotted.name", "us-west-2"),
            (
                "arn:aws:s3:eu-west-1:123456789012:accesspoint/point",
                "https://point-123456789012.s3-accesspoint.eu-west-1.amazonaws.com",
                "eu-west-1",
            ),
        ],
    )
    def test_endpoint_rules_decide_url_and_region(self, bucket: str, base: str, region: str) -> None:
        """An access point is signed for its own region, not for the client's."""
        with contextlib.closing(new_client(region_name="us-west-2")) as client:
            found = find_address(client, bucket)
        assert (found.base, found.region, found.service, found.obstacle) == (base, region, "s3", "")

    def test_what_is_signed_in_another_way_is_left_to_boto3(self) -> None:
        """A multi-region access point takes SigV4a."""
        with contextlib.closing(new_client(region_name="us-west-2")) as client:
            found = find_address(client, "arn:aws:s3::123456789012:accesspoint/mfzwi23gnjvgw.mrap")
        assert "s3v4a" in found.obstacle

    def test_nothing_is_sent_to_learn_it(self, store: ReadStore) -> None:
        """The store is not asked, and the client works afterwards as before."""
        store.put("key", 100)
        with contextlib.closing(new_client(endpoint_url=store.endpoint_url)) as client:
            found = find_address(client, BUCKET)
            assert (found.base, found.region) == (f"{store.endpoint_url}/{BUCKET}", KEYS.region)
            assert store.exchanges == []
            client.head_object(Bucket=BUCKET, Key="key")


class TimeIsUp(BaseException):
    """As Airflow's execution_timeout: no Exception, and raised once."""


@pytest.mark.parametrize("where", ["watch", "alarm"])
def test_what_a_signal_raises_inside_a_callback_is_not_lost(
    store: ReadStore, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Most of the time of many small GETs is spent in libcurl, and its callbacks are where a handler is run then."""
    store.put("key", 100)
    monkeypatch.setattr(sys, "last_value", None, raising=False)
    raised: list[str] = []

    def ring(number: int, frame: object) -> None:
        raised.append(where)
        raise TimeIsUp

    class Struck(CurlReader):
        def strike(self, here: str) -> None:
            if here == where and not raised:
                os.kill(os.getpid(), signal.SIGUSR1)
                time.sleep(0)  # where the handler is run, if it was not yet

        def _watch(self, *about: Any) -> None:
            self.strike("watch")
            super()._watch(*about)

        def _set_alarm(self, milliseconds: int) -> None:
            self.strike("alarm")
            super()._set_alarm(milliseconds)

    with contextlib.closing(new_client(endpoint_url=store.endpoint_url)) as client:
        address = find_address(client, BUCKET)
    before = signal.signal(signal.SIGUSR1, ring)
    try:
        with contextlib.closing(Struck(address, connections=4, timeouts=TIMEOUTS)) as reader:
            # While a GET is begun, later versions of pycurl tell only that a callback has failed.
            with pytest.raises((TimeIsUp, Stopped) if where == "alarm" else TimeIsUp):
                whole(reader, "key")
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert raised == [where]
