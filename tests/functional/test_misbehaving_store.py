"""Stores that lose answers, throttle, refuse and corrupt: the object whole, or the right error and nothing left.

A proxy stands before a real store. rclone where any store will do, the others where they behave differently.
An old object lies at the key throughout.
"""

from __future__ import annotations

import re
import threading
import time
from typing import Any

import pytest

from airflow_s3stream.config import MiB, RetryPolicy, Timeouts, TransferResult
from airflow_s3stream.engine.events import Progressed, Retried
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    DeadlineExceeded,
    IntegrityError,
    S3StreamError,
    SinkConflict,
    SinkDenied,
    SinkMissing,
    SinkRejected,
    SinkThrottled,
    SinkUnavailable,
    SourceTruncated,
    Stopped,
    UploadVanished,
)
from tests.support import faults, s3fault
from tests.support.content import Content
from tests.support.origin import Origin, serving
from tests.support.s3fault import Call, S3Fault, S3FaultProxy
from tests.support.stores import Store
from tests.support.storetable import StoreTable
from tests.support.transfers import EAGER, Recorder, quick, transfer
from tests.support.waiting import SOON, wait_for
from tests.support.wire import Head, without

SIZE = 12 * MiB  # three parts
SMALL = 100_000  # one PutObject
OLD = b"old"

MODES = pytest.mark.parametrize("ranges", [True, False], ids=["relay", "stream"])


@pytest.fixture
def store(rclone: Store) -> Store:
    rclone.put("key", OLD)
    return rclone


class Trial:
    """One transfer through a proxy: what came of it, and what the store was asked."""

    def __init__(
        self, store: Store, *s3_faults: S3Fault, size: int = SIZE, ranges: bool = True, **options: Any
    ) -> None:
        self.store = store
        self.result: TransferResult | None = None
        self.error: S3StreamError | None = None
        with serving(size, ranges=ranges) as self.origin, S3FaultProxy(store.endpoint_url, *s3_faults) as self.proxy:
            self.began = time.monotonic()
            try:
                self.result = transfer(self.origin.url, store, endpoint_url=self.proxy.endpoint_url, **options)
            except S3StreamError as error:
                self.error = error
            self.took = time.monotonic() - self.began
            if s3_faults:
                assert any(call.fault for call in self.proxy.calls), "no fault struck; the test proves nothing"

    @property
    def operations(self) -> list[str]:
        return self.proxy.operations

    def repeated(self) -> list[int]:
        """Part numbers that were sent more than once."""
        parts = self.proxy.parts()
        return sorted({number for number in parts if parts.count(number) > 1})

    def assert_copied(self) -> TransferResult:
        if self.error:
            raise self.error
        assert self.result
        assert self.result.status == "copied"
        self.store.assert_holds("key", self.origin.resource.content)
        return self.result

    def assert_failed(self, kind: type[S3StreamError], *, uploads: int = 0) -> S3StreamError:
        assert self.error, self.result
        assert type(self.error) is kind, repr(self.error)
        assert self.store.get("key") == OLD
        assert len(self.store.uploads()) == uploads
        return self.error


BROKEN_PARTS = [
    s3fault.refuse("UploadPart", 500, "InternalError"),
    s3fault.refuse("UploadPart", 502, "BadGateway"),
    s3fault.refuse("UploadPart", 503, "SlowDown"),
    s3fault.refuse("UploadPart", 503, "ServiceUnavailable", Retry_After="0"),
    s3fault.refuse("UploadPart", 504, "GatewayTimeout"),
    s3fault.refuse("UploadPart", 400, "RequestTimeout"),
    s3fault.refuse("UploadPart", 400, "BadDigest"),
    s3fault.refuse("UploadPart", 400, "IncompleteBody"),
    s3fault.refuse("UploadPart", 400, "ExpiredToken"),
    s3fault.drop_request("UploadPart"),
    s3fault.drop_request("UploadPart", 1_000_000),
    s3fault.drop_request("UploadPart", 1_000_000, reset=True),
    s3fault.lose_answer("UploadPart"),
    s3fault.lose_answer("UploadPart", reset=True),
    s3fault.error_after("UploadPart", 500, "InternalError"),
]


