"""Uploads left behind in real stores, and stores that misbehave: which are listed, which are aborted, what is told."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from email.utils import format_datetime, parsedate_to_datetime
from typing import Any

import pytest

from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import SinkDenied, SinkError, SinkMissing, SinkUnavailable, Stopped
from tests.support import wire
from tests.support.s3calls import Answer, Call
from tests.support.s3fault import S3Fault, S3FaultProxy, hold_answer, lose_answer, refuse
from tests.support.stores import Store
from tests.support.storetable import StoreTable
from tests.support.transfers import Recorder
from tests.support.uploads import PART, leave, leave_as_others, listed, sweep
from tests.support.waiting import wait_for
from tests.support.wire import Head

_ODD_KEYS = ["a b", "a+b", "a%2Bb", "ä/€", "q&<r>"]


def told(recorder: Recorder) -> str:
    return "\n".join(event.text for event in recorder.events if hasattr(event, "text"))


class TestEachStore:
    """LocalStack, moto and rclone, as they are."""

    def test_uploads_of_this_package_are_known_where_the_store_shows_their_marks(
        self, s3_store: Store, store_table: StoreTable
    ) -> None:
        """Elsewhere nothing is taken for one: an upload that lacks any mark is left alone, and the reason is told."""
        ours, empty = leave(s3_store, "ours", parts=2), leave(s3_store, "ours-empty", parts=0)
        theirs = leave_as_others(s3_store, "theirs")
        swept = sweep(s3_store)
        known = {"localstack": {ours, empty}, "moto": {empty}, "rclone": set()}[s3_store.name]
        assert {named["upload_id"] for named in swept.aborted_uploads} == known
        assert set(s3_store.uploads()) == {ours, empty, theirs} - known
        reasons = {named["key"]: named["reason"] for named in swept.left_uploads}
        assert reasons["theirs"] == "begun without a checksum"
        assert (swept.found, swept.aborted, swept.left, swept.failed) == (3, len(known), 3 - len(known), 0)
        store_table.note("uploads of this package are recognised", s3_store.name, {
            "localstack": "yes", "moto": "only without parts", "rclone": "no: `--all` is needed",
        }[s3_store.name])  # fmt: skip
        if s3_store.name == "moto":
            assert reasons["ours"] == "has parts without CRC64NVME"

    def test_all_means_whoever_began_them(self, s3_store: Store) -> None:
        """Counted with what they held."""
        leave(s3_store, "ours", parts=2)
        leave_as_others(s3_store, "theirs", parts=1)
        swept = sweep(s3_store, only_own=False)
        assert (swept.found, swept.aborted, swept.parts, swept.bytes) == (2, 2, 3, 3 * PART)
        s3_store.assert_clean()

    def test_pages_of_uploads_and_of_parts_are_all_read(self, s3_store: Store) -> None:
        """Several uploads of one key lie across two pages, and what a marker names is aborted meanwhile."""
        left = {leave_as_others(s3_store, key, parts=3) for key in ("a", "b", "b", "b", "b", "c", "d")}
        most = {"most_uploads": 2, "most_parts": 1}
        found = listed(s3_store, only_own=False, sizes=True, most=most)
        assert {upload.upload_id for upload in found} == left
        assert [(upload.parts, upload.bytes) for upload in found] == [(3, 3 * PART)] * 7
        swept = sweep(s3_store, only_own=False, most=most)
        assert (swept.aborted, swept.parts) == (7, 21)
        s3_store.assert_clean()

    def test_only_what_is_below_the_prefix_is_meant(self, s3_store: Store) -> None:
        """Whatever characters the keys have."""
        inside = [leave_as_others(s3_store, f"in/{key}", parts=0) for key in _ODD_KEYS]
        outside = [leave_as_others(s3_store, key, parts=0) for key in ("in", "inn/x", "other/in/x")]
        assert {upload.key for upload in listed(s3_store, "in/", only_own=False)} == {f"in/{key}" for key in _ODD_KEYS}
        swept = sweep(s3_store, "in/", only_own=False)
        assert swept.aborted == len(inside)
        assert sorted(s3_store.uploads()) == sorted(outside)

    def test_no_uploads_are_no_error(self, s3_store: Store) -> None:
        """rclone calls that NoSuchUpload. A bucket that is not there is one."""
        assert listed(s3_store) == []
        assert sweep(s3_store).found == 0
        missing = replace(s3_store, bucket="no-such-bucket-here")
        with pytest.raises(SinkMissing, match="NoSuchBucket"):
            sweep(missing)

    def test_a_dry_run_aborts_nothing(self, s3_store: Store) -> None:
        """And says what it would."""
        left = leave_as_others(s3_store, "theirs")
        recorder = Recorder()
        swept = sweep(s3_store, only_own=False, dry_run=True, listener=recorder)
        assert (swept.dry_run, swept.aborted, swept.bytes) == (True, 1, PART)
        assert f"Would abort s3://{s3_store.bucket}/theirs, upload {left}: 1 parts, 64.0 KiB, begun" in told(recorder)
        assert s3_store.uploads() == [left]


def test_the_marks_of_others_are_not_ours(localstack: Store) -> None:
    """Each of the other ways in which an upload may be begun."""
    ways: list[dict[str, str]] = [
        {},
        {"ChecksumAlgorithm": "CRC32"},
        {"ChecksumAlgorithm": "CRC32", "ChecksumType": "FULL_OBJECT"},
        {"ChecksumAlgorithm": "SHA256"},
    ]
    for way in ways:
        leave_as_others(localstack, "key", parts=0, **way)
    others: dict[str, int] = {}
    assert listed(localstack, others=others) == []
    assert others == {
        "begun without a checksum": 1, "begun with CRC32 COMPOSITE": 1, "begun with CRC32 FULL_OBJECT": 1,
        "begun with SHA256 COMPOSITE": 1,
    }  # fmt: skip
    assert sweep(localstack).left_because == others
    assert len(localstack.uploads()) == 4


def later(days: int) -> S3Fault:
    """Let the store's clock be ahead."""

    def rewrite(call: Call, answer: Answer) -> Answer:
        date = parsedate_to_datetime(answer.head.get("Date")) + timedelta(days=days)
        headers = [*wire.without(answer.head.headers, "Date"), ("Date", format_datetime(date, usegmt=True))]
        return Answer(Head(answer.head.start, headers), answer.body)

    return S3Fault(f"{days} days later", "ListMultipartUploads", rewrite=rewrite).always()


