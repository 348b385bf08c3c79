"""What the first answer teaches, and which later answers are believed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from airflow_s3stream.exceptions import SourceChanged, SourceMisbehaved
from airflow_s3stream.plan.probe import Probe, Validator, check_partial, read_framing, read_probe, strong_validator
from airflow_s3stream.plan.ranges import ByteRange, ContentRange

OLD, NEWER, NOW = (
    "Sat, 01 Aug 2026 00:00:00 GMT",
    "Sun, 02 Aug 2026 00:00:00 GMT",
    "Sat, 21 Nov 2026 00:00:00 GMT",
)


def headers(**values: str) -> CaseInsensitiveDict[str]:
    return CaseInsensitiveDict({name.replace("_", "-"): value for name, value in values.items()})


def ranged(**values: str) -> CaseInsensitiveDict[str]:
    return headers(**{"Content_Range": "bytes 0-99/100", "Content_Length": "100", "ETag": '"v1"', **values})


@given(start=st.integers(0, 10**15), length=st.integers(1, 10**15), more=st.integers(0, 10**15))
def test_content_range_is_read_back_as_written(start: int, length: int, more: int) -> None:
    """The inclusive form on the wire and the half-open one inside name the same bytes."""
    span = ByteRange(start, start + length)
    wire = f"bytes {span.to_header().removeprefix('bytes=')}/{span.stop + more}"
    assert ContentRange.parse(wire) == ContentRange(span, span.stop + more)
    assert ContentRange.parse(wire.rpartition("/")[0] + "/*") == ContentRange(span, None)


@pytest.mark.parametrize(
    "value",
    [None, "", "bytes", "bytes 5-4/10", "bytes 0-10/10", "bytes */10", "bytes 0-9", "octets 0-9/10", "bytes -5-9/10",
     "bytes 0-9/ten", "bytes 0-9/10 junk", "bytes 0\u20139/10", "bytes \u0660-\u0669/10",
     "bytes 0-9/10, bytes 10-19/20"],
)  # fmt: skip
def test_a_content_range_that_is_none_is_none(value: str | None) -> None:
    """Malformed, reversed, past its own total, in other digits, or two at once: not believed."""
    assert ContentRange.parse(value) is None


def test_a_206_with_a_strong_etag_can_be_relayed() -> None:
    """Size from the total, version from the ETag."""
    probe = read_probe(206, ranged(Content_Type="text/csv"), ranged=True)
    assert probe is not None
    assert (probe.size, probe.whole, probe.relayable, probe.content_type) == (100, True, True, "text/csv")
    assert probe.validator == Validator("etag", '"v1"')


@pytest.mark.parametrize(
    "answer",
    [
        ranged(Content_Range="bytes 0-99/*"),
        ranged(Content_Range="bytes 1-99/100"),
        ranged(Content_Length="99"),
        headers(ETag='"v1"', Content_Length="100"),
        headers(ETag='"v1"', Content_Type="multipart/byteranges; boundary=x"),
    ],
)
def test_a_206_of_no_use_asks_for_another_answer(answer: CaseInsensitiveDict[str]) -> None:
    """No total, another start, another length, no Content-Range: ask again without a range."""
    assert read_probe(206, answer, ranged=True) is None


def test_a_206_nobody_asked_for_is_not_believed() -> None:
    """Without a Range header a 206 is a fault of the source."""
    with pytest.raises(SourceMisbehaved):
        read_probe(206, ranged(), ranged=False)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (headers(ETag='"v1"'), Validator("etag", '"v1"')),
        (headers(ETag='W/"v1"'), None),
        (headers(ETag='W/"v1"', Last_Modified=OLD, Date=NOW), None),
        (headers(ETag="v1"), None),
        (headers(ETag='""'), None),
        (headers(Last_Modified=OLD, Date=NOW), Validator("date", OLD)),
        (headers(Last_Modified=OLD), None),
        (headers(Last_Modified="Fri, 20 Nov 2026 23:59:01 GMT", Date=NOW), None),
        (headers(Last_Modified="yesterday", Date=NOW), None),
        (headers(), None),
    ],
)
def test_only_a_strong_validator_pins_a_version(answer: CaseInsensitiveDict[str], expected: Validator | None) -> None:
    """A weak ETag never; a date only when it is a minute older than the server's own clock."""
    assert strong_validator(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (headers(Content_Length="0"), ("length", 0)),
        (headers(Content_Length="7, 7"), ("length", 7)),
        (headers(Transfer_Encoding="Chunked"), ("chunked", None)),
        (headers(), ("close", None)),
    ],
)
def test_framing(answer: CaseInsensitiveDict[str], expected: tuple[str, int | None]) -> None:
    """The end is told by a length, by chunks, or by closing."""
    assert read_framing(answer) == expected


