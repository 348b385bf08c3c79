"""Which uploads left behind are meant: ages, marks, options, and what is kept in memory of very many."""

from __future__ import annotations

import json
import tracemalloc
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.uploads import abort_uploads, list_uploads
from airflow_s3stream.engine.uploadtally import failure_of
from airflow_s3stream.exceptions import ConfigError, SinkDenied, SinkError, SinkUnavailable, printable
from airflow_s3stream.plan.uploads import (
    NAMED,
    AbortResult,
    FoundUpload,
    UploadOptions,
    read_abort_options,
    read_upload_options,
)
from airflow_s3stream.plan.values import age

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
OURS = FoundUpload(
    key="a", upload_id="1", begun=NOW - timedelta(days=3), asked=NOW, checksum="CRC64NVME FULL_OBJECT"
)  # fmt: skip


@pytest.mark.parametrize(
    ("given", "seconds"),
    [(0, 0), (90, 90), ("90", 90), ("90s", 90), ("30m", 1800), ("12h", 43200), ("2d", 172800), (" 1.5 D ", 129600),
     ("1w", 604800), (timedelta(hours=2), 7200)],
)  # fmt: skip
def test_an_age_is_seconds_or_text_with_a_unit(given: Any, seconds: float) -> None:
    """As people write it in a DAG or behind --older-than."""
    assert age(given, "older_than") == seconds


@pytest.mark.parametrize(
    "given", ["", "two days", "2 days", "-1d", "1d12h", -1, True, None, [1], timedelta(days=-1), float("nan")]
)
def test_what_is_no_age_is_refused_by_name(given: Any) -> None:
    """With an example of what would be right."""
    with pytest.raises(ConfigError, match=r'older_than=.* is not an age; .*"2d"'):
        age(given, "older_than")


def test_an_abort_spares_two_days_unless_told_otherwise() -> None:
    """A list spares nothing. What a template rendered to nothing was not said."""
    assert read_abort_options().older_than == read_abort_options("").older_than == 172800
    assert read_abort_options(0).older_than == read_abort_options("0s").older_than == 0
    assert read_upload_options().older_than == read_upload_options("").older_than == 0
    read = read_abort_options("1h", only_own="False", dry_run="True", connections="3", retry_attempts="2", deadline="9")
    assert (read.older_than, read.only_own, read.dry_run, read.connections) == (3600, False, True, 3)
    assert (read.retry.attempts, read.timeouts.deadline) == (2, 9)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"connections": 0}, "connections=0"), ({"connections": "x"}, "connections='x'"), ({"colour": 1}, "colour"),
     ({"older_than": float("inf")}, "older_than=inf"), ({"progress_interval": 0}, "progress_interval"),
     ({"only_own": "perhaps"}, "only_own='perhaps'")],
)  # fmt: skip
def test_bad_options_are_named(given: dict[str, Any], said: str) -> None:
    """In one sentence."""
    with pytest.raises(ConfigError, match=said):
        read_abort_options(**given)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({}, ""),
        ({"parts": 0, "bytes": 0}, ""),
        ({"parts": 3, "bytes": 9}, ""),
        ({"checksum": ""}, "begun without a checksum"),
        ({"checksum": "CRC64NVME"}, "begun with CRC64NVME"),
        ({"checksum": "CRC32 COMPOSITE"}, "begun with CRC32 COMPOSITE"),
        ({"checksum": "CRC32 FULL_OBJECT"}, "begun with CRC32 FULL_OBJECT"),
        ({"parts": 3, "unmarked_parts": 1}, "has parts without CRC64NVME"),
    ],
)
def test_every_mark_must_be_there(changes: dict[str, Any], said: str) -> None:
    """One that is missing is reason enough to leave an upload alone, and is what is said."""
    assert replace(OURS, **changes).missing_mark == said


@pytest.mark.parametrize(
    ("older_than", "last_part", "said"),
    [
        (3 * 86400, None, ""),
        (3 * 86400 + 1, None, "begun too recently"),
        (86400, NOW - timedelta(days=2), ""),
        (86400, NOW - timedelta(hours=23), "a part came too recently"),
        (0, NOW + timedelta(seconds=1), ""),
    ],
)
def test_age_counts_from_the_newest_part(older_than: float, last_part: datetime | None, said: str) -> None:
    """A transfer may take longer than anybody thought; as long as parts come, it is under way."""
    upload = replace(OURS, last_part=last_part, parts=None if last_part is None else 1)
    assert UploadOptions(older_than=older_than).too_young(upload) == said


def test_parts_of_unknown_age_are_no_reason_to_remove_them() -> None:
    """A store may leave out LastModified: then an upload that is in use looks like one that is not."""
    upload = replace(OURS, parts=7, last_part=None)
    assert UploadOptions(older_than=2 * 86400).too_young(upload) == "the store does not tell when its parts came"
    assert UploadOptions(older_than=0).too_young(upload) == ""


@pytest.mark.parametrize("nothing", [None, "", " ", "None", "none"])
def test_what_a_template_makes_of_nothing_is_the_default(nothing: Any) -> None:
    """Or a sweep would take everybody's uploads for ours."""
    assert read_abort_options(only_own=nothing).only_own is True


def test_an_upload_begun_within_the_second_is_of_age_zero() -> None:
    """The Date header has no fractions, and what a store lists may have."""
    upload = replace(OURS, begun=NOW + timedelta(milliseconds=700))
    assert upload.age == upload.idle == 0
    assert UploadOptions(older_than=0).too_young(upload) == ""


