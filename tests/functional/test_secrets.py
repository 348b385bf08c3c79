"""Twelve kinds of secret, nine places where they may not turn up: by the engine and the command, without Airflow."""

from __future__ import annotations

import base64
import json
import logging
from urllib.parse import quote, quote_plus

import pytest

from airflow_s3stream.engine import quietlog
from tests.support import canaryruns
from tests.support.canaries import KINDS, PLACES, Corpus, find

ONLY_AIRFLOW = ("rendered fields",)
"""Places that the tests of Airflow fill."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Corpus:
    """Run everything once."""
    return canaryruns.run_here(tmp_path_factory.mktemp("canaries"))


@pytest.mark.timeout(240)
class TestMatrix:
    """Every kind in every place."""

    @pytest.mark.parametrize("place", [place for place in PLACES if place not in ONLY_AIRFLOW])
    @pytest.mark.parametrize("kind", KINDS)
    def test_no_secret_of_this_kind_is_in_this_place(self, corpus: Corpus, kind: str, place: str) -> None:
        assert any(text for _, text in corpus.places[place]), "nothing was written there, so nothing is proved"
        assert corpus.leaks(kind, place) == []

    def test_every_kind_was_in_use(self, corpus: Corpus) -> None:
        """A secret that no run sent to where it belongs could not have leaked."""
        assert corpus.unused() == []

    def test_runs_ended_well_and_badly(self, corpus: Corpus) -> None:
        """Of each group of secrets; what is written differs."""
        for group in ("presigned", "user info", "headers", "connection", "proxy", "connection's proxy", "s3stream: get",
                      "s3stream: download"):  # fmt: skip
            for how in corpus.ended.values():
                assert any(run.startswith(f"{group}, ") for run in how), group

    def test_the_log_says_what_happened_all_the_same(self, corpus: Corpus) -> None:
        """Hosts, paths, statuses and the libraries' own words, without what belongs to nobody else."""
        log = "\n".join(text for _, text in corpus.places["log at DEBUG"])
        for said in ('"GET /object.bin?*** HTTP/1.1" 206', "Sending http request: ***", "Failed to parse headers",
                     "X-Amz-Signature=***"):  # fmt: skip
            assert said in log
        assert "the source answered 404 Not Found" in "\n".join(text for _, text in corpus.places["traceback"])


class TestSearch:
    """The search finds what is planted, in whatever form."""

    @pytest.mark.parametrize("kind", [kind for kind in KINDS if KINDS[kind]])
    @pytest.mark.parametrize("place", PLACES)
    def test_a_planted_secret_is_found(self, kind: str, place: str) -> None:
        """In its own cell, and in no other."""
        for secret in KINDS[kind]:
            planted = Corpus()
            planted.add(place, "a run", f"before {secret} after")
            report = planted.report()
            found = [(leak["kind"], leak["place"]) for leak in report["leaks"]]  # type: ignore[attr-defined]
            assert set(found) == {(kind, place)}

    @pytest.mark.parametrize("secret", [secret for secrets in KINDS.values() for secret in secrets])
    @pytest.mark.parametrize(
        "write",
        [
            str,
            quote,
            quote_plus,
            lambda text: quote(text, safe=""),
            lambda text: quote(quote(text, safe=""), safe=""),
            json.dumps,
            repr,
            lambda text: json.dumps({"text": repr(text)}),
            lambda text: json.dumps(f"https://h/x?sig={quote(text)}"),
            lambda text: base64.b64encode(text.encode()).decode(),
            lambda text: base64.b64encode(f"ann:{text}".encode()).decode(),
            lambda text: base64.urlsafe_b64encode(f"ab:{text}:c".encode()).decode(),
        ],
        ids=[
            "raw", "quote", "quote_plus", "quote all", "twice", "json", "repr", "json of repr", "json of url", "base64",
            "basic", "urlsafe",
        ],
    )  # fmt: skip
    def test_in_all_forms(self, secret: str, write: object) -> None:
        assert find(f"x {write(secret)} x", [secret])  # type: ignore[operator]

    def test_signatures_are_learnt_from_what_the_store_was_sent(self) -> None:
        """They are not known before."""
        planted = Corpus(signatures={"ab" * 32})
        planted.add("traceback", "a run", f"Signature={'ab' * 32}")
        assert planted.leaks("AWS signatures", "traceback")

    def test_an_empty_place_is_reported(self) -> None:
        """Nor is what was never used said to be safe."""
        report = Corpus().report()
        assert report["empty"] == list(PLACES)
        assert report["unused"] == list(KINDS)


class TestLibrariesLogs:
    """Filters for what is said at DEBUG, without a server."""

    @pytest.mark.parametrize("name", ["botocore.auth", "botocore.parsers", "botocore.endpoint", "botocore.utils"])
    def test_botocore_leaves_what_happened(self, name: str, caplog: pytest.LogCaptureFixture) -> None:
        """Above DEBUG, all of it."""
        quietlog.hide_secrets()
        quietlog.hide_secrets()
        with caplog.at_level(logging.DEBUG, name):
            logging.getLogger(name).debug("Signature:\n%s of %-5.2f", "canary", 1.0, exc_info=ValueError("canary"))
            logging.getLogger(name).warning("Refreshing %s failed", "credentials")
        assert [record.getMessage() for record in caplog.records] == [
            "Signature:\n*** of ***", "Refreshing credentials failed",
        ]  # fmt: skip
        assert "canary" not in caplog.text

    def test_an_apostrophe_does_not_end_a_query(self, caplog: pytest.LogCaptureFixture) -> None:
        """requests sends it as it is."""
        quietlog.hide_secrets()
        with caplog.at_level(logging.DEBUG, "urllib3.connectionpool"):
            logging.getLogger("urllib3.connectionpool").debug('%s "%s %s" %s', "h", "GET", "/x?sig=a'canary<b>", 200)
        assert caplog.messages == ['h "GET /x?***" 200']
