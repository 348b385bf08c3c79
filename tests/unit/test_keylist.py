"""Lists of keys in text, CSV and JSON lines."""

from __future__ import annotations

import csv
import io
import itertools
import json
import tracemalloc
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.plan.keylist import kind_of, parse_keys
from airflow_s3stream.plan.objects import ObjectEntry

KEYS = st.lists(st.text(min_size=1, max_size=40).filter(lambda key: "\0" not in key), max_size=8)


def read(text: str | bytes, **how: Any) -> list[ObjectEntry]:
    content = text if isinstance(text, bytes) else text.encode()
    return list(parse_keys(io.BytesIO(content), **how))


@given(KEYS)
def test_keys_come_back_from_json_lines_as_they_were(keys: list[str]) -> None:
    """Whatever is in them."""
    text = "".join(json.dumps({"key": key, "size": 3, "etag": '"e"'}) + "\n" for key in keys)
    assert read(text, kind="jsonl") == [ObjectEntry(key, 3, "e") for key in keys]


@given(KEYS)
def test_keys_come_back_from_csv_with_a_header_as_they_were(keys: list[str]) -> None:
    """Commas, quotes and percent signs included; line ends within a key are the exception the next test names."""
    plain = [key for key in keys if not set(key) & set("\r\n")]
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows([["key", "size"], *([key, 3] for key in plain)])
    assert read(text.getvalue(), kind="csv") == [ObjectEntry(key, 3) for key in plain]


@given(KEYS)
def test_keys_come_back_from_an_inventory_as_they_were(keys: list[str]) -> None:
    """It has no header, and its keys are URL-encoded by definition."""
    text = "".join(f'"bucket","{quote_plus(key)}","3","e"\n' for key in keys)
    assert read(text, kind="csv", bucket="bucket") == [ObjectEntry(key, 3, "e") for key in keys]


def test_a_quoted_field_may_go_over_lines() -> None:
    """As CSV allows, and the next error still names the right line."""
    rows = parse_keys(io.BytesIO(b'key,size\n"a\nb",1\nc,x\n'), kind="csv", name="manifest='m'")
    assert next(rows) == ObjectEntry("a\nb", 1)
    with pytest.raises(ConfigError, match=r"^manifest='m' line 4: size 'x'"):
        next(rows)


def test_text_is_taken_as_it_is() -> None:
    """Blanks, commas and number signs are legal in keys; only empty lines are passed over."""
    lines = "\ufeff a,b \n\n#c\r\ns3://bucket/d e\n%20\n\t\nlast"
    assert [entry.key for entry in read(lines, bucket="bucket")] == [" a,b ", "#c", "d e", "%20", "\t", "last"]


def test_a_header_names_columns_in_any_order_and_others_are_passed_over() -> None:
    """Also as S3 Inventory spells them; old versions and delete markers are not objects to read."""
    text = (
        "Size, Key ,owner,ETag,LastModifiedDate,storage_class,IsLatest,IsDeleteMarker\n"
        '5,a b,me,"""x""",2024-03-01T00:00:00.000Z,GLACIER,true,false\n'
        "5,old,me,x,,STANDARD,false,false\n"
        "5,gone,me,x,,STANDARD,true,true\n"
        "7,a%20b+c\n"
    )
    assert read(text) == [
        ObjectEntry("a b", 5, "x", 1709251200.0, "GLACIER"),
        ObjectEntry("a%20b+c", 7),
    ]
    assert read("bucket,encoded_key\nbucket,a%20b+c\n", bucket="bucket") == [ObjectEntry("a b c")]


def test_a_results_log_is_a_list_of_keys() -> None:
    """What it says beyond key, size and ETag is passed over."""
    line = {"key": "a", "path": "a", "size": None, "etag": "", "verification": "", "status": "failed", "error": "x"}
    assert read(json.dumps(line)) == [ObjectEntry("a")]


def test_of_a_results_log_only_what_failed_may_be_taken() -> None:
    """And of that the key alone: size and ETag may be what was wrong."""
    lines = [{"key": name, "status": name, "size": 1, "etag": "e"} for name in ("fetched", "failed", "refused")]
    text = "\n".join(map(json.dumps, lines))
    assert read(text, statuses=frozenset({"failed", "refused"})) == [ObjectEntry("failed"), ObjectEntry("refused")]
    with pytest.raises(ConfigError, match='no "status"'):
        read('{"key": "a"}', statuses=frozenset({"failed"}))


