"""
Secrets that must turn up nowhere, and the search for them in all the forms in which they may be written.

``python -m tests.support.canaries`` fills all places with real runs, and prints what it found as one JSON object.
"""

from __future__ import annotations

import base64
import json
import sys
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

from tests.support import servers

PASSWORD = "pw/ca+na ry:9@x"
"""With all that makes passwords hard to find again in URLs."""
SIGNATURE = "5ec2e7" * 10 + "beef"
CREDENTIAL = "AKIACANARY0SOURCE/20240101/us-east-1/s3/aws4_request"
SECURITY_TOKEN = "FwoGZXIvYXdzEC/+source+canary/token=="
BEARER = "eyJhbGciOiJub25lIn0.bearer-canary.sIgN"
API_KEY = 'k"ey\\with-canary'
COOKIE = "cookie-canary-of-a-login-30412"
CHANGED_COOKIE = "cookie-canary-that-the-origin-set"
SESSION_TOKEN = "IQoJb3JpZ2luX2VjEC8aC/XVzLXd+canary=="
LOGIN_PASSWORD = "login canary/+pw%41"
EXTRA_HEADER = "extra-header-canary-77"
PROXY_PASSWORD = "pr0xy/canary@+pw"
REDIRECT_SIGNATURE = "0ddba11" * 9
SAS = "c2FzLWNhbmFyeQ/+abcdef=="
QUERY_TOKEN = "tok-canary-4711"
FRAGMENT = "frag-canary-1234567"
MISPLACED = "misplaced-canary-8855"

KINDS: dict[str, tuple[str, ...]] = {
    "presigned query of the source": (SIGNATURE, CREDENTIAL, SECURITY_TOKEN),
    "user info of the source": (PASSWORD,),
    "bearer header": (BEARER,),
    "secret header": (API_KEY,),
    "cookies": (COOKIE, CHANGED_COOKIE),
    "AWS secret key": (servers.SECRET_KEY,),
    "AWS session token": (SESSION_TOKEN,),
    "AWS signatures": (),  # those that the store has seen
    "HTTP connection": (LOGIN_PASSWORD, EXTRA_HEADER),
    "proxy credentials": (PROXY_PASSWORD,),
    "redirect's signed query": (REDIRECT_SIGNATURE,),
    "tokens of other services, fragment, URL in the wrong place": (SAS, QUERY_TOKEN, FRAGMENT, MISPLACED),
}
PLACES = (
    "log at DEBUG", "traceback", "rendered fields", "result", "lineage", "object and headers in the store",
    "headers to other hosts", "output of the command", "state and files",
)  # fmt: skip


def forms(secret: str) -> set[str]:
    """Return the ways to write a secret: raw, for URLs, Base64 (alone, or after a name), escaped for JSON and repr."""
    raw = {secret, unquote(secret), quote(secret), quote(secret, safe=""), quote_plus(secret), quote_plus(secret, "/")}
    found = {*raw, *(quote(form, safe="") for form in raw)}
    found |= {json.dumps(form)[1:-1] for form in raw} | {repr(form)[1:-1] for form in raw}
    found |= {json.dumps(repr(form)[1:-1])[1:-1] for form in raw}
    for form in (secret, unquote(secret)):
        found |= _base64(form.encode())
    return found


def _base64(secret: bytes) -> set[str]:
    """Return what Base64 makes of it wherever it stands in a longer text, such as ``user:password``."""
    found = set()
    for shift in range(3):
        whole = base64.b64encode(b"\0" * shift + secret).decode().rstrip("=")
        # The first and last characters depend on what stands beside it.
        found |= {text[2 if shift else 0 : -2] for text in (whole, whole.replace("+", "-").replace("/", "_"))}
    return found


def find(text: str, secrets: Iterable[str]) -> list[str]:
    """Return the forms of any of the secrets that stand in the text."""
    return sorted(form for secret in secrets for form in forms(secret) if form in text)


@dataclass
class Corpus:
    """What was written to each place, and in which run."""

    places: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: {place: [] for place in PLACES})
    signatures: set[str] = field(default_factory=set)
    """Of the requests to stores."""
    sent: list[str] = field(default_factory=list)
    """What clients sent to where it belongs, to show that the secrets were in use."""
    ended: dict[str, list[str]] = field(default_factory=lambda: {"well": [], "badly": []})
    """The runs."""

    def add(self, place: str, run: str, text: str) -> None:
        self.places[place].append((run, text))

    def secrets(self, kind: str) -> tuple[str, ...]:
        return KINDS[kind] or tuple(sorted(self.signatures))

    def leaks(self, kind: str, place: str) -> list[str]:
        """Return where a secret of this kind stands in this place: the run, and what is around it."""
        found = []
        for run, text in self.places[place]:
            for form in find(text, self.secrets(kind)):
                at = text.index(form)
                found.append(f"{run}: ...{text[max(0, at - 80) : at + len(form) + 20]}...")
        return found

    def unused(self) -> list[str]:
        """Return the kinds of which no secret was sent to where it belongs; nothing can be said about those."""
        sent = "\n".join(self.sent)
        return [kind for kind in KINDS if not find(sent, self.secrets(kind))]

    def merge(self, other: Corpus) -> None:
        for place, texts in other.places.items():
            self.places[place] += texts
        self.signatures |= other.signatures
        self.sent += other.sent
        for how, runs in other.ended.items():
            self.ended[how] += runs

    def report(self) -> dict[str, object]:
        leaks = [
            {"kind": kind, "place": place, "where": where}
            for kind in KINDS
            for place in PLACES
            for where in self.leaks(kind, place)
        ]
        return {
            "kinds": len(KINDS), "places": len(PLACES), "cells": len(KINDS) * len(PLACES),
            "runs_that_succeeded": len(self.ended["well"]), "runs_that_failed": len(self.ended["badly"]),
            "empty": [place for place in PLACES if not any(text for _, text in self.places[place])],
            "unused": self.unused(), "leaks": leaks,
        }  # fmt: skip


def main() -> int:
    """Fill all places; print the report; return 1 if there is a leak, or nothing to search."""
    from tests.support.airflowdatabase import new_database
    from tests.support.canaryairflow import run_in_airflow
    from tests.support.canaryruns import run_here

    with tempfile.TemporaryDirectory() as folder:
        here, airflow = Path(folder, "here"), Path(folder, "airflow")
        here.mkdir()
        airflow.mkdir()
        corpus = run_here(here)
        corpus.merge(run_in_airflow(airflow, partial(new_database, Path(folder, "database"))))
    report = corpus.report()
    print(json.dumps(report))
    return 1 if report["leaks"] or report["empty"] or report["unused"] else 0


if __name__ == "__main__":
    sys.exit(main())