class TestParts:
    @pytest.mark.parametrize("fault", BROKEN_PARTS, ids=lambda fault: fault.name)
    @MODES
    def test_part_that_fails_once_is_sent_again_alone(self, store: Store, fault: S3Fault, ranges: bool) -> None:
        """Two of the three parts are sent once; nothing is begun anew but the broken one."""
        trial = Trial(store, fault.on_part(2), ranges=ranges)
        assert trial.assert_copied().retries == 1
        assert trial.repeated() == [2]
        assert sorted(trial.proxy.parts()) == [1, 2, 2, 3]
        assert trial.operations.count("CreateMultipartUpload") == 1
        assert "AbortMultipartUpload" not in trial.operations

    @MODES
    def test_every_part_failing_once_is_survived(self, store: Store, ranges: bool) -> None:
        """Each is sent twice and no more."""
        broken = [s3fault.refuse("UploadPart", 500, "InternalError").on_part(number) for number in (1, 2, 3)]
        trial = Trial(store, *broken, ranges=ranges)
        trial.assert_copied()
        assert sorted(trial.proxy.parts()) == [1, 1, 2, 2, 3, 3]

    @pytest.mark.parametrize(
        ("fault", "kind", "retryable"),
        [
            (s3fault.refuse("UploadPart", 403, "AccessDenied"), SinkDenied, False),
            (s3fault.refuse("UploadPart", 403, "SignatureDoesNotMatch"), SinkDenied, False),
            (s3fault.refuse("UploadPart", 403, "RequestTimeTooSkewed"), SinkDenied, False),
            (s3fault.refuse("UploadPart", 404, "NoSuchBucket"), SinkMissing, False),
            (s3fault.refuse("UploadPart", 400, "InvalidArgument"), SinkRejected, False),
            (s3fault.refuse("UploadPart", 501, "NotImplemented"), SinkRejected, False),
        ],
        ids=lambda value: getattr(value, "name", getattr(value, "__name__", value)),
    )
    @MODES
    def test_refusal_that_nothing_mends_ends_it_at_once(
        self, store: Store, fault: S3Fault, kind: type[S3StreamError], retryable: bool, ranges: bool
    ) -> None:
        """One abort, the old object as it was, and the refused part asked for once."""
        trial = Trial(store, fault.on_part(2).always(), ranges=ranges)
        error = trial.assert_failed(kind)
        assert error.retryable == retryable
        assert trial.proxy.parts().count(2) == 1
        assert trial.operations.count("AbortMultipartUpload") == 1
        assert "CompleteMultipartUpload" not in trial.operations

    @MODES
    def test_upload_that_somebody_removed_is_begun_again(self, store: Store, ranges: bool) -> None:
        """A lifecycle rule, a person or another try may do that; the copy is not lost with it."""
        trial = Trial(store, s3fault.refuse("UploadPart", 404, "NoSuchUpload").on_part(2), ranges=ranges)
        trial.assert_copied()
        assert trial.operations.count("CreateMultipartUpload") == 2

    @MODES
    def test_upload_that_is_removed_again_and_again_is_an_error(self, store: Store, ranges: bool) -> None:
        """Somebody means it."""
        trial = Trial(store, s3fault.refuse("UploadPart", 404, "NoSuchUpload").on_part(2).always(), ranges=ranges)
        trial.assert_failed(UploadVanished)
        assert trial.operations.count("CreateMultipartUpload") == 2

    @MODES
    def test_part_that_always_fails_ends_it_after_the_attempts(self, store: Store, ranges: bool) -> None:
        """The error is the last failure, with the earlier ones in its history."""
        trial = Trial(store, s3fault.refuse("UploadPart", 500, "InternalError").on_part(2).always(), ranges=ranges)
        error = trial.assert_failed(SinkUnavailable)
        assert trial.proxy.parts().count(2) == EAGER.attempts
        assert len(error.attempts) == EAGER.attempts - 1
        assert error.op == "UploadPart"
        assert error.target.endswith("/key")

    def test_budget_is_shared_by_all_parts(self, store: Store) -> None:
        """A store that fails everything is not asked attempts x parts times."""
        patience = RetryPolicy(attempts=10, budget=4, base=0.01, cap=0.02)
        trial = Trial(store, s3fault.refuse("UploadPart", 500, "InternalError").always(), retry=patience)
        trial.assert_failed(SinkUnavailable)
        assert len(trial.proxy.parts()) <= 3 + 4

    @MODES
    def test_silence_after_a_part_is_a_timeout(self, store: Store, ranges: bool) -> None:
        """The store has the part and says nothing; the part is sent again, and replaces itself."""
        silent = s3fault.hold_answer("UploadPart", 20).on_part(2)
        trial = Trial(store, silent, ranges=ranges, store_timeouts=Timeouts(connect=1, read=0.8))
        trial.assert_copied()
        assert trial.repeated() == [2]
        assert trial.took < SOON

    def test_source_and_store_that_both_break_do_not_multiply_attempts(self, store: Store) -> None:
        """A part has one number of attempts, whichever side spends them."""
        refused = s3fault.refuse("UploadPart", 500, "InternalError").on_part(2).always()
        with (
            serving(SIZE, faults.close_after(100_000)) as origin,
            S3FaultProxy(store.endpoint_url, refused) as proxy,
            pytest.raises(S3StreamError),
        ):
            transfer(origin.url, store, endpoint_url=proxy.endpoint_url)
        assert len(origin.exchanges) <= 3 * EAGER.attempts + EAGER.attempts**2
        assert proxy.parts().count(2) <= EAGER.attempts
        assert store.uploads() == []

    def test_source_that_breaks_leaves_no_short_part_behind(self, store: Store) -> None:
        """A part whose source ends early is never taken by the store for a whole one."""
        with serving(SIZE, faults.close_after(100_000).from_request(2)) as origin:
            with S3FaultProxy(store.endpoint_url) as proxy, pytest.raises(SourceTruncated):
                transfer(origin.url, store, endpoint_url=proxy.endpoint_url)
            assert "CompleteMultipartUpload" not in proxy.operations
        assert store.get("key") == OLD
        assert store.uploads() == []


