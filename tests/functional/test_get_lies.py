"""A store, or a proxy before it, that lies about one object: right bytes or an error, never a wrong file.

Every lie here is one that a well-known client believes, but for the few that test_get_rigs.py names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.exceptions import IntegrityError, S3StreamError, SourceChanged, SourceMisbehaved, SourceMissing
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.faults import Fault
from tests.support.getting import PART, get, opened, ranges, sent, siblings
from tests.support.readstore import ReadStore, serving_objects
from tests.support.resource import Reply, Request

SIZE = 9 * PART + 77
OLD = b"what lay there before"
LIES = readlies.lies_about_ranges(3 * PART + 500, SIZE)
UNSEEN = readlies.WITHOUT_A_CHECKSUM_UNSEEN
SHORT = {"206 shorter than asked": faults.short_range(20_000), "206 of one byte": faults.short_range(1)}
ABOUT: dict[str, dict[str, Any]] = {
    "md5": {},
    "crc64nvme": {"part_size": 100_000, "checksum": "crc64nvme"},
    "parts": {"part_size": 100_000, "checksum": "sha256", "composite": True},
    "nothing": {"part_size": 30_000},
}


@dataclass
class Outcome:
    """What a reader made of it."""

    body: Quiet | None
    """What was handed over as the object; None: an error was."""
    error: S3StreamError | None = None
    level: str = ""


@pytest.fixture(params=["file", "stream"])
def through(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def take(through: str, store: ReadStore, directory: Path, key: str = "big", **options: Any) -> Outcome:
    """Read the object, by each of the ways there are; whatever comes, nothing half is left."""
    if through != "file":
        return _by_stream(through, store, key, **options)
    path = directory / "to" / "file"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(OLD)
    try:
        result = get(store, path, key, **options)
    except S3StreamError as error:
        assert path.read_bytes() == OLD
        spoilt = isinstance(error, IntegrityError | SourceChanged | SourceMissing)
        assert not (spoilt and siblings(path)), f"what is of no use to a later run is kept: {error}"
        return Outcome(None, error)
    assert siblings(path) == []
    return Outcome(Quiet(path.read_bytes()), None, result.verification)


def _by_stream(through: str, store: ReadStore, key: str, **options: Any) -> Outcome:
    if through == "stream of one":
        options["connections"] = 1
    got = bytearray()
    try:
        with opened(store, key, **options) as stream:
            while piece := stream.read(50_001 if through == "pieces" else -1):
                got += piece
            assert stream.held == 0
            return Outcome(Quiet(got), None, stream.verification)
    except S3StreamError as error:
        return Outcome(None, error)


def judge(outcome: Outcome, *right: bytes) -> None:
    """Fail unless the bytes are right or an error says that they are not there."""
    if outcome.body is None:
        assert str(outcome.error)
        return
    assert outcome.body in [Quiet(body) for body in right], "a wrong object was handed over"


@pytest.mark.parametrize(
    ("ways", "about"),
    [
        ("file", "md5"), ("file", "parts"), ("file", "nothing"),
        ("stream", "crc64nvme"), ("pieces", "nothing"), ("stream of one", "md5"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("name", LIES)
def test_a_lie_that_is_told_every_time(tmp_path: Path, ways: str, name: str, about: str) -> None:
    """Of an object with a checksum of the whole, one of its parts, the MD5, or nothing but versions to go by."""
    if about == "nothing" and name in UNSEEN:
        pytest.skip("nobody can notice this")
    with serving_objects({}, readlies.of("big", LIES[name])) as store:
        store.put("big", SIZE, **ABOUT[about])
        outcome = take(ways, store, tmp_path)
        judge(outcome, store.body("big"))
        assert any(exchange.faults for exchange in store.exchanges), "no fault struck; the test proves nothing"
        assert sent(store) < 8 * SIZE, "it asked on and on"


@pytest.mark.parametrize("name", LIES)
def test_a_lie_that_is_told_by_all_but_the_first(tmp_path: Path, name: str) -> None:
    """The first answer was honest, which earns no trust."""
    lie = LIES[name].where(lambda request: request.range is not None and request.range[0] > 0)
    with serving_objects({}, readlies.of("big", lie)) as store:
        store.put("big", SIZE, **ABOUT["crc64nvme"])
        for through in ("file", "stream"):
            judge(take(through, store, tmp_path), store.body("big"))


@pytest.mark.parametrize("name", sorted({**LIES, **SHORT}))
def test_a_lie_that_is_told_through_boto3(tmp_path: Path, name: str) -> None:
    """Which has checks of its own, and misses some."""
    key = "up/../big"
    with serving_objects({}, readlies.of(key, {**LIES, **SHORT}[name])) as store:
        store.put(key, 3 * PART + 700, **ABOUT["crc64nvme"])
        for through in ("file", "stream"):
            judge(take(through, store, tmp_path, key), store.body(key))
            assert any(exchange.faults for exchange in store.exchanges), "no fault struck; the test proves nothing"


@pytest.mark.parametrize(
    "name", ["cut", "206 shorter than asked", "shorter, and its length says so", "chunked and short"]
)
def test_a_range_that_is_short_once_is_continued(tmp_path: Path, through: str, name: str) -> None:
    """From where it broke, not from its start; and the object comes."""
    lie = LIES[name] if name != "206 shorter than asked" else SHORT[name]
    with serving_objects({}, readlies.inside(3 * PART, 4 * PART, readlies.of("big", lie).once())) as store:
        store.put("big", SIZE)
        outcome = take(through, store, tmp_path)
        assert outcome.error is None
        assert outcome.body == store.body("big")
        assert sent(store) <= SIZE + PART, "what had come was fetched again"


@pytest.mark.parametrize("count", [1000, PART - 1])
def test_a_store_that_gives_a_little_at_a_time_is_patiently_asked(tmp_path: Path, through: str, count: int) -> None:
    """RFC 9110 allows a 206 of less than was asked for."""
    with serving_objects({}, readlies.of("big", faults.short_range(count))) as store:
        store.put("big", 2 * PART + 77, **ABOUT["crc64nvme"])
        outcome = take(through, store, tmp_path)
        judge(outcome, store.body("big"))
        assert sent(store) <= 3 * PART


@pytest.mark.parametrize("name", [None, *readlies.range_lies(0)])
def test_a_store_that_answers_ranges_with_200(tmp_path: Path, through: str, name: str | None) -> None:
    """As one family of imitators does: its Content-Range is believed as far as it is right."""
    lies = [readlies.of("big", LIES[name])] if name else []
    with serving_objects({}, *lies, readlies.of("big", readlies.range_as_200())) as store:
        store.put("big", SIZE)
        outcome = take(through, store, tmp_path)
        judge(outcome, store.body("big"))
        if name is None:
            assert outcome.error is None


def test_the_whole_object_for_a_range_is_refused(tmp_path: Path, through: str) -> None:
    """And not read to its end."""
    with serving_objects({}, readlies.of("big", faults.ignore_range())) as store:
        store.put("big", 400 * PART, etag='"opaque"')
        outcome = take(through, store, tmp_path)
        assert isinstance(outcome.error, SourceMisbehaved)
        assert not outcome.error.retryable


@pytest.mark.parametrize("size", [0, 1, PART])
def test_the_whole_object_for_a_range_of_all_of_it_may_do(tmp_path: Path, through: str, size: int) -> None:
    """Where there is but one range, an answer of 200 with the same ETag and length is the object."""
    with serving_objects({}, readlies.of("big", faults.ignore_range())) as store:
        store.put("big", size)
        judge(take(through, store, tmp_path), store.body("big"))


@pytest.mark.parametrize(
    "told", [None, "bytes {first}-", "bytes */{total}", "items {first}-{last}/{total}", "", "0-99"]
)
@pytest.mark.parametrize("by", [faults.other_bytes(1000), readlies.shorter_body(1000)], ids=lambda fault: fault.name)
def test_other_bytes_that_do_not_say_which_they_are(
    tmp_path: Path, through: str, told: str | None, by: faults.Fault
) -> None:
    """A 206 without a Content-Range that names the range proves nothing, and here nothing else does."""
    lies = [fault.where(readlies.beyond(1000)) for fault in (by, faults.content_range(told))]
    with serving_objects({}, *(readlies.of("big", lie) for lie in lies)) as store:
        store.put("big", SIZE, **ABOUT["nothing"])
        judge(take(through, store, tmp_path), store.body("big"))
        assert any(len(exchange.faults) == 2 for exchange in store.exchanges)


@pytest.mark.parametrize("now", [50, PART - 1, PART, SIZE])
@pytest.mark.parametrize("etag_tells", [True, False])
@pytest.mark.parametrize("before", [PART, SIZE])
def test_the_whole_of_another_version_for_a_range(
    tmp_path: Path, through: str, before: int, etag_tells: bool, now: int
) -> None:
    """Although it is no longer than the range, so that no byte is too many."""
    lie = readlies.of("big", readlies.whole_other_version(etag_tells=etag_tells, size=now))
    if before == now and not etag_tells:
        pytest.skip("nobody can notice this")
    with serving_objects({}, lie.where(lambda request: request.method == "GET")) as store:
        store.put("big", before, **ABOUT["nothing"])
        judge(take(through, store, tmp_path), store.body("big"))


HEADS: dict[str, Any] = {
    "no length": lambda reply: reply.drop("Content-Length") or setattr(reply, "framing", "close"),
    "length of words": lambda reply: reply.set("Content-Length", "many"),
    "length negative": lambda reply: reply.set("Content-Length", "-5"),
    "length too small": lambda reply: reply.set("Content-Length", str(SIZE - 1)),
    "length too large": lambda reply: reply.set("Content-Length", str(SIZE + 1)),
    "length enormous": lambda reply: reply.set("Content-Length", str(10**30)),
    "no ETag": lambda reply: reply.drop("ETag"),
    "weak ETag": lambda reply: reply.set("ETag", 'W/"weak"'),
    "ETag of another": lambda reply: reply.set("ETag", '"0123456789abcdef0123456789abcdef"'),
    "ETag with a line break": lambda reply: reply.set("ETag", '"a\tb"'),
    "206": lambda reply: setattr(reply, "status", 206),
    "204": lambda reply: setattr(reply, "status", 204),
}


@pytest.mark.parametrize("name", HEADS)
def test_a_head_that_lies(tmp_path: Path, through: str, name: str) -> None:
    """About the length or the version: nothing wrong comes of it."""

    def spoil(request: Request, reply: Reply) -> None:
        if "length" in name:
            reply.set("Content-Length", str(reply.length))
        HEADS[name](reply)

    with serving_objects({}, Fault(name, spoil).where(lambda request: request.method == "HEAD")) as store:
        store.put("big", SIZE)
        judge(take(through, store, tmp_path), store.body("big"))


class TestChangedObjects:
    """An object that is another one before it has come whole: the old one, or an error; never a mixture."""

    @pytest.mark.parametrize("obeys", [True, False], ids=["If-Match obeyed", "If-Match ignored"])
    @pytest.mark.parametrize("about", ["crc64nvme", "nothing"])
    @pytest.mark.parametrize("number", [1, 4])
    def test_overwritten_while_it_is_read(
        self, tmp_path: Path, through: str, about: str, obeys: bool, number: int
    ) -> None:
        with serving_objects({}) as store:
            store.put("big", SIZE, obeys_if_match=obeys, **ABOUT[about])
            old = store.body("big")
            struck = readlies.call(lambda: store.overwrite("big"))
            store.faults = [readlies.nth(number, readlies.of("big", struck))]
            outcome = take(through, store, tmp_path)
            judge(outcome, old)
            if outcome.error is not None:
                assert isinstance(outcome.error, SourceChanged)
                assert "s3://lake/big" in str(outcome.error)

    @pytest.mark.parametrize("size", [0, SIZE - 1, 4 * SIZE])
    @pytest.mark.parametrize("told", ["If-Match obeyed", "If-Match ignored", "ETag kept"])
    def test_overwritten_by_one_of_another_size(self, tmp_path: Path, through: str, size: int, told: str) -> None:
        """Which is told by the ETag, or by nothing but the size."""
        with serving_objects({}) as store:
            one = store.put("big", SIZE, obeys_if_match=told == "If-Match obeyed", **ABOUT["nothing"])
            old, kept = store.body("big"), {"etag": str(one.etag)} if told == "ETag kept" else {}
            struck = readlies.call(lambda: store.overwrite("big", size=size, **kept))
            store.faults = [readlies.nth(2, readlies.of("big", struck))]
            judge(take(through, store, tmp_path), old)

    def test_deleted_while_it_is_read(self, tmp_path: Path, through: str) -> None:
        with serving_objects({}) as store:
            store.put("big", SIZE)
            old = store.body("big")
            struck = readlies.call(lambda: store.objects.pop("big", None) and None)
            store.faults = [readlies.nth(2, readlies.of("big", struck))]
            outcome = take(through, store, tmp_path)
            judge(outcome, old)
            assert outcome.error is None or isinstance(outcome.error, SourceMissing)

    def test_the_next_run_takes_the_new_one_whole(self, tmp_path: Path) -> None:
        """Of what was kept of the old one, nothing is used."""
        path = tmp_path / "file"
        with serving_objects({}) as store:
            store.put("big", SIZE)
            store.faults = [readlies.inside(4 * PART, SIZE, readlies.refuse(500, "InternalError"))]
            with pytest.raises(S3StreamError):
                get(store, path, connections=1)
            assert siblings(path), "there should be something to go on with"
            store.faults = []
            store.overwrite("big")
            store.exchanges.clear()
            result = get(store, path)
            assert (result.resumed, result.fetched) == (0, SIZE)
            assert Quiet(path.read_bytes()) == store.body("big")
            assert {exchange.header("If-Match") for exchange in store.gets} == {store.objects["big"].etag}
            assert ranges(store.gets)
            assert siblings(path) == []

    def test_the_version_is_asked_for_by_name_every_time(self, tmp_path: Path, through: str) -> None:
        with serving_objects({}) as store:
            one = store.put("big", SIZE)
            take(through, store, tmp_path)
            assert {exchange.header("If-Match") for exchange in store.gets} == {one.etag}


def test_integrity_failures_keep_nothing(tmp_path: Path) -> None:
    """What is proved wrong is not gone on with."""
    path = tmp_path / "file"
    with serving_objects({}, readlies.of("big", faults.flip_bit(3 * PART)).once()) as store:
        store.put("big", SIZE, part_size=100_000, checksum="crc64nvme")
        try:
            get(store, path)
        except S3StreamError:
            assert siblings(path) == []
            store.exchanges.clear()
            assert get(store, path).fetched == SIZE
        assert Quiet(path.read_bytes()) == store.body("big")


def test_bytes_given_before_the_end_may_be_unproved_but_the_end_tells(tmp_path: Path) -> None:
    """A wrong bit early in the object: the read that would end the stream raises, and so does every one after it."""
    with serving_objects({}, readlies.of("big", faults.flip_bit(10))) as store:
        store.put("big", SIZE, part_size=100_000, checksum="crc64nvme")
        with opened(store) as stream:
            got = 0
            with pytest.raises(S3StreamError) as caught:
                while piece := stream.read(10_000):
                    got += len(piece)
            assert got < SIZE, "the last bytes were handed over before they were proved"
            assert stream.verification == ""
            for _ in range(2):
                with pytest.raises(S3StreamError) as again:
                    stream.read(10_000)
                assert type(again.value) is type(caught.value)
