"""The same copies into every S3 server, and what each of them proved."""

from __future__ import annotations

import hashlib

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.exceptions import IntegrityError, SinkConflict, SinkMissing, SourceRefused
from tests.support import s3fault
from tests.support.origin import serving
from tests.support.resource import http_date
from tests.support.s3fault import S3FaultProxy
from tests.support.sources import http_source
from tests.support.stores import Store
from tests.support.storetable import StoreTable
from tests.support.transfers import PART, transfer


class TestShapes:
    """Every shape of body arrives whole."""

    def test_ranged_source_is_relayed_in_parts(self, s3_store: Store, store_table: StoreTable) -> None:
        """40 MiB in 5 MiB ranges: eight parts, each range asked for once and pinned to the version."""
        with serving(40 * MiB) as origin:
            result = transfer(origin.url, s3_store)
            assert (result.status, result.bytes, result.parts, result.retries) == ("copied", 40 * MiB, 8, 0)
            asked = sorted(asked for asked in origin.ranges if asked)
            assert asked == [(0, None)] + [(at, at + PART - 1) for at in range(PART, 40 * MiB, PART)]
            assert all(exchange.header("If-Match") == '"v1"' for exchange in origin.exchanges[1:])
            s3_store.assert_holds("key", origin.resource.content)
        # A store without checksums proves its parts by MD5, which costs more than the copy, so only when asked.
        assert result.verification == ("size" if s3_store.name == "rclone" else "crc64nvme")
        store_table.note("verification, parts relayed", s3_store.name, result.verification)

    def test_client_from_the_default_chain_is_enough(self, s3_store: Store) -> None:
        """What the command does: credentials from the environment, nothing but an endpoint given."""
        client = new_client(endpoint_url=s3_store.endpoint_url, connections=2)
        with serving(11 * MiB) as origin:
            copy(http_source(origin.url), S3Sink(client, s3_store.bucket, "key"))
            s3_store.assert_holds("key", origin.resource.content)
        client.close()

    def test_relay_pins_an_old_date_when_there_is_no_etag(self, s3_store: Store) -> None:
        """A Last-Modified well before Date is a strong validator; it goes into If-Range."""
        modified = http_date(3600)
        with serving(12 * MiB, etag=None, modified=modified) as origin:
            assert transfer(origin.url, s3_store).parts == 3
            assert [exchange.header("If-Range") for exchange in origin.exchanges[1:]] == [modified] * 2
            s3_store.assert_holds("key", origin.resource.content)

    def test_source_without_ranges_is_read_as_one_stream(self, s3_store: Store, store_table: StoreTable) -> None:
        """One request at the source, four parts at the store."""
        with serving(17 * MiB, ranges=False) as origin:
            result = transfer(origin.url, s3_store)
            assert (result.parts, len(origin.exchanges)) == (4, 1)
            s3_store.assert_holds("key", origin.resource.content)
        store_table.note("verification, one stream in parts", s3_store.name, result.verification)

    def test_chunked_source_of_unknown_length(self, s3_store: Store) -> None:
        """Nothing says how long it is, until it ends."""
        with serving(17 * MiB + 1, ranges=False, framing="chunked") as origin:
            result = transfer(origin.url, s3_store)
            assert (result.bytes, result.parts) == (17 * MiB + 1, 4)
            s3_store.assert_holds("key", origin.resource.content)

    def test_chunked_source_that_ends_with_a_full_part(self, s3_store: Store) -> None:
        """The end is only known after the last part is full; no empty part follows it."""
        with serving(2 * PART, ranges=False, framing="chunked") as origin:
            assert transfer(origin.url, s3_store).parts == 2
            s3_store.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("about", [{}, {"empty_range": 200}, {"ranges": False, "framing": "chunked"}], ids=str)
    def test_empty_body_becomes_an_empty_object(self, s3_store: Store, about: dict[str, object]) -> None:
        """Whether the source answers a range of nothing with 416, 200 or an empty chunked body."""
        with serving(0, **about) as origin:
            result = transfer(origin.url, s3_store)
            assert (result.status, result.bytes, result.parts) == ("copied", 0, 1)
            s3_store.assert_holds("key", origin.resource.content)

    def test_small_body_is_one_put(self, s3_store: Store, store_table: StoreTable) -> None:
        """No multipart upload, and the checksum is proved as for parts."""
        with serving(100_000) as origin, S3FaultProxy(s3_store.endpoint_url) as proxy:
            result = transfer(origin.url, s3_store, endpoint_url=proxy.endpoint_url)
            assert "PutObject" in proxy.operations
            assert "CreateMultipartUpload" not in proxy.operations
            assert result.parts == 1
            s3_store.assert_holds("key", origin.resource.content)
        store_table.note("verification, one PutObject", s3_store.name, result.verification)

    @pytest.mark.parametrize("key", ["a b+c%d/ü?#&=.bin", "many/levels/of/key", "quote'\"(1)~*!"])
    def test_odd_keys(self, s3_store: Store, key: str) -> None:
        """The key is stored as typed, in one PutObject and in parts."""
        for size in (1000, 11 * MiB):
            with serving(size) as origin:
                transfer(origin.url, s3_store, key)
                s3_store.assert_holds(key, origin.resource.content)
        assert s3_store.keys() == [key]