class TestAges:
    """By the store's clock, from the newest part on."""

    def test_the_stores_clock_counts_and_not_the_workers(self, localstack: Store) -> None:
        """Here it is three days ahead; a worker's may be as wrong."""
        left = leave(localstack, "key")
        assert sweep(localstack, older_than=172800).left_because == {"begun too recently": 1}
        with S3FaultProxy(localstack.endpoint_url, later(3)) as proxy:
            assert sweep(localstack, endpoint_url=proxy.endpoint_url, older_than=86400 * 4).left == 1
            (upload,) = listed(localstack, endpoint_url=proxy.endpoint_url, older_than=172800, sizes=True)
            assert (upload.upload_id, round(upload.age / 86400)) == (left, 3)
            assert sweep(localstack, endpoint_url=proxy.endpoint_url, older_than=172800).aborted == 1
        localstack.assert_clean()

    def test_what_still_gets_parts_is_left(self, moto: Store) -> None:
        """moto says of every upload that it was begun in 2010; the part came just now."""
        left = leave_as_others(moto, "key")
        swept = sweep(moto, only_own=False, older_than=86400)
        assert swept.left_because == {"a part came too recently": 1}
        assert moto.uploads() == [left]
        leave_as_others(moto, "other", parts=0)
        assert sweep(moto, only_own=False, older_than=86400).aborted == 1