class TestThrottling:
    @MODES
    def test_burst_slows_it_and_it_succeeds(self, store: Store, ranges: bool) -> None:
        """Six refusals in a row cost retries and width, not the transfer."""
        heard = Recorder()
        patience = RetryPolicy(attempts=8, budget=50, base=0.05, cap=0.2)
        slow = s3fault.refuse("UploadPart", 503, "SlowDown").on(1, 6)
        trial = Trial(
            store, slow, size=40 * MiB, ranges=ranges, connections=8, retry=patience, listener=heard,
            progress_interval=0.02,
        )  # fmt: skip
        assert trial.assert_copied().retries == 6
        assert len(heard.of(Retried)) == 6
        assert min(event.connections for event in heard.of(Progressed)) < 8

    def test_store_that_never_recovers_fails_as_throttled(self, store: Store) -> None:
        """So that a later try of the task may succeed."""
        trial = Trial(store, s3fault.refuse("UploadPart", 503, "SlowDown").always())
        assert trial.assert_failed(SinkThrottled).retryable

    def test_retry_after_of_the_store_is_waited_for(self, store: Store) -> None:
        """The store knows best."""
        trial = Trial(store, s3fault.refuse("UploadPart", 503, "SlowDown", Retry_After="1").on_part(2))
        trial.assert_copied()
        assert 1 <= trial.took < SOON


LOST = [
    s3fault.lose_answer("CompleteMultipartUpload"),
    s3fault.lose_answer("CompleteMultipartUpload", reset=True),
    s3fault.cut_answer("CompleteMultipartUpload", 0),
    s3fault.cut_answer("CompleteMultipartUpload", 60),
    s3fault.error_after("CompleteMultipartUpload", 500, "InternalError"),
    s3fault.error_after("CompleteMultipartUpload", 503, "SlowDown"),
    s3fault.error_in_200("CompleteMultipartUpload", done=True),
]


