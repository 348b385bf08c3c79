"""Runs of the engine and of the command with secrets in hand, that end well and badly, and all that they wrote."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import pickle
import signal
import traceback
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import requests

from airflow_s3stream.cli.command import main
from airflow_s3stream.config import CopyOptions, MiB, ObjectOptions, RetryPolicy, Timeouts
from airflow_s3stream.engine.address import find_address
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.events import Event
from airflow_s3stream.engine.handover import Resume
from airflow_s3stream.engine.httpsource import HttpSource
from airflow_s3stream.engine.reporting import describe
from airflow_s3stream.engine.s3client import new_client
from airflow_s3stream.engine.s3sink import S3Sink
from tests.support import canaries, servers
from tests.support.canaries import Corpus
from tests.support.canaryservers import BUCKET, HEADERS, PATHS, Rig, presigned, running, tokens
from tests.support.commands import COMMAND, in_a_process
from tests.support.sources import LOOPBACK

WAYS = (*PATHS, "tls", "refused")
_NEAR = ("--allow-private", "127.0.0.0/8")
_QUICK = (*_NEAR, "--retry-attempts", "2", "--connect-timeout", "5", "--read-timeout", "10")


@dataclass(frozen=True)
class Given:
    """One copy: what is asked for, and with which secrets."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    login: tuple[str, str] | None = None
    extra: dict[str, str] = field(default_factory=dict)
    proxy: str = ""
    """From the environment."""
    connection_proxy: str = ""
    store: str = "store"


def copies(rig: Rig) -> Iterator[Given]:
    """Yield every way to end with every kind of secret."""
    connection = {"login": ("ann", canaries.LOGIN_PASSWORD), "extra": {"X-Extra": canaries.EXTRA_HEADER}}
    for how in WAYS:
        yield Given(f"presigned, {how}", rig.url(how, presigned()))
        yield Given(f"user info, {how}", rig.url(how, tokens(), user="ann"))
        yield Given(f"headers, {how}", rig.url(how), HEADERS)
        yield Given(f"connection, {how}", rig.url(how), **connection)  # type: ignore[arg-type]
    yield Given("presigned, store refuses", rig.url("well", presigned()), store="refusing")
    yield Given("user info, store refuses", rig.url("well", tokens(), user="ann"), HEADERS, store="refusing")
    closed = rig.proxy_url().replace(str(rig.proxy.port), str(rig.closed_port))
    for how, url, proxy in (
        ("well", "http://origin.invalid/object.bin", rig.proxy_url()),
        ("404", "http://origin.invalid/missing", rig.proxy_url()),
        ("no tunnel", "https://origin.invalid/object.bin", rig.proxy_url()),
        ("refused", "http://origin.invalid/object.bin", closed),
        ("malformed", "http://origin.invalid/object.bin", f"http://bob:{canaries.PROXY_PASSWORD}@h:port"),
    ):
        yield Given(f"proxy, {how}", f"{url}?{presigned()}", proxy=proxy)
        yield Given(f"connection's proxy, {how}", f"{url}?{presigned()}", connection_proxy=proxy)


class _Kept:
    """What one try leaves for the next."""

    def __init__(self, corpus: Corpus, run: str) -> None:
        self._corpus = corpus
        self._run = run
        self._text: str | None = None

    def load(self) -> object:
        return self._text

    def save(self, text: str) -> None:
        self._text = text
        self._corpus.add("state and files", f"token of {self._run}", text)

    def clear(self) -> None:
        self._text = None