@pytest.mark.parametrize(("key", "seen"), [("ä b/c", "ä b/c"), ("\x1b[2J", "\\x1b[2J"), ("a\nb", "a\\nb")])
def test_a_key_cannot_steer_a_terminal(key: str, seen: str) -> None:
    """Whoever may upload chooses it."""
    assert printable(key) == seen


def failure(kind: str, *, retryable: bool = False, key: str = "k") -> dict[str, Any]:
    return {"key": key, "upload_id": "u", "error": "no", "kind": kind, "retryable": retryable}


def result(*failures: dict[str, Any]) -> AbortResult:
    return AbortResult(
        uri="s3://b/", dry_run=False, older_than=0, only_own=True, found=9, aborted=2, parts=0, bytes=0, vanished=0,
        left=0, left_because={}, failed=len(failures), aborted_uploads=[], left_uploads=[], failures=list(failures),
        seconds=0, retries=0,
    )  # fmt: skip


def test_failures_make_one_error_that_a_retry_policy_understands() -> None:
    """One that may pass decides, for then another try is worth it."""
    assert failure_of(result()) is None
    denied = failure_of(result(failure("SinkDenied"), failure("SinkDenied")))
    assert isinstance(denied, SinkDenied)
    assert not denied.retryable
    assert "2 of 9 uploads below s3://b/ could not be aborted, 2 were; the first: k, upload u: no" in str(denied)
    mixed = failure_of(result(failure("SinkDenied"), failure("SinkUnavailable", retryable=True, key="second")))
    assert isinstance(mixed, SinkUnavailable)
    assert mixed.retryable
    assert "second" in str(mixed)


class Endless:
    """As much of a client as a sweep uses, over very many uploads that exist only while they are looked at."""

    def __init__(self, pages: int, *, marked: bool, denied: bool = False) -> None:
        self.asked: Counter[str] = Counter()
        self.taken = 0
        self.ahead = 0
        self._pages = pages
        self._marks = {"ChecksumAlgorithm": "CRC64NVME", "ChecksumType": "FULL_OBJECT"} if marked else {}
        self._denied = denied

    def list_multipart_uploads(self, **asked: Any) -> dict[str, Any]:
        self.asked["ListMultipartUploads"] += 1
        page = int(asked.get("KeyMarker", "0"))
        self.ahead = max(self.ahead, page * 1000 - self.taken)
        return {
            "Uploads": [
                {"Key": f"{page}/{number}" + "k" * 200, "UploadId": f"{page}-{number}" + "u" * 100,
                 "Initiated": NOW - timedelta(days=9), **self._marks}
                for number in range(1000)
            ],
            "IsTruncated": page + 1 < self._pages,
            "NextKeyMarker": str(page + 1),
            "ResponseMetadata": {"HTTPHeaders": {"date": "Sun, 01 Mar 2026 12:00:00 GMT"}},
        }  # fmt: skip

    def list_parts(self, **_: Any) -> dict[str, Any]:
        self.asked["ListParts"] += 1
        return {}

    def abort_multipart_upload(self, **_: Any) -> None:
        self.asked["AbortMultipartUpload"] += 1
        if self._denied:
            raise ClientError({"Error": {"Code": "AccessDenied"}, "ResponseMetadata": {"HTTPStatusCode": 403}}, "Abort")


class TestVeryMany:
    """100,000 uploads."""

    def test_a_list_of_them_needs_the_memory_of_two_pages(self) -> None:
        """Measuring takes its time, so these are fewer; kept whole they would take 7 MiB."""
        client: Any = Endless(12, marked=True)
        tracemalloc.start()
        try:
            for _upload in list_uploads(client, "bucket"):
                client.taken += 1
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert client.taken == 12_000
        assert client.ahead <= 1000
        assert peak < 3 * MiB

    def test_a_sweep_counts_all_and_names_a_hundred(self) -> None:
        """The result stays small enough for an XCom, and one request per page does for what is not ours."""
        client: Any = Endless(100, marked=False)
        swept = abort_uploads(client, "bucket", "", UploadOptions(older_than=86400, connections=2))
        assert (swept.found, swept.left, swept.aborted) == (100_000, 100_000, 0)
        assert swept.left_because == {"begun without a checksum": 100_000}
        assert len(swept.left_uploads) == NAMED
        assert client.asked == {"ListMultipartUploads": 100}
        assert len(json.dumps(asdict(swept))) < 100_000

    def test_one_cause_of_all_failures_ends_it(self) -> None:
        """It does not ask 100,000 times for what is denied, and says what was done until then."""
        client: Any = Endless(100, marked=True, denied=True)
        with pytest.raises(SinkDenied, match=r"AccessDenied.*Until then: \d+ uploads below s3://bucket/; 0 aborted"):
            abort_uploads(client, "bucket", "", UploadOptions(connections=4))
        assert 100 <= client.asked["AbortMultipartUpload"] <= 110
        assert client.asked["ListMultipartUploads"] == 2

    def test_a_list_without_end_is_noticed(self) -> None:
        """A store that gives the same marker again would be asked for ever."""
        client: Any = Endless(2, marked=True)
        honest = client.list_multipart_uploads
        client.list_multipart_uploads = lambda **asked: {**honest(), "NextKeyMarker": "1"}
        with pytest.raises(SinkError, match="more uploads, and not where"):
            list(list_uploads(client, "bucket"))

    def test_parts_without_end_are_noticed(self) -> None:
        """The same of ListParts."""
        client: Any = Endless(1, marked=True)
        client.list_parts = lambda **_: {"IsTruncated": True, "NextPartNumberMarker": 0}
        with pytest.raises(SinkError, match="more parts, and not where"):
            list(list_uploads(client, "bucket", "", UploadOptions(sizes=True)))