class TestComplete:
    @pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
    def test_answer_lost_after_the_work_is_done_is_success(
        self, s3_store: Store, store_table: StoreTable, fault: S3Fault
    ) -> None:
        """Seven tools of seven report failure here; the object is whole, and a look at it tells."""
        s3_store.put("key", OLD)
        trial = Trial(s3_store, fault)
        trial.assert_copied()
        assert trial.operations.count("CreateMultipartUpload") == 1
        assert len(trial.proxy.parts()) == 3, "nothing is sent again"
        rest = trial.operations[trial.operations.index("CompleteMultipartUpload") :]
        if "AbortMultipartUpload" in rest:
            assert rest.index("AbortMultipartUpload") > rest.index("HeadObject"), "first it is known to be published"
        statuses = [call.status for call in trial.proxy.of("CompleteMultipartUpload")]
        repeated = {200: "200, as AWS", 404: "NoSuchUpload"}.get(statuses[-1] or 0, str(statuses[-1]))
        store_table.note("Complete repeated after its answer was lost", s3_store.name, repeated)

    @pytest.mark.parametrize("fault", LOST, ids=lambda fault: fault.name)
    def test_lost_answer_of_a_conditional_complete_is_success(self, localstack: Store, fault: S3Fault) -> None:
        """The repetition is refused because the key exists, and what exists there is ours."""
        trial = Trial(localstack, fault, if_exists="fail")
        trial.assert_copied()

    @pytest.mark.parametrize(
        "fault",
        [
            s3fault.refuse("CompleteMultipartUpload", 500, "InternalError"),
            s3fault.refuse("CompleteMultipartUpload", 503, "SlowDown"),
            s3fault.drop_request("CompleteMultipartUpload"),
            s3fault.error_in_200("CompleteMultipartUpload"),
            s3fault.error_in_200("CompleteMultipartUpload", "SlowDown"),
        ],
        ids=lambda fault: fault.name,
    )
    def test_complete_that_was_not_done_is_asked_again(self, store: Store, fault: S3Fault) -> None:
        """A 200 with an error inside is an error."""
        trial = Trial(store, fault)
        trial.assert_copied()
        assert trial.operations.count("CompleteMultipartUpload") == 2
        assert len(trial.proxy.parts()) == 3

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (s3fault.error_in_200("CompleteMultipartUpload"), SinkUnavailable),
            (s3fault.refuse("CompleteMultipartUpload", 500, "InternalError"), SinkUnavailable),
            (s3fault.refuse("CompleteMultipartUpload", 403, "AccessDenied"), SinkDenied),
            (s3fault.refuse("CompleteMultipartUpload", 400, "InvalidPart"), SinkRejected),
            (s3fault.drop_request("CompleteMultipartUpload"), SinkUnavailable),
        ],
        ids=lambda value: getattr(value, "name", getattr(value, "__name__", value)),
    )
    def test_complete_that_never_works_fails_and_aborts(
        self, store: Store, fault: S3Fault, kind: type[S3StreamError]
    ) -> None:
        """The old object stays and no part is billed."""
        trial = Trial(store, fault.always())
        trial.assert_failed(kind)
        assert trial.operations.count("AbortMultipartUpload") == 1
        assert trial.operations.count("CompleteMultipartUpload") <= EAGER.attempts

    def test_upload_that_vanished_is_no_success_although_an_object_is_there(self, store: Store) -> None:
        """Another's object of the same key proves nothing: it does not carry our marker."""
        vanished = s3fault.refuse("CompleteMultipartUpload", 404, "NoSuchUpload").always()
        trial = Trial(store, vanished)
        trial.assert_failed(UploadVanished)

    def test_object_of_the_same_bytes_by_another_writer_is_not_taken_for_ours(self, store: Store) -> None:
        """Size and content are as ours; only the marker differs, and it decides."""
        store.put("key", Content(SIZE).bytes())
        vanished = s3fault.refuse("CompleteMultipartUpload", 404, "NoSuchUpload").always()
        trial = Trial(store, vanished)
        assert type(trial.error) is UploadVanished
        assert store.uploads() == []

    def test_lost_answer_that_cannot_be_settled_is_not_guessed(self, store: Store) -> None:
        """Where looking is not allowed either, all is sent again."""
        trial = Trial(
            store,
            s3fault.lose_answer("CompleteMultipartUpload"),
            s3fault.refuse("HeadObject", 403, "AccessDenied").always(),
        )
        trial.assert_copied()
        assert trial.operations.count("CreateMultipartUpload") == 2

    def test_write_only_credentials_are_enough(self, store: Store) -> None:
        """HEAD is refused and nothing else goes wrong: the copy is done, and says what was proved."""
        trial = Trial(store, s3fault.refuse("HeadObject", 403, "AccessDenied").always())
        assert trial.assert_copied().verification in ("none", "size")

    def test_conditional_complete_refused_because_another_won_is_a_conflict(self, localstack: Store) -> None:
        """412, and the object there is not ours."""
        localstack.put("key", OLD)
        hidden = s3fault.refuse("HeadObject", 404, "NotFound").on(1)
        trial = Trial(localstack, hidden, if_exists="fail")
        error = trial.assert_failed(SinkConflict)
        assert not error.retryable