class TestMisbehavingStore:
    """Each upload is dealt with by itself."""

    def test_a_throttled_sweep_gets_through(self, localstack: Store) -> None:
        """Every kind of request is refused for a while, and made again."""
        for number in range(5):
            leave(localstack, f"key{number}")
        faults = [refuse(name, 503, "SlowDown").on(1, 3) for name in ("ListMultipartUploads", "ListParts")]
        faults.append(refuse("AbortMultipartUpload", 503, "SlowDown").on(2, 3))
        recorder = Recorder()
        with S3FaultProxy(localstack.endpoint_url, *faults) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url, listener=recorder)
        assert (swept.aborted, swept.failed, swept.retries) == (5, 0, 9)
        assert "5 aborted (5 parts, 320.0 KiB)" in told(recorder)
        localstack.assert_clean()

    def test_one_that_is_denied_does_not_keep_the_others(self, localstack: Store) -> None:
        """It is named, with the reason."""
        for number in range(4):
            leave(localstack, f"key{number}")
        recorder = Recorder()
        with S3FaultProxy(localstack.endpoint_url, refuse("AbortMultipartUpload", 403, "AccessDenied").on(2)) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url, listener=recorder)
        assert (swept.aborted, swept.failed) == (3, 1)
        (failed,) = swept.failures
        assert localstack.uploads() == [failed["upload_id"]]
        assert (failed["kind"], failed["retryable"]) == ("SinkDenied", False)
        assert f"Could not abort s3://{localstack.bucket}/{failed['key']}, upload" in told(recorder)
        assert "AccessDenied" in told(recorder)

    def test_a_list_that_is_denied_is_an_error(self, localstack: Store) -> None:
        """It must not look as if there were nothing to abort."""
        with S3FaultProxy(localstack.endpoint_url, refuse("ListMultipartUploads", 403, "AccessDenied")) as proxy:
            with pytest.raises(SinkDenied, match="AccessDenied"):
                sweep(localstack, endpoint_url=proxy.endpoint_url)

    def test_parts_that_may_not_be_listed_are_a_failure(self, localstack: Store) -> None:
        """Without them nobody can say whose the upload is."""
        leave(localstack, "key")
        with S3FaultProxy(localstack.endpoint_url, refuse("ListParts", 403, "AccessDenied").always()) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url)
        assert (swept.aborted, swept.left, swept.failed) == (0, 0, 1)
        assert len(localstack.uploads()) == 1

    def test_a_lost_answer_to_an_abort_is_asked_again(self, localstack: Store) -> None:
        """And what is gone by then was aborted by us."""
        leave(localstack, "key")
        with S3FaultProxy(localstack.endpoint_url, lose_answer("AbortMultipartUpload")) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url)
            assert proxy.operations.count("AbortMultipartUpload") == 2
        assert (swept.aborted, swept.vanished) == (1, 0)

    @pytest.mark.parametrize("when", ["ListParts", "AbortMultipartUpload"])
    def test_one_that_is_gone_meanwhile_is_fine(self, localstack: Store, when: str) -> None:
        """Completed, or aborted by another sweep."""
        leave(localstack, "key")
        with S3FaultProxy(localstack.endpoint_url, refuse(when, 404, "NoSuchUpload")) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url)
        assert (swept.aborted, swept.vanished, swept.failed) == (0, 1, 0)

    def test_an_abort_is_repeated_where_parts_are_still_shown(self, localstack: Store) -> None:
        """A part that arrived after it may have stayed."""
        leave(localstack, "key")
        with S3FaultProxy(localstack.endpoint_url, one_part("ListParts").on(2)) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url)
            assert proxy.operations == [
                "ListMultipartUploads", "ListParts", "AbortMultipartUpload", "ListParts", "AbortMultipartUpload",
                "ListParts",
            ]  # fmt: skip
        assert (swept.aborted, swept.failed) == (1, 0)

    def test_parts_that_stay_are_a_failure(self, localstack: Store) -> None:
        """They are billed, whatever the store said to the aborts."""
        leave(localstack, "key")
        with S3FaultProxy(localstack.endpoint_url, one_part("ListParts").on(2, None)) as proxy:
            swept = sweep(localstack, endpoint_url=proxy.endpoint_url)
            assert proxy.operations.count("AbortMultipartUpload") == 2
        (failed,) = swept.failures
        assert "still shows parts" in failed["error"]
        assert failed["retryable"]

    def test_keys_that_xml_cannot_carry_are_asked_for_in_another_way(self, localstack: Store) -> None:
        """S3 writes a control character into its answer all the same, unless asked to encode keys."""

        def answer(call: Call) -> Answer:
            encoded = "encoding-type=url" in call.head.start
            return one_upload("a%01b+c" if encoded else "a&#1;b c", encoded=encoded)

        with S3FaultProxy(
            localstack.endpoint_url, S3Fault("odd key", "ListMultipartUploads", answer=answer).always()
        ) as proxy:
            assert [upload.key for upload in listed(localstack, only_own=False, endpoint_url=proxy.endpoint_url)] == [
                "a\x01b c"
            ]

    def test_an_unreadable_answer_is_an_error(self, localstack: Store) -> None:
        """After the retries, of course."""
        broken = S3Fault("broken", "ListMultipartUploads", answer=lambda _: xml("<ListMultipartUploadsResult>"))
        with S3FaultProxy(localstack.endpoint_url, broken.always()) as proxy:
            with pytest.raises(SinkUnavailable, match="after 3 earlier attempts"):
                listed(localstack, endpoint_url=proxy.endpoint_url)

    def test_more_pages_without_a_place_are_an_error(self, localstack: Store) -> None:
        """Else uploads would be left out in silence."""
        nowhere = S3Fault("nowhere", "ListMultipartUploads", answer=lambda _: one_upload("a", truncated=True))
        with S3FaultProxy(localstack.endpoint_url, nowhere) as proxy, pytest.raises(SinkError, match="not where"):
            listed(localstack, endpoint_url=proxy.endpoint_url)


