"""What one try tells the next, and when it is believed."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from airflow_s3stream.config import CopyOptions, MiB, ObjectOptions
from airflow_s3stream.plan.parts import make_plan
from airflow_s3stream.plan.probe import Probe, Validator
from airflow_s3stream.plan.resume import MAX_TOKEN, Rest, ResumeToken, fitting, new_token
from tests.support.content import Content
from tests.support.memory import MemorySource

PROBE = MemorySource(Content(100 * MiB)).probe()[0]


def token(
    source: str = "https://example.org/a?sig=***",
    destination: str = "s3://lake/key",
    settings: object = ("text/csv", None),
    probe: Probe = PROBE,
    options: CopyOptions | None = None,
) -> ResumeToken:
    return new_token(
        source=source, destination=destination, settings=settings, probe=probe,
        options=options or CopyOptions(), marker="m" * 32, began=1.5e9,
    )  # fmt: skip


def begun(**about: object) -> ResumeToken:
    known = {"upload_id": "u" * 128, "part_size": 8 * MiB, "relayed": True, "checksums": True}
    return replace(token(), **{**known, **about})  # type: ignore[arg-type]


def test_a_token_is_read_as_it_was_written() -> None:
    assert ResumeToken.from_text(begun().to_text()) == begun()
    assert begun().misfit(token()) == ""


@pytest.mark.parametrize("key", ["k", "k" * 1020, "ü" * 510, "/" * 1024])
@pytest.mark.parametrize("etag", ['"e"', '"' + "e" * 5000 + '"'])
def test_a_token_is_small_whatever_the_names_are(key: str, etag: str) -> None:
    """A long key is known by its digest: enough to compare, not enough to abort an upload elsewhere."""
    probe = replace(PROBE, validator=Validator("etag", etag))
    wanted = token(source="https://example.org/" + "x" * 9000, destination=f"s3://lake/{key}", probe=probe)
    kept = replace(wanted, upload_id="u" * 300, part_size=5 * 1024 * MiB, relayed=True, checksums=True)
    text = kept.to_text()
    assert 0 < len(text.encode()) <= MAX_TOKEN
    back = ResumeToken.from_text(text)
    assert back is not None
    assert back.misfit(wanted) == ""
    assert (back.place == f"s3://lake/{key}") == (len(key.encode()) < 280)


def test_a_token_that_cannot_be_small_is_none() -> None:
    assert begun(upload_id="u" * 2000).to_text() == ""


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (token(destination="s3://lake/other"), "destination"),
        (token(source="https://example.org/b"), "the source is another one"),
        (token(settings=("text/plain", None)), "settings"),
        (token(options=CopyOptions(expected_size=100 * MiB)), "expected"),
        (token(options=CopyOptions(expected_checksum="md5:" + "0" * 32)), "expected"),
        (token(options=CopyOptions(object=ObjectOptions(tags={"a": "b"}))), "settings"),
        (token(probe=replace(PROBE, size=1)), "bytes and has 1"),
        (token(probe=replace(PROBE, validator=Validator("etag", '"v2"'))), 'etag "v1" is now etag "v2"'),
        (token(probe=replace(PROBE, validator=Validator("date", '"v1"'))), "has changed"),
        (token(probe=replace(PROBE, validator=None)), "is now unknown"),
    ],
)
def test_what_differs_is_named(other: ResumeToken, said: str) -> None:
    assert said in begun().misfit(other)


def test_speed_and_patience_are_not_what_is_wanted() -> None:
    """A person may change them between two tries."""
    assert begun().misfit(token(options=CopyOptions(connections=3, max_memory=9 * MiB, part_size=64 * MiB))) == ""


@pytest.mark.parametrize(
    "lacking", [{"upload_id": ""}, {"validator": ""}, {"relayed": False}, {"checksums": False}], ids=str
)
def test_what_cannot_be_gone_on_with(lacking: dict[str, object]) -> None:
    assert begun().resumable
    assert not begun(**lacking).resumable


@pytest.mark.parametrize("change", ["drop", "type", "more", "format"])
@pytest.mark.parametrize("name", list(json.loads(begun().to_text())))
def test_any_spoiled_field_makes_it_nothing(name: str, change: str) -> None:
    """Somebody may have edited it; a later version may have written it."""
    fields = json.loads(begun().to_text())
    if change == "drop":
        if name not in ("upload_id", "part_size", "relayed", "checksums"):  # these have defaults: nothing begun
            del fields[name]
        else:
            fields["format"] = 0
    elif change == "type":
        fields[name] = [1]
    elif change == "more":
        fields[name + "2"] = 1
    else:
        fields["format"] = 2
    assert ResumeToken.from_text(json.dumps(fields)) is None


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7", '"x"', None, 7, b"x", {"format": 1}])
def test_anything_else_is_nothing(text: object) -> None:
    assert ResumeToken.from_text(text) is None


class TestParts:
    PLAN = make_plan(CopyOptions(part_size=8 * MiB, connections=4), 100 * MiB, ranges=True)

    def test_what_fits_is_of_the_right_number_and_size(self) -> None:
        """The last part has 4 MiB."""
        listed = [(1, 8 * MiB), (2, 8 * MiB - 1), (13, 4 * MiB), (12, 4 * MiB), (14, 8 * MiB), (10_001, 8 * MiB)]
        assert fitting(self.PLAN, listed) == {1, 13}

    def test_the_rest_is_all_others(self) -> None:
        rest = Rest(self.PLAN, {1, 2, 13})
        assert [part.number for part in rest.parts()] == list(range(3, 13))
        assert rest.connections == 4
        assert Rest(self.PLAN, set(range(1, 13))).connections == 1
        assert Rest(self.PLAN, set(range(1, 14))).connections == 0
