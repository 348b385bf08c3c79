"""The synthetic origin and S3 endpoint answer as the real ones do, as far as a client can tell."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import time
from base64 import b64encode
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from awscrt import checksums

from benchmarks import endpoint
from benchmarks.endpoint import LinkOptions, Stored
from benchmarks.server import content
from benchmarks.server.link import CREDIT, Link, Pace, SharedLine

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.endpoint import Endpoint

CRC = "x-amz-checksum-crc64nvme"
CONTENT = bytes(content.at(0, 300_000))


def base64_crc(piece: bytes) -> str:
    return b64encode(checksums.crc64nvme(piece).to_bytes(8, "big")).decode()


def framed(piece: bytes, trailer: str, frame: int = 70_000) -> bytes:
    frames = [piece[start : start + frame] for start in range(0, len(piece), frame)]
    body = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in frames)
    return body + f"0\r\n{CRC}:{trailer}\r\n\r\n".encode()


def aws_chunked(size: int) -> dict[str, str]:
    return {
        "Content-Encoding": "aws-chunked",
        "X-Amz-Decoded-Content-Length": str(size),
        "X-Amz-Trailer": CRC,
    }


def connect(server: Endpoint) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(urlsplit(server.http).netloc, timeout=10)


@pytest.fixture(params=["fast", "checking"])
def server(request: pytest.FixtureRequest) -> Endpoint:
    found: Endpoint = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def connection(server: Endpoint) -> Iterator[http.client.HTTPConnection]:
    found = connect(server)
    yield found
    found.close()


def ask(
    connection: http.client.HTTPConnection, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, body or None, {name.replace("_", "-"): text for name, text in headers.items()})
    response = connection.getresponse()
    return response, response.read()


def test_a_range_holds_the_content_at_its_offset(connection: http.client.HTTPConnection) -> None:
    """A range carries the bytes that belong at its offset, also across the end of the pattern."""
    start = content.PERIOD - 10
    response, body = ask(connection, "GET", "/origin/5000000", Range=f"bytes={start}-{start + 19}")
    assert response.status == 206
    assert response.headers["Content-Range"] == f"bytes {start}-{start + 19}/5000000"
    assert body == bytes(content.at(content.PERIOD - 10, 10)) + CONTENT[:10]


@pytest.mark.parametrize("kind", ["origin", "plain", "chunked"])
def test_every_kind_of_origin_sends_the_same_bytes(connection: http.client.HTTPConnection, kind: str) -> None:
    """With ranges, without, and without a length: the content is one and the same."""
    response, body = ask(connection, "GET", f"/{kind}/300000")
    assert response.status == 200
    assert body == CONTENT
    assert ("Accept-Ranges" in response.headers) == (kind == "origin")
    assert ("Content-Length" in response.headers) == (kind != "chunked")


def test_a_condition_that_does_not_hold_is_told(connection: http.client.HTTPConnection) -> None:
    """If-Match of another version is 412, If-Range of another gives the whole, a range behind the end is 416."""
    other = '"another"'
    assert ask(connection, "GET", "/origin/100", Range="bytes=0-9", If_Match=other)[0].status == 412
    assert len(ask(connection, "GET", "/origin/100", Range="bytes=0-9", If_Range=other)[1]) == 100
    assert ask(connection, "GET", "/origin/100", Range="bytes=100-")[0].status == 416


@pytest.mark.parametrize("form", ["plain", "aws-chunked", "chunked", "both"])
def test_an_upload_counts_its_content_not_its_framing(server: Endpoint, form: str) -> None:
    """However an upload is framed, the object has the size of its content, and the connection stays usable."""
    key, connection = f"form-{form}", connect(server)
    body = framed(CONTENT, base64_crc(CONTENT)) if form in ("aws-chunked", "both") else CONTENT
    headers = aws_chunked(len(CONTENT)) if form in ("aws-chunked", "both") else {}
    chunked = form in ("chunked", "both")
    for _ in range(2):
        pieces = [body[start : start + 50_000] for start in range(0, len(body), 50_000)]
        connection.request("PUT", f"/bench/{key}", pieces if chunked else body, headers, encode_chunked=chunked)
        response = connection.getresponse()
        response.read()
        assert response.status == 200
    connection.close()
    stored = server.stored(key)
    assert stored is not None
    assert stored.size == len(CONTENT)
    if stored.crc64nvme:
        assert stored.crc64nvme == base64_crc(CONTENT)


def test_the_trailer_is_echoed_as_s3_does(server: Endpoint) -> None:
    """The answer to an upload carries the checksum that its trailer had, also from the server that reads nothing."""
    connection = connect(server)
    body = framed(CONTENT, base64_crc(CONTENT))
    response, _ = ask(connection, "PUT", "/bench/echo", body, **aws_chunked(len(CONTENT)))
    connection.close()
    assert response.headers[CRC] == base64_crc(CONTENT)


@pytest.mark.parametrize(
    ("body", "size"),
    [
        (framed(CONTENT, base64_crc(b"other")), len(CONTENT)),
        (framed(CONTENT, base64_crc(CONTENT)), len(CONTENT) - 1),
        (framed(CONTENT, base64_crc(CONTENT)).replace(b"11170", b"11171", 1), len(CONTENT)),
    ],
    ids=["another checksum", "another length", "broken frames"],
)
def test_the_checking_server_stores_no_lie(
    checking: Endpoint, body: bytes, size: int, capfd: pytest.CaptureFixture[str]
) -> None:
    """A trailer, a length or frames that do not fit the bytes get no answer, and nothing is stored."""
    connection = connect(checking)
    with pytest.raises((ConnectionError, http.client.RemoteDisconnected)):
        ask(connection, "PUT", "/bench/lie", body, **aws_chunked(size))
    connection.close()
    assert checking.stored("lie") is None


def test_an_object_is_the_listed_parts(server: Endpoint) -> None:
    """Complete makes the object of the parts it lists; one that was never sent, or a wrong order, is refused."""
    connection = connect(server)
    _, created = ask(connection, "POST", "/bench/multi?uploads")
    upload_id = created.decode().partition("<UploadId>")[2].partition("<")[0]

    def complete(*numbers: int) -> tuple[int, str]:
        listed = "".join(f"<Part><PartNumber>{number}</PartNumber></Part>" for number in numbers)
        response, body = ask(connection, "POST", f"/bench/multi?uploadId={upload_id}", listed.encode())
        return response.status, body.decode().partition("<Code>")[2].partition("<")[0]

    for number, half in enumerate((CONTENT[:100_000], CONTENT[100_000:]), start=1):
        ask(connection, "PUT", f"/bench/multi?partNumber={number}&uploadId={upload_id}", half)
    assert complete(1, 2, 3) == (400, "InvalidPart")
    assert complete(2, 1) == (400, "InvalidPartOrder")
    assert server.stored("multi") is None
    assert complete(1, 2) == (200, "")
    assert complete(1, 2) == (404, "NoSuchUpload")
    connection.close()
    stored = server.stored("multi")
    assert stored in (Stored(len(CONTENT), None), Stored(len(CONTENT), base64_crc(CONTENT)))


def test_an_upload_that_breaks_off_stores_nothing(server: Endpoint) -> None:
    """A client that closes in the middle of a part leaves no object behind."""
    parts = urlsplit(server.http)
    with socket.create_connection((parts.hostname, parts.port)) as sock:
        sock.sendall(b"PUT /bench/broken HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc")
    time.sleep(0.1)
    assert server.stored("broken") is None


def test_the_certificate_is_valid_for_its_own_ca_only(fast: Endpoint) -> None:
    """A client that trusts the run's CA connects; one that trusts only the system's does not."""
    parts = urlsplit(fast.https or "")
    address = (parts.hostname or "", parts.port or 0)
    trusting = ssl.create_default_context(cafile=str(fast.ca))
    with socket.create_connection(address) as plain, trusting.wrap_socket(plain, server_hostname=address[0]) as sock:
        # A TLS 1.3 connection with OpenSSL's own choice of AES-256 would make all https figures a fifth too high.
        assert (sock.cipher() or ("",))[0] == "TLS_AES_128_GCM_SHA256"
    with socket.create_connection(address) as plain, pytest.raises(ssl.SSLCertVerificationError):
        ssl.create_default_context().wrap_socket(plain, server_hostname=address[0])


def test_the_link_model_holds_each_request_to_its_rate() -> None:
    """Latency, then no more than the rate: 2 MB at 10 MB/s after 0.1 s take 0.3 s, each way, also two at once."""
    with endpoint.started(LinkOptions(latency=0.1, conn_mbps=10)) as slow:
        for method, path, body in (("GET", "/origin/2000000", b""), ("PUT", "/bench/slow", bytes(2_000_000))):
            connection = connect(slow)
            began = time.monotonic()
            ask(connection, method, path, body)
            took = time.monotonic() - began
            connection.close()
            assert 0.3 <= took < 1.0


@pytest.mark.parametrize("shared", [False, True])
def test_a_link_does_not_run_faster_after_a_pause(shared: bool) -> None:
    """A client that did not read for half a second gets the next bytes at the link's rate, not in a burst."""
    rate = 1_000_000.0
    pace = Pace(Link(), SharedLine(rate)) if shared else Pace(Link(conn_rate=rate), None)
    pace.passed(1000)
    time.sleep(0.5)
    began = time.monotonic()
    pace.passed(400_000)
    assert 0.4 - CREDIT - 0.01 < time.monotonic() - began < 0.45


