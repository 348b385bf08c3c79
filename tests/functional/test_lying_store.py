"""Stores, and proxies before them, that lie: right bytes or an error, never a wrong file reported as done.

Every lie here is one that a well-known client believes (test_read_rigs.py shows it of boto3).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from airflow_s3stream.config import MiB, RetryPolicy
from airflow_s3stream.engine.pace import MEMORY
from airflow_s3stream.exceptions import S3StreamError, SourceChanged, SourceDenied
from airflow_s3stream.plan.download import WHOLE
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.downloads import entry_of, expected, fetch, files, litter, row, rows, shards
from tests.support.faults import Fault
from tests.support.readstore import ReadStore, serving_objects

SMALL, LARGE = 10_000, WHOLE + 1_000_000  # one GET; two ranges
OLD = b"what lay there before"
HONEST = ("p/a", "p/b", "p/z")

WHOLE_LIES = {
    **readlies.whole_lies(SMALL),
    "another ETag": readlies.other_etag(),
    "wrong checksum": readlies.wrong_checksum(),
}
RANGE_LIES = readlies.lies_about_ranges(WHOLE + 500_000, LARGE)
UNDETECTABLE_WITHOUT_A_CHECKSUM = readlies.WITHOUT_A_CHECKSUM_UNSEEN


@pytest.fixture(autouse=True)
def _memory_is_given_back() -> Iterator[None]:
    """Fail a test after which this process still counts bytes as held, or fewer than none."""
    yield
    held = MEMORY.held
    MEMORY.release(held)  # or every later test would pay for it
    assert held == 0


@dataclass
class Outcome:
    """What a reader made of the one key that is lied about."""

    body: bytes | None
    """What it handed over as the object; None: it did not."""
    error: str
    """What it said of it."""
    verification: str = ""


def judge(outcome: Outcome, *right: bytes) -> None:
    """Fail unless the bytes are right or an error says that they are not there."""
    if outcome.body is None:
        assert outcome.error
        return
    assert Quiet(outcome.body) in [Quiet(body) for body in right], f"a wrong object was handed over: {outcome}"


@pytest.fixture(params=["files", "tar", "read_objects"])
def through(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def take(through: str, store: ReadStore, directory: Path, key: str = "p/lied", **options: Any) -> Outcome:
    """Read the lied-of key among honest ones; whatever becomes of it, those must come right."""
    if through == "read_objects":
        return _into_memory(store, key, **options)
    options = {"on_error": "continue", **options}
    if through == "tar":
        result = fetch(store, directory, sink="tar", shard_size=64 * MiB, **options)
        found = {name: body for _, name, body in shards(directory)}
    else:
        directory.mkdir(exist_ok=True)
        (directory / "lied").write_bytes(OLD)
        result = fetch(store, directory, **options)
        found = {name: body for name, body in files(directory).items() if body != OLD or result.failed == 0}
    assert litter(directory) == []
    assert {name: found.get(name) for name in ("a", "b", "z")} == expected(store, HONEST)
    told = row(result, key)
    if told["status"] == "fetched":
        assert (result.failed, result.status) == (0, "downloaded")
        assert told["size"] == len(found["lied"])
        return Outcome(found["lied"], "", told["verification"])
    assert (result.failed, result.status, told["status"]) == (1, "incomplete", "failed")
    assert "lied" not in found, "a failed object left something under its name"
    return Outcome(None, told["error"])


def _into_memory(store: ReadStore, key: str, **options: Any) -> Outcome:
    from tests.support.reading import read_all

    entries = [entry_of(store.listed.get(each) or store.objects[each]) for each in sorted({*HONEST, key})]
    got = dict(read_all(store, entries, **{"on_error": "continue", **options}))
    assert got.keys() == {*HONEST, key}
    for name in HONEST:
        assert Quiet(got[name]) == store.body(name)
    if isinstance(got[key], S3StreamError):
        return Outcome(None, str(got[key]))
    return Outcome(got[key], "")


@pytest.fixture
def small() -> Iterator[ReadStore]:
    with serving_objects({**dict.fromkeys(HONEST, 500), "p/lied": SMALL}) as store:
        yield store


@pytest.mark.parametrize("name", WHOLE_LIES)
def test_a_lie_about_a_whole_object(small: ReadStore, tmp_path: Path, through: str, name: str) -> None:
    """Told every time."""
    small.faults = [readlies.of("p/lied", WHOLE_LIES[name])]
    outcome = take(through, small, tmp_path / "to")
    judge(outcome, small.body("p/lied"), small.objects["p/lied"].rewritten().content.bytes())
    assert any(exchange.faults for exchange in small.exchanges), "no fault struck; the test proves nothing"
    if outcome.body is not None and Quiet(outcome.body) != small.body("p/lied"):
        assert name == "another version, new ETag", "only a version that was announced may come instead"


@pytest.mark.parametrize("name", WHOLE_LIES)
def test_a_lie_that_is_told_once_is_mended(small: ReadStore, tmp_path: Path, name: str) -> None:
    """By asking again, where it is one that may pass."""
    small.faults = [readlies.of("p/lied", WHOLE_LIES[name]).once()]
    outcome = take("files", small, tmp_path / "to")
    judge(outcome, small.body("p/lied"), small.objects["p/lied"].rewritten().content.bytes())
    if name in ("cut", "cut without a length", "chunked and cut", "chunked and short", "shorter", "bit flipped"):
        assert outcome.body is not None, f"one bad answer lost the object: {outcome.error}"


@pytest.mark.parametrize("etag", ["md5", "parts", "opaque", "none"])
@pytest.mark.parametrize("checksum", ["crc64nvme", "crc32", "crc32c", "sha256", "sha1"])
def test_a_flipped_bit_is_noticed_by_any_checksum(tmp_path: Path, checksum: str, etag: str) -> None:
    """Whatever the ETag is."""
    about: dict[str, Any] = {"checksum": checksum}
    if etag == "parts":
        about["part_size"] = 5 * MiB
    elif etag == "opaque":
        about["etag"] = '"not-an-md5"'
    lies = [readlies.of("p/lied", faults.flip_bit(SMALL // 2))]
    if etag == "none":
        lies.append(readlies.of("p/lied", readlies.no_etag()))
    with serving_objects({"p/lied": SMALL}, *lies) as store:
        store.put("p/lied", SMALL, **about)
        for key in HONEST:
            store.put(key, 500)
        assert take("files", store, tmp_path / "to").body is None


def test_a_flipped_bit_is_noticed_by_the_listed_etag(small: ReadStore, tmp_path: Path, through: str) -> None:
    """Although the answer has none."""
    small.faults = [readlies.of("p/lied", fault) for fault in (faults.flip_bit(77), readlies.no_etag())]
    judge(take(through, small, tmp_path / "to"), small.body("p/lied"))


def test_what_proves_nothing_is_not_said_to_be_proved(small: ReadStore, tmp_path: Path) -> None:
    """An ETag of parts and no checksum: the size is all there is, and strict refuses it."""
    small.put("p/lied", SMALL, part_size=5000)
    outcome = take("files", small, tmp_path / "to")
    assert outcome.verification == "size"
    assert take("files", small, tmp_path / "other", strict=True).error


def test_a_wrong_length_with_no_etag_that_proves_is_noticed(tmp_path: Path, through: str) -> None:
    """By the listed size."""
    for lie in ("shorter", "longer", "empty", "cut without a length", "chunked and short", "error in 200"):
        with serving_objects(dict.fromkeys(HONEST, 500), readlies.of("p/lied", WHOLE_LIES[lie])) as store:
            store.put("p/lied", SMALL, part_size=5000)
            judge(take(through, store, tmp_path / lie.replace(" ", "-")), store.body("p/lied"))


@pytest.mark.parametrize("lie", ["cut without a length", "chunked and short", "shorter", "error in 200"])
def test_a_key_of_a_list_has_no_size_to_compare(tmp_path: Path, lie: str) -> None:
    """Its body still has an ETag; and one without a length, that proves nothing, is not believed."""
    from airflow_s3stream.plan.objects import ObjectEntry

    for about in ({}, {"part_size": 5000}):
        if lie == "shorter" and about:
            continue  # a consistent answer of which nothing can be proved
        if lie == "chunked and short" and about:
            continue  # the same: its end is marked
        with serving_objects({}, readlies.of("p/lied", WHOLE_LIES[lie])) as store:
            one = store.put("p/lied", SMALL, **about)
            directory = tmp_path / f"{len(about)}"
            result = fetch(store, directory, entries=[ObjectEntry(one.key)], on_error="continue")
            assert files(directory) in ({}, {"lied": store.body("p/lied")})
            assert result.failed == 1 - len(files(directory))


@pytest.fixture
def large() -> Iterator[ReadStore]:
    with serving_objects({**dict.fromkeys(HONEST, 500), "p/lied": LARGE}) as store:
        yield store


@pytest.mark.parametrize("name", RANGE_LIES)
def test_a_lie_about_ranges_of_a_large_object(large: ReadStore, tmp_path: Path, through: str, name: str) -> None:
    """Told every time, of an object whose ETag is its MD5."""
    ranged = RANGE_LIES[name].where(lambda request: request.method == "GET")
    large.faults = [readlies.of("p/lied", ranged)]
    outcome = take(through, large, tmp_path / "to", max_memory=64 * MiB)
    judge(outcome, large.body("p/lied"), large.objects["p/lied"].rewritten().content.bytes())
    assert any(exchange.faults for exchange in large.exchanges), "no fault struck; the test proves nothing"


@pytest.mark.parametrize("name", sorted(RANGE_LIES.keys() - UNDETECTABLE_WITHOUT_A_CHECKSUM))
@pytest.mark.parametrize("checksum", [None, "crc64nvme"])
def test_a_lie_about_ranges_of_an_object_uploaded_in_parts(tmp_path: Path, name: str, checksum: str | None) -> None:
    """Its ETag proves nothing about bytes, but holds the versions apart."""
    _parts(tmp_path, name, checksum)


@pytest.mark.parametrize("name", sorted(UNDETECTABLE_WITHOUT_A_CHECKSUM))
@pytest.mark.parametrize("checksum", ["crc64nvme", "crc32", "crc32c"])
def test_wrong_bytes_of_an_object_uploaded_in_parts(tmp_path: Path, name: str, checksum: str) -> None:
    """The checksum of the whole, joined from those of the ranges, tells."""
    _parts(tmp_path, name, checksum)


def _parts(directory: Path, name: str, checksum: str | None) -> None:
    lie = readlies.of("p/lied", RANGE_LIES[name])
    with serving_objects(dict.fromkeys(HONEST, 500), lie) as store:
        store.put("p/lied", LARGE, part_size=5 * MiB, checksum=checksum)
        outcome = take("files", store, directory / "to")
        judge(outcome, store.body("p/lied"), store.objects["p/lied"].rewritten().content.bytes())
        assert any(exchange.faults for exchange in store.exchanges), "no fault struck; the test proves nothing"


@pytest.mark.parametrize("name", ["cut", "206 shorter than asked", "shorter, and its length says so"])
def test_a_range_that_fails_once_does_not_lose_the_object(large: ReadStore, tmp_path: Path, name: str) -> None:
    """It is asked for again, from where it broke."""
    large.faults = [readlies.of("p/lied", RANGE_LIES[name]).where(lambda r: r.range is not None).once()]
    outcome = take("files", large, tmp_path / "to")
    assert outcome.error == ""
    assert outcome.body == large.body("p/lied")
    sent = sum(exchange.sent for exchange in large.gets if exchange.status == 206)
    assert sent < LARGE + WHOLE + 2000


@pytest.mark.parametrize("name", [None, *readlies.range_lies(0)])
def test_a_store_that_answers_ranges_with_200(large: ReadStore, tmp_path: Path, name: str | None) -> None:
    """As one family of imitators does: its Content-Range is believed as far as it is right."""
    large.faults = [readlies.of("p/lied", RANGE_LIES[name])] if name else []
    large.faults.append(readlies.of("p/lied", readlies.range_as_200()))
    outcome = take("files", large, tmp_path / "to")
    judge(outcome, large.body("p/lied"), large.objects["p/lied"].rewritten().content.bytes())
    if name is None:
        assert outcome.error == ""


class TestChangedObjects:
    """An object that is another one by the time it is fetched: the new one whole, or an error, never a mixture."""

    @pytest.mark.parametrize("size", [SMALL, LARGE])
    def test_overwritten_after_it_was_listed(self, tmp_path: Path, through: str, size: int) -> None:
        with serving_objects({**dict.fromkeys(HONEST, 500), "p/lied": size}) as store:
            store.overwrite_behind_the_listing("p/lied")
            judge(take(through, store, tmp_path / "to"), store.body("p/lied"))

    @pytest.mark.parametrize(
        ("before", "after"), [(SMALL, 5000), (SMALL, 30_000), (SMALL, LARGE), (LARGE, SMALL), (SMALL, 0)]
    )
    def test_overwritten_by_one_of_another_size(self, tmp_path: Path, through: str, before: int, after: int) -> None:
        """Smaller, larger, so large that it needs ranges, or none at all."""
        with serving_objects({**dict.fromkeys(HONEST, 500), "p/lied": before}) as store:
            store.overwrite_behind_the_listing("p/lied", size=after)
            judge(take(through, store, tmp_path / "to"), store.body("p/lied"))

    def test_overwritten_while_its_ranges_are_read(self, large: ReadStore, tmp_path: Path, through: str) -> None:
        """The store obeys If-Match, as S3 does."""
        old, struck = large.body("p/lied"), readlies.call(lambda: large.overwrite("p/lied"))
        large.faults = [readlies.nth(2, readlies.of("p/lied", struck))]
        judge(take(through, large, tmp_path / "to"), old, large.objects["p/lied"].rewritten().content.bytes(),
              large.body("p/lied"))  # fmt: skip

    @pytest.mark.parametrize("size", [SMALL, LARGE])
    def test_deleted_after_it_was_listed(self, tmp_path: Path, through: str, size: int) -> None:
        with serving_objects({**dict.fromkeys(HONEST, 500), "p/lied": size}) as store:
            store.remove_behind_the_listing("p/lied")
            outcome = take(through, store, tmp_path / "to")
            assert outcome.body is None
            assert "404" in outcome.error or "NoSuchKey" in outcome.error

    def test_deleted_while_its_ranges_are_read(self, large: ReadStore, tmp_path: Path, through: str) -> None:
        body = large.body("p/lied")
        struck = readlies.call(lambda: large.listed.update({"p/lied": large.objects.pop("p/lied")}))
        large.faults = [readlies.nth(2, readlies.of("p/lied", struck))]
        judge(take(through, large, tmp_path / "to"), body)


class TestRefusals:
    """What cannot be fetched is named, and by policy ends the run or is passed over."""

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (readlies.refuse(403, "AccessDenied"), "403 AccessDenied"),
            (readlies.refuse(404, "NoSuchKey"), "404 NoSuchKey"),
            (readlies.refuse(403, "InvalidObjectState"), "403 InvalidObjectState"),
            (readlies.refuse(500, "InternalError"), "500 InternalError"),
            (readlies.refuse(503, "SlowDown"), "503 SlowDown"),
            (faults.reset_after(0), "the connection"),
            (faults.stall_after(100), "stall"),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    @pytest.mark.parametrize("size", [SMALL, LARGE])
    def test_one_object_that_cannot_be_read(self, tmp_path: Path, fault: Fault, said: str, size: int) -> None:
        """The others are fetched all the same, where that is asked for; else the key is named."""
        self._one_fails(tmp_path, fault, said, size, "GET")

    @pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (404, "NoSuchKey"), (503, "SlowDown")])
    def test_one_large_object_whose_head_is_refused(self, tmp_path: Path, status: int, code: str) -> None:
        """Which has no body that says why."""
        self._one_fails(tmp_path, readlies.refuse(status, code), str(status), LARGE, "HEAD")

    def _one_fails(self, tmp_path: Path, fault: Fault, said: str, size: int, method: str) -> None:
        with serving_objects({**dict.fromkeys(HONEST, 500), "p/lied": size}) as store:
            store.faults = [fault.where(lambda request: request.method == method and request.target.endswith("lied"))]
            retry = RetryPolicy(attempts=2, base=0.01, cap=0.02)
            outcome = take("files", store, tmp_path / "to", retry=retry)
            assert outcome.body is None
            assert said in outcome.error
            with pytest.raises(S3StreamError, match="p/lied"):
                fetch(store, tmp_path / "other", retry=retry)
            assert litter(tmp_path / "other") == []

    def test_an_archived_object_is_said_to_be(self, tmp_path: Path) -> None:
        """With what to do."""
        with serving_objects(dict.fromkeys(HONEST, 500)) as store:
            store.put("p/lied", SMALL, storage_class="GLACIER")
            outcome = take("files", store, tmp_path / "to")
            assert "InvalidObjectState" in outcome.error or "archive" in outcome.error
            assert len(rows(fetch(store, tmp_path / "third", on_error="continue"))) == 4

    def test_a_redirect_elsewhere_is_not_followed(self, small: ReadStore, tmp_path: Path) -> None:
        """Nobody else gets the signature, and no file the other's bytes."""
        with serving_objects({"p/lied": SMALL}) as elsewhere:
            small.faults = [readlies.of("p/lied", readlies.redirect(f"{elsewhere.endpoint_url}/lake/p/lied"))]
            assert take("files", small, tmp_path / "to").body is None
            assert elsewhere.gets == []


