"""A page of a listing is read whatever its XML looks like, and refused where it cannot be trusted."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_s3stream.exceptions import SourceMisbehaved
from airflow_s3stream.plan.listpage import ListRequest, parse_page
from airflow_s3stream.plan.objects import ObjectEntry
from tests.unit.liststore import ListStore

HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
ENDED = "<IsTruncated>false</IsTruncated>"
TIME = datetime(2026, 8, 1, 12, 30, 1, 500_000, tzinfo=UTC).timestamp()
OBJECT = (
    "<Contents><Key>{key}</Key><LastModified>2026-08-01T12:30:01.500Z</LastModified><ETag>&quot;5d41&quot;</ETag>"
    "<Size>5</Size><StorageClass>STANDARD</StorageClass></Contents>"
)


def page(*parts: str, head: str = HEAD, ended: str = ENDED) -> bytes:
    return f"{head}{ended}{''.join(parts)}</ListBucketResult>".encode()


def test_an_entry_says_all_that_the_listing_says() -> None:
    listed = OBJECT.format(key="a/b").replace("STANDARD", "GLACIER")
    assert parse_page(page(listed)).entries == [ObjectEntry("a/b", 5, "5d41", TIME, "GLACIER")]


def test_the_standard_storage_class_is_not_named() -> None:
    assert parse_page(page(OBJECT.format(key="a"))).entries[0].storage_class == ""


ODD_OBJECTS = {
    "another order": '<Contents><Size>5</Size><ETag>"5d41"</ETag><Key>k</Key><LastModified>2026-08-01T12:30:01.500Z'
    "</LastModified></Contents>",
    "another time zone": OBJECT.format(key="k").replace("12:30:01.500Z", "14:30:01.5+02:00"),
    "white space": OBJECT.format(key="k").replace("><", ">\n  <"),
    "an owner": OBJECT.format(key="k").replace("</Contents>", "<Owner><ID>1</ID><Key>no</Key></Owner></Contents>"),
    "checksums": OBJECT.format(key="k").replace(
        "<Size>", "<ChecksumAlgorithm>CRC32</ChecksumAlgorithm><ChecksumType>FULL_OBJECT</ChecksumType><Size>"
    ),
    "a comment": OBJECT.format(key="k<!-- <Key>no</Key> -->"),
    "character data": OBJECT.format(key="<![CDATA[k]]>"),
    "a reference": OBJECT.format(key="&#x6b;"),
    "an attribute": OBJECT.format(key="k").replace("<Key>", '<Key a=">">'),
    "a restored copy": OBJECT.format(key="k").replace(
        "</Contents>", "<RestoreStatus><IsRestoreInProgress>false</IsRestoreInProgress></RestoreStatus></Contents>"
    ),
}


@pytest.mark.parametrize("odd", ODD_OBJECTS)
def test_the_form_of_the_xml_makes_no_difference(odd: str) -> None:
    expected = ObjectEntry("k", 5, "5d41", TIME, "")
    assert parse_page(page(ODD_OBJECTS[odd])).entries == [expected]
    usual = OBJECT.format(key="a"), OBJECT.format(key="z")
    among = parse_page(page(usual[0], ODD_OBJECTS[odd], usual[1]))
    assert [entry.key for entry in among.entries] == ["a", "k", "z"]
    assert among.entries[1] == expected


@pytest.mark.parametrize("wrapping", ["<!-- {} -->", "<Name><![CDATA[{}]]></Name>", "<Other>{}</Other>"])
def test_what_only_looks_like_an_object_is_none(wrapping: str) -> None:
    assert parse_page(page(wrapping.format(OBJECT.format(key="k")))).entries == []


def test_elements_with_a_namespace_prefix_are_read() -> None:
    body = f'<s:ListBucketResult xmlns:s="http://s3.amazonaws.com/doc/2006-03-01/">{ENDED}{OBJECT.format(key="k")}</a>'
    body = (
        body.replace("</a>", "</ListBucketResult>").replace("</", "</s:").replace("<", "<s:").replace("<s:/s:", "</s:")
    )
    assert parse_page(body.replace("<s:s:", "<s:").encode()).entries == [ObjectEntry("k", 5, "5d41", TIME, "")]


def test_utf_16_is_xml_too() -> None:
    body = page(OBJECT.format(key="é"), head=HEAD.replace("UTF-8", "UTF-16")).decode().encode("utf-16")
    assert [entry.key for entry in parse_page(body).entries] == ["é"]


def test_latin_1_is_decoded_as_such() -> None:
    body = page(OBJECT.format(key="é"), head=HEAD.replace("UTF-8", "ISO-8859-1")).decode().encode("latin-1")
    assert [entry.key for entry in parse_page(body).entries] == ["é"]


@settings(deadline=None)
@given(st.lists(st.text(min_size=1, max_size=8).filter(lambda key: key.isprintable() or "\x01" in key)), st.booleans())
def test_every_key_survives_its_encoding(keys: list[str], usual: bool) -> None:
    store = ListStore(keys, usual=usual)
    entries = parse_page(store.answer(ListRequest("").query)).entries
    assert [entry.key for entry in entries] == sorted(set(keys))


def test_keys_are_decoded_only_if_the_answer_says_that_they_are_encoded() -> None:
    listed = OBJECT.format(key="a+b%20c")
    assert parse_page(page(listed)).entries[0].key == "a+b%20c"
    assert parse_page(page("<EncodingType>url</EncodingType>", listed)).entries[0].key == "a b c"


def test_common_prefixes_and_the_token_are_read() -> None:
    read = parse_page(
        page(
            "<Prefix>x</Prefix><CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>",
            "<CommonPrefixes><Prefix>b%2F</Prefix></CommonPrefixes><EncodingType>url</EncodingType>",
            ended="<IsTruncated>true</IsTruncated><NextContinuationToken>t+%2F=</NextContinuationToken>",
        )
    )
    assert (read.prefixes, read.truncated, read.token) == (["a/", "b/"], True, "t+%2F=")


def test_an_object_without_etag_and_time_is_read() -> None:
    assert parse_page(page("<Contents><Key>k</Key><Size>1</Size></Contents>")).entries == [ObjectEntry("k", 1)]


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]>'
HOSTILE = {
    "not XML": (b"{}", "not XML"),
    "empty": (b"", "not XML"),
    "cut off": (page(OBJECT.format(key="k"))[:-9], "not XML"),
    "cut off in an object": (page(OBJECT.format(key="k"))[:-40], "not XML"),
    "an unknown encoding": (page(head=HEAD.replace("UTF-8", "EBCDIC-7")), "not XML"),
    "a control character": (page(OBJECT.format(key="k\x01")), "not XML"),
    "another root": (b"<html/>", "root is <html>"),
    "an error": (b"<Error><Code>AccessDenied</Code><Message>No.</Message></Error>", r"AccessDenied: No\."),
    "entities": (page(OBJECT.format(key="&b;"), head=HEAD.replace("<List", BOMB + "<List")), "document type"),
    "a document type": (page(head=HEAD.replace("<List", "<!DOCTYPE x><List")), "document type"),
    "a size in words": (page(OBJECT.format(key="k").replace(">5<", ">five<")), "size of 'k' is 'five'"),
    "a negative size": (page(OBJECT.format(key="k").replace(">5<", ">-5<")), "size of 'k' is '-5'"),
    "a size in other digits": (page(OBJECT.format(key="k").replace(">5<", ">\u0665<")), "not a number of bytes"),
    "no size": (page("<Contents><Key>k</Key></Contents>"), "size of 'k' is ''"),
    "no key": (page("<Contents><Size>1</Size></Contents>"), "without a key"),
    "an empty key": (page(OBJECT.format(key="")), "without a key"),
    "two keys": (page("<Contents><Key>a</Key><Key>b</Key><Size>1</Size></Contents>"), "<Key> stands twice"),
    "a wrong time": (page(OBJECT.format(key="k").replace("2026-08-01", "yesterday")), "no time of last modification"),
    "falling keys": (page(OBJECT.format(key="b"), OBJECT.format(key="a")), "do not ascend: 'a' follows 'b'"),
    "equal keys": (page(OBJECT.format(key="b"), OBJECT.format(key="b")), "do not ascend"),
    "no IsTruncated": (page(ended=""), "IsTruncated is 'missing'"),
    "a wrong IsTruncated": (page(ended="<IsTruncated>maybe</IsTruncated>"), "IsTruncated is 'maybe'"),
    "bytes that are not UTF-8": (page("<EncodingType>url</EncodingType>", OBJECT.format(key="%80")), "not UTF-8"),
    "the byte 0xFF": (page("<EncodingType>url</EncodingType>", OBJECT.format(key="a%FFb")), "not UTF-8"),
    "a surrogate": (page("<EncodingType>url</EncodingType>", OBJECT.format(key="%ED%A0%80")), "not UTF-8"),
}


@pytest.mark.parametrize("lie", HOSTILE)
def test_a_page_that_cannot_be_trusted_is_refused_by_name(lie: str) -> None:
    body, named = HOSTILE[lie]
    with pytest.raises(SourceMisbehaved, match=named) as caught:
        parse_page(body)
    assert not caught.value.retryable


def test_an_error_that_may_pass_is_retryable() -> None:
    with pytest.raises(SourceMisbehaved) as caught:
        parse_page(b"<Error><Code>SlowDown</Code></Error>")
    assert caught.value.retryable


def test_the_query_is_encoded_and_sorted_as_signatures_want_it() -> None:
    assert ListRequest("a b/", "a b/é+~", max_keys=7).query == (
        "encoding-type=url&list-type=2&max-keys=7&prefix=a%20b%2F&start-after=a%20b%2F%C3%A9%2B~"
    )
    assert ListRequest("", token="t+/=").query == (
        "continuation-token=t%2B%2F%3D&encoding-type=url&list-type=2&max-keys=1000&prefix="
    )