@pytest.mark.parametrize("operation", ["ListMultipartUploads", "ListParts", "AbortMultipartUpload"])
def test_a_stop_does_not_wait_for_an_answer(localstack: Store, operation: str) -> None:
    """Whatever is under way. The error says what was done."""
    leave(localstack, "key")
    stop, failures = StopFlag(), list[BaseException]()

    def run(sweeping: Callable[[], Any]) -> None:
        try:
            sweeping()
        except Stopped as error:
            failures.append(error)

    with S3FaultProxy(localstack.endpoint_url, hold_answer(operation, 50).always()) as proxy:
        thread = threading.Thread(
            target=run, args=(lambda: sweep(localstack, endpoint_url=proxy.endpoint_url, stop=stop),)
        )
        thread.start()
        wait_for(lambda: operation in proxy.operations)
        stop.request("enough")
        thread.join(14)  # the store's read timeout is 15
        assert not thread.is_alive()
    (error,) = failures
    assert "enough. Until then: 0 uploads below" in str(error)


def xml(text: str) -> Answer:
    return Answer(Head("HTTP/1.1 200 OK", [("Content-Type", "application/xml")]), text.encode())


def one_upload(key: str, *, encoded: bool = False, truncated: bool = False) -> Answer:
    return xml(
        f"<ListMultipartUploadsResult>{'<EncodingType>url</EncodingType>' if encoded else ''}"
        f"<IsTruncated>{str(truncated).lower()}</IsTruncated><Upload><Key>{key}</Key><UploadId>u</UploadId>"
        "<Initiated>2026-01-01T00:00:00.000Z</Initiated></Upload></ListMultipartUploadsResult>"
    )


def one_part(operation: str) -> S3Fault:
    """Show a part, whatever there is."""
    text = "<ListPartsResult><Part><PartNumber>1</PartNumber><Size>5</Size></Part></ListPartsResult>"
    return S3Fault("a part is still there", operation, answer=lambda _: xml(text))