class TestListing:
    """A listing that cannot be trusted ends the run; it never means fewer files."""

    @pytest.fixture
    def store(self) -> Iterator[ReadStore]:
        with ReadStore() as store:
            store.fill(2100, 20)
            yield store

    @pytest.mark.parametrize(
        "fault",
        [
            faults.close_after(5000),
            faults.reset_after(0),
            faults.stall_after(1000),
            readlies.refuse(503, "SlowDown"),
            readlies.refuse(500, "InternalError"),
            readlies.error_in_200("InternalError"),
        ],
        ids=lambda fault: fault.name,
    )
    def test_a_page_that_fails_now_and_then(self, store: ReadStore, tmp_path: Path, fault: Fault) -> None:
        """Is asked for again, and every key comes once."""
        store.faults = [readlies.nth(number, readlies.listings(fault)) for number in (1, 3)]
        result = fetch(store, tmp_path / "to")
        assert len(files(tmp_path / "to")) == result.objects == 2100

    @pytest.mark.parametrize(
        "fault",
        [
            faults.close_after(5000),
            readlies.refuse(500, "InternalError"),
            readlies.error_in_200("InternalError"),
            faults.status(200, b""),
            faults.status(200, b"<html>captive portal</html>"),
            faults.status(204),
            readlies.refuse(403, "AccessDenied"),
            readlies.refuse(404, "NoSuchBucket"),
        ],
        ids=lambda fault: fault.name,
    )
    @pytest.mark.parametrize("first", [1, 3])
    def test_a_page_that_never_comes_is_an_error(
        self, store: ReadStore, tmp_path: Path, fault: Fault, first: int
    ) -> None:
        """From the first page on, or in the middle; also with on_error=continue."""
        seen = iter(range(1, 10_000))
        store.faults = [readlies.listings(fault).where(lambda request: next(seen) >= first)]
        with pytest.raises(S3StreamError):
            fetch(store, tmp_path / "to", on_error="continue")

    def test_a_denied_list_and_a_missing_bucket_are_named(self, store: ReadStore, tmp_path: Path) -> None:
        store.faults = [readlies.listings(readlies.refuse(403, "AccessDenied"))]
        with pytest.raises(SourceDenied, match="AccessDenied"):
            fetch(store, tmp_path / "to")
        store.faults = []
        with pytest.raises(S3StreamError, match="NoSuchBucket"):
            fetch(store, tmp_path / "to", bucket="elsewhere")

    @pytest.mark.parametrize("obeys_encoding", [True, False])
    @pytest.mark.parametrize("obeys_start_after", [True, False])
    def test_imitators_of_s3_are_listed_too(
        self, store: ReadStore, tmp_path: Path, obeys_start_after: bool, obeys_encoding: bool
    ) -> None:
        """Without start-after, without encoding: every key once, or an error."""
        store.put("p/x & y <z>+%41", 20)
        store.obeys_start_after, store.obeys_encoding = obeys_start_after, obeys_encoding
        result = fetch(store, tmp_path / "to")
        assert files(tmp_path / "to") == expected(store, store.objects)
        assert result.objects == 2101
        assert set(store.gets_per_key.values()) == {1}


def test_changed_is_said_to_be_changed(large: ReadStore, tmp_path: Path) -> None:
    """An object that is overwritten again and again ends the run by its own name."""
    large.faults = [readlies.of("p/lied", readlies.call(lambda: large.overwrite("p/lied"))).where(
        lambda request: request.range is not None
    )]  # fmt: skip
    with pytest.raises(SourceChanged, match="p/lied"):
        fetch(large, tmp_path / "to")
    assert litter(tmp_path / "to") == []
    assert not (tmp_path / "to" / "lied").exists()