def test_what_was_served_is_counted(checking: Endpoint) -> None:
    """The counters tell requests and bytes of content."""
    checking.reset()
    connection = connect(checking)
    ask(connection, "GET", "/origin/1234")
    ask(connection, "PUT", "/bench/counted", framed(CONTENT, base64_crc(CONTENT)), **aws_chunked(len(CONTENT)))
    connection.close()
    stats = checking.stats()
    told = {name: stats[name] for name in ("Get", "Put", "BytesOut", "BytesIn", "InFlight")}
    assert told == {"Get": 1, "Put": 1, "BytesOut": 1234, "BytesIn": len(CONTENT), "InFlight": 0}
    assert json.dumps(stats)


def test_a_huge_object_has_the_checksum_of_its_content(connection: http.client.HTTPConnection) -> None:
    """HEAD tells the checksum of all of it, if asked; a range holds its bytes, and no checksum that is not its own."""
    path, mode, size = "/bench/big/3000000", {"x_amz_checksum_mode": "ENABLED"}, 3_000_000
    whole = b"".join(bytes(content.at(start, 1_000_000)) for start in range(0, size, 1_000_000))
    response, _ = ask(connection, "HEAD", path, **mode)
    assert response.headers[CRC] == base64_crc(whole)
    assert response.headers["x-amz-checksum-type"] == "FULL_OBJECT"
    assert int(response.headers["Content-Length"]) == size
    etag = response.headers["ETag"]
    assert CRC not in ask(connection, "HEAD", path)[0].headers
    response, body = ask(connection, "GET", path, Range="bytes=2000000-2000099", If_Match=etag, **mode)
    assert (response.status, body) == (206, whole[2_000_000:2_000_100])
    assert CRC not in response.headers
    assert ask(connection, "GET", path, Range="bytes=0-9", If_Match='"another"')[0].status == 412
    assert ask(connection, "HEAD", "/bench/big/3000001")[0].headers["ETag"] != etag