@contextlib.contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set variables, and put everything back."""
    kept = dict(os.environ)
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy", "ALL_PROXY", "AWS_PROFILE"):
        os.environ.pop(name, None)
    os.environ.update(values)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


def credentials() -> dict[str, str]:
    return {
        "AWS_ACCESS_KEY_ID": servers.ACCESS_KEY, "AWS_SECRET_ACCESS_KEY": servers.SECRET_KEY,
        "AWS_SESSION_TOKEN": canaries.SESSION_TOKEN, "AWS_DEFAULT_REGION": servers.REGION,
        "AWS_EC2_METADATA_DISABLED": "true", "NO_PROXY": "127.0.0.1,localhost",
    }  # fmt: skip


@contextlib.contextmanager
def _logged() -> Iterator[io.StringIO]:
    """Collect all that any library logs, with its tracebacks."""
    text, root = io.StringIO(), logging.getLogger()
    handler, level = logging.StreamHandler(text), root.level
    handler.setFormatter(logging.Formatter("%(name)s %(levelname)s %(message)s"))
    root.addHandler(handler)
    root.setLevel(logging.DEBUG)
    try:
        yield text
    finally:
        root.removeHandler(handler)
        root.setLevel(level)


@contextlib.contextmanager
def _signals_kept() -> Iterator[None]:
    """Put back the handlers that the command takes over."""
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in kept.items():
            signal.signal(number, handler)


def run_here(folder: Path) -> Corpus:
    """Copy, download and tune, by the engine and by the command; return what came of it."""
    corpus = Corpus()
    with running(folder) as rig, environment(**credentials()), _signals_kept(), _logged() as log:
        for given in copies(rig):
            proxy = {"HTTP_PROXY": given.proxy, "HTTPS_PROXY": given.proxy} if given.proxy else {}
            with environment(**proxy):
                _by_engine(corpus, rig, given)
                if not (given.login or given.connection_proxy):
                    resume = ("--resume", "--state", f"{folder}/{given.name}.state.json")
                    _by_command(corpus, given.name, *_words_of(rig, given), *resume)
        for path in folder.glob("*.state.json"):
            corpus.add("state and files", f"state of {path.name}", path.read_text())
        _downloads(corpus, rig, folder / "files")
        _misplaced(corpus, rig, folder)
        _in_processes(corpus, rig)
        _metadata(corpus, rig)
        rig.collect(corpus)
        corpus.add("log at DEBUG", "all runs", log.getvalue())
    corpus.add("lineage", "what may tell OpenLineage something", " ".join(_lineage_methods()) or "nothing")
    return corpus


def _by_engine(corpus: Corpus, rig: Rig, given: Given) -> None:
    session = requests.Session() if given.login or given.connection_proxy else None
    if session is not None:
        session.auth = given.login
        session.headers.update(given.extra)
        if given.connection_proxy:
            session.proxies = {"http": given.connection_proxy, "https": given.connection_proxy}

    def tell(event: Event) -> None:
        corpus.add("log at DEBUG", given.name, f"{describe(event)} {event!r}")

    store = getattr(rig, given.store)
    timeouts = Timeouts(connect=5, read=10, stall=10, deadline=30)
    client = new_client(endpoint_url=store.endpoint_url, connections=2, timeouts=timeouts)
    retry = RetryPolicy(attempts=2, budget=4, base=0.01, cap=0.05)
    options = CopyOptions(connections=2, part_size=5 * MiB, timeouts=timeouts, retry=retry)
    try:
        source = HttpSource(given.url, session=session, headers=dict(given.headers), timeouts=timeouts, policy=LOOPBACK)
        sink = S3Sink(client, BUCKET, f"engine/{given.name}", options=ObjectOptions())
        shown = [repr(part) for part in (source, sink, options, source.name, sink.name, client)]
        corpus.add("log at DEBUG", given.name, " ".join(shown))
        result = copy(source, sink, options, listener=tell, resume=Resume(store=_Kept(corpus, given.name)))
    except Exception as error:  # noqa: BLE001 - whatever it is, it may not tell
        corpus.add("traceback", given.name, _told_by(error))
        corpus.ended["badly"].append(given.name)
    else:
        corpus.add("result", given.name, json.dumps(asdict(result)) + repr(result))
        corpus.ended["well"].append(given.name)
    finally:
        client.close()


def _told_by(error: BaseException) -> str:
    """Return all that is printed, logged or stored of an error, its causes included."""
    texts = [*traceback.format_exception(error), repr(error), repr(vars(error)), repr(pickle.dumps(error))]
    return "\n".join(texts)


def _words_of(rig: Rig, given: Given) -> list[str]:
    endpoint = getattr(rig, given.store).endpoint_url
    headers = [word for name, value in given.headers.items() for word in ("--header", f"{name}: {value}")]
    where = ["copy", given.url, f"s3://{BUCKET}/command/{given.name}", "--endpoint-url", endpoint, "--json"]
    return [*where, *_QUICK, *headers]


def _by_command(corpus: Corpus, name: str, *words: str) -> None:
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        try:
            code = main(words)
        except SystemExit as told:  # how argparse ends
            code = int(str(told.code))
    corpus.add("output of the command", name, f"{code} {out.getvalue()} {errors.getvalue()}")
    corpus.ended["badly" if code else "well"].append(f"s3stream: {name}")


def _downloads(corpus: Corpus, rig: Rig, folder: Path) -> None:
    """Download and tune against a store that is all right, that refuses the token, and that is not there."""
    folder.mkdir()
    rig.reads.faults = []
    right = ("--endpoint-url", rig.reads.endpoint_url)
    nowhere = ("--endpoint-url", f"http://127.0.0.1:{rig.closed_port}")
    hurried = ("--retry-attempts", "2", "--connect-timeout", "5", "--json")
    parts = ("--part-size", "1MiB", "--connections", "2")
    quoting = ("--endpoint-url", rig.refusing.endpoint_url)
    for name, where in (("well", right), ("refused", nowhere), ("quoted", quoting)):
        to = folder / name
        to.mkdir()
        _by_command(corpus, f"get, {name}", "get", "s3://lake/huge.bin", f"{to}/got", *where, *parts, *hurried)
        _by_command(corpus, f"download, {name}", "download", "s3://lake/", f"{to}/all", *where, *hurried)
        narrow = ("--connections", "2", "--part-sizes", "1MiB", "--max-seconds", "2", "--json")
        _by_command(corpus, f"tune, {name}", "tune", "s3://lake/huge.bin", *where, *narrow, "--save", f"{to}/a.json")
    url = rig.url("well", presigned(), user="ann")
    words = (
        "--endpoint-url",
        rig.store.endpoint_url,
        "--connections",
        "2",
        "--part-sizes",
        "5MiB",
        "--max-seconds",
        "2",
    )
    _by_command(
        corpus, "tune a copy", "tune", url, f"s3://{BUCKET}/tuned", *words, *_NEAR, "--save", f"{folder}/copy.json"
    )
    with environment(AWS_SESSION_TOKEN=canaries.SESSION_TOKEN + "stale"):
        to = folder / "denied"
        to.mkdir()
        _by_command(corpus, "get, denied", "get", "s3://lake/huge.bin", f"{to}/got", *right, *hurried)
        _by_command(corpus, "download, denied", "download", "s3://lake/", f"{to}/all", *right, *hurried)
    _broken_off(corpus, rig, folder, right, parts, hurried)
    client: Any = new_client(endpoint_url=rig.reads.endpoint_url)
    corpus.add("log at DEBUG", "address", repr(find_address(client, "lake")))
    client.close()
    for path in folder.rglob("*"):
        small = path.is_file() and path.stat().st_size < MiB // 2
        corpus.add("state and files", str(path), str(path) + (path.read_bytes().decode("latin-1") if small else ""))


def _broken_off(corpus: Corpus, rig: Rig, folder: Path, *words: tuple[str, ...]) -> None:
    """Break a download off in the middle, so that its journal and its partial file stay."""
    from tests.support import readlies

    rig.reads.faults = [readlies.starting(4 * MiB, readlies.gets(readlies.refuse(500, "InternalError")))]
    rest = [word for group in words for word in group]
    _by_command(corpus, "get, broken off", "get", "s3://lake/huge.bin", f"{folder}/broken", *rest)
    rig.reads.faults = []
    kept = [path for path in folder.iterdir() if path.name.startswith(".broken")]
    assert kept, "nothing is kept for the next run, so nothing is proved of it"
    for name in ("token of ", "state of "):
        assert any(run.startswith(name) for run, _ in corpus.places["state and files"]), name


def _misplaced(corpus: Corpus, rig: Rig, folder: Path) -> None:
    """Type URLs and secrets where something else belongs."""
    url = f"https://ann:{canaries.MISPLACED}@127.0.0.1/x?X-Amz-Signature={canaries.MISPLACED}#{canaries.MISPLACED}"
    bare = f"ann:{canaries.MISPLACED}@127.0.0.1/x"
    slash = f"http://ann:{canaries.MISPLACED}/x@127.0.0.1/x"
    endpoint = ("--endpoint-url", rig.store.endpoint_url)
    to = f"s3://{BUCKET}/misplaced"
    for name, words in {
        "a URL as the destination": ("copy", rig.url("well"), url, *endpoint),
        "a URL as the object": ("get", url, f"{folder}/x", *endpoint),
        "a URL as the prefix": ("download", url, f"{folder}/x", *endpoint),
        "a URL as the manifest": ("download", "s3://lake/", f"{folder}/x", "--keys-from", url, *endpoint),
        "a URL as results": ("download", "s3://lake/", f"{folder}/x", "--retry-failed", url, *endpoint),
        "no scheme": ("copy", bare, to, *endpoint),
        "an unquoted slash in a password": ("copy", slash, to, *endpoint),
        "another scheme": ("copy", url.replace("https", "ftp"), to, *endpoint),
        "a misspelt option": ("copy", rig.url("well"), to, *endpoint, "--headers", f"X-Api-Key: {canaries.MISPLACED}"),
        "a misspelt option with =": ("copy", rig.url("well"), to, *endpoint, f"--headers=X: {canaries.MISPLACED}"),
        "a URL too many": ("copy", rig.url("well"), to, url, *endpoint),
        "a header that is none": ("copy", rig.url("well"), to, *endpoint, "--header", canaries.MISPLACED),
        "a choice that is none": ("copy", rig.url("well"), to, *endpoint, "--sse", url),
        "a store's URL with a password": ("get", "s3://lake/x", f"{folder}/x", "--endpoint-url", url),
        "a store's URL with a bad port": ("get", "s3://lake/x", f"{folder}/x", "--endpoint-url", slash),
        "a store's URL without a scheme": ("get", "s3://lake/x", f"{folder}/x", "--endpoint-url", bare),
    }.items():
        _by_command(corpus, name, *words)


def _in_processes(corpus: Corpus, rig: Rig) -> None:
    """Run the command as a person does."""
    for how in ("well", "404"):
        given = Given(f"process, {how}", rig.url(how, presigned(), user="ann"), {"X-Api-Key": canaries.API_KEY})
        done = in_a_process([*COMMAND, *_words_of(rig, given)], env=dict(os.environ))
        corpus.add("output of the command", given.name, repr(done))
        assert (done.code == 0) == (how == "well"), done


def _metadata(corpus: Corpus, rig: Rig) -> None:
    client: Any = rig.client
    for entry in client.list_objects_v2(Bucket=BUCKET)["Contents"]:
        head = client.head_object(Bucket=BUCKET, Key=entry["Key"])
        # Not what is answered beside: one store answers with all x-amz headers that came with the object.
        del head["ResponseMetadata"]
        corpus.add("object and headers in the store", entry["Key"], repr(head))


def _lineage_methods() -> list[str]:
    """Name the methods of operators that OpenLineage would call. There are none; one that is added belongs in here."""
    from airflow_s3stream.operators import s3_to_local, url_to_s3

    operators = (url_to_s3.UrlToS3Operator, s3_to_local.S3PrefixToLocalOperator, s3_to_local.S3ObjectToLocalOperator)
    return [name for operator in operators for name in dir(operator) if "openlineage" in name]
