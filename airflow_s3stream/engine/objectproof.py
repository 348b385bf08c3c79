"""What the store promises of a whole object, and whether the bytes keep it."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING, NamedTuple

from airflow_s3stream.engine.checksums import RunningDigest, combine
from airflow_s3stream.engine.objecthead import ask_part_sizes
from airflow_s3stream.engine.proof import ALGORITHMS, etag_is_md5, full_checksum
from airflow_s3stream.exceptions import DeadlineExceeded, IntegrityError, S3StreamError, SourceMisbehaved, Stopped
from airflow_s3stream.plan.digests import COMBINABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from airflow_s3stream.engine.fetchrun import FetchRun
    from airflow_s3stream.engine.objecthead import ObjectHead
    from airflow_s3stream.plan.digests import Algorithm

_COMPOSITE = re.compile(r"(.+)-([0-9]{1,5})", re.ASCII)
_ONE_PART_MD5 = re.compile(r"([0-9a-f]{32})-1", re.ASCII)


class Promise(NamedTuple):
    """A checksum of a whole object, or one of the checksums of its parts."""

    level: str
    """How results name it: ``crc64nvme``, ``crc32c-composite``, ``md5-etag``."""
    algorithm: Algorithm
    value: bytes
    parts: tuple[int, ...] = ()
    """Bytes of each part, where it is one of parts."""

    @property
    def joinable(self) -> bool:
        """Whether it can be computed of pieces in any order."""
        return self.algorithm in COMBINABLE

    @property
    def ends(self) -> list[int]:
        """Offsets at which parts end."""
        ends, at = [], 0
        for size in self.parts:
            at += size
            ends.append(at)
        return ends


def find_promise(head: ObjectHead, ask_parts: Callable[[int], tuple[int, ...]]) -> Promise | None:
    """
    Give the strongest promise; None if there is none but the size.

    :param ask_parts: asks the store for the sizes of so many parts; called where only those help.
    :raises NoParts: the store does not tell them as they must be.
    :raises SourceMisbehaved: it tells a checksum that cannot be one.
    """
    whole = full_checksum(head.headers)
    if whole:
        return Promise(whole[0], *whole)
    for algorithm in ALGORITHMS:
        text = head.headers.get(f"x-amz-checksum-{algorithm}", "")
        found = _COMPOSITE.fullmatch(text)
        if found:
            value, count = _decoded(text, found[1]), int(found[2])
            return Promise(f"{algorithm}-composite", algorithm, value, _parts(head, count, ask_parts))
    one_part = _ONE_PART_MD5.fullmatch(head.etag)
    if etag_is_md5(one_part[1] if one_part else head.etag, head.headers):
        # Of an upload of one part it is the MD5 of that part's MD5.
        parts = (head.size,) if one_part else ()
        return Promise("md5-etag", "md5", bytes.fromhex(head.etag.partition("-")[0]), parts)
    return None


def find_promise_of(head: ObjectHead, run: FetchRun) -> Promise | None:
    """
    Give the strongest promise, asking the store for the sizes of the parts where need be; with a warning in ``run``
    where it does not tell them.

    :raises S3StreamError: stopped, or a checksum that cannot be one.
    """
    try:
        return find_promise(head, lambda count: ask_part_sizes(run, head.key, count))
    except NoParts as error:
        run.warnings.append(str(error))
        return None


class NoParts(Exception):
    """The checksums of an object's parts cannot be used. Says why."""


def _decoded(text: str, value: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise SourceMisbehaved(f"the store tells the object's checksum as {text[:80]!r}, which is not base64") from None


def _parts(head: ObjectHead, count: int, ask_parts: Callable[[int], tuple[int, ...]]) -> tuple[int, ...]:
    because = "the store keeps checksums of the object's parts, which cannot be used: "
    try:
        sizes = ask_parts(count)
    except (Stopped, DeadlineExceeded):
        raise
    except S3StreamError as error:
        if error.retryable:  # then the proof should wait, not be weaker
            raise
        raise NoParts(f"{because}{error}") from error
    if len(sizes) != count or sum(sizes) != head.size:
        raise NoParts(
            f"{because}it tells {len(sizes)} parts of {sum(sizes)} bytes together, and the object has {count} "
            f"of {head.size}"
        )
    return sizes


def prove_joined(promise: Promise, pieces: Sequence[tuple[int, int, int]]) -> None:
    """
    Compare a joinable promise with the checksums of pieces.

    :param pieces: (start, stop, checksum), in order, without gap or overlap; none crosses the end of a part.
    :raises IntegrityError: they differ.
    """
    algorithm = promise.algorithm
    if not promise.parts:
        total = combine(algorithm, ((checksum, stop - start) for start, stop, checksum in pieces))
        _compare(promise, _raw(algorithm, total))
        return
    digests, rest, stop = [], iter(pieces), 0
    for end in promise.ends:
        of_part = []
        while stop < end:  # the last part may be empty
            start, stop, checksum = next(rest)
            of_part.append((checksum, stop - start))
        if stop != end:
            raise IntegrityError(
                f"what an earlier run left cannot be proved: a piece ends at {stop}, and a part of the object at {end}",
                retryable=True,
            )
        digests.append(_raw(algorithm, combine(algorithm, of_part)))
    _compare_parts(promise, digests)


class OrderedProof:
    """Computes a promise over bytes that come in order."""

    def __init__(self, promise: Promise) -> None:
        self._promise = promise
        self._digest = RunningDigest(promise.algorithm)
        self._digests: list[bytes] = []
        self._left = list(reversed(promise.parts))  # of parts to come; the last is under way

    def update(self, piece: bytes | memoryview) -> None:
        """Take the next bytes."""
        while self._left and len(piece) >= self._left[-1]:
            cut = self._left.pop()
            view = memoryview(piece)
            self._digest.update(view[:cut])
            piece = view[cut:]
            self._digests.append(self._digest.digest())
            self._digest = RunningDigest(self._promise.algorithm)
        if self._left:
            self._left[-1] -= len(piece)
        if piece:
            self._digest.update(piece)

    def finish(self) -> None:
        """
        Compare, when all bytes have come.

        :raises IntegrityError: they are not what the store promises.
        """
        while self._left and not self._left[-1]:  # the one part of an empty object
            self._left.pop()
            self._digests.append(self._digest.digest())
        if self._promise.parts:
            _compare_parts(self._promise, self._digests)
        else:
            _compare(self._promise, self._digest.digest())


def _compare_parts(promise: Promise, digests: list[bytes]) -> None:
    whole = RunningDigest(promise.algorithm)
    whole.update(b"".join(digests))
    _compare(promise, whole.digest())


def _compare(promise: Promise, found: bytes) -> None:
    if found == promise.value:
        return
    kept = "MD5 that its ETag is" if promise.level == "md5-etag" else f"{promise.algorithm} that the store keeps"
    raise IntegrityError(f"the object does not have the {kept}", retryable=True)


def _raw(algorithm: str, crc: int) -> bytes:
    return crc.to_bytes(8 if algorithm == "crc64nvme" else 4, "big")