class TestPut:
    @pytest.mark.parametrize(
        "fault",
        [
            s3fault.refuse("PutObject", 500, "InternalError"),
            s3fault.refuse("PutObject", 503, "SlowDown"),
            s3fault.refuse("PutObject", 400, "RequestTimeout"),
            s3fault.drop_request("PutObject"),
            s3fault.drop_request("PutObject", 50_000, reset=True),
            s3fault.lose_answer("PutObject"),
            s3fault.error_after("PutObject", 500, "InternalError"),
        ],
        ids=lambda fault: fault.name,
    )
    @pytest.mark.parametrize("if_exists", ["overwrite", "fail"])
    def test_put_that_fails_once_is_repeated_or_settled(
        self, localstack: Store, fault: S3Fault, if_exists: str
    ) -> None:
        """Where the key had to be empty, the repetition of a lost one meets our own object."""
        Trial(localstack, fault, size=SMALL, if_exists=if_exists).assert_copied()

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (s3fault.refuse("PutObject", 403, "AccessDenied"), SinkDenied),
            (s3fault.refuse("PutObject", 403, "InvalidAccessKeyId"), SinkDenied),
            (s3fault.refuse("PutObject", 404, "NoSuchBucket"), SinkMissing),
            (s3fault.refuse("PutObject", 500, "InternalError"), SinkUnavailable),
            (s3fault.drop_request("PutObject"), SinkUnavailable),
        ],
        ids=lambda value: getattr(value, "name", getattr(value, "__name__", value)),
    )
    def test_put_that_never_works_fails(self, store: Store, fault: S3Fault, kind: type[S3StreamError]) -> None:
        """The old object stays."""
        Trial(store, fault.always(), size=SMALL).assert_failed(kind)

    def test_empty_object_is_settled_too(self, store: Store) -> None:
        """Nothing is a content like any other."""
        Trial(store, s3fault.lose_answer("PutObject"), size=0).assert_copied()


class TestBegin:
    @pytest.mark.parametrize(
        "fault",
        [
            s3fault.refuse("CreateMultipartUpload", 500, "InternalError"),
            s3fault.refuse("CreateMultipartUpload", 503, "SlowDown"),
            s3fault.drop_request("CreateMultipartUpload"),
        ],
        ids=lambda fault: fault.name,
    )
    def test_begin_that_fails_once_is_repeated(self, store: Store, fault: S3Fault) -> None:
        """Before any byte has moved to the store."""
        trial = Trial(store, fault)
        trial.assert_copied()
        assert [name for name in trial.operations if name != "ListMultipartUploads"][1:3] == [
            "CreateMultipartUpload"
        ] * 2

    @pytest.mark.parametrize(
        ("fault", "kind"),
        [
            (s3fault.refuse("CreateMultipartUpload", 403, "AccessDenied"), SinkDenied),
            (s3fault.refuse("CreateMultipartUpload", 404, "NoSuchBucket"), SinkMissing),
            (s3fault.refuse("CreateMultipartUpload", 500, "InternalError"), SinkUnavailable),
            (s3fault.refuse("CreateMultipartUpload", 301, "PermanentRedirect"), SinkRejected),
        ],
        ids=lambda value: getattr(value, "name", getattr(value, "__name__", value)),
    )
    def test_begin_that_never_works_fails(self, store: Store, fault: S3Fault, kind: type[S3StreamError]) -> None:
        """No part is sent and there is nothing to abort."""
        trial = Trial(store, fault.always())
        trial.assert_failed(kind)
        # botocore itself asks HeadBucket where a redirected bucket lies.
        assert set(trial.operations) <= {"HeadObject", "CreateMultipartUpload", "HeadBucket", "ListMultipartUploads"}

    def test_store_that_refuses_checksums_is_used_without(self, store: Store) -> None:
        """An old store may not know the word; the copy goes on and proves less."""

        def answer(call: Call) -> s3fault.Answer:
            return s3fault.refuse("CreateMultipartUpload", 400, "InvalidArgument").answer(call)  # type: ignore[misc]

        trial = Trial(store, S3Fault("checksums unknown", "CreateMultipartUpload", answer=answer))
        trial.assert_copied()
        first, second = trial.proxy.of("CreateMultipartUpload")
        assert first.head.get("x-amz-checksum-algorithm") == "CRC64NVME"
        assert second.head.get("x-amz-checksum-algorithm") == ""

    @pytest.mark.parametrize(
        "fault",
        [
            s3fault.lose_answer("CreateMultipartUpload"),
            s3fault.cut_answer("CreateMultipartUpload", 20),
            s3fault.error_after("CreateMultipartUpload", 500, "InternalError"),
        ],
        ids=lambda fault: fault.name,
    )
    @pytest.mark.parametrize("name", ["rclone", "localstack"])
    def test_upload_whose_id_was_lost_is_found_and_removed(
        self, request: pytest.FixtureRequest, name: str, fault: S3Fault
    ) -> None:
        """The store has begun an upload that nobody was told of; its key, its age and its emptiness tell."""
        store = request.getfixturevalue(name)
        other = store.client.create_multipart_upload(Bucket=store.bucket, Key="key-of-another")["UploadId"]
        trial = Trial(store, fault)
        assert trial.error is None
        assert store.sha256("key") == Content(SIZE).sha256()
        assert store.uploads() == [other]
        assert trial.operations.count("CreateMultipartUpload") == 2, "the one that is used was removed too"

    def test_upload_whose_id_was_lost_is_removed_also_if_no_other_can_be_begun(self, store: Store) -> None:
        """Each of the attempts has begun one."""
        trial = Trial(store, s3fault.error_after("CreateMultipartUpload", 500, "InternalError").always())
        trial.assert_failed(SinkUnavailable)

    def test_upload_that_has_parts_is_nobody_s_lost_one(self, store: Store) -> None:
        """Another transfer to the same key is under way."""
        begun = store.client.create_multipart_upload(Bucket=store.bucket, Key="key")["UploadId"]
        store.client.upload_part(Bucket=store.bucket, Key="key", UploadId=begun, PartNumber=1, Body=b"x")
        trial = Trial(store, s3fault.lose_answer("CreateMultipartUpload"))
        assert trial.error is None
        assert store.uploads() == [begun]