@pytest.mark.parametrize("size", [0, 1, content.PERIOD, content.PERIOD + 1, 7 * content.PERIOD - 1])
def test_the_checksum_of_a_huge_object_is_that_of_its_bytes(size: int) -> None:
    """It is joined from the checksum of one period, so that 100 GiB take no time."""
    whole = b"".join(bytes(content.at(start, size - start)) for start in range(0, size, content.SLICE))
    assert content.crc64nvme(size) == checksums.crc64nvme(whole)


def test_a_range_over_tls_holds_the_content_at_its_offset(fast: Endpoint) -> None:
    """Pieces larger than a TLS record arrive whole and in order, one answer after the other."""
    trust = ssl.create_default_context(cafile=fast.ca)
    connection = http.client.HTTPSConnection(urlsplit(fast.https or "").netloc, timeout=10, context=trust)
    for start in (0, 5, content.PERIOD - 10):
        _, body = ask(connection, "GET", "/bench/big/9000000", Range=f"bytes={start}-{start + 299_999}")
        assert body == bytes(content.at(start, 300_000))
    connection.close()


def test_bytes_are_counted_while_they_go_out(fast: Endpoint) -> None:
    """Who kills a client sees how far it is, and what was sent to one that went away stays counted."""
    fast.reset()
    with socket.create_connection(("127.0.0.1", int(urlsplit(fast.http).port or 0))) as sock:
        sock.sendall(b"GET /bench/big/1000000000 HTTP/1.1\r\nHost: bench\r\n\r\n")
        sock.recv(2000, socket.MSG_WAITALL)  # More than the head of the answer.
        assert fast.stats()["InFlight"] >= 1
        assert 0 < fast.stats()["BytesOut"] < 1_000_000_000
    until = time.monotonic() + 10
    while fast.stats()["InFlight"] and time.monotonic() < until:
        time.sleep(0.01)
    assert 0 < fast.stats()["BytesOut"] < 1_000_000_000


def test_a_line_that_was_idle_does_not_begin_with_a_burst() -> None:
    """The first body after a pause takes its whole time, also where others have been before it."""
    line = SharedLine(1_000_000.0)
    for _ in range(2):
        time.sleep(2 * CREDIT)
        began = time.monotonic()
        with Pace(Link(), line) as pace:
            pace.passed(50_000)
        assert time.monotonic() - began >= 0.049