class TestWhatIsStoredBeside:
    @pytest.mark.parametrize("size", [1000, 11 * MiB], ids=["put", "parts"])
    def test_options_of_the_object_reach_the_store(self, s3_store: Store, store_table: StoreTable, size: int) -> None:
        """Type, metadata, tags and storage class, whichever way the body travels."""
        about = {
            "content_type": "text/x-odd",
            "metadata": {"owner": "tests"},
            "tags": {"team": "a b", "cost": "1/2"},
            "storage_class": "STANDARD_IA",
        }
        with serving(size) as origin:
            transfer(origin.url, s3_store, object=about)
        head = s3_store.head("key")
        assert head["ContentType"] == "text/x-odd"
        assert head["Metadata"]["owner"] == "tests"
        if s3_store.name == "rclone":
            # Objects are files there, which have neither tags nor classes.
            store_table.note("tags and storage class", s3_store.name, "not kept")
            return
        assert head["StorageClass"] == "STANDARD_IA"
        tags = s3_store.client.get_object_tagging(Bucket=s3_store.bucket, Key="key")["TagSet"]
        assert {tag["Key"]: tag["Value"] for tag in tags} == about["tags"]
        store_table.note("tags and storage class", s3_store.name, "kept")

    @pytest.mark.parametrize("size", [1000, 11 * MiB], ids=["put", "parts"])
    def test_source_is_recorded_in_the_metadata(self, s3_store: Store, size: int) -> None:
        """Where it came from and which version, with the secrets of the URL removed."""
        modified = http_date(7200)
        with serving(size, modified=modified) as origin:
            transfer(f"{origin.url}?X-Amz-Signature=canary", s3_store)
        head = s3_store.head("key")
        metadata = head["Metadata"]
        assert metadata["s3stream-source"].startswith(origin.url)
        assert metadata["s3stream-source-etag"] == '"v1"'
        assert metadata["s3stream-source-last-modified"] == modified
        assert metadata["s3stream-transfer-id"]
        assert "canary" not in str(head)

    def test_type_is_the_sources_unless_told(self, s3_store: Store) -> None:
        """What the source says is what a reader of the object will be told."""
        with serving(1000, content_type="text/csv; charset=utf-8") as origin:
            transfer(origin.url, s3_store)
        assert s3_store.head("key")["ContentType"] == "text/csv; charset=utf-8"

    def test_encoding_the_source_insists_on_is_stored_with_the_bytes(self, s3_store: Store) -> None:
        """Identity was asked for; bytes sent as gzip all the same are kept as sent, and labelled."""
        with serving(17 * MiB, encoding="gzip") as origin:
            transfer(origin.url, s3_store)
            assert len(origin.exchanges) == 1, "an encoded source is read as one stream"
            assert origin.exchanges[0].header("Accept-Encoding") == "identity"
            s3_store.assert_holds("key", origin.resource.content)
        if s3_store.name != "rclone":  # objects are files there, which have no encoding
            assert s3_store.head("key")["ContentEncoding"] == "gzip"