class TestAbort:
    REFUSED = s3fault.refuse("UploadPart", 403, "AccessDenied").on_part(2).always()

    def test_abort_that_is_refused_names_the_upload_and_the_command(self, store: Store) -> None:
        """The first error stays what is raised; what is left, and how to remove it, is said with it."""
        trial = Trial(store, self.REFUSED, s3fault.refuse("AbortMultipartUpload", 403, "AccessDenied").always())
        error = trial.assert_failed(SinkDenied, uploads=1)
        assert error.op == "UploadPart"
        upload = store.uploads()[0]
        assert upload in str(error)
        assert "abort-multipart-upload" in str(error)

    @pytest.mark.parametrize(
        "fault",
        [
            s3fault.lose_answer("AbortMultipartUpload"),
            s3fault.drop_request("AbortMultipartUpload"),
            s3fault.refuse("AbortMultipartUpload", 500, "InternalError"),
        ],
        ids=lambda fault: fault.name,
    )
    def test_abort_that_fails_once_is_repeated(self, store: Store, fault: S3Fault) -> None:
        """And an upload that is gone by then is what was wanted."""
        error = Trial(store, self.REFUSED, fault).assert_failed(SinkDenied)
        assert "aborted" in str(error)
        assert "abort-multipart-upload" not in str(error)

    def test_abort_that_hangs_does_not_keep_the_task(self, store: Store) -> None:
        """Airflow kills a task five seconds after it asked it to stop."""
        silent = s3fault.hold_answer("AbortMultipartUpload", 30).always()
        trial = Trial(store, self.REFUSED, silent)
        assert isinstance(trial.error, SinkDenied)
        assert trial.took < SOON


