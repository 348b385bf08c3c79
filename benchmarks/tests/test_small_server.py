"""The server of very many small objects answers as S3 does, in order, in time, to many at once."""

from __future__ import annotations

import hashlib
import http.client
import select
import socket
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from urllib.parse import urlencode, urlsplit

import boto3
import pytest
from botocore.config import Config

from benchmarks.many.store import Store, StoreOptions, started
from benchmarks.measure import ROOT
from benchmarks.peers import ACCESS_KEY, SECRET_KEY
from benchmarks.server.keyspace import BODIES, KeySpace
from benchmarks.server.pages import Pages

OPTIONS = StoreOptions(objects=2_345)
NESTED = StoreOptions(objects=2_345, folders=True)
NAMESPACE = "{http://s3.amazonaws.com/doc/2006-03-01/}"


@pytest.fixture(scope="module")
def store() -> Iterator[Store]:
    with started(OPTIONS) as found:
        yield found


@pytest.fixture
def connection(store: Store) -> Iterator[http.client.HTTPConnection]:
    found = http.client.HTTPConnection(urlsplit(store.base).netloc, timeout=10)
    yield found
    found.close()


def ask(
    connection: http.client.HTTPConnection, path: str, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    response = connection.getresponse()
    return response, response.read()


def texts(page: bytes, *path: str) -> list[str]:
    return [found.text or "" for found in ET.fromstring(page).findall("/".join(NAMESPACE + name for name in path))]  # noqa: S314


def page(space: KeySpace, **query: str) -> bytes:
    return Pages(space).page({name.replace("_", "-"): text for name, text in query.items()})


@pytest.mark.parametrize("options", [OPTIONS, NESTED], ids=["flat", "in folders"])
def test_the_listing_that_boto3_sees_is_the_key_space(options: StoreOptions) -> None:
    """boto3's paginator gives every key once, in order, with its size and the MD5 of its body."""
    space = options.space()
    with started(options) as own:
        client = boto3.client(
            "s3",
            endpoint_url=own.base,
            region_name="us-east-1",
            aws_access_key_id=ACCESS_KEY,
            aws_secret_access_key=SECRET_KEY,
            config=Config(retries={"max_attempts": 1}),
        )
        pages = client.get_paginator("list_objects_v2").paginate(Bucket="bench", Prefix="small/")
        entries = [entry for each in pages for entry in each["Contents"]]
        body = client.get_object(Bucket="bench", Key=entries[-1]["Key"])["Body"].read()
    assert [entry["Key"] for entry in entries] == space[:] == sorted(space)
    assert {entry["Size"] for entry in entries} == {1024}
    assert entries[-1]["ETag"] == f'"{hashlib.md5(body).hexdigest()}"'
    assert body == space.bodies[(len(space) - 1) % BODIES]


def test_a_page_begins_behind_start_after_and_ends_with_the_prefix() -> None:
    """start-after need not be a key; neither it nor the prefix lets a wrong key in."""
    space = OPTIONS.space()
    found = page(space, list_type="2", prefix="small/00012", start_after="small/0001250x", max_keys="3")
    assert texts(found, "Contents", "Key") == ["small/0001251", "small/0001252", "small/0001253"]
    assert texts(found, "IsTruncated") == ["true"]
    found = page(space, list_type="2", prefix="small/00012", start_after="small/0001297")
    assert texts(found, "Contents", "Key") == ["small/0001298", "small/0001299"]
    assert texts(found, "IsTruncated") == ["false"]
    assert texts(found, "NextContinuationToken") == []
    assert texts(page(space, list_type="2", start_after="small/0002344"), "KeyCount") == ["0"]
    assert texts(page(space, list_type="2", prefix="other/"), "KeyCount") == ["0"]


def test_a_delimiter_folds_keys_into_common_prefixes() -> None:
    """Folders, and any other delimiter, are counted as one each, and a token goes on behind the last."""
    space = NESTED.space()
    found = page(space, list_type="2", prefix="small/", delimiter="/", max_keys="2")
    assert texts(found, "CommonPrefixes", "Prefix") == ["small/0000/", "small/0001/"]
    token = texts(found, "NextContinuationToken")[0]
    found = page(space, list_type="2", prefix="small/", delimiter="/", continuation_token=token)
    assert texts(found, "CommonPrefixes", "Prefix") == ["small/0002/"]
    assert texts(found, "IsTruncated") == ["false"]
    flat = page(OPTIONS.space(), list_type="2", prefix="small/000234", delimiter="2")
    assert texts(flat, "CommonPrefixes", "Prefix") == ["small/0002342"]
    assert texts(flat, "Contents", "Key") == ["small/0002340", "small/0002341", "small/0002343", "small/0002344"]


def test_encoding_type_is_obeyed_and_told() -> None:
    """What the answer echoes is percent-encoded where that was asked for, and it says so."""
    query = urlencode({"a": "&<"})  # A prefix that must be escaped one way or the other.
    found = page(OPTIONS.space(), list_type="2", prefix=query, encoding_type="url")
    assert texts(found, "EncodingType") == ["url"]
    assert texts(found, "Prefix") == ["a%3D%2526%253C"]
    assert texts(page(OPTIONS.space(), list_type="2", prefix="a&<"), "Prefix") == ["a&<"]


@pytest.mark.parametrize(
    ("asked", "status", "first", "last"),
    [("5-9", 206, 5, 9), ("1000-", 206, 1000, 1023), ("-10", 206, 1014, 1023), ("0-8388607", 206, 0, 1023)],
)
def test_a_range_is_answered_with_its_bytes(
    connection: http.client.HTTPConnection, asked: str, status: int, first: int, last: int
) -> None:
    """However a range is written, and also where it goes beyond the end."""
    response, body = ask(connection, "/bench/small/0000007", Range=f"bytes={asked}")
    assert response.status == status
    assert body == OPTIONS.space().bodies[7][first : last + 1]
    assert response.headers["Content-Range"] == f"bytes {first}-{last}/1024"


def test_what_cannot_be_answered_is_refused(connection: http.client.HTTPConnection) -> None:
    """A key that is not there, a range behind the end, another version, another method; the connection lives on."""
    assert ask(connection, "/bench/small/0002345")[0].status == 404
    assert ask(connection, "/bench/small/000000x")[0].status == 404
    assert ask(connection, "/bench/other")[0].status == 404
    assert ask(connection, "/bench/small/0000007", Range="bytes=1024-")[0].status == 416
    assert ask(connection, "/bench/small/0000007", If_Match='"another"')[0].status == 412
    assert ask(connection, "/bench/small/0000007", method="DELETE")[0].status == 405
    etag = OPTIONS.space().etags[7]
    response, body = ask(connection, "/bench/small/0000007", If_Match=f'"{etag}"')
    assert (response.status, len(body), response.headers["ETag"]) == (200, 1024, f'"{etag}"')
    response, body = ask(connection, "/bench/small/0000007", method="HEAD")
    assert (response.headers["Content-Length"], body) == ("1024", b"")


def test_a_request_that_comes_in_pieces_is_one_request(store: Store) -> None:
    """A head that is split anywhere is answered once, when it is whole."""
    parts = urlsplit(store.base)
    with socket.create_connection((parts.hostname, parts.port), timeout=5) as sock:
        for piece in (b"GET /bench/small/00000", b"07 HTTP/1.1\r\nHost: x\r\n", b"\r\n"):
            sock.sendall(piece)
            time.sleep(0.02)
        answer = b""
        while len(answer.partition(b"\r\n\r\n")[2]) < 1024:
            answer += sock.recv(65536)
    assert answer.endswith(OPTIONS.space().bodies[7])


# What it accepts has the listener's buffer, far smaller than a page.
SMALL_BUFFER = """
import socket
from benchmarks.server.keyspace import KeySpace
from benchmarks.server.small import Small
listener = socket.create_server(("127.0.0.1", 0))
listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
print(listener.getsockname()[1], flush=True)
Small(listener, KeySpace(2345, 1024), 0.0, 0.0).run()
"""


def test_a_page_that_the_kernel_does_not_take_at_once_is_sent_to_its_end() -> None:
    """A client that reads slowly gets all of it, and the connection goes on."""
    command = [sys.executable, "-c", SMALL_BUFFER]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as server:
        assert server.stdout
        with socket.socket() as sock:
            sock.settimeout(5)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            sock.connect(("127.0.0.1", int(server.stdout.readline())))
            for _ in range(2):
                sock.sendall(b"GET /bench?list-type=2 HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not answer.endswith(b"</ListBucketResult>"):
                    answer += sock.recv(8192)
                assert len(texts(answer.partition(b"\r\n\r\n")[2], "Contents")) == 1000
        server.communicate()
    assert server.returncode == 0


def test_latency_is_that_of_each_request_not_of_all() -> None:
    """Two hundred requests at once are all answered one latency later, none earlier."""
    latency, count = 0.1, 200
    with started(StoreOptions(objects=10, latency=latency, list_latency=0.3)) as slow:
        parts = urlsplit(slow.base)
        socks = [socket.create_connection((parts.hostname, parts.port)) for _ in range(count)]
        began = time.monotonic()
        for sock in socks:
            sock.sendall(b"GET /bench/small/0000001 HTTP/1.1\r\nHost: x\r\n\r\n")
        select.select(socks, [], [], 5)
        first = time.monotonic() - began
        for sock in socks:
            assert sock.recv(100).startswith(b"HTTP/1.1 200")
        last = time.monotonic() - began
        assert slow.stats()["MaxInFlight"] == count
        began = time.monotonic()
        socks[0].recv(65536)
        socks[0].sendall(b"GET /bench?list-type=2 HTTP/1.1\r\nHost: x\r\n\r\n")
        assert socks[0].recv(100).startswith(b"HTTP/1.1 200")
        listing = time.monotonic() - began
        for sock in socks:
            sock.close()
    assert latency <= first < 3 * latency
    assert last < 10 * latency  # One after the other would be 200.
    assert 0.3 <= listing < 1.0


def test_what_was_served_is_counted(connection: http.client.HTTPConnection, store: Store) -> None:
    """The counters tell objects, pages and refusals, from the last reset on."""
    store.reset()
    for path in ("small/0000001", "small/0000002", "small/9999999", "?list-type=2"):
        ask(connection, f"/bench/{path}")
    told = store.stats()
    assert {name: told[name] for name in ("Get", "List", "Head", "Refused")} == {
        "Get": 2,
        "List": 1,
        "Head": 0,
        "Refused": 1,
    }
