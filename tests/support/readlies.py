"""Lies that a store, or a proxy before it, may tell a reader: whole bodies, ranges, listings.

Each is a :class:`Fault`; :func:`of` aims it at one key, :func:`listings` at the listing.
"""

from __future__ import annotations

import gzip
import random
import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.support import faults
from tests.support.content import Content
from tests.support.faults import Fault
from tests.support.objects import StoredObject, error_xml
from tests.support.readstore import is_attributes, is_get, is_listing, key_of
from tests.support.resource import Reply, Request, Resource


def of(key: str, fault: Fault) -> Fault:
    """Let the fault strike only GETs of this key."""
    return fault.where(lambda request: is_get(request) and key_of(request) == key)


def gets(fault: Fault) -> Fault:
    return fault.where(is_get)


def listings(fault: Fault) -> Fault:
    return fault.where(is_listing)


def attributes(fault: Fault) -> Fault:
    """Let the fault strike only GetObjectAttributes."""
    return fault.where(is_attributes)


def starting(at: int, fault: Fault) -> Fault:
    """
    Strike only ranges that begin at this byte.

    So is one connection chosen without saying which: whichever asks for that range.
    """
    return fault.where(lambda request: request.range is not None and request.range[0] == at)


def inside(start: int, stop: int, fault: Fault) -> Fault:
    """Strike only ranges that begin in these bytes."""
    return fault.where(lambda request: request.range is not None and start <= request.range[0] < stop)


def sticky(fault: Fault) -> Fault:
    """Strike whatever else comes on a connection on which the fault has struck: the way is bad, not the request."""
    struck: set[int] = set()
    lock = threading.Lock()

    def on_the_same(request: Request) -> bool:
        with lock:
            if fault.when(request):
                struck.add(request.connection)
            return request.connection in struck and is_get(request)

    return replace(fault, when=on_the_same)


def late(seconds: float) -> Fault:
    """Wait before answering, but not after the server's end."""
    return Fault(f"{seconds} s late", lambda request, reply: setattr(reply, "wait", seconds))


def hold(after: int, event: threading.Event) -> Fault:
    """Send so many bytes, with -1 not even the head, and the rest once the event is set."""
    return Fault(f"held after {after}", lambda request, reply: setattr(reply, "hold", (after, event)))


def refuse(status: int, code: str, **headers: str) -> Fault:
    """Answer with an S3 error; ``Retry_After="1"`` is the header Retry-After."""
    named = {"Content_Type": "application/xml", **headers}
    return Fault(f"{status} {code}", lambda request, reply: reply.say(status, error_xml(code), **named))


def wrong_region() -> Fault:
    """Answer as S3 does when the bucket is elsewhere."""
    return refuse(301, "PermanentRedirect", x_amz_bucket_region="eu-central-1")


def redirect(location: str) -> Fault:
    """Send the reader elsewhere, as no store does for a signed GET and some proxies do."""
    return Fault("redirected", lambda request, reply: reply.say(307, b"", Location=location))


def error_in_200(code: str = "InternalError") -> Fault:
    """Answer 200 with an error as the body, and no word in the head that it is one."""
    return replace(refuse(200, code), name=f"200 with {code} inside")


def error_in_200_of_the_right_size() -> Fault:
    """The same, as long as the object, so that the length tells nothing."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.text = error_xml("InternalError").ljust(reply.length)[: reply.length]

    return Fault("error of the object's size", spoil)


def slow(seconds: float) -> Fault:
    """Wait before answering."""
    return Fault(f"{seconds} s late", lambda request, reply: time.sleep(seconds))


def call(action: Callable[[], Any], name: str = "action") -> Fault:
    """Do something, e.g. change the store, before the answer is sent; the answer itself stays."""
    return Fault(name, lambda request, reply: action() and None)


def nth(number: int, fault: Fault) -> Fault:
    """Strike only the ``number``-th request that would be struck."""
    seen = 0
    lock = threading.Lock()

    def counted(request: Request) -> bool:
        nonlocal seen
        with lock:
            seen += 1
            return seen == number

    return fault.where(counted)


# What follows changes a body that is otherwise an honest answer.


def _body(name: str, spoil: Callable[[Request, Reply], None]) -> Fault:
    def only_objects(request: Request, reply: Reply) -> None:
        if reply.status in (200, 206) and reply.text is None:
            spoil(request, reply)

    return Fault(name, only_objects)


def shorter_body(by: int) -> Fault:
    """Send an answer that is consistent, and ``by`` bytes short."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.stop = max(reply.start, reply.stop - by)

    return _body(f"{by} bytes short", spoil)


