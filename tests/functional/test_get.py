"""One object into one file: the right bytes at every size, and what is said to be proved is true."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from airflow_s3stream.config import KiB, MiB
from airflow_s3stream.exceptions import (
    ConfigError,
    IntegrityError,
    S3StreamError,
    SourceArchived,
    SourceDenied,
    SourceMissing,
    Stopped,
)
from tests.support import faults, readlies
from tests.support.content import Quiet
from tests.support.getting import PART, get, opened, place, ranges, read, siblings
from tests.support.hostile import DOT_KEYS, HOSTILE_KEYS
from tests.support.readstore import ReadStore
from tests.support.stores import Store

SIZES = (0, 1, PART - 1, PART, PART + 1, 4 * PART, 4 * PART + 1, 9 * PART - 1, 33 * PART + 17)
DOTTED = "up/../big"
"""A key that libcurl cannot ask for, so that boto3 reads it."""
OLD = b"what lay there before"


@pytest.fixture
def to(tmp_path: Path) -> Path:
    return place(tmp_path)


def assert_nothing_runs() -> None:
    left = [thread.name for thread in threading.enumerate() if thread.name.startswith("s3stream")]
    # boto3's threads end when their GETs do.
    assert [name for name in left if not name.startswith("s3stream-boto3")] == []


class TestBytes:
    @pytest.mark.parametrize(
        ("key", "connections", "size"),
        [*(("big", connections, size) for connections in (1, 16) for size in SIZES),
         *((DOTTED, 3, size) for size in (0, 1, PART, 9 * PART - 1))],
    )  # fmt: skip
    def test_any_size(self, store: ReadStore, to: Path, size: int, connections: int, key: str) -> None:
        """Through libcurl, and through boto3 where libcurl cannot ask for the key."""
        one = store.put(key, size)
        result = get(store, to, key, connections=connections)
        assert Quiet(to.read_bytes()) == store.body(key)
        assert (result.uri, result.path, result.status) == (f"s3://lake/{key}", str(to), "downloaded")
        assert (result.size, result.fetched, result.resumed) == (size, size, 0)
        assert (result.etag, result.verification) == (str(one.etag).strip('"'), "md5-etag")
        assert (result.retries, result.slow_dropped, result.warnings) == (0, 0, _about_boto3(key, result.warnings))
        assert siblings(to) == []
        assert store.peak_busy <= connections
        assert_nothing_runs()

    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        size=st.integers(0, 40 * PART) | st.integers(0, 12).map(lambda count: count * PART),
        connections=st.integers(1, 24),
        part_size=st.integers(PART, 6 * PART),
        key=st.sampled_from(["big", DOTTED]),
    )
    def test_any_ranges(self, tmp_path: Path, size: int, connections: int, part_size: int, key: str) -> None:
        """Into a file and through the stream; whatever the number and the size of the ranges."""
        with ReadStore() as store:
            store.put(key, size, checksum="crc64nvme")
            result = get(store, tmp_path / "file", key, connections=connections, part_size=part_size)
            assert Quiet((tmp_path / "file").read_bytes()) == store.body(key)
            assert (result.size, result.verification) == (size, "crc64nvme")
            assert _covered(ranges(store.gets), size)
            assert read(store, key, connections=connections, part_size=part_size, piece=70_001) == store.body(key)

    def test_any_key(self, store: ReadStore, to: Path) -> None:
        """By libcurl, but for those of which it would ask for another."""
        for key in HOSTILE_KEYS:
            store.exchanges.clear()
            store.put(key, 2 * PART, checksum="crc64nvme")
            get(store, to, key)
            assert Quiet(to.read_bytes()) == store.body(key)
            by_boto3 = any("boto3" in (one.header("User-Agent") or "").lower() for one in store.gets)
            assert by_boto3 == (key in DOT_KEYS), key

    def test_ranges_are_chosen_where_none_are_given(self, store: ReadStore, to: Path) -> None:
        """As many as there are connections, between 8 and 64 MiB each."""
        store.put("big", 40 * MiB, etag='"opaque"')
        result = get(store, to, connections=4, part_size=None)
        assert result.part_size == 10 * MiB
        result = get(store, to, connections=16, part_size=None)
        assert result.part_size == 8 * MiB
        assert to.stat().st_size == 40 * MiB

    def test_many_connections_work_at_once(self, store: ReadStore, to: Path) -> None:
        """All that were asked for, before the first has ended."""
        store.put("big", 8 * PART)
        event = threading.Event()
        store.faults = [readlies.gets(readlies.hold(100, event))]

        def let_go() -> None:
            if store.peak_busy >= 8:
                event.set()

        for number in range(1, 9):
            store.when_sent(100 * number, let_go)
        get(store, to, connections=8)
        assert event.is_set()
        assert store.connections <= 9

    def test_requests_are_no_more_than_needed(self, store: ReadStore, to: Path) -> None:
        """A head and the ranges, each of a version that is named."""
        one = store.put("big", 10 * PART)
        result = get(store, to, connections=1)
        assert [exchange.request.method for exchange in store.exchanges].count("HEAD") <= 1
        assert ranges(store.gets) == [(at, at + PART) for at in range(0, 10 * PART, PART)]
        assert {exchange.header("If-Match") for exchange in store.gets} == {one.etag}
        assert result.requests == len(store.exchanges)
        assert store.attributes == []

    def test_a_real_store(self, s3_store: Store, to: Path) -> None:
        """Each with its own idea of S3."""
        body = os.urandom(3 * MiB + 17)
        s3_store.put("some/key", body)
        result = get(s3_store, to, "some/key", part_size=300_000)
        assert Quiet(to.read_bytes()) == Quiet(body)
        assert result.verification == {"localstack": "crc64nvme"}.get(s3_store.name, "md5-etag")
        assert read(s3_store, "some/key", part_size=300_000) == Quiet(body)


def _about_boto3(key: str, warnings: list[str]) -> list[str]:
    return [one for one in warnings if key == DOTTED and "boto3" in one]


def _covered(asked: list[tuple[int, int]], size: int) -> bool:
    reached = 0
    for start, stop in sorted(asked):
        if start > reached:
            return False
        reached = max(reached, stop)
    return reached >= size


PROVED: list[tuple[dict[str, Any], str]] = [
    ({"checksum": "crc64nvme"}, "crc64nvme"),
    ({"checksum": "crc64nvme", "part_size": 100_000}, "crc64nvme"),
    ({"checksum": "crc32c", "part_size": 100_000}, "crc32c"),
    ({"checksum": "crc32", "part_size": 100_000}, "crc32"),
    ({"checksum": "crc32c", "part_size": 100_000, "composite": True}, "crc32c-composite"),
    ({"checksum": "crc32", "part_size": 100_000, "composite": True}, "crc32-composite"),
    ({"checksum": "sha1", "part_size": 100_000, "composite": True}, "sha1-composite"),
    ({"checksum": "sha256", "part_size": 100_000, "composite": True}, "sha256-composite"),
    (
        {"checksum": "sha256", "part_size": (1, 200_000, 100_000, 7 * PART - 300_002, 1), "composite": True},
        "sha256-composite",
    ),
    ({"checksum": "crc32", "part_size": 7 * PART, "composite": True}, "crc32-composite"),
    ({"checksum": "crc32", "part_size": (5 * PART, 2 * PART, 0), "composite": True}, "crc32-composite"),
    ({"checksum": "sha256", "part_size": (0, 5 * PART, 0, 2 * PART, 0), "composite": True}, "sha256-composite"),
    ({"checksum": "sha256", "etag": '"opaque"'}, "sha256"),
    ({"checksum": "sha1", "etag": '"opaque"'}, "sha1"),
    ({}, "md5-etag"),
    ({"part_size": 7 * PART}, "md5-etag"),
    ({"part_size": 100_000}, "size"),
    ({"etag": '"opaque"'}, "size"),
    ({"headers": (("x-amz-server-side-encryption", "aws:kms"),)}, "size"),
]


def _name(value: object) -> str:
    return "-".join(f"{name}={text}" for name, text in value.items()) if isinstance(value, dict) else str(value)


class TestProof:
    @pytest.mark.parametrize(("about", "level"), PROVED, ids=_name)
    def test_what_was_proved_is_told(self, store: ReadStore, to: Path, about: dict[str, Any], level: str) -> None:
        """By a checksum of the whole, by those of the parts, by the MD5, or by the size alone."""
        store.put("big", 7 * PART, **about)
        result = get(store, to)
        assert (Quiet(to.read_bytes()), result.verification) == (store.body("big"), level)
        if level == "size":
            with pytest.raises(IntegrityError, match="strict"):
                get(store, to.with_name("strict"), strict=True)
            assert siblings(to) == []
        else:
            assert get(store, to.with_name("strict"), strict=True, connections=1).verification == level

    @pytest.mark.parametrize(("about", "level"), [one for one in PROVED if one[1] != "size"], ids=_name)
    def test_and_it_is_proved(self, store: ReadStore, to: Path, about: dict[str, Any], level: str) -> None:
        """One wrong bit, told every time: an error, the old file, and nothing left beside it."""
        store.put("big", 7 * PART, **about)
        to.write_bytes(OLD)
        for at in (0, 250_000, 7 * PART - 1):
            store.faults = [readlies.gets(faults.flip_bit(at))]
            with pytest.raises(IntegrityError):
                get(store, to)
            assert to.read_bytes() == OLD
            assert siblings(to) == []

    @pytest.mark.parametrize("says", ["AAAAAAAAAAA=", "AAAA", "AAAAAAAAAAA=-2", "not base64", "A", "zzz-3", "AA=A-3"])
    @pytest.mark.parametrize("composite", [False, True])
    def test_a_checksum_that_is_not_its_own_is_not_believed(
        self, store: ReadStore, to: Path, says: str, composite: bool
    ) -> None:
        """Right bytes, but the store says otherwise, or nonsense: a lesser proof, said, or an error."""
        about: dict[str, Any] = {"part_size": PART, "composite": True} if composite else {}
        algorithm = "sha256" if composite else "crc64nvme"
        store.put("big", 3 * PART, checksum=algorithm, checksum_says=says, etag='"opaque"', **about)
        try:
            result = get(store, to)
        except S3StreamError:
            assert not to.exists()
            assert siblings(to) == []
        else:
            assert (result.verification, Quiet(to.read_bytes())) == ("size", store.body("big"))
            assert says not in ("AAAAAAAAAAA=", "AAAA")
            assert result.warnings

    @pytest.mark.parametrize(
        ("name", "part_size"),
        [*((name, 100_000) for name in readlies.attribute_lies()),
         *((name, 7 * PART) for name in ("denied", "sizes missing", "a part too few", "never ending"))],
    )  # fmt: skip
    def test_parts_of_which_nothing_or_nonsense_is_told(
        self, store: ReadStore, to: Path, name: str, part_size: int
    ) -> None:
        """The file comes all the same, and with a lesser proof if the parts' sizes are not known; that is said."""
        store.put("big", 7 * PART, part_size=part_size, checksum="sha256", composite=True)
        store.faults = [readlies.attribute_lies()[name]]
        try:
            result = get(store, to)
        except S3StreamError as error:
            # Sizes that add up and are wrong are the only lie that need not be seen; a store out of order may recover.
            assert name == "sizes shifted" or (error.retryable and name in ("out of order", "cut"))
            assert not to.exists()
            assert siblings(to) == []
        else:
            assert Quiet(to.read_bytes()) == store.body("big")
            assert (result.verification == "sha256-composite") != bool(result.warnings), result
        assert len(store.attributes) < 5
        # What a kernel takes before anybody reads it is some megabytes, and the answer may be forty.
        assert store.sent < 20 * MiB, "it read on and on"

    def test_denied_attributes_are_a_lesser_proof_and_strict_refuses(self, store: ReadStore, to: Path) -> None:
        """What is missing is named: the permission."""
        store.put("big", 7 * PART, part_size=100_000, checksum="sha256", composite=True)
        store.faults = [readlies.attribute_lies()["denied"]]
        result = get(store, to)
        assert result.verification == "size"
        assert any("GetObjectAttributes" in warning for warning in result.warnings)
        assert len(store.attributes) == 1, "asked again although denied"
        with pytest.raises(IntegrityError, match="GetObjectAttributes"):
            get(store, to.with_name("strict"), strict=True)

    @pytest.mark.parametrize("checksum", ["crc32c", "sha256"])
    def test_an_empty_object_of_one_empty_part(self, store: ReadStore, to: Path, checksum: str) -> None:
        store.put("big", 0, part_size=(0,), checksum=checksum, composite=True)
        assert get(store, to).verification == f"{checksum}-composite"
        assert to.read_bytes() == b""
        with opened(store) as stream:
            assert (stream.read(), stream.verification) == (b"", f"{checksum}-composite")

    def test_attributes_that_fail_once_are_asked_for_again(self, store: ReadStore, to: Path) -> None:
        store.put("big", 7 * PART, part_size=100_000, checksum="sha256", composite=True)
        store.faults = [readlies.attributes(readlies.refuse(503, "SlowDown")).once()]
        assert get(store, to).verification == "sha256-composite"

    def test_thousands_of_parts_are_told_in_pages(self, store: ReadStore, to: Path) -> None:
        """Of a thousand."""
        store.put("big", 2500 * 97 + 1, part_size=97, checksum="crc32c", composite=True)
        result = get(store, to)
        assert (result.verification, Quiet(to.read_bytes())) == ("crc32c-composite", store.body("big"))
        assert len(store.attributes) == 3

    def test_a_composite_checksum_of_a_real_store(self, localstack: Store, to: Path) -> None:
        """LocalStack keeps those of the parts, as AWS does."""
        from tests.functional.test_get_rigs import SIZE, upload
        from tests.support.content import Content

        content = Content(SIZE, seed=9)
        for algorithm, kind in (("sha256", "COMPOSITE"), ("crc32", "COMPOSITE"), ("crc32c", "FULL_OBJECT")):
            upload(localstack, algorithm, content, 5 * MiB, algorithm, kind)
            result = get(localstack, to, algorithm, part_size=MiB)
            level = f"{algorithm}-composite" if kind == "COMPOSITE" else algorithm
            assert (result.verification, Quiet(to.read_bytes())) == (level, Quiet(content.bytes()))

    def test_a_bit_that_is_wrong_once_is_mended_or_told(self, store: ReadStore, to: Path) -> None:
        store.put("big", 7 * PART, part_size=100_000, checksum="sha256", composite=True)
        store.faults = [readlies.gets(faults.flip_bit(250_000)).once()]
        try:
            get(store, to)
        except IntegrityError as error:
            assert error.retryable, "a wrong bit on the way may be right the next time"
            assert not to.exists()
            get(store, to)
        assert Quiet(to.read_bytes()) == store.body("big")


