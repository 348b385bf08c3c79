"""Copies that go on where an earlier try was."""

from __future__ import annotations

import os
import re
import signal
import threading
import zlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import pytest

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.publish import MARKER
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import (
    IntegrityError,
    S3StreamError,
    SinkConflict,
    SinkDenied,
    SinkUnavailable,
    SourceMissing,
    SourceUnavailable,
    Stopped,
)
from airflow_s3stream.plan.resume import MAX_TOKEN
from tests.support import faults, s3fault
from tests.support.content import Content
from tests.support.origin import Origin, serving
from tests.support.resource import Resource
from tests.support.s3fault import S3FaultProxy
from tests.support.stores import Store
from tests.support.transfers import PART, Recorder, transfer
from tests.support.trystate import KeptState, stopped, told

SIZE = 60 * MiB + 777  # thirteen parts
CUT = 30 * MiB
CONNECTIONS = 4


def stored_parts(store: Store, upload: str) -> set[int]:
    """Return the numbers of the parts that an upload has."""
    answer = store.client.list_parts(Bucket=store.bucket, Key="key", UploadId=upload)
    return {part["PartNumber"] for part in answer.get("Parts", [])}


class TestResume:
    def test_the_next_try_sends_only_what_is_missing(self, localstack: Store) -> None:
        """And the object gets the checksum of the whole all the same."""
        state, heard = KeptState(), Recorder()
        with serving(SIZE) as origin:
            said = stopped(origin, localstack, state, CUT)
            (upload,) = localstack.uploads()
            assert f"Multipart upload {upload} is kept for the next try" in said
            assert "aws s3api abort-multipart-upload" in said
            assert localstack.keys() == []
            had = stored_parts(localstack, upload)
            assert had
            with S3FaultProxy(localstack.endpoint_url) as proxy:
                result = transfer(
                    origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(), listener=heard
                )
                assert sorted(proxy.parts()) == sorted(set(range(1, 14)) - had)
            localstack.assert_holds("key", origin.resource.content)
        assert (result.resumed_parts, result.parts, result.verification) == (len(had), 13, "crc64nvme")
        assert f"{len(had)} of 13 parts" in told(heard)
        assert "will not be sent again" in told(heard)
        assert state.text is None

    def test_the_source_is_not_asked_for_more_than_that(self, localstack: Store) -> None:
        """At most a part per connection, and two, twice."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            transfer(origin.url, localstack, resume=state.resume())
            # The probe's body is closed unread, but some of it was on its way.
            assert origin.sent - SIZE <= (CONNECTIONS + 2) * PART

    def test_the_token_is_there_before_the_first_part(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url) as proxy:
            seen: list[tuple[int, list[str]]] = []
            save = state.save

            def watched(text: str) -> None:
                seen.append((len(proxy.parts()), list(proxy.operations)))
                save(text)

            state.save = watched  # type: ignore[method-assign]
            transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
        assert [parts for parts, _ in seen] == [0, 0]
        assert "CreateMultipartUpload" not in seen[0][1]
        assert "CreateMultipartUpload" in seen[1][1]
        assert all(len(text.encode()) <= MAX_TOKEN for text in state.saves)

    def test_progress_and_speed_count_what_was_done(self, localstack: Store) -> None:
        """The percentage begins where the earlier try was; the speed is that of bytes sent now."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            result = transfer(origin.url, localstack, resume=state.resume())
        assert result.bytes == SIZE
        sent = SIZE - result.resumed_parts * PART
        assert result.bytes_per_second == pytest.approx(sent / result.seconds, rel=0.01)

    def test_many_tries(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            for _ in range(5):
                stopped(origin, localstack, state, 9 * MiB)
            transfer(origin.url, localstack, resume=state.resume())
            localstack.assert_holds("key", origin.resource.content)

    def test_all_parts_are_there_already(self, localstack: Store) -> None:
        """The process died between the last part and the word that publishes."""
        state = KeptState()
        refused = s3fault.refuse("CompleteMultipartUpload", 500, "InternalError").always()
        with serving(SIZE) as origin:
            with S3FaultProxy(localstack.endpoint_url, refused) as proxy, pytest.raises(S3StreamError, match="is kept"):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
            result = transfer(origin.url, localstack, resume=state.resume())
            localstack.assert_holds("key", origin.resource.content)
        assert result.resumed_parts == 13

    def test_it_was_published_before_the_process_died(self, localstack: Store) -> None:
        """The object carries the name of the transfer; nothing is sent again."""
        state = KeptState(fails=("clear",))
        with serving(SIZE) as origin:
            first = transfer(origin.url, localstack, resume=state.resume())
            state.fails = ()
            with S3FaultProxy(localstack.endpoint_url) as proxy:
                again = transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
                assert proxy.operations == ["HeadObject"]
        assert (again.status, again.bytes, again.checksum, again.etag) == ("copied", SIZE, first.checksum, first.etag)
        assert (again.verification, again.parts, again.resumed_parts) == ("crc64nvme", 13, 13)
        assert state.text is None

    @pytest.mark.parametrize("if_exists", ["fail", "skip"])
    def test_what_it_published_itself_is_in_nobodys_way(self, localstack: Store, if_exists: str) -> None:
        state = KeptState(fails=("clear",))
        with serving(SIZE) as origin:
            transfer(origin.url, localstack, if_exists=if_exists, resume=state.resume())
            state.fails = ()
            assert transfer(origin.url, localstack, if_exists=if_exists, resume=state.resume()).status == "copied"

    def test_an_old_object_of_another_transfer_does_not_count(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            localstack.put("key", origin.resource.content.bytes())
            stopped(origin, localstack, state, CUT)
            assert transfer(origin.url, localstack, resume=state.resume()).resumed_parts < 13

    def test_a_date_is_as_good_as_an_etag(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE, etag=None, modified="Mon, 02 Feb 2015 10:00:00 GMT") as origin:
            stopped(origin, localstack, state, CUT)
            assert transfer(origin.url, localstack, resume=state.resume()).resumed_parts

    def test_the_part_size_of_the_upload_wins(self, localstack: Store) -> None:
        """Parts of another size would fit none of those that are stored."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            result = transfer(origin.url, localstack, part_size=17 * MiB, resume=state.resume())
            localstack.assert_holds("key", origin.resource.content)
        assert (result.part_size, result.parts) == (PART, 13)
        assert result.resumed_parts


class TestAfresh:
    """Where the upload of the earlier try is of no use, it is removed."""

    def _again(self, state: KeptState, origin: Origin, store: Store, said: str, **options: object) -> None:
        heard = Recorder()
        (old,) = store.uploads()
        result = transfer(origin.url, store, resume=state.resume(), listener=heard, **options)
        assert result.resumed_parts == 0
        assert said in told(heard)
        assert "The multipart upload was aborted" in told(heard)
        assert old not in store.uploads()
        store.assert_holds(str(options.get("key", "key")), origin.resource.content)

    def test_the_source_has_changed(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            origin.resource = Resource(SIZE, seed=99, etag='"v2"')
            self._again(state, origin, localstack, "the source has changed")

    def test_the_source_has_another_length(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            origin.resource = Resource(SIZE + 1, seed=99)
            self._again(state, origin, localstack, f"had {SIZE} bytes and has {SIZE + 1}")

    def test_the_source_has_no_version_any_more(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            origin.resource = Resource(SIZE, etag='W/"v1"')
            self._again(state, origin, localstack, "is now unknown")

    def test_the_destination_is_another(self, localstack: Store) -> None:
        """The upload to the key of before is removed all the same."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            self._again(state, origin, localstack, "the destination is another one", key="elsewhere")

    def test_the_url_differs_in_its_query_only(self, localstack: Store) -> None:
        """Two things may have one version and one length, and the values are shown nowhere."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT, url=f"{origin.url}?id=1")
            origin.resource = Resource(SIZE, seed=5)
            result = transfer(f"{origin.url}?id=2", localstack, resume=state.resume())
            localstack.assert_holds("key", Content(SIZE, 5))
        assert result.resumed_parts == 0

    def test_the_url_differs_in_its_signature_only(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT, url=f"{origin.url}?id=1&X-Amz-Signature=a&X-Amz-Date=1")
            result = transfer(f"{origin.url}?id=1&X-Amz-Signature=b&X-Amz-Date=2", localstack, resume=state.resume())
            localstack.assert_holds("key", origin.resource.content)
        assert result.resumed_parts

    @pytest.mark.parametrize(("status", "code"), [(403, "AccessDenied"), (400, "ExpiredToken")])
    def test_a_store_that_denies_everything_costs_no_upload(self, localstack: Store, status: int, code: str) -> None:
        """It is named in the error, and in the state for a try that has the credentials."""
        state = KeptState()
        denied = [
            s3fault.refuse(operation, status, code).always()
            for operation in ("ListParts", "AbortMultipartUpload", "CreateMultipartUpload")
        ]
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, *denied) as proxy:
            stopped(origin, localstack, state, CUT)
            (upload,) = localstack.uploads()
            with pytest.raises(SinkDenied, match=upload):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
            assert state.token.upload_id == upload
            transfer(origin.url, localstack, resume=state.resume())
        localstack.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("size", [1000, 12 * MiB])
    def test_an_upload_that_cannot_be_removed_stays_in_the_state(self, localstack: Store, size: int) -> None:
        """Although the copy itself is made, afresh."""
        state = KeptState()
        refused = s3fault.refuse("AbortMultipartUpload", 503, "SlowDown").always()
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, refused) as proxy:
            stopped(origin, localstack, state, CUT)
            (upload,) = localstack.uploads()
            origin.resource = Resource(size, etag='"v2"')
            assert transfer(
                origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume()
            ).status == "copied"  # fmt: skip
            assert state.token.upload_id == upload
            transfer(origin.url, localstack, resume=state.resume())
        assert localstack.uploads() == []
        assert state.text is None

    @pytest.mark.parametrize("key", ["k" * 400, "д" * 120])
    def test_an_upload_to_a_long_key_is_removed(self, localstack: Store, key: str) -> None:
        """The token has but a digest of it."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT, key=key)
            assert len(localstack.uploads()) == 1
            origin.faults = [faults.status(410)]
            with pytest.raises(SourceMissing):
                transfer(origin.url, localstack, key, resume=state.resume())
        localstack.assert_clean()
        assert state.text is None

    def test_the_settings_are_others(self, localstack: Store) -> None:
        """The storage class was said when the upload was begun."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            about = {"metadata": {"team": "data"}}
            self._again(state, origin, localstack, "the object's settings", object=about)

    def test_a_checksum_is_expected_that_parts_do_not_have(self, localstack: Store) -> None:
        """CRC-32 is joined from parts that are read, and these are not."""
        state = KeptState()
        with serving(SIZE) as origin:
            expected = f"crc32:{zlib.crc32(origin.resource.content.bytes()):08x}"
            stopped(origin, localstack, state, CUT, expected_checksum=expected)
            said = "do not let parts be taken over"
            self._again(state, origin, localstack, said, expected_checksum=expected)

    def test_the_upload_is_gone(self, localstack: Store) -> None:
        state, heard = KeptState(), Recorder()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            (old,) = localstack.uploads()
            localstack.client.abort_multipart_upload(Bucket=localstack.bucket, Key="key", UploadId=old)
            assert transfer(origin.url, localstack, resume=state.resume(), listener=heard).resumed_parts == 0
            localstack.assert_holds("key", origin.resource.content)
        assert "is gone: beginning afresh" in told(heard)

    def test_the_upload_is_gone_and_the_answer_to_the_next_is_lost(self, localstack: Store) -> None:
        """The object is known by the name that this try has given it."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            (old,) = localstack.uploads()
            localstack.client.abort_multipart_upload(Bucket=localstack.bucket, Key="key", UploadId=old)
            lost = s3fault.lose_answer("CompleteMultipartUpload")
            with S3FaultProxy(localstack.endpoint_url, lost) as proxy:
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
                assert proxy.operations.count("CreateMultipartUpload") == 1
            localstack.assert_holds("key", origin.resource.content)

    def test_the_parts_may_not_be_listed(self, localstack: Store) -> None:
        """A role that was made before: it can begin afresh, and abort what it cannot look into."""
        state, heard = KeptState(), Recorder()
        blind = s3fault.refuse("ListParts", 403, "AccessDenied").always()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            with S3FaultProxy(localstack.endpoint_url, blind) as proxy:
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(), listener=heard)
            localstack.assert_holds("key", origin.resource.content)
        assert "s3:ListMultipartUploadParts" in told(heard)

    @pytest.mark.parametrize("text", ["", "nonsense", '{"format": 99}', "[1]"])
    def test_the_state_is_nobodys(self, localstack: Store, text: str) -> None:
        state, heard = KeptState(text=text), Recorder()
        with serving(SIZE) as origin:
            transfer(origin.url, localstack, resume=state.resume(), listener=heard)
            localstack.assert_holds("key", origin.resource.content)
        assert "begins afresh" in told(heard)

    def test_a_store_that_lists_no_checksums_of_parts_has_them_sent_again(self, moto: Store) -> None:
        """Its word for the whole object's checksum is the same."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, moto, state, CUT)
            assert transfer(origin.url, moto, resume=state.resume()).resumed_parts == 0
            moto.assert_holds("key", origin.resource.content)

    def test_without_resume_nothing_is_read_or_kept(self, localstack: Store) -> None:
        with serving(SIZE) as origin:
            broken = [faults.status(404).from_request(5)]
            origin.faults = broken
            with pytest.raises(SourceMissing, match="was aborted"):
                transfer(origin.url, localstack)
        localstack.assert_clean()


class TestKeptOrNot:
    """What becomes of an upload when a try fails."""

    def test_no_try_is_left(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            assert "was aborted" in stopped(origin, localstack, state, CUT, again=False)
        localstack.assert_clean()
        assert state.text is None

    def test_a_last_try_goes_on_all_the_same(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            assert transfer(origin.url, localstack, resume=state.resume(again=False)).resumed_parts

    def test_a_failure_that_a_try_may_mend_keeps_it(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE, faults.status(500).from_request(7)) as origin:
            with pytest.raises(SourceUnavailable, match="is kept for the next try"):
                transfer(origin.url, localstack, resume=state.resume())
            origin.faults = []
            assert transfer(origin.url, localstack, resume=state.resume()).resumed_parts

    def test_a_failure_that_no_try_mends_removes_it(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE, faults.status(404).from_request(7)) as origin, pytest.raises(SourceMissing, match="aborted"):
            transfer(origin.url, localstack, resume=state.resume())
        localstack.assert_clean()
        assert state.text is None

    def test_a_later_try_that_cannot_even_begin_removes_what_is_of_no_use(self, localstack: Store) -> None:
        """The source is gone; no try will mend that."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            origin.faults = [faults.status(410)]
            with pytest.raises(SourceMissing):
                transfer(origin.url, localstack, resume=state.resume())
        localstack.assert_clean()
        assert state.text is None

    def test_a_later_try_that_may_yet_succeed_keeps_it(self, localstack: Store) -> None:
        """The source is down for a while; what it has given is not lost."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            origin.faults = [faults.status(500)]
            with pytest.raises(SourceUnavailable, match="of an earlier try is kept for the next"):
                transfer(origin.url, localstack, resume=state.resume())
            with pytest.raises(SourceUnavailable):
                transfer(origin.url, localstack, resume=state.resume(again=False))
        localstack.assert_clean()
        assert state.text is None

    def test_a_later_try_that_skips_removes_it(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            localstack.put("key", b"another writer's")
            assert transfer(origin.url, localstack, if_exists="skip", resume=state.resume()).status == "skipped"
        assert localstack.uploads() == []
        assert state.text is None

    @pytest.mark.parametrize("again", [True, False])
    def test_a_store_that_does_not_list_the_parts(self, localstack: Store, again: bool) -> None:
        """The upload is neither forgotten nor left behind: kept for a next try, else removed."""
        state = KeptState()
        lost = s3fault.lose_answer("ListParts").always()
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, lost) as proxy:
            stopped(origin, localstack, state, CUT)
            (upload,) = localstack.uploads()
            with pytest.raises(SinkUnavailable, match="ListParts") as failed:
                transfer(
                    origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(again=again)
                )  # fmt: skip
        assert localstack.uploads() == [upload] * again
        assert (state.text is not None) == again
        if again:
            assert state.token.upload_id == upload
            assert f"Multipart upload {upload} is kept for the next try. To remove it" in str(failed.value)

    def test_credentials_that_expire_cost_no_upload(self, localstack: Store) -> None:
        """The next try has others, and lists the parts."""
        state = KeptState()
        expired = s3fault.refuse("ListParts", 400, "ExpiredToken").always()
        with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, expired) as proxy:
            stopped(origin, localstack, state, CUT)
            with pytest.raises(SinkDenied, match="is kept for the next try"):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
            assert transfer(origin.url, localstack, resume=state.resume()).resumed_parts
        localstack.assert_holds("key", origin.resource.content)

    def test_wrong_bytes_are_not_kept(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE) as origin, pytest.raises(IntegrityError, match="aborted"):
            transfer(origin.url, localstack, resume=state.resume(), expected_checksum="crc64nvme:" + "0" * 16)
        localstack.assert_clean()

    def test_a_store_without_checksums_is_not_gone_on_with(self, rclone: Store) -> None:
        """The whole object's checksum could not be known, so its parts are of no use to a later try."""
        state = KeptState()
        with serving(SIZE) as origin:
            assert "was aborted" in stopped(origin, rclone, state, CUT)
        rclone.assert_clean()

    def test_a_source_without_ranges_is_not_gone_on_with(self, localstack: Store) -> None:
        state = KeptState()
        with serving(SIZE, ranges=False) as origin:
            assert "was aborted" in stopped(origin, localstack, state, CUT)
        localstack.assert_clean()

    def test_an_abort_that_fails_keeps_the_state(self, localstack: Store) -> None:
        """So that the next try removes what this one could not."""
        state = KeptState()
        refused = s3fault.refuse("AbortMultipartUpload", 403, "AccessDenied").always()
        with serving(SIZE, ranges=False) as origin:
            with S3FaultProxy(localstack.endpoint_url, refused) as proxy:
                said = stopped(origin, localstack, state, CUT, endpoint_url=proxy.endpoint_url)
            assert "could not be aborted" in said
            transfer(origin.url, localstack, resume=state.resume())
            localstack.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, TimeoutError])
    def test_whatever_ends_it_from_outside(self, localstack: Store, error: type[BaseException]) -> None:
        """Airflow raises its timeout in the task's own thread, wherever that is."""
        state = KeptState()
        with serving(SIZE) as origin:
            due = threading.Event()
            origin.when_sent(CUT, due.set)

            def listener(_: object) -> None:
                if due.is_set():
                    raise error

            with pytest.raises(error):
                transfer(
                    origin.url, localstack, resume=state.resume(), listener=listener, progress_interval=0.01,
                    max_bandwidth=100 * MiB,
                )  # fmt: skip
            assert transfer(origin.url, localstack, resume=state.resume()).resumed_parts

    def test_what_a_signal_raises_while_the_upload_is_begun_is_not_swallowed(self, localstack: Store) -> None:
        """Airflow's execution_timeout comes once: a copy that went on would have none."""

        class TimeIsUp(BaseException):
            pass

        def ring(number: int, frame: object) -> None:
            raise TimeIsUp

        state, held = KeptState(), s3fault.hold_answer("CreateMultipartUpload", 0.4)
        before = signal.signal(signal.SIGUSR1, ring)
        try:
            with serving(SIZE) as origin, S3FaultProxy(localstack.endpoint_url, held) as proxy:
                proxy.when_asked("CreateMultipartUpload", lambda: os.kill(os.getpid(), signal.SIGUSR1))
                with pytest.raises(TimeIsUp):
                    transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
                transfer(origin.url, localstack, resume=state.resume())
        finally:
            signal.signal(signal.SIGUSR1, before)
        localstack.assert_holds("key", origin.resource.content)


