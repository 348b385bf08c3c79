"""Errors cross process borders and say what a person needs."""

from __future__ import annotations

import pickle
from inspect import isclass

import pytest

from airflow_s3stream import exceptions
from airflow_s3stream.engine.events import Noted
from airflow_s3stream.engine.reporting import describe

KINDS = [k for k in vars(exceptions).values() if isclass(k) and issubclass(k, exceptions.S3StreamError)]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_survives_pickling_with_all_it_knows(kind: type[exceptions.S3StreamError]) -> None:
    """Airflow hands errors from one process to another."""
    error = kind("went wrong", op="UploadPart", target="s3://b/k", retry_after=3.0, attempts=("a", "b"), retryable=True)
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert type(again) is kind
    assert vars(again) == vars(error)
    assert str(again) == str(error) == "went wrong (UploadPart s3://b/k) [after 2 earlier attempts]"


@pytest.mark.parametrize(
    ("text", "seen"),
    [("ä b/c", "ä b/c"), ("\x1b]0;x\x07", "\\x1b]0;x\\x07"), ("a\nb\x9b", "a\\nb\\x9b"), ("\udc80", "\\udc80")],
)
def test_nothing_said_steers_a_terminal_or_forges_a_line(text: str, seen: str) -> None:
    """Servers choose their reasons and headers, and whoever may upload chooses keys."""
    assert exceptions.printable(text) == seen
    assert str(exceptions.SourceMissing(text, op="GET", target=text)) == f"{seen} (GET {seen})"
    assert describe(Noted(text=text)) == seen


def test_what_happened_and_whether_to_retry_are_separate() -> None:
    """An instance may answer otherwise than its class."""
    assert exceptions.SinkDenied("x").retryable is False
    assert exceptions.SinkDenied("expired", retryable=True).retryable is True
    assert exceptions.SinkDenied.retryable is False


def test_the_drawn_tree_is_the_real_one() -> None:
    """The module's docstring shows every class, and marks the retryable ones."""
    text = exceptions.__doc__ or ""
    for kind in KINDS:
        (line,) = [line for line in text.splitlines() if kind.__name__ in line.replace("─", " ").split()]
        assert ("(r)" in line) is kind.retryable, line