class TestIntegrity:
    @MODES
    def test_bit_that_flips_on_the_way_is_refused_and_sent_again(self, localstack: Store, ranges: bool) -> None:
        """The checksum travels behind the bytes, and the store compares: BadDigest, then the part alone again."""
        trial = Trial(localstack, s3fault.flip_bit("UploadPart").on_part(2), ranges=ranges)
        assert trial.assert_copied().verification == "crc64nvme"
        assert trial.repeated() == [2]
        assert 400 in [call.status for call in trial.proxy.of("UploadPart")]

    def test_bit_that_always_flips_fails(self, localstack: Store) -> None:
        """Nothing is published, and the error says that it is about integrity."""
        localstack.put("key", OLD)
        trial = Trial(localstack, s3fault.flip_bit("UploadPart").on_part(2).always())
        trial.assert_failed(IntegrityError)

    @pytest.mark.parametrize("size", [SMALL, SIZE], ids=["put", "parts"])
    def test_strict_never_calls_wrong_bytes_right(self, s3_store: Store, store_table: StoreTable, size: int) -> None:
        """Where the store checks nothing, its ETags tell what it got."""
        operation = "PutObject" if size == SMALL else "UploadPart"
        trial = Trial(s3_store, s3fault.flip_bit(operation, 60_000), size=size, strict=True)
        if trial.error is None:
            trial.assert_copied()
            found_by = "refused by the store" if s3_store.name == "localstack" else "found by its ETag"
            outcome = f"{found_by}, sent again"
        elif s3_store.name == "rclone" and size == SIZE:
            # It hands parts on as they come and cannot take one back, so there is no sending again.
            s3_store.assert_clean()
            outcome = "found in the part's ETag; nothing published"
        else:
            assert isinstance(trial.error, IntegrityError)
            assert s3_store.name != "localstack", "a store that checks must not let it come so far"
            outcome = "found in the object; reported"
        store_table.note(f"flipped bit in {operation}, `strict=True`", s3_store.name, outcome)

    def test_checksum_that_a_store_only_echoes_proves_nothing(self, rclone: Store) -> None:
        """rclone answers HEAD with the checksum header that PUT had, whatever bytes it holds."""
        trial = Trial(rclone, s3fault.flip_bit("PutObject", 60_000), size=SMALL)
        wrong = rclone.sha256("key") != Content(SMALL).sha256()
        assert not (wrong and trial.result and trial.result.verification in ("crc64nvme", "md5-etag"))

    def test_flipped_bit_of_a_put_is_refused_and_sent_again(self, localstack: Store) -> None:
        """The small way has the same guarantee."""
        trial = Trial(localstack, s3fault.flip_bit("PutObject", 60_000), size=SMALL)
        assert trial.assert_copied().verification == "crc64nvme"

    def test_store_that_hides_its_checksums_is_used_and_said_to(self, localstack: Store) -> None:
        """A gateway may strip headers it does not know; what is not seen is not called proved."""
        hidden = [s3fault.hide_checksums(name) for name in ("UploadPart", "CompleteMultipartUpload", "HeadObject")]

        def no_checksum(call: Call, answer: s3fault.Answer) -> s3fault.Answer:
            body = re.sub(rb"<Checksum.*?</Checksum\w+>", b"", answer.body)
            return s3fault.Answer(answer.head, body)

        in_body = S3Fault("no checksum", "CompleteMultipartUpload", rewrite=no_checksum)
        trial = Trial(localstack, hidden[0], hidden[2], in_body)
        assert trial.assert_copied().verification in ("size", "md5-etag")

    @pytest.mark.parametrize(
        ("header", "value"), [("x-amz-checksum-crc64nvme", "AAAAAAAAAAA="), ("etag", None)], ids=["checksum", "no etag"]
    )
    def test_part_that_the_store_describes_wrongly_is_sent_again(
        self, localstack: Store, header: str, value: str | None
    ) -> None:
        """The store confirms bytes that were not sent, or confirms nothing."""
        trial = Trial(localstack, described("UploadPart", header, value).on_part(2).on(1))
        assert trial.assert_copied().retries == 1
        assert trial.repeated() == [2]

    @pytest.mark.parametrize(
        ("header", "value", "kind"),
        [
            ("content-length", "7", IntegrityError),
            ("x-amz-meta-s3stream-transfer-id", "another-writer", SinkConflict),
        ],
        ids=["size", "marker"],
    )
    @pytest.mark.parametrize("size", [SMALL, SIZE], ids=["put", "parts"])
    def test_object_that_is_not_ours_at_the_end_is_an_error(
        self, rclone: Store, size: int, header: str, value: str, kind: type[S3StreamError]
    ) -> None:
        """The store has said that all is well, and the look at the end finds something else."""
        other = [described("HeadObject", header, value)]
        if header != "content-length":
            other = [described("HeadObject", header, value, ETag='"of-other-bytes"')]
        trial = Trial(rclone, *other, size=size)
        assert type(trial.error) is kind

    def test_another_writer_of_the_same_bytes_is_no_error(self, rclone: Store) -> None:
        """The ETag is the MD5 of these bytes, so nothing is lost to anybody."""
        other = described("HeadObject", "x-amz-meta-s3stream-transfer-id", "another-writer")
        assert Trial(rclone, other, size=SMALL).assert_copied().verification == "md5-etag"