def longer_body(by: int) -> Fault:
    """Send an answer that is consistent, and ``by`` bytes long."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.content = replace(reply.content, size=reply.content.size + by)
        reply.stop += by

    return _body(f"{by} bytes long", spoil)


def empty_body() -> Fault:
    """Say 200, and that there is nothing."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.stop = reply.start

    return _body("empty", spoil)


def framed(framing: Any, cut: int | None = None) -> Fault:
    """Send the body chunked, or up to the close of the connection; ``cut``: only so many bytes, and a proper end."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.framing = framing
        if cut is not None:
            reply.stop = reply.start + cut

    return _body(f"{framing}" + (f" after {cut}" if cut else ""), spoil)


def other_object() -> Fault:
    """Send bytes of the right number under the right headers that are another object's."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.content = Content(reply.content.size, reply.content.seed, reply.content.shift + 12_345)

    return _body("another object's bytes", spoil)


def flip_in_every_answer(at: int = 0) -> Fault:
    """Send one wrong bit, ``at`` bytes after the answer's start."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.flip_at = reply.start + at

    return _body(f"bit flipped {at} bytes in", spoil)


def unasked_range() -> Fault:
    """Answer a plain GET with 206 and the first half."""

    def spoil(request: Request, reply: Reply) -> None:
        if request.range is None and reply.content.size > 1:
            reply.show(0, reply.content.size // 2)

    return _body("206 unasked", spoil)


def range_as_200() -> Fault:
    """Serve the range that was asked for, with its Content-Range, under status 200, as gofakes3 (rclone) does."""
    return _body("range as 200", lambda request, reply: setattr(reply, "status", 200))


def gzipped() -> Fault:
    """Compress on the way, as a proxy does that was not asked to, keeping the validators."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.text = gzip.compress(reply.content.bytes(reply.start, reply.stop))
        reply.set("Content-Encoding", "gzip")

    return _body("compressed on the way", spoil)


def no_etag() -> Fault:
    return _body("no ETag", lambda request, reply: reply.drop("ETag"))


def other_etag() -> Fault:
    """Send the right bytes under an ETag that the listing did not have."""
    return _body("another ETag", lambda request, reply: reply.set("ETag", '"0123456789abcdef0123456789abcdef"'))


def other_version(*, etag_tells: bool) -> Fault:
    """Serve another version whatever If-Match says; ``etag_tells``: under its own ETag, else under the old one."""

    def version(resource: Resource) -> Resource:
        assert isinstance(resource, StoredObject)
        return resource.rewritten(etag="" if etag_tells else str(resource.etag), obeys_if_match=False)

    return Fault("overwritten" if etag_tells else "overwritten under the old ETag", version=version)


def whole_other_version(*, etag_tells: bool, size: int) -> Fault:
    """Answer 200 with the whole of another version, whatever Range and If-Match say."""

    def version(resource: Resource) -> Resource:
        assert isinstance(resource, StoredObject)
        etag = "" if etag_tells else str(resource.etag)
        return resource.rewritten(etag=etag, size=size, ranges=False, obeys_if_match=False)

    return Fault(f"whole other version of {size}", version=version)


def flipping_version() -> Fault:
    """Serve the old and the new version in turn, ignoring If-Match, each under its own ETag."""
    # Counted among the requests it is about: other keys are asked for in between, in any order.
    return replace(other_version(etag_tells=True), name="ETag flips", every=2)


