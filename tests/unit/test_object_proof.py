"""What a store promises of a whole object, and what keeps it."""

from __future__ import annotations

import base64
import hashlib
import itertools
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.engine.checksums import RunningDigest, continued
from airflow_s3stream.engine.objecthead import ObjectHead
from airflow_s3stream.engine.objectproof import NoParts, OrderedProof, Promise, find_promise, prove_joined
from airflow_s3stream.exceptions import IntegrityError, SourceMisbehaved

BODY = random.Random(7).randbytes(10_000)
PARTS = (3000, 5000, 2000)
JOINABLE = ["crc64nvme", "crc32c", "crc32"]


def digest(algorithm: str, body: bytes) -> bytes:
    running = RunningDigest(algorithm)  # type: ignore[arg-type]
    running.update(body)
    return running.digest()


def composite(algorithm: str) -> bytes:
    digests, at = [], 0
    for size in PARTS:
        digests.append(digest(algorithm, BODY[at : at + size]))
        at += size
    return digest(algorithm, b"".join(digests))


def promise(algorithm: str, *, parts: bool) -> Promise:
    if parts:
        return Promise(f"{algorithm}-composite", algorithm, composite(algorithm), PARTS)  # type: ignore[arg-type]
    return Promise(algorithm, algorithm, digest(algorithm, BODY))  # type: ignore[arg-type]


def head(etag: str = "e-3", **headers: str) -> ObjectHead:
    return ObjectHead("key", etag, len(BODY), 0.0, {name.replace("_", "-"): text for name, text in headers.items()})


def never(count: int) -> tuple[int, ...]:
    raise AssertionError("nobody asked for the parts")


class TestFinding:
    def test_a_checksum_of_the_whole_comes_first(self) -> None:
        """Before an MD5, and without a question."""
        text = base64.b64encode(digest("crc64nvme", BODY)).decode()
        found = find_promise(head(hashlib.md5(BODY).hexdigest(), x_amz_checksum_crc64nvme=text), never)
        assert found == promise("crc64nvme", parts=False)

    @pytest.mark.parametrize("algorithm", [*JOINABLE, "sha256", "sha1"])
    def test_one_of_parts_needs_their_sizes(self, algorithm: str) -> None:
        """Which the store is asked for."""
        text = base64.b64encode(composite(algorithm)).decode() + "-3"
        headers = {f"x_amz_checksum_{algorithm}": text, "x_amz_checksum_type": "COMPOSITE"}
        assert find_promise(head(**headers), lambda count: PARTS[:count]) == promise(algorithm, parts=True)

    @pytest.mark.parametrize("told", [(), (3000, 5000), (3000, 5000, 2001), (3000, 5000, 1999, 1)])
    def test_sizes_that_do_not_fit_are_not_believed(self, told: tuple[int, ...]) -> None:
        """Then only the size is left, and somebody is told why."""
        text = base64.b64encode(composite("crc32")).decode() + "-3"
        with pytest.raises(NoParts, match="the object has 3 of 10000"):
            find_promise(head(x_amz_checksum_crc32=text), lambda count: told)

    @pytest.mark.parametrize("text", ["zzz-3", "AA=A-3", "*-1"])
    def test_a_checksum_that_is_none_is_an_error(self, text: str) -> None:
        """As one of the whole is."""
        with pytest.raises(SourceMisbehaved, match="not base64"):
            find_promise(head(x_amz_checksum_crc32=text), never)

    def test_an_upload_of_one_part_has_the_md5_of_its_md5(self) -> None:
        """Which is as good."""
        etag = hashlib.md5(hashlib.md5(BODY).digest()).hexdigest() + "-1"
        found = find_promise(head(etag), never)
        assert found is not None
        assert found.level == "md5-etag"
        proof = OrderedProof(found)
        proof.update(BODY)
        proof.finish()
        wrong = OrderedProof(found)
        wrong.update(b"x" + BODY[1:])
        with pytest.raises(IntegrityError):
            wrong.finish()

    def test_an_md5_is_one_where_it_looks_like_one(self) -> None:
        """But for encryption with keys of one's own."""
        etag = hashlib.md5(BODY).hexdigest()
        assert find_promise(head(etag), never) == Promise("md5-etag", "md5", hashlib.md5(BODY).digest())
        assert find_promise(head(etag, x_amz_server_side_encryption="aws:kms"), never) is None

    def test_a_type_without_a_value_is_nothing(self) -> None:
        """As rclone answers."""
        assert find_promise(head(x_amz_checksum_type="COMPOSITE"), never) is None


cuts = st.lists(st.integers(1, len(BODY) - 1), unique=True, max_size=12).map(sorted)


@given(cuts, st.sampled_from(JOINABLE), st.booleans(), st.integers(0, len(BODY) - 1), st.booleans())
def test_pieces_are_joined(cut: list[int], algorithm: str, parts: bool, at: int, right: bool) -> None:
    """Whatever they are, if none crosses the end of a part; one wrong bit is noticed."""
    body = bytearray(BODY)
    body[at] ^= 0 if right else 1
    ends = sorted({0, *cut, *(promise(algorithm, parts=True).ends if parts else ()), len(BODY)})
    pieces = [
        (start, stop, continued(algorithm, bytes(body[start:stop]), 0))  # type: ignore[arg-type]
        for start, stop in itertools.pairwise(ends)
    ]
    if right:
        prove_joined(promise(algorithm, parts=parts), pieces)
        return
    with pytest.raises(IntegrityError, match=algorithm):
        prove_joined(promise(algorithm, parts=parts), pieces)


ordered = st.sampled_from([*JOINABLE, "sha256", "sha1", "md5"])


@given(cuts, ordered, st.booleans(), st.integers(0, len(BODY) - 1), st.booleans())
def test_bytes_in_order_are_proved(cut: list[int], algorithm: str, parts: bool, at: int, right: bool) -> None:
    """Whatever pieces they come in."""
    body = bytearray(BODY)
    body[at] ^= 0 if right else 1
    proof = OrderedProof(promise(algorithm, parts=parts))
    for start, stop in zip([0, *cut], [*cut, len(BODY)], strict=True):
        proof.update(bytes(body[start:stop]))
    if right:
        proof.finish()
        return
    with pytest.raises(IntegrityError, match=algorithm):
        proof.finish()


def test_an_empty_object_has_a_checksum_too() -> None:
    """Which is that of no bytes."""
    empty = Promise("crc64nvme", "crc64nvme", digest("crc64nvme", b""))
    prove_joined(empty, [])
    OrderedProof(empty).finish()