class TestStateThatFails:
    """It costs the resumption, not the copy."""

    @pytest.mark.parametrize("name", ["load", "save", "clear"])
    def test_the_copy_is_made(self, localstack: Store, name: str) -> None:
        state, heard = KeptState(fails=(name,)), Recorder()
        with serving(SIZE) as origin:
            assert transfer(origin.url, localstack, resume=state.resume(), listener=heard).status == "copied"
            localstack.assert_holds("key", origin.resource.content)
        assert f"no {name} today" in told(heard)

    def test_a_state_that_cannot_be_read_is_not_written_over(self, localstack: Store) -> None:
        """It may name an upload."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            (upload,) = localstack.uploads()
            state.fails = ("load",)
            assert transfer(origin.url, localstack, resume=state.resume()).status == "copied"
            assert state.token.upload_id == upload
            state.fails = ()
            transfer(origin.url, localstack, resume=state.resume())
        assert localstack.uploads() == []

    def test_what_was_not_saved_is_not_kept(self, localstack: Store) -> None:
        """Nobody would find it again."""
        state = KeptState(fails=("save",))
        with serving(SIZE) as origin:
            assert "was aborted" in stopped(origin, localstack, state, CUT)
        localstack.assert_clean()


class TestIntent:
    """The process died between the answer to Create and the note of its id."""

    def _begun(self, store: Store, origin: Origin, *, id_known: bool = False) -> KeptState:
        """Leave the state and the store as a killed process does."""
        state = KeptState()
        stopped(origin, store, state, PART)
        (upload,) = store.uploads()
        store.client.abort_multipart_upload(Bucket=store.bucket, Key="key", UploadId=upload)
        about = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        store.client.create_multipart_upload(Bucket=store.bucket, Key="key", **about)
        state.text = replace(state.token, upload_id="").to_text()
        return state

    def test_the_next_try_finds_and_removes_it(self, localstack: Store) -> None:
        with serving(SIZE) as origin:
            state = self._begun(localstack, origin)
            transfer(origin.url, localstack, resume=state.resume())
            localstack.assert_holds("key", origin.resource.content)

    def test_other_uploads_are_left_alone(self, localstack: Store) -> None:
        """One without the marks of this package, one with parts, one to another key."""
        create = localstack.client.create_multipart_upload
        about = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"}
        with serving(SIZE) as origin:
            state = self._begun(localstack, origin)
            unmarked = create(Bucket=localstack.bucket, Key="key")["UploadId"]
            elsewhere = create(Bucket=localstack.bucket, Key="key2", **about)["UploadId"]
            busy = create(Bucket=localstack.bucket, Key="key", **about)["UploadId"]
            localstack.client.upload_part(
                Bucket=localstack.bucket, Key="key", UploadId=busy, PartNumber=1, Body=b"x",
                ChecksumAlgorithm="CRC64NVME",
            )  # fmt: skip
            transfer(origin.url, localstack, resume=state.resume())
        assert sorted(localstack.uploads()) == sorted([unmarked, elsewhere, busy])


class TestTwoWriters:
    """Two copies to one key at once."""

    def _race(self, store: Store, first: Resource, second: Resource, **options: object) -> list[object]:
        """Publish by one copy when the other has sent all of its parts; return what came of each."""
        outcomes: list[object] = [None, None]
        with Origin(first) as a, Origin(second) as b:

            def run(number: int, url: str, endpoint: str) -> None:
                try:
                    outcomes[number] = transfer(url, store, endpoint_url=endpoint, **options)
                except S3StreamError as error:
                    outcomes[number] = error

            class Between(S3FaultProxy):
                def _ask_store(self, body: object, call: object) -> object:
                    if call.operation in ("CompleteMultipartUpload", "PutObject") and outcomes[1] is None:  # type: ignore[attr-defined]
                        run(1, b.url, store.endpoint_url)
                    return super()._ask_store(body, call)  # type: ignore[arg-type]

            with Between(store.endpoint_url) as proxy:
                run(0, a.url, proxy.endpoint_url)
        return outcomes

    @pytest.mark.parametrize("size", [12 * MiB, 1000], ids=["parts", "put"])
    @pytest.mark.parametrize("old", [True, False], ids=["over an old one", "new key"])
    @pytest.mark.parametrize("if_exists", ["overwrite", "skip_unchanged"])
    def test_the_same_bytes_are_success_for_both(self, localstack: Store, size: int, old: bool, if_exists: str) -> None:
        if old:
            localstack.put("key", b"old")
        outcomes = self._race(localstack, Resource(size), Resource(size), if_exists=if_exists)
        assert [getattr(one, "status", one) for one in outcomes] == ["copied", "copied"]
        localstack.assert_holds("key", Content(size))

    @pytest.mark.parametrize("size", [12 * MiB, 1000], ids=["parts", "put"])
    @pytest.mark.parametrize("old", [True, False], ids=["over an old one", "new key"])
    def test_of_different_bytes_one_is_an_error(self, localstack: Store, size: int, old: bool) -> None:
        if old:
            localstack.put("key", b"old")
        lost, won = self._race(localstack, Resource(size), Resource(size, seed=5, etag='"v2"'))
        assert isinstance(lost, SinkConflict)
        assert getattr(won, "status", won) == "copied"
        localstack.assert_holds("key", Content(size, 5))

    def _lose(self, store: Store, *faults: s3fault.S3Fault, **options: object) -> None:
        """Copy the bytes that another copy publishes just before, through a store with these faults."""

        class Before(S3FaultProxy):
            def _ask_store(self, body: object, call: object) -> object:
                if call.operation == "CompleteMultipartUpload" and not store.keys():  # type: ignore[attr-defined]
                    transfer(origin.url, store)
                return super()._ask_store(body, call)  # type: ignore[arg-type]

        with serving(12 * MiB) as origin, Before(store.endpoint_url, *faults) as proxy:
            result = transfer(origin.url, store, endpoint_url=proxy.endpoint_url, **options)
            assert result.status == "copied"
            assert store.get("key") == origin.resource.content.bytes()

    def test_the_loser_removes_its_upload_patiently(self, localstack: Store) -> None:
        state = KeptState()
        self._lose(localstack, s3fault.refuse("AbortMultipartUpload", 503, "SlowDown").on(1, 3), resume=state.resume())
        assert localstack.uploads() == []
        assert state.text is None

    def test_an_upload_that_the_loser_cannot_remove_stays_in_the_state(self, localstack: Store) -> None:
        state, heard = KeptState(), Recorder()
        denied = s3fault.refuse("AbortMultipartUpload", 403, "AccessDenied").always()
        self._lose(localstack, denied, resume=state.resume(), listener=heard)
        (upload,) = localstack.uploads()
        assert f"Multipart upload {upload} could not be aborted" in told(heard)
        assert "aws s3api abort-multipart-upload" in told(heard)
        assert state.token.upload_id == upload

    def test_an_object_that_is_removed_meanwhile_is_a_conflict_too(self, localstack: Store) -> None:
        """If-Match is answered 404."""
        localstack.put("key", b"old")

        class Removing(S3FaultProxy):
            def _ask_store(self, body: object, call: object) -> object:
                if call.operation == "CompleteMultipartUpload":  # type: ignore[attr-defined]
                    localstack.client.delete_object(Bucket=localstack.bucket, Key="key")
                return super()._ask_store(body, call)  # type: ignore[arg-type]

        with serving(12 * MiB) as origin, Removing(localstack.endpoint_url) as proxy:
            with pytest.raises(SinkConflict, match="another writer removed it"):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url)
        localstack.assert_clean()

    def test_a_store_that_refuses_conditions_is_said_to(self, localstack: Store) -> None:
        heard = Recorder()
        refused = s3fault.refuse("CompleteMultipartUpload", 501, "NotImplemented")
        with serving(12 * MiB) as origin, S3FaultProxy(localstack.endpoint_url, refused) as proxy:
            transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, listener=heard)
            localstack.assert_holds("key", origin.resource.content)
        assert "does not check conditions" in told(heard)

    def test_what_a_store_keeps_of_a_published_upload_is_removed(self, localstack: Store) -> None:
        """As LocalStack does where a part is sent again at that moment: it publishes, answers 500, and lists it on."""
        markers: list[str] = []

        class Keeping(S3FaultProxy):
            def _ask_store(self, body: Iterator[bytes], call: s3fault.Call) -> s3fault.Answer:
                if call.operation == "CreateMultipartUpload":
                    markers.append(call.head.get(f"x-amz-meta-{MARKER}"))
                if call.operation == "CompleteMultipartUpload" and not localstack.keys():
                    localstack.client.put_object(
                        Bucket=localstack.bucket, Key="key", Body=origin.resource.content.bytes(),
                        Metadata={MARKER: markers[0]}, ChecksumAlgorithm="CRC64NVME",
                    )  # fmt: skip
                return super()._ask_store(body, call)

        state = KeptState()
        with serving(12 * MiB) as origin, Keeping(localstack.endpoint_url) as proxy:
            transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume())
            assert proxy.of("CompleteMultipartUpload")[0].status == 412
        assert localstack.uploads() == []
        assert state.text is None

    def test_tries_of_one_transfer_share_the_upload(self, localstack: Store) -> None:
        """The one before was thought dead and is not: both end well, whoever is first."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT)
            zombie = KeptState(text=state.text)
            held = threading.Event()

            class Late(S3FaultProxy):
                def _ask_store(self, body: object, call: object) -> object:
                    if call.operation == "CompleteMultipartUpload":  # type: ignore[attr-defined]
                        transfer(origin.url, localstack, resume=state.resume())
                        held.set()
                    return super()._ask_store(body, call)  # type: ignore[arg-type]

            with Late(localstack.endpoint_url) as proxy:
                result = transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=zombie.resume())
            assert held.is_set()
            assert result.status == "copied"
            localstack.assert_holds("key", origin.resource.content)

    @pytest.mark.parametrize("if_exists", ["overwrite", "fail", "skip"])
    def test_a_try_whose_upload_was_completed_under_it_knows_the_object(
        self, localstack: Store, if_exists: str
    ) -> None:
        """The other has cleared the state that they share."""
        state = KeptState()
        with serving(SIZE) as origin:
            stopped(origin, localstack, state, CUT, if_exists=if_exists)

            class Late(S3FaultProxy):
                def _ask_store(self, body: Iterator[bytes], call: s3fault.Call) -> s3fault.Answer:
                    with first:
                        if call.operation == "UploadPart" and not localstack.keys():
                            transfer(origin.url, localstack, resume=state.resume(), if_exists=if_exists)
                    return super()._ask_store(body, call)

            first = threading.Lock()
            with Late(localstack.endpoint_url) as proxy:
                result = transfer(
                    origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(), if_exists=if_exists
                )
                assert proxy.operations.count("CreateMultipartUpload") == 0
            assert result.status == "copied"
            localstack.assert_holds("key", origin.resource.content)


