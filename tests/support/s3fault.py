"""A proxy before a real S3 server that loses, rewrites and refuses, by operation and occurrence.

``before`` faults strike a request that the store then never sees; ``after`` faults strike the answer to work
that the store has done, which is what a mock cannot show. The proxy keeps the Host header, so that stores
which check signatures accept what passes through. It speaks path-style addressing.
"""

from __future__ import annotations

import socket
import threading
import urllib.parse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from tests.support import wire
from tests.support.listener import Listener
from tests.support.objects import error_xml
from tests.support.s3calls import Answer, Call, name_operation
from tests.support.wire import Head

_CHECKSUMS = (
    "x-amz-checksum-crc64nvme", "x-amz-checksum-crc32", "x-amz-checksum-crc32c", "x-amz-checksum-sha1",
    "x-amz-checksum-sha256", "x-amz-checksum-type", "x-amz-checksum-algorithm",
)  # fmt: skip


class Cut(Exception):
    """The connection to the client has been broken on purpose."""


@dataclass(frozen=True)
class S3Fault:
    """
    What happens to which calls.

    :param operation: S3's name, e.g. ``UploadPart``; ``*`` for any.
    :param first: the first occurrence that is struck, counting from 1.
    :param count: how many occurrences are struck; None: all later ones too.
    :param part: only this part number.
    """

    name: str
    operation: str
    first: int = 1
    count: int | None = 1
    part: int | None = None
    answer: Callable[[Call], Answer] | None = None
    """Before: answer in the store's place, once the request's body has come."""
    cut_request: int | None = None
    """Before: take so many bytes of the body, then break the connection."""
    reset: bool = False
    """Break with RST rather than FIN."""
    flip_at: int | None = None
    """Before: change the lowest bit of this byte of the body on its way to the store."""
    rewrite: Callable[[Call, Answer], Answer] | None = None
    """After: change the answer."""
    cut_answer: int | None = None
    """After: send so many bytes of the answer's body, the head included only if not negative, then break."""
    hold: float = 0.0
    """Seconds of silence before the answer is sent, less when the client leaves."""

    def concerns(self, call: Call) -> bool:
        return self.operation in ("*", call.operation) and self.part in (None, call.part)

    def on(self, first: int, count: int | None = 1) -> S3Fault:
        """Strike from the ``first`` occurrence on, ``count`` times."""
        return replace(self, first=first, count=count)

    def always(self) -> S3Fault:
        return self.on(1, None)

    def on_part(self, number: int) -> S3Fault:
        return replace(self, part=number)


_NONE = S3Fault("", "*")


def _xml_answer(status: int, body: bytes, headers: Iterable[tuple[str, str]] = ()) -> Answer:
    return Answer(Head(f"HTTP/1.1 {status} Told", [("Content-Type", "application/xml"), *headers]), body)


def refuse(operation: str, status: int, code: str, **headers: str) -> S3Fault:
    """Answer with an S3 error in the store's place; ``Retry_After="1"`` is the header Retry-After."""
    named = [(name.replace("_", "-"), value) for name, value in headers.items()]
    return S3Fault(
        f"{status} {code}",
        operation,
        # An answer to HEAD has no body, so there the status alone tells.
        answer=lambda call: _xml_answer(status, b"" if call.operation.startswith("Head") else error_xml(code), named),
    )


def drop_request(operation: str, after: int = 0, *, reset: bool = False) -> S3Fault:
    """Break the connection after ``after`` bytes of the body; the store never learns of the call."""
    return S3Fault(f"request dropped after {after}", operation, cut_request=after, reset=reset)


def flip_bit(operation: str, at: int = 1000) -> S3Fault:
    """Spoil one bit of the payload; 1000 lies inside the first chunk of an aws-chunked body."""
    return S3Fault(f"bit {at} flipped", operation, flip_at=at)


def lose_answer(operation: str, *, reset: bool = False) -> S3Fault:
    """Let the store do its work, then break the connection without a word."""
    return S3Fault("answer lost", operation, cut_answer=-1, reset=reset)


def cut_answer(operation: str, after: int) -> S3Fault:
    """Let the store do its work, send the head and ``after`` bytes of the body, then break the connection."""
    return S3Fault(f"answer cut after {after}", operation, cut_answer=after)


def error_in_200(operation: str, code: str = "InternalError", *, done: bool = False) -> S3Fault:
    """Answer 200 with an error as the body; ``done``: although the store has done its work."""
    if done:
        return S3Fault(
            f"done, then 200 {code}",
            operation,
            rewrite=lambda call, answer: _xml_answer(200, error_xml(code)),
        )
    return S3Fault(f"200 {code}", operation, answer=lambda call: _xml_answer(200, error_xml(code)))


def error_after(operation: str, status: int, code: str) -> S3Fault:
    """Let the store do its work, then claim that it failed."""
    return S3Fault(
        f"done, then {status} {code}",
        operation,
        rewrite=lambda call, answer: _xml_answer(status, error_xml(code)),
    )


def hold_answer(operation: str, seconds: float) -> S3Fault:
    """Let the store do its work, then keep the client waiting."""
    return S3Fault(f"answer held {seconds} s", operation, hold=seconds)


def hide_checksums(operation: str) -> S3Fault:
    """Take every checksum out of the answers, as a store would answer that knows none."""

    def rewrite(call: Call, answer: Answer) -> Answer:
        return Answer(Head(answer.head.start, wire.without(answer.head.headers, *_CHECKSUMS)), answer.body)

    return S3Fault("checksums hidden", operation, rewrite=rewrite).always()