class TestIfExists:
    @pytest.fixture(params=[1000, 11 * MiB], ids=["put", "parts"])
    def size(self, request: pytest.FixtureRequest) -> int:
        return int(request.param)

    def test_overwrite_replaces_the_object(self, s3_store: Store, size: int) -> None:
        """The default."""
        s3_store.put("key", b"old")
        with serving(size) as origin:
            transfer(origin.url, s3_store)
            s3_store.assert_holds("key", origin.resource.content)

    def test_skip_leaves_the_object(self, s3_store: Store, size: int) -> None:
        """The result says that and why."""
        s3_store.put("key", b"old")
        with serving(size) as origin:
            result = transfer(origin.url, s3_store, if_exists="skip")
        assert (result.status, result.parts) == ("skipped", 0)
        assert result.reason
        assert s3_store.get("key") == b"old"

    def test_skip_copies_when_there_is_nothing(self, s3_store: Store, size: int) -> None:
        """The first run does the work."""
        with serving(size) as origin:
            assert transfer(origin.url, s3_store, if_exists="skip").status == "copied"
            s3_store.assert_holds("key", origin.resource.content)

    def test_fail_leaves_the_object_and_raises(self, s3_store: Store, size: int) -> None:
        """And nothing is begun that would have to be removed."""
        s3_store.put("key", b"old")
        with serving(size) as origin, pytest.raises(SinkConflict):
            transfer(origin.url, s3_store, if_exists="fail")
        assert s3_store.get("key") == b"old"
        assert s3_store.uploads() == []

    def test_fail_loses_to_a_writer_that_came_in_between(
        self, s3_store: Store, store_table: StoreTable, size: int
    ) -> None:
        """The store decides when the object is published, where it knows conditions."""
        # The proxy says that the key is free, as it was a moment before the other writer.
        hidden = s3fault.refuse("HeadObject", 404, "NotFound")
        s3_store.put("key", b"the other writer's")
        with serving(size) as origin, S3FaultProxy(s3_store.endpoint_url, hidden) as proxy:
            try:
                transfer(origin.url, s3_store, endpoint_url=proxy.endpoint_url, if_exists="fail")
                lost = False
            except SinkConflict:
                lost = True
        assert s3_store.uploads() == []
        assert (s3_store.get("key") == b"the other writer's") == lost
        # rclone ignores If-None-Match, which no client can mend.
        assert lost == (s3_store.name != "rclone")
        store_table.note("two writers, `if_exists=fail`", s3_store.name, "one wins" if lost else "the last wins")

    def test_skip_unchanged_copies_once(self, s3_store: Store, size: int) -> None:
        """The second run asks the source what it is and sends nothing to the store."""
        with serving(size) as origin, S3FaultProxy(s3_store.endpoint_url) as proxy:
            first = transfer(origin.url, s3_store, endpoint_url=proxy.endpoint_url, if_exists="skip_unchanged")
            proxy.calls.clear()
            second = transfer(origin.url, s3_store, endpoint_url=proxy.endpoint_url, if_exists="skip_unchanged")
            assert (first.status, second.status) == ("copied", "skipped")
            assert set(proxy.operations) == {"HeadObject"}

    def test_skip_unchanged_copies_what_has_changed(self, s3_store: Store, size: int) -> None:
        """Another validator at the source is another version."""
        with serving(size) as origin:
            transfer(origin.url, s3_store, if_exists="skip_unchanged")
            origin.resource = origin.resource.rewritten()
            assert transfer(origin.url, s3_store, if_exists="skip_unchanged").status == "copied"
            s3_store.assert_holds("key", origin.resource.content)

    def test_skip_unchanged_copies_over_an_object_of_unknown_origin(self, s3_store: Store, size: int) -> None:
        """An object that does not say where it came from proves nothing."""
        s3_store.put("key", b"x" * 1000)
        with serving(size) as origin:
            assert transfer(origin.url, s3_store, if_exists="skip_unchanged").status == "copied"
            s3_store.assert_holds("key", origin.resource.content)