@pytest.mark.parametrize(
    ("name", "first", "kind"),
    [
        ("keys.csv", "a", "csv"),
        ("manifest='s3://b/keys.CSV'", "a", "csv"),
        ("keys.jsonl", "a", "jsonl"),
        ("keys.txt", '{"key": "a"}', "text"),
        ("keys", '{"key": "a"}', "jsonl"),
        ("keys", "bucket,key", "csv"),
        ("keys", "size, Key", "csv"),
        ("keys", "a,b", "text"),
        ("keys", "key", "text"),
        ("keys", "{a", "text"),
    ],
)
def test_the_kind_is_told_from_the_name_or_the_first_line(name: str, first: str, kind: str) -> None:
    """A name that says it wins."""
    assert kind_of(name, first.encode()) == kind


@pytest.mark.parametrize(
    ("kind", "lines", "said"),
    [
        ("text", "a\ns3://other/b", "line 2: bucket 'other' is not 'bucket'"),
        ("text", "a\ns3://bucket/", "line 2: the key is empty"),
        ("text", "x" * 1025, "line 1: the key has 1025 bytes; S3 allows 1024"),
        ("text", "\u00e9" * 513, "line 1: the key has 1026 bytes"),
        ("text", b"a\n\xff", "line 2: it is not UTF-8"),
        ("text", b"\x1f\x8b\x08\x00", "line 1: it is compressed"),
        ("text", "x" * 70_000, "line 1: it has 70000 bytes"),
        ("csv", "bucket,a\nother,b", "line 2: bucket 'other' is not 'bucket'"),
        ("csv", "bucket,a\nbucket", "line 2: it has no key"),
        ("csv", "bucket,a\nbucket,", "line 2: the key is empty"),
        ("csv", "bucket,a,1\nbucket,b,-1", "line 2: size '-1'"),
        ("csv", "bucket,a,1\nbucket,b,3sL4kqtJlcpXroDTDmJ-rmSpXd3dIbrHY", "line 2: size '3sL4kq.*name the columns"),
        ("csv", "bucket,a b", "line 1: key 'a b' is not URL-encoded; let a first line bucket,key"),
        ("csv", "bucket,100%", "line 1: key '100%' is not URL-encoded"),
        ("csv", "bucket,%ff", "line 1: key '%ff' does not decode"),
        ("csv", 'bucket,a\n"b', "line 2: it is not CSV"),
        ("csv", "key,last_modified\na,soon", "line 2: last_modified 'soon'"),
        ("jsonl", '{"key": "a"}\n{"key": ', "line 2: it is not JSON"),
        ("jsonl", "[" * 60_000, "line 1: it is not JSON"),
        ("jsonl", '["a"]', "line 1: it must be an object"),
        ("jsonl", '{"key": 1}', "line 1: it must be an object"),
        ("jsonl", '{"key": ""}', "line 1: the key is empty"),
        ("jsonl", '{"key": "\\ud800"}', "line 1: key '.ud800' is not text"),
        ("jsonl", '{"key": "a", "size": "1"}', "line 1: size '1'"),
        ("jsonl", '{"key": "a", "size": true}', "line 1: size True"),
        ("jsonl", '{"key": "a", "etag": 1}', "line 1: etag 1"),
        ("jsonl", '{"key": "a", "bucket": "other"}', "line 1: bucket 'other'"),
        ("jsonl", '{"key": "a", "last_modified": true}', "line 1: last_modified True"),
    ],
)
def test_a_wrong_line_is_named_with_its_number(kind: Any, lines: str | bytes, said: str) -> None:
    """In one sentence, with the field."""
    with pytest.raises(ConfigError, match=f"^manifest='m' {said}"):
        read(lines, kind=kind, bucket="bucket", name="manifest='m'")


def test_an_empty_list_names_nothing() -> None:
    """Which is not an error here; whether it is one is for the caller to say."""
    assert read("") == read("\n\n") == []


@pytest.mark.parametrize(
    ("kind", "line"), [("text", b"k%d\n"), ("csv", b'"b","k%d","1"\n'), ("jsonl", b'{"key": "k%d"}\n')]
)
def test_a_list_of_any_length_takes_the_same_memory(kind: Any, line: bytes) -> None:
    """One line at a time."""
    entries = parse_keys((line % number for number in itertools.count()), kind=kind)
    next(entries)
    tracemalloc.start()
    try:
        for _ in itertools.islice(entries, 20_000):
            pass
        assert tracemalloc.get_traced_memory()[1] < 200_000
    finally:
        tracemalloc.stop()
