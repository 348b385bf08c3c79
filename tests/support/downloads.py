"""Downloads as a test wants them: short timeouts, quick retries, everything closed; and what they left on disk."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from airflow_s3stream.config import RetryPolicy, Timeouts
from airflow_s3stream.engine.download import download
from airflow_s3stream.engine.s3client import transfer_config
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.plan.download import DownloadOptions, DownloadResult, Wanted
from airflow_s3stream.plan.objects import ObjectEntry
from tests.support.content import Quiet
from tests.support.objects import StoredObject
from tests.support.readstore import BUCKET, ReadStore
from tests.support.servers import SESSION
from tests.support.stores import Store
from tests.support.transfers import Recorder

HASTY = Timeouts(connect=2, read=1, stall=1, deadline=30)
"""A test that waits for a timeout waits a second."""
PATIENT = Timeouts(connect=2, read=15, stall=15, deadline=50)
"""For real servers: the slow one is slow."""
EAGER = RetryPolicy(attempts=4, budget=40, base=0.01, cap=0.05, retry_after_cap=2.0)

OWN = ".s3stream"
"""The one name in a directory that is not an object's."""


def client_of(store: ReadStore | Store, *, timeouts: Timeouts = PATIENT, verify: str | None = None) -> Any:
    """Return the client that the hook or the command would make."""
    config = transfer_config(None, connections=8, timeouts=timeouts)
    return SESSION.client("s3", endpoint_url=store.endpoint_url, config=config, verify=verify)


def fetch(
    store: ReadStore | Store,
    directory: Path,
    prefix: str = "p/",
    *,
    client: Any = None,
    entries: Iterable[ObjectEntry] | None = None,
    selection: Any = None,
    start_after: str = "",
    last_key: str | None = None,
    listener: Callable[[Any], None] | None = None,
    stop: StopFlag | None = None,
    bucket: str | None = None,
    retries: str | None = None,
    **options: Any,
) -> DownloadResult:
    """Download a prefix, or the entries, of the store's bucket."""
    bucket = bucket or (BUCKET if isinstance(store, ReadStore) else store.bucket)
    timeouts = HASTY if isinstance(store, ReadStore) else PATIENT
    settings = {"connections": 8, "timeouts": timeouts, "retry": EAGER, **options}
    wanted = Wanted(
        prefix=prefix, entries=entries, start_after=start_after, last_key=last_key, selection=selection, retries=retries
    )
    own = client or client_of(store, timeouts=timeouts)
    try:
        return download(
            own, bucket, wanted, directory, DownloadOptions(**settings),
            listener=listener or Recorder(), stop=stop or StopFlag(),
        )  # fmt: skip
    finally:
        if client is None:
            own.close()


def entry_of(one: StoredObject) -> ObjectEntry:
    """Return the object as a listing names it, in the package's own words."""
    return ObjectEntry(one.key, one.size, str(one.etag).strip('"'), one.modified_at, one.storage_class)


def files(directory: Path) -> dict[str, Quiet]:
    """Return what lies in a directory, by relative path, but for what is the package's own."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = path.relative_to(directory).as_posix()
        if name.split("/")[0] != OWN and not path.is_dir():
            found[name] = Quiet(path.read_bytes())
    return found


def litter(directory: Path) -> list[str]:
    """Name what a download must not leave: temporary files, and anything but results and lock among its own."""
    return sorted(
        path.relative_to(directory).as_posix()
        for path in directory.rglob("*")
        if not path.is_dir() and (path.name.endswith(".tmp") or path.name.startswith(".s3stream-"))
    )


def rows(result: DownloadResult | str) -> list[dict[str, Any]]:
    """Return the lines of a results manifest."""
    path = Path(result if isinstance(result, str) else result.manifest)
    return [json.loads(line) for line in path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()]


def row(result: DownloadResult, key: str) -> dict[str, Any]:
    """Return the one line about this key."""
    (found,) = [line for line in rows(result) if line["key"] == key]
    return found


def expected(store: ReadStore, keys: Iterable[str], prefix: str = "p/") -> dict[str, Quiet]:
    """Return the files that the keys should have become."""
    return {key.removeprefix(prefix): store.body(key) for key in keys}


def shards(directory: Path) -> Iterator[tuple[str, str, Quiet]]:
    """Yield shard, member and bytes of the tar files in a directory."""
    import tarfile

    for path in sorted(directory.glob("*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                taken = tar.extractfile(member)
                assert taken is not None
                yield path.name, member.name, Quiet(taken.read())