def described(operation: str, header: str, value: str | None, **more: str) -> S3Fault:
    """Give headers of every answer another value, or take the first out."""

    def rewrite(call: Call, answer: s3fault.Answer) -> s3fault.Answer:
        headers = without(answer.head.headers, header, *more)
        if value is not None:
            headers.append((header, value))
        headers += more.items()
        return s3fault.Answer(Head(answer.head.start, headers), answer.body)

    return S3Fault(f"{header} {value}", operation, count=None, rewrite=rewrite)


class TestStop:
    @pytest.mark.parametrize("operation", ["CreateMultipartUpload", "UploadPart", "CompleteMultipartUpload"])
    def test_stop_is_heard_while_the_store_is_silent(self, store: Store, operation: str) -> None:
        """And what was begun is removed, although a connection still hangs."""
        stop = StopFlag()
        asked: list[float] = []

        def end() -> None:
            asked.append(time.monotonic())
            stop.request("the test says so")

        # Complete is refused after the silence, so that it is known not to have been done.
        hang = s3fault.hold_answer(operation, 30)
        with (
            serving(SIZE) as origin,
            S3FaultProxy(store.endpoint_url, hang) as proxy,
        ):
            proxy.when_asked(operation, end)
            with pytest.raises(Stopped):
                transfer(origin.url, store, endpoint_url=proxy.endpoint_url, stop=stop)
            assert time.monotonic() - asked[0] < 20, "it waited for the store, which is silent for 30 s"
        if operation == "UploadPart":
            assert store.uploads() == []
            assert store.get("key") == OLD

    @pytest.mark.parametrize("refused", [False, True], ids=["", "abort refused"])
    def test_upload_that_begins_after_the_stop_is_removed(self, store: Store, refused: bool) -> None:
        """
        Its id arrives when nobody waits for it any more, and is used to abort it all the same.

        If that fails too, there is nobody left to tell, and nothing is raised into the void.
        """
        stop = StopFlag()
        trouble = [s3fault.hold_answer("CreateMultipartUpload", 2.5)]
        if refused:
            trouble.append(s3fault.refuse("AbortMultipartUpload", 403, "AccessDenied").always())
        with serving(SIZE) as origin, S3FaultProxy(store.endpoint_url, *trouble) as proxy:
            proxy.when_asked("CreateMultipartUpload", lambda: stop.request("the test says so"))
            with pytest.raises(Stopped):
                transfer(origin.url, store, endpoint_url=proxy.endpoint_url, stop=stop)
            wait_for(lambda: "AbortMultipartUpload" in proxy.operations and len(store.uploads()) == refused)
            wait_for(lambda: not any(thread.name.startswith("s3stream") for thread in threading.enumerate()))
        assert store.get("key") == OLD

    def test_deadline_ends_the_wait_for_a_silent_store(self, store: Store) -> None:
        """One second is one second."""
        hang = s3fault.hold_answer("UploadPart", 30).always()
        trial = Trial(store, hang, timeouts=quick(deadline=1.0))
        trial.assert_failed(DeadlineExceeded)
        assert trial.took < SOON


def test_origin_is_not_asked_for_more_than_is_needed(store: Store) -> None:
    """The plain sequence, which every fault above departs from."""
    with serving(SIZE) as origin, S3FaultProxy(store.endpoint_url) as proxy:
        transfer(origin.url, store, endpoint_url=proxy.endpoint_url)
        assert proxy.operations[:2] == ["HeadObject", "CreateMultipartUpload"]
        assert sorted(proxy.parts()) == [1, 2, 3]
        assert proxy.operations[5:] in (
            ["CompleteMultipartUpload"],
            ["CompleteMultipartUpload", "HeadObject"],
        )
        assert len(origin.exchanges) == 3
        assert isinstance(origin, Origin)