def digests(algorithm: str, body: bytes) -> str:
    return f"{algorithm}:{hashlib.new(algorithm, body).hexdigest()}"


class TestExpectations:
    @pytest.mark.parametrize("about", [{}, {"ranges": False}, {"ranges": False, "framing": "chunked"}], ids=str)
    @pytest.mark.parametrize("algorithm", ["md5", "sha256"])
    def test_expected_size_and_checksum_that_are_right(
        self, s3_store: Store, about: dict[str, object], algorithm: str
    ) -> None:
        """A checksum that cannot be computed in pieces is computed all the same."""
        with serving(11 * MiB, **about) as origin:
            expected = digests(algorithm, origin.resource.content.bytes())
            transfer(origin.url, s3_store, expected_size=11 * MiB, expected_checksum=expected)
            s3_store.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("size", [1000, 11 * MiB], ids=["put", "parts"])
    @pytest.mark.parametrize("about", [{}, {"ranges": False}, {"ranges": False, "framing": "chunked"}], ids=str)
    def test_wrong_checksum_publishes_nothing(self, s3_store: Store, about: dict[str, object], size: int) -> None:
        """The bytes came whole, and are not those that were promised."""
        s3_store.put("key", b"old")
        with serving(size, **about) as origin, pytest.raises(IntegrityError, match="md5"):
            transfer(origin.url, s3_store, expected_checksum=digests("md5", b"other bytes"))
        assert s3_store.get("key") == b"old"
        assert s3_store.uploads() == []

    @pytest.mark.parametrize("size", [1000, 11 * MiB], ids=["put", "parts"])
    @pytest.mark.parametrize("about", [{}, {"ranges": False}, {"ranges": False, "framing": "chunked"}], ids=str)
    @pytest.mark.parametrize("by", [-1, 1])
    def test_wrong_size_publishes_nothing(self, s3_store: Store, about: dict[str, object], size: int, by: int) -> None:
        """One byte more or less is another object."""
        with serving(size, **about) as origin, pytest.raises((IntegrityError, SourceRefused)):
            transfer(origin.url, s3_store, expected_size=size + by)
        s3_store.assert_clean()


class TestRefusals:
    @pytest.mark.parametrize("size", [1000, 11 * MiB], ids=["put", "parts"])
    def test_bucket_that_does_not_exist(self, s3_store: Store, size: int) -> None:
        """Named as what it is."""
        missing = Store(s3_store.name, s3_store.endpoint_url, s3_store.client, "no-such-bucket")
        with serving(size) as origin, pytest.raises(SinkMissing, match=r"no-such-bucket|NoSuchBucket"):
            transfer(origin.url, missing)

    @pytest.mark.parametrize("ranges", [True, False], ids=["relay", "stream"])
    def test_strict_proves_more_than_the_size(self, s3_store: Store, store_table: StoreTable, ranges: bool) -> None:
        """Every store here can prove its bytes; where it keeps no checksums, by the MD5s in its ETags."""
        with serving(11 * MiB, ranges=ranges) as origin:
            result = transfer(origin.url, s3_store, strict=True)
            s3_store.assert_holds("key", origin.resource.content)
        assert result.verification == ("md5-etag" if s3_store.name == "rclone" else "crc64nvme")
        store_table.note("verification, `strict=True`", s3_store.name, result.verification)