class S3FaultProxy(Listener):
    """Stands before ``endpoint_url``; hand its own ``endpoint_url`` to whoever is to be tested."""

    def __init__(self, endpoint_url: str, *faults: S3Fault) -> None:
        super().__init__()
        upstream = urllib.parse.urlsplit(endpoint_url)
        self._upstream = (upstream.hostname or "127.0.0.1", upstream.port or 80)
        self.faults = list(faults)
        self.calls: list[Call] = []
        self._seen: Counter[int] = Counter()
        self._due: list[tuple[str, Callable[[], object]]] = []
        self._logging = threading.Lock()

    @property
    def endpoint_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def operations(self) -> list[str]:
        """The operations asked for, in order of arrival."""
        return [call.operation for call in self.calls]

    def parts(self, operation: str = "UploadPart") -> list[int]:
        """The part numbers sent, in order of arrival, repeats included."""
        return [call.part for call in self.calls if call.operation == operation and call.part is not None]

    def of(self, operation: str) -> list[Call]:
        return [call for call in self.calls if call.operation == operation]

    def when_asked(self, operation: str, action: Callable[[], object]) -> None:
        """Do something once, when such a call has come in; on the thread that answers it."""
        self._due.append((operation, action))

    def _strikes(self, fault: S3Fault, call: Call) -> bool:
        if not fault.concerns(call):
            return False
        # Counted here and not in the fault, so that one fault may serve many tests.
        late = self._seen[id(fault)] + 1 - fault.first
        self._seen[id(fault)] += 1
        return late >= 0 and (fault.count is None or late < fault.count)

    def converse(self, sock: socket.socket, number: int) -> None:
        with sock.makefile("rb", 64 * 1024) as stream:
            try:
                while not self.stopping.is_set() and self._exchange(sock, stream):
                    pass
            except Cut:
                pass

    def _exchange(self, sock: socket.socket, stream: BinaryIO) -> bool:
        head = wire.read_head(stream)
        if head is None:
            return False
        call = name_operation(head)
        with self._logging:
            self.calls.append(call)
            struck = [fault for fault in self.faults if self._strikes(fault, call)]
            due = [one for one in self._due if one[0] == call.operation]
            self._due = [one for one in self._due if one not in due]
        for _, action in due:
            action()
        fault = struck[0] if struck else _NONE
        call.fault = fault.name or None
        if head.get("Expect").lower() == "100-continue":
            sock.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        if fault.cut_request is not None:
            self._break_request(sock, stream, call, fault)
        if fault.answer:
            for _ in _counted(stream, call):
                pass
            answer = fault.answer(call)
        else:
            answer = self._ask_store(_spoiled(stream, call, fault), call)
        if fault.hold:
            wire.wait_for_close(sock, self.stopping, fault.hold)
        if fault.rewrite:
            answer = fault.rewrite(call, answer)
        self._tell(sock, call, answer, fault)
        return True

    def _break_request(self, sock: socket.socket, stream: BinaryIO, call: Call, fault: S3Fault) -> None:
        pieces = _counted(stream, call)
        while call.received < (fault.cut_request or 0) and next(pieces, None):
            pass
        _break(sock, fault.reset)

    def _ask_store(self, body: Iterator[bytes], call: Call) -> Answer:
        """Send the request on over a connection of its own and read the whole answer."""
        with socket.create_connection(self._upstream) as store, self._closed_at_the_end(store):
            store.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            headers = [*wire.without(call.head.headers, "Expect", "Connection"), ("Connection", "close")]
            store.sendall(Head(call.head.start, headers).encode())
            try:
                for piece in body:
                    store.sendall(piece)
            except (BrokenPipeError, ConnectionResetError):
                for _ in body:
                    pass  # the store has answered without wanting the rest, which lies before the next request
            call.reached_store = True
            with store.makefile("rb", 64 * 1024) as stream:
                head = wire.read_head(stream)
                if head is None:
                    raise wire.Broken("the store closed without an answer")
                bodiless = call.operation.startswith("Head") or head.start.split(" ")[1] == "204"
                text = b"" if bodiless else b"".join(wire.read_body(stream, head, until_close=True))
                return Answer(head, text)

    def _tell(self, sock: socket.socket, call: Call, answer: Answer, fault: S3Fault) -> None:
        bodiless = call.operation.startswith("Head") or answer.status == 204
        message = answer.encode(bodiless=bodiless)
        if fault.cut_answer is None:
            call.status = answer.status
            sock.sendall(message)
            return
        if fault.cut_answer >= 0:
            call.status = answer.status
            sock.sendall(message[: len(message) - len(answer.body) + fault.cut_answer])
        _break(sock, fault.reset)


def _break(sock: socket.socket, reset: bool) -> None:
    (wire.reset if reset else wire.finish)(sock)
    raise Cut


def _raw_body(stream: BinaryIO, head: Head) -> Iterator[bytes]:
    """Yield a request's body as it is framed, so that it can be sent on under the same headers."""
    if head.get("Transfer-Encoding").lower() != "chunked":
        yield from wire.read_body(stream, head)
        return
    for piece in wire.read_body(stream, head):
        yield b"%x\r\n%s\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def _counted(stream: BinaryIO, call: Call) -> Iterator[bytes]:
    for piece in _raw_body(stream, call.head):
        call.received += len(piece)
        yield piece


def _spoiled(stream: BinaryIO, call: Call, fault: S3Fault) -> Iterator[bytes]:
    for piece in _counted(stream, call):
        at = call.received - len(piece)
        if fault.flip_at is not None and at <= fault.flip_at < call.received:
            wrong = bytearray(piece)
            wrong[fault.flip_at - at] ^= 1
            piece = bytes(wrong)
        yield piece