class TestRefusals:
    @pytest.mark.parametrize(
        ("fault", "kind", "said"),
        [
            (readlies.refuse(403, "AccessDenied"), SourceDenied, "403"),
            (readlies.refuse(404, "NoSuchKey"), SourceMissing, "404"),
            (readlies.refuse(403, "InvalidObjectState"), SourceArchived, "InvalidObjectState"),
        ],
        ids=lambda value: getattr(value, "name", ""),
    )
    @pytest.mark.parametrize("first", ["HEAD", "GET"])
    def test_what_the_store_refuses_is_named(
        self, store: ReadStore, to: Path, fault: faults.Fault, kind: type[S3StreamError], said: str, first: str
    ) -> None:
        """At the head or at a range; the old file stays, and nothing beside it."""
        if first == "HEAD" and said == "InvalidObjectState":
            pytest.skip("a HEAD of an archived object is answered, and tells its class")
        store.put("big", 5 * PART)
        to.write_bytes(OLD)
        store.faults = [fault.where(lambda request: request.method == first or request.method == "GET")]
        with pytest.raises(kind, match=said) as caught:
            get(store, to)
        assert "s3://lake/big" in str(caught.value)
        assert not caught.value.retryable
        assert (to.read_bytes(), siblings(to)) == (OLD, [])

    def test_a_key_a_bucket_that_are_not_there(self, store: ReadStore, to: Path) -> None:
        with pytest.raises(SourceMissing, match="none"):
            get(store, to, "none")
        with pytest.raises(SourceMissing):
            get(store, to, "big", bucket="elsewhere")
        assert siblings(to) == []

    @pytest.mark.parametrize("method", ["HEAD", "GET"])
    def test_a_redirect_elsewhere_is_not_followed(self, store: ReadStore, to: Path, method: str) -> None:
        """Nobody else gets the signature."""
        store.put("big", 5 * PART)
        with ReadStore() as elsewhere:
            elsewhere.put("big", 5 * PART)
            aside = readlies.redirect(f"{elsewhere.endpoint_url}/lake/big")
            store.faults = [aside.where(lambda request: request.method == method and request.target.endswith("/big"))]
            with pytest.raises(S3StreamError):
                get(store, to)
            assert elsewhere.exchanges == []
        assert siblings(to) == []

    def test_a_stop_ends_it(self, store: ReadStore, to: Path) -> None:
        """Soon, although everything hangs; what is kept is said, with the way to be rid of it."""
        from airflow_s3stream.engine.stop import StopFlag

        store.put("big", 20 * PART)
        stop = StopFlag()
        store.faults = [readlies.inside(10 * PART, 20 * PART, faults.stall_after(1000))]
        store.when_sent(10 * PART + 2000, lambda: stop.request("enough"))
        from tests.support.downloads import PATIENT

        with pytest.raises(Stopped, match="enough") as caught:
            get(store, to, stop=stop, timeouts=PATIENT)
        left = siblings(to)
        assert left
        assert any(name in str(caught.value) for name in left) or "rm " in str(caught.value)
        assert not to.exists()
        assert_nothing_runs()


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"connections": 0}, "connections=0"),
            ({"connections": 1025}, "connections=1025"),
            ({"connections": True}, "connections=True"),
            ({"part_size": PART - 1}, f"part_size={PART - 1}"),
            ({"max_memory": 0}, "max_memory=0"),
            ({"if_exists": "skip"}, "if_exists='skip'"),
            ({"min_speed": 0}, "min_speed=0"),
            ({"max_bandwidth": 0}, "max_bandwidth=0"),
            ({"progress_interval": 0}, "progress_interval=0"),
        ],
        ids=str,
    )
    def test_what_cannot_be_is_refused_in_words(self, options: dict[str, Any], said: str) -> None:
        from airflow_s3stream.plan.getting import GetOptions

        with pytest.raises(ConfigError) as caught:
            GetOptions(**options)
        assert said in str(caught.value)

    def test_skip_same(self, store: ReadStore, to: Path) -> None:
        """The file that a run wrote is left alone by the next, unless the object is another by then."""
        one = store.put("big", 5 * PART, checksum="crc64nvme")
        first = get(store, to, if_exists="skip_same")
        assert first.status == "downloaded"
        assert int(to.stat().st_mtime) == int(one.modified_at)
        store.exchanges.clear()
        second = get(store, to, if_exists="skip_same")
        assert (second.status, second.fetched, store.gets) == ("unchanged", 0, [])
        store.overwrite("big")
        third = get(store, to, if_exists="skip_same")
        assert (third.status, Quiet(to.read_bytes())) == ("downloaded", store.body("big"))
        to.write_bytes(OLD)
        assert get(store, to, if_exists="skip_same").status == "downloaded"

    def test_fail_leaves_what_is_there(self, store: ReadStore, to: Path) -> None:
        """Also what came to be there meanwhile."""
        store.put("big", 5 * PART)
        to.write_bytes(OLD)
        with pytest.raises(S3StreamError, match="if_exists"):
            get(store, to, if_exists="fail")
        assert (to.read_bytes(), store.gets, siblings(to)) == (OLD, [], [])
        to.unlink()
        store.when_sent(2 * PART, lambda: to.write_bytes(OLD))
        with pytest.raises(S3StreamError):
            get(store, to, if_exists="fail", connections=1)
        assert to.read_bytes() == OLD
        to.unlink()
        assert get(store, to, if_exists="fail").status == "downloaded"
        assert Quiet(to.read_bytes()) == store.body("big")
        assert siblings(to) == []

    def test_overwrite_replaces_at_the_end_only(self, store: ReadStore, to: Path) -> None:
        store.put("big", 5 * PART)
        to.write_bytes(OLD)
        seen: list[bytes] = []
        for count in (1, 2 * PART, 4 * PART):
            store.when_sent(count, lambda: seen.append(to.read_bytes()))
        get(store, to, connections=2)
        assert seen == [OLD] * 3
        assert Quiet(to.read_bytes()) == store.body("big")

    def test_max_bandwidth_is_kept(self, store: ReadStore, to: Path) -> None:
        """As time that passes at least."""
        store.put("big", 20 * PART)
        result = get(store, to, max_bandwidth=20 * PART)
        assert result.seconds > 0.8
        assert Quiet(to.read_bytes()) == store.body("big")

    def test_what_the_result_tells_is_json(self, store: ReadStore, to: Path) -> None:
        import json
        from dataclasses import asdict

        store.put("big", 5 * PART)
        told = json.loads(json.dumps(asdict(get(store, to))))
        assert set(told) == {
            "uri", "path", "status", "size", "fetched", "resumed", "seconds", "bytes_per_second", "etag",
            "verification", "connections", "part_size", "requests", "retries", "slow_dropped", "warnings",
        }  # fmt: skip
        assert told["part_size"] == PART
        assert told["bytes_per_second"] == pytest.approx(told["fetched"] / told["seconds"], rel=0.01)