@pytest.mark.parametrize(
    "answer",
    [
        headers(Content_Length="7, 8"),
        headers(Content_Length="-1"),
        headers(Content_Length="+7"),
        headers(Content_Length="0x10"),
        headers(Content_Length="9" * 40),
        headers(Content_Length="7", Transfer_Encoding="chunked"),
        headers(Transfer_Encoding="gzip, chunked"),
    ],
)
def test_framing_with_two_readings_is_refused(answer: CaseInsensitiveDict[str]) -> None:
    """Where two readers could disagree on the body's end, one of them is being fooled."""
    with pytest.raises(SourceMisbehaved):
        read_framing(answer)


@pytest.mark.parametrize(
    ("probe_headers", "relayable"),
    [
        ({}, True),
        ({"Content_Encoding": "gzip"}, False),
        ({"Content_Encoding": "identity"}, True),
        ({"ETag": 'W/"1"'}, False),
    ],
)
def test_encoded_or_unpinned_sources_are_one_stream(probe_headers: dict[str, str], relayable: bool) -> None:
    """Ranges count encoded bytes, and without a validator two of them may be of two versions."""
    probe = read_probe(206, ranged(**probe_headers), ranged=True)
    assert probe is not None
    assert probe.relayable is relayable


class TestPinnedRange:
    """One range of a source probed before."""

    asked = ByteRange(10, 20)

    def judge(self, status: int = 206, **values: str) -> object:
        probe = read_probe(206, ranged(), ranged=True)
        assert isinstance(probe, Probe)
        answer = {"Content_Range": "bytes 10-19/100", "Content_Length": "10", "ETag": '"v1"', **values}
        return check_partial(probe, self.asked, status, headers(**{k: v for k, v in answer.items() if v}))

    def test_the_range_asked_for_is_believed(self) -> None:
        """Right start, end, total and version."""
        assert self.judge() == self.asked

    def test_a_shorter_range_is_taken_for_what_it_is(self) -> None:
        """RFC 9110 section 15.3.7 allows it; the caller asks for the rest."""
        assert self.judge(Content_Range="bytes 10-14/100", Content_Length="5") == ByteRange(10, 15)

    def test_an_unknown_total_says_nothing(self) -> None:
        """The size is known already."""
        assert self.judge(Content_Range="bytes 10-19/*") == self.asked

    @pytest.mark.parametrize(
        ("status", "values"),
        [
            (200, {}),
            (206, {"ETag": '"v2"'}),
            (206, {"ETag": ""}),
            (206, {"ETag": 'W/"v1"'}),
            (206, {"Content_Range": "bytes 10-19/101"}),
        ],
    )
    def test_another_version_is_a_change(self, status: int, values: dict[str, str]) -> None:
        """The whole body, another or no ETag, another total."""
        assert isinstance(self.judge(status, **values), SourceChanged)

    @pytest.mark.parametrize(
        "values",
        [
            {"Content_Range": "bytes 9-18/100"},
            {"Content_Range": "bytes 10-20/100", "Content_Length": "11"},
            {"Content_Range": ""},
            {"Content_Length": "9"},
            {"Content_Encoding": "gzip"},
        ],
    )
    def test_other_bytes_are_not_believed(self, values: dict[str, str]) -> None:
        """Another start, more than asked, no Content-Range, another length, another encoding."""
        assert isinstance(self.judge(**values), SourceMisbehaved)

    @pytest.mark.parametrize(("modified", "same"), [("", True), (OLD, True), (NEWER, False)])
    def test_a_range_pinned_by_a_date_may_leave_it_out_but_not_change_it(self, modified: str, same: bool) -> None:
        """If-Range is not obeyed by all, and a 206 to it need not repeat the date."""
        dates = {"Last_Modified": OLD, "Date": NOW}
        probe = read_probe(206, headers(Content_Range="bytes 0-99/100", Content_Length="100", **dates), ranged=True)
        assert isinstance(probe, Probe)
        assert probe.validator == Validator("date", OLD)
        told = {"Last_Modified": modified} if modified else {}
        found = check_partial(probe, self.asked, 206, headers(Content_Range="bytes 10-19/100", **told))
        assert found == self.asked if same else isinstance(found, SourceChanged)