def _tells_no_checksum(call: s3fault.Call, answer: s3fault.Answer) -> s3fault.Answer:
    return s3fault.Answer(answer.head, re.sub(rb"<Checksum.*</Checksum\w+>", b"", answer.body))


class TestPublished:
    """What comes after the object is there, and before that is known for certain."""

    HIDDEN = s3fault.S3Fault("no checksum", "CompleteMultipartUpload", rewrite=_tells_no_checksum).always()

    def test_a_look_that_fails_leaves_the_next_try_its_own_object(self, localstack: Store) -> None:
        state = KeptState()
        silent = s3fault.refuse("HeadObject", 503, "SlowDown").on(2, None)
        with serving(12 * MiB) as origin:
            with S3FaultProxy(localstack.endpoint_url, self.HIDDEN, silent) as proxy:
                with pytest.raises(S3StreamError, match="The object is published, but could not be verified"):
                    transfer(
                        origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(), if_exists="fail"
                    )  # fmt: skip
            result = transfer(origin.url, localstack, resume=state.resume(), if_exists="fail")
            localstack.assert_holds("key", origin.resource.content)
        assert (result.status, result.verification) == ("copied", "crc64nvme")
        assert state.text is None

    def test_a_stop_while_it_is_looked_at(self, localstack: Store) -> None:
        state, stop = KeptState(), StopFlag()
        held = s3fault.hold_answer("HeadObject", 5).on(2)
        with serving(12 * MiB) as origin, S3FaultProxy(localstack.endpoint_url, self.HIDDEN, held) as proxy:
            proxy.when_asked("CompleteMultipartUpload", lambda: proxy.when_asked("HeadObject", stop_it))
            stop_it = partial(stop.request, "the test says so")
            with pytest.raises(Stopped, match="The object is published"):
                transfer(
                    origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(), stop=stop
                )  # fmt: skip
            assert transfer(origin.url, localstack, resume=state.resume()).status == "copied"