class TestPlaces:
    """Where the file is to be."""

    def test_what_is_no_regular_file_is_refused_and_stays(self, store: ReadStore, tmp_path: Path) -> None:
        """A device, a pipe, a directory: before anything is asked for."""
        store.put("big", 5 * PART)
        fifo, directory, null = tmp_path / "fifo", tmp_path / "directory", tmp_path / "null"
        os.mkfifo(fifo)
        directory.mkdir()
        null.symlink_to("/dev/null")
        before = os.stat("/dev/null")
        for path in ("/dev/null", null, fifo, directory):
            with pytest.raises(ConfigError) as caught:
                get(store, path)
            assert str(path) in str(caught.value)
        assert os.stat("/dev/null").st_rdev == before.st_rdev
        assert fifo.is_fifo()
        assert sorted(one.name for one in tmp_path.iterdir()) == ["directory", "fifo", "null"]
        assert list(directory.iterdir()) == []
        assert store.gets == []

    @pytest.mark.parametrize("length", [255, 240, 200])
    def test_a_long_name_fits(self, store: ReadStore, to: Path, length: int) -> None:
        """Although names beside it are used meanwhile."""
        store.put("big", 5 * PART)
        for letter in ("x", "é"):
            path = to.with_name((letter * length).encode()[:length].decode(errors="ignore").ljust(length // 2, "x"))
            get(store, path)
            assert Quiet(path.read_bytes()) == store.body("big")
            assert siblings(path) == []
            path.unlink()

    def test_a_name_that_is_too_long_is_an_error(self, store: ReadStore, to: Path) -> None:
        store.put("big", 5 * PART)
        with pytest.raises(S3StreamError, match="xxx"):
            get(store, to.with_name("x" * 256))
        assert store.gets == []

    def test_a_directory_that_is_not_there(self, store: ReadStore, tmp_path: Path) -> None:
        """Is an error that names it, or is made; not a half of either."""
        store.put("big", 5 * PART)
        path = tmp_path / "none" / "deep" / "file"
        try:
            get(store, path)
        except S3StreamError as error:
            assert str(tmp_path / "none") in str(error)
            assert not (tmp_path / "none").exists()
            assert store.gets == []
        else:
            assert Quiet(path.read_bytes()) == store.body("big")

    def test_a_symbolic_link_stays_and_leads_to_the_file(self, store: ReadStore, tmp_path: Path) -> None:
        store.put("big", 5 * PART)
        (tmp_path / "elsewhere").mkdir()
        link, file = tmp_path / "link", tmp_path / "elsewhere" / "file"
        link.symlink_to("elsewhere/file")
        for _ in range(2):
            get(store, link)
            assert link.is_symlink()
            assert Quiet(file.read_bytes()) == store.body("big")
        assert siblings(file) == []
        assert siblings(link) == ["elsewhere"]

    def test_names_that_are_not_utf8(self, store: ReadStore, to: Path) -> None:
        store.put("big", 5 * PART)
        path = Path(os.fsdecode(os.fsencode(to.parent) + b"/\xff\xfe name\n"))
        get(store, path)
        assert Quiet(path.read_bytes()) == store.body("big")

    def test_it_gets_the_mode_that_any_new_file_gets(self, store: ReadStore, to: Path) -> None:
        store.put("big", 5 * PART)
        mask = os.umask(0o027)
        try:
            get(store, to)
        finally:
            os.umask(mask)
        assert to.stat().st_mode & 0o777 == 0o640

    def test_descriptors_are_closed(self, store: ReadStore, to: Path) -> None:
        """Of good runs and bad."""
        store.put("big", 5 * PART)
        get(store, to)
        before = len(os.listdir("/proc/self/fd"))
        get(store, to)
        store.faults = [readlies.refuse(403, "AccessDenied")]
        for _ in range(3):
            with pytest.raises(SourceDenied):
                get(store, to)
        store.faults = []
        assert len(os.listdir("/proc/self/fd")) <= before + store.connections


def test_sizes_are_kibibytes_here() -> None:
    """What the other tests count with is the least that may be set."""
    assert KiB * 64 == PART
