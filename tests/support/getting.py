"""Downloads of one object as a test wants them: small ranges, short timeouts; here, and in a process to be killed."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from airflow_s3stream.config import KiB, RetryPolicy, Timeouts
from airflow_s3stream.engine.getobject import get_object
from airflow_s3stream.engine.objectstream import ObjectStream, open_object
from airflow_s3stream.engine.run import Chances
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.plan.getting import GetOptions, GetResult
from tests.support.content import Quiet
from tests.support.downloads import EAGER, HASTY, PATIENT, client_of
from tests.support.origin import Exchange
from tests.support.readstore import BUCKET, ReadStore
from tests.support.servers import REPOSITORY
from tests.support.stores import Store
from tests.support.transfers import Recorder

PART = 64 * KiB
"""The least range, so that a small object has many."""


ENDLESS = Timeouts(connect=5, read=60, stall=60)
"""For a clock that runs fast."""


def hurried(times: int = 20) -> Chances:
    """Return a clock that is so many times as fast, so that nobody waits for seconds to pass."""
    began = time.monotonic()
    return Chances(clock=lambda: began + times * (time.monotonic() - began))


def options_of(store: ReadStore | Store, **options: Any) -> GetOptions:
    timeouts = HASTY if isinstance(store, ReadStore) else PATIENT
    settings = {"connections": 4, "part_size": PART, "timeouts": timeouts, "retry": EAGER, **options}
    return GetOptions(**settings)


def _bucket(store: ReadStore | Store) -> str:
    return BUCKET if isinstance(store, ReadStore) else store.bucket


@contextlib.contextmanager
def _client(store: ReadStore | Store, given: Any) -> Iterator[Any]:
    """Give the client given, the one kept for this store, or one that is closed afterwards."""
    if given is not None:
        yield given
    elif isinstance(store, ReadStore):
        yield store.reader(lambda: client_of(store))
    else:
        with contextlib.closing(client_of(store)) as client:
            yield client


def get(
    store: ReadStore | Store,
    path: Path | str,
    key: str = "big",
    *,
    client: Any = None,
    listener: Callable[[Any], None] | None = None,
    stop: StopFlag | None = None,
    chances: Any = None,
    bucket: str | None = None,
    **options: Any,
) -> GetResult:
    """Download one object of the store's bucket."""
    with _client(store, client) as own:
        return get_object(
            own, bucket or _bucket(store), key, str(path), options_of(store, **options),
            stop=stop or StopFlag(), listener=listener or Recorder(), chances=chances,
        )  # fmt: skip


@contextlib.contextmanager
def opened(
    store: ReadStore | Store, key: str = "big", *, client: Any = None, stop: StopFlag | None = None,
    chances: Any = None, **options: Any,
) -> Iterator[ObjectStream]:  # fmt: skip
    """Open one object as a stream; closed at the end."""
    settings = options_of(store, **options)
    with (
        _client(store, client) as own,
        open_object(own, _bucket(store), key, settings, stop=stop or StopFlag(), chances=chances) as stream,
    ):
        yield stream


def read(store: ReadStore | Store, key: str = "big", *, piece: int = -1, **options: Any) -> Quiet:
    """Read one object through the stream, to its end."""
    with opened(store, key, **options) as stream:
        pieces = list(iter(lambda: stream.read(piece), b""))
        return Quiet(b"".join(pieces))


def place(tmp_path: Path) -> Path:
    """Name a file that is not there yet, alone in a directory that is."""
    directory = tmp_path / "to"
    directory.mkdir()
    return directory / "file"


def siblings(path: Path) -> list[str]:
    """Name what lies beside a file: what a download left, or another test put there."""
    return sorted(one.name for one in path.parent.iterdir() if one != path)


def ranges(exchanges: list[Exchange]) -> list[tuple[int, int]]:
    """Return the half-open ranges asked for, in order of arrival."""
    asked = [exchange.range for exchange in exchanges]
    return [(one[0], one[1] + 1) for one in asked if one is not None and one[1] is not None]


def sent(store: ReadStore) -> int:
    """Return how many bytes of objects have been sent so far."""
    return sum(exchange.sent for exchange in store.gets if exchange.status in (200, 206))


# In a process of its own, to be killed.


def start(store: ReadStore, path: Path, key: str = "big", **options: Any) -> subprocess.Popen[str]:
    """Begin a download in another process; its last line is the result as JSON, or ``Class: message``."""
    wanted = {"endpoint": store.endpoint_url, "bucket": BUCKET, "key": key, "path": str(path), "options": options}
    return subprocess.Popen(
        [sys.executable, "-m", "tests.support.getting", json.dumps(wanted)],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=REPOSITORY,
    )  # fmt: skip


def struck(
    store: ReadStore, path: Path, after: int, *, number: int = signal.SIGKILL, key: str = "big", **options: Any
) -> str:
    """Download in another process, and send it a signal once the store has sent so many bytes; return its output."""
    begun = threading.Event()
    processes: list[subprocess.Popen[str]] = []

    def strike() -> None:
        begun.wait(20)
        processes[0].send_signal(number)
        processes[0].wait(20)  # nothing is sent meanwhile on this connection

    store.when_sent(after, strike)
    processes.append(start(store, path, key, **options))
    begun.set()
    out, _ = processes[0].communicate(timeout=50)
    assert processes[0].returncode in (-number, 128 + number), (processes[0].returncode, out)
    return out


def _main() -> None:
    from airflow_s3stream.engine.s3client import new_client
    from airflow_s3stream.exceptions import S3StreamError

    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it would be ignored
    wanted = json.loads(sys.argv[1])
    options = wanted["options"]
    settings = {
        "connections": 4, "part_size": PART, **options,
        "timeouts": Timeouts(**options.get("timeouts", asdict(HASTY))),
        "retry": RetryPolicy(**options.get("retry", asdict(EAGER))),
    }  # fmt: skip
    client = new_client(endpoint_url=wanted["endpoint"])
    try:
        result = get_object(client, wanted["bucket"], wanted["key"], wanted["path"], GetOptions(**settings))
    except S3StreamError as error:
        print(f"{type(error).__name__}: {error}")
        sys.exit(1)
    print(json.dumps(asdict(result)))


if __name__ == "__main__":
    _main()