class TestLostBeginning:
    def test_a_stop_while_a_lost_upload_is_looked_for(self, localstack: Store) -> None:
        """The state tells the next try to look again."""
        state, stop = KeptState(), StopFlag()
        lost = s3fault.lose_answer("CreateMultipartUpload")
        held = s3fault.hold_answer("ListMultipartUploads", 5)
        with serving(12 * MiB) as origin, S3FaultProxy(localstack.endpoint_url, lost, held) as proxy:
            proxy.when_asked("ListMultipartUploads", lambda: stop.request("the test says so"))
            with pytest.raises(Stopped, match="may have been begun"):
                transfer(
                    origin.url, localstack, endpoint_url=proxy.endpoint_url, resume=state.resume(), stop=stop
                )  # fmt: skip
            transfer(origin.url, localstack, resume=state.resume())
        localstack.assert_holds("key", origin.resource.content)


class TestInvalidPart:
    """The store says InvalidPart where its ETag of a part is not the one we hold."""

    def test_a_part_whose_etag_is_another_is_looked_up(self, localstack: Store) -> None:
        """As with SSE-KMS, where the same part sent twice has two ETags, and the answer to the second was lost."""

        def rewrite(call: s3fault.Call, answer: s3fault.Answer) -> s3fault.Answer:
            headers = [(name, '"old"' if name.lower() == "etag" else value) for name, value in answer.head.headers]
            return s3fault.Answer(s3fault.Head(answer.head.start, headers), answer.body)

        other = s3fault.S3Fault("another ETag", "UploadPart", part=2, rewrite=rewrite)
        with serving(12 * MiB) as origin, S3FaultProxy(localstack.endpoint_url, other) as proxy:
            result = transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url)
            localstack.assert_holds("key", origin.resource.content)
            assert proxy.operations.count("ListParts") == 1
        assert result.verification == "crc64nvme"

    def test_a_part_that_is_not_there_is_an_error(self, localstack: Store) -> None:
        refused = s3fault.refuse("CompleteMultipartUpload", 400, "InvalidPart").always()
        with serving(12 * MiB) as origin, S3FaultProxy(localstack.endpoint_url, refused) as proxy:
            with pytest.raises(S3StreamError, match="InvalidPart"):
                transfer(origin.url, localstack, endpoint_url=proxy.endpoint_url)
        localstack.assert_clean()