def wrong_checksum() -> Fault:
    """Send right bytes with a checksum that is not theirs."""

    def spoil(request: Request, reply: Reply) -> None:
        reply.set("x-amz-checksum-crc32", "AAAAAA==")

    return _body("wrong checksum", spoil)


def range_lies(at: int) -> dict[str, Fault]:
    """
    Return the six of the survey, each of which made at least one well-known client report a wrong file as done.

    :param at: an offset inside a range that is asked for.
    """
    return {
        "ignores Range": faults.ignore_range(),
        "right Content-Range, wrong bytes": faults.other_bytes(1000).where(beyond(1000)),
        "Content-Range starts elsewhere": faults.wrong_start(1000),
        "overwritten, If-Match ignored": flipping_version(),
        "bit flipped": faults.flip_bit(at),
        "206 shorter than asked": faults.short_range(100_000),
    }


def lies_about_ranges(at: int, size: int) -> dict[str, Fault]:
    """
    Return the six, and more, about an object of ``size`` bytes that is read in several ranges.

    :param at: an offset inside a range that is asked for.
    """
    return {
        **range_lies(at),
        "Content-Range starts before": faults.wrong_start(-1000).where(beyond(1000)),
        "Content-Range starts later": faults.later_start(1000),
        "bit flipped in the last range": faults.flip_bit(size - 1),
        "no Content-Range": faults.content_range(None),
        "Content-Range of another size": faults.content_range("bytes {first}-{last}/99999999"),
        "Content-Range malformed": faults.content_range("bytes {first}-"),
        "longer than asked": faults.longer_range(1000),
        "multipart/byteranges": faults.multipart_ranges(),
        "overwritten under the old ETag": other_version(etag_tells=False).where(
            lambda request: request.range is not None and request.range[0] > 0
        ),
        "shorter, and its length says so": shorter_body(1000),
        "another object's bytes": other_object(),
        "chunked and short": framed("chunked", 1000),
        "cut without a length": framed("close", 1000),
        "compressed": gzipped(),
        "error in 200": error_in_200(),
        "cut": faults.close_after(min(1_048_576, size // 10)),
        "no ETag": no_etag(),
    }


WITHOUT_A_CHECKSUM_UNSEEN = frozenset({
    "right Content-Range, wrong bytes", "bit flipped", "bit flipped in the last range", "another object's bytes",
    "overwritten under the old ETag",
})  # fmt: skip
"""Of those, what nobody can notice of an object of which no checksum is known."""


def beyond(start: int) -> Callable[[Request], bool]:
    """Return what accepts requests for a range from this byte on, or a later one."""
    return lambda request: request.range is not None and request.range[0] >= start


def whole_lies(size: int) -> dict[str, Fault]:
    """Return lies about the whole body of an object of ``size`` bytes, any of which makes a careless reader wrong."""
    half = size // 2
    return {
        "shorter": shorter_body(1),
        "empty": empty_body(),
        "longer": longer_body(1),
        "cut": faults.close_after(half),
        "cut without a length": framed("close", half),
        "chunked and short": framed("chunked", half),
        "chunked and cut": replace(faults.close_after(half), spoil=_cut_chunked(half)),
        "surplus": faults.shorter_length(10),
        "bit flipped": faults.flip_bit(half),
        "another object's bytes": other_object(),
        "another version, new ETag": other_version(etag_tells=True),
        "another version, old ETag": other_version(etag_tells=False),
        "206 unasked": unasked_range(),
        "compressed": gzipped(),
        "error in 200": error_in_200(),
        "error in 200, right size": error_in_200_of_the_right_size(),
        "204": faults.status(204),
        "304": faults.status(304),
    }


def _cut_chunked(after: int) -> Callable[[Request, Reply], None]:
    def spoil(request: Request, reply: Reply) -> None:
        reply.framing, reply.cut_after, reply.ending = "chunked", after, "fin"

    return spoil


# GetObjectAttributes.


def rewrite(name: str, change: Callable[[str], str]) -> Fault:
    """Change the XML of GetObjectAttributes."""

    def spoil(request: Request, reply: Reply) -> None:
        if reply.text is not None and reply.status == 200:
            reply.text = change(reply.text.decode()).encode()

    return attributes(Fault(name, spoil))


def _never_ending(text: str) -> str:
    text = text.replace("<IsTruncated>false", "<IsTruncated>true")
    return re.sub("<NextPartNumberMarker>[0-9]+<", "<NextPartNumberMarker>1<", text)


def _other_sizes(text: str) -> str:
    """Move a byte from one part to the next, so that the sum stays right."""
    sizes = [int(size) for size in re.findall("<Size>([0-9]+)<", text)]
    if len(sizes) > 1:
        sizes[:2] = [sizes[0] - 1, sizes[1] + 1]
    numbers = iter(sizes)
    return re.sub("<Size>[0-9]+<", lambda _: f"<Size>{next(numbers)}<", text)


def _bomb(text: str) -> str:
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 20}">' for n in range(1, 9))
    head, _, tail = text.partition("\n")
    return f'{head}<!DOCTYPE x [<!ENTITY e0 "ha">{entities}]>{tail.replace("<ObjectParts>", "<ObjectParts>&e8;")}'


_NO_XML = random.Random(1).randbytes(1_000_000) * 40


def attribute_lies() -> dict[str, Fault]:
    """Return answers to GetObjectAttributes that must not be taken for the checksums of the parts."""
    return {
        "denied": attributes(refuse(403, "AccessDenied")),
        "not implemented": attributes(refuse(501, "NotImplemented")),
        "not allowed": attributes(refuse(405, "MethodNotAllowed")),
        "not understood": attributes(refuse(400, "InvalidArgument")),
        "out of order": attributes(refuse(500, "InternalError")),
        "no parts, as moto": rewrite("no parts", lambda text: re.sub("<ObjectParts>.*</ObjectParts>", "", text)),
        "the object itself, as rclone": attributes(
            Fault("the object", lambda request, reply: reply.say(200, _NO_XML))
        ),
        "nothing": attributes(faults.status(200, b"")),
        "not XML": attributes(faults.status(200, b"<html>captive portal<br></html>")),
        "error in 200": attributes(error_in_200()),
        "cut": attributes(faults.close_after(300)),
        "bomb": rewrite("bomb", _bomb),
        "never ending": rewrite("never ending", _never_ending),
        "a part too few": rewrite("a part too few", lambda text: re.sub("<Part><Size>.*?</Part>", "", text, count=1)),
        "a part twice": rewrite(
            "a part twice", lambda text: re.sub("(<Part><Size>.*?</Part>)", r"\1\1", text, count=1)
        ),
        "sizes shifted": rewrite("sizes shifted", _other_sizes),
        "sizes missing": rewrite("sizes missing", lambda text: re.sub("<Size>.*?</Size>", "", text)),
        "sizes negative": rewrite("sizes negative", lambda text: text.replace("<Size>", "<Size>-")),
        "sizes huge": rewrite("sizes huge", lambda text: text.replace("<Size>", "<Size>" + "9" * 5000)),
        "numbers from 2": rewrite(
            "numbers from 2",
            lambda text: re.sub(
                "<PartNumber>([0-9]+)<", lambda found: f"<PartNumber>{int(found[1]) + 1}<", text
            ),
        ),
        "checksums missing": rewrite(
            "checksums missing", lambda text: re.sub("(</PartNumber>)<Checksum.*?>.*?</Checksum.*?>", r"\1", text)
        ),
        "checksums not base64": rewrite(
            "checksums not base64", lambda text: re.sub("(</PartNumber><Checksum.*?>).", r"\1?", text)
        ),
        "another checksum": rewrite(
            "another checksum",
            lambda text: re.sub(
                "(</PartNumber><Checksum.*?>)(.)", lambda found: found[1] + ("B" if found[2] == "A" else "A"), text,
                count=1,
            ),
        ),
        "of another version": rewrite(
            "of another version", lambda text: re.sub("<ETag>.", "<ETag>z", text)
        ),
    }  # fmt: skip
