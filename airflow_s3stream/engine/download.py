"""Many objects to a directory: what is wanted, where it goes, and what is said at the end."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from airflow_s3stream.engine.events import FetchFinished, FetchStarted, Listener, Noted
from airflow_s3stream.engine.fetch import Fetch
from airflow_s3stream.engine.fetchrun import FetchRun, Tally
from airflow_s3stream.engine.listobjects import LISTERS
from airflow_s3stream.engine.localfiles import LocalDirectory
from airflow_s3stream.engine.resultlog import FAILED, ResultLog
from airflow_s3stream.engine.writer import Settings
from airflow_s3stream.exceptions import ConfigError, DeadlineExceeded, KeyRefused, S3StreamError, SourceMissing, Stopped
from airflow_s3stream.plan.download import DownloadOptions, DownloadResult, Wanted
from airflow_s3stream.plan.listing import Listing
from airflow_s3stream.plan.paths import STATE, is_directory_marker, path_of, relative_key

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.destination import LargeBody
    from airflow_s3stream.engine.resultlog import Status
    from airflow_s3stream.engine.run import Chances
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.engine.tarshards import TarShards
    from airflow_s3stream.plan.objects import ObjectEntry

_FINISHERS = 1  # threads that write files; more only wait for each other


def download(
    client: S3Client,
    bucket: str,
    wanted: Wanted,
    directory: str | Path,
    options: DownloadOptions | None = None,
    *,
    listener: Listener | None = None,
    stop: StopFlag | None = None,
    chances: Chances | None = None,
) -> DownloadResult:
    """
    Fetch many objects into a directory, in parallel and in a fixed amount of memory.

    Files appear complete or not at all, and all of them are on disk before this returns. Killed or failed, it leaves
    finished files and no others; the same call then fetches what is missing.

    :param client: from :func:`~airflow_s3stream.engine.s3client.new_client`; gives endpoint, region and credentials.
    :raises S3StreamError: an object failed and ``on_error`` is ``fail``; nothing else would fare better (no bucket, no
        credentials, disk full); or it was stopped.
    """
    options = options or DownloadOptions()
    uri = f"s3://{bucket}/{wanted.prefix}"
    root = Path(directory)
    files = _Files(bucket, wanted, root, options)
    error: BaseException | None = None
    try:
        run = FetchRun(client, bucket, uri, options, listener=listener, stop=stop, chances=chances)
        files.tally = run.tally
        with closing(run.readers), closing(Fetch(run, files, finishers=_FINISHERS, **_objects(wanted))) as fetch:
            _drive(run, fetch, str(root))
            fetch.complete()
        files.settle()
        _check_found(run, options, wanted, uri)
    except BaseException as caught:
        error = caught
        raise
    finally:
        files.close(error)
    result = _result(run, files, uri, root)
    run.tell(FetchFinished(result=result))
    return result


def _drive(run: FetchRun, fetch: Fetch, destination: str) -> None:
    how = f"{run.width.allowed} connections" + ("" if run.options.connections else ", more while they help")
    run.tell(FetchStarted(uri=run.uri, destination=destination, note=how))
    for warning in run.warnings:
        run.tell(Noted(text=warning))
    try:
        run.drive(fetch)
    except S3StreamError:
        if run.tally.objects:
            said = f"{run.tally.objects} objects had been fetched; what is finished stays, and the same download again "
            run.tell(Noted(text=said + "fetches the rest"))
        raise


def _objects(wanted: Wanted) -> dict[str, Any]:
    selection, prefix = wanted.selection, wanted.prefix
    admits = None if selection is None else lambda entry: selection.admits(entry, _relative(entry.key, prefix))
    if wanted.entries is not None:
        return {"entries": wanted.entries, "admits": admits}
    listing = Listing(prefix, start_after=wanted.start_after, last=wanted.last_key, listers=LISTERS)
    return {"listing": listing, "admits": admits}


def _relative(key: str, prefix: str) -> str:
    return relative_key(key, prefix) if key.startswith(prefix[: prefix.rfind("/") + 1]) else key


def _check_found(run: FetchRun, options: DownloadOptions, wanted: Wanted, uri: str) -> None:
    if run.tally.listed:
        return
    said = f"there is nothing to download: no object {'is named' if wanted.entries is not None else f'below {uri}'}"
    if wanted.selection is not None:
        said += " that the selection admits"
    if options.fail_if_empty:
        raise SourceMissing(said, op="ListObjectsV2", target=uri)
    run.warnings.append(said)
    run.tell(Noted(text=said))


def _result(run: FetchRun, files: _Files, uri: str, root: Path) -> DownloadResult:
    tally, seconds = run.tally, run.seconds
    return DownloadResult(
        uri=uri,
        directory=str(root),
        status="incomplete" if tally.failed else "downloaded",
        objects=tally.objects,
        bytes=tally.bytes,
        skipped=tally.skipped,
        failed=tally.failed,
        listed=tally.listed,
        seconds=round(seconds, 3),
        objects_per_second=round(tally.objects / seconds, 1) if seconds else 0.0,
        bytes_per_second=round(tally.bytes / seconds, 1) if seconds else 0.0,
        listing_seconds=round(run.listing_seconds, 3),
        requests=run.loop.requests,
        retries=run.loop.budget.spent,
        connections=run.width.peak,
        verification=dict(sorted(tally.verification.items())),
        boto3_objects=tally.boto3,
        shards=files.shards,
        manifest=str(files.manifest),
        warnings=run.warnings,
    )


class _Files:
    """The destination: files or shards below a root, and a line in the results manifest for each object."""

    holds = False
    inline = False
    held = 0
    wanted = 0

    def __init__(self, bucket: str, wanted: Wanted, root: Path, options: DownloadOptions) -> None:
        self.manifest = Path(options.results) if options.results else root / STATE / "results.jsonl"
        self.tally = Tally()
        self._prefix = wanted.prefix
        self._layout = options.layout
        self._root = root
        self._replaces = options.if_exists != "fail"
        if wanted.retries and options.sink == "tar":
            raise ConfigError(
                f"retry_failed={wanted.retries!r} cannot be added to tar shards that are finished; retry into files"
            )
        request = _request_id(bucket, wanted, options)
        self._room: LocalDirectory | TarShards
        if options.sink == "tar":
            from airflow_s3stream.engine.tarshards import TarShards

            shards = {"shard_size": options.shard_size, "if_exists": options.if_exists, "layout": options.layout}
            self._room = TarShards(root, **shards, request_id=request)  # type: ignore[arg-type]
        else:
            self._room = LocalDirectory(root, if_exists=options.if_exists, layout=options.layout, request_id=request)
        try:
            self._log = ResultLog(self.manifest, directory=None if options.results else self._room.state)
            self._keeps = (
                bool(wanted.retries) and self.manifest.exists() and self.manifest.samefile(wanted.retries or "")
            )
            if self._keeps:
                self._keep_good_results(self.manifest)
        except BaseException:
            self._room.close(complete=False)
            raise

    @property
    def shards(self) -> int:
        """Tar shards there are now."""
        return getattr(self._room, "shards", 0)

    def admit(self, entry: ObjectEntry) -> str | None:
        """Give the path, or None for what need not be fetched."""
        if is_directory_marker(entry):
            self._skip(entry, "", "skipped", "a directory marker, without content")
            return None
        path = path_of(entry.key, self._prefix, self._layout)
        if self._room.wanted(entry, path) == "same":
            self._skip(entry, path, "same", "")
            return None
        return path

    def deliver(self, entry: ObjectEntry, place: str, body: bytes, etag: str, level: str) -> None:
        """Write a file."""
        entry = _known(entry, len(body), etag)
        self.note(entry, self._room.write(entry, place, body), len(body), etag, level)

    def note(self, entry: ObjectEntry, place: str, size: int, etag: str, level: str) -> None:
        """Name a file that has been written."""
        self._log.add(key=entry.key, path=place, size=size, etag=etag, verification=level, status="fetched")

    def other_process(self, *, strict: bool) -> Settings | None:
        """Give what a writing process needs; shards and folding file systems have to be written by one process."""
        room = self._room
        if not isinstance(room, LocalDirectory) or room.traits.folds:
            return None
        return Settings(
            socket=-1,
            root=room.root_fd,
            name=str(self._root),
            token=room.token,
            mtime_step_ns=room.traits.mtime_step_ns,
            replaces=self._replaces,
            strict=strict,
        )

    def open_large(self, entry: ObjectEntry, place: str, size: int) -> LargeBody:
        """Make room on the disk."""
        file = self._room.open_large(_known(entry, size, entry.etag), place, size)
        return _LargeFile(self._log, entry, file, size)

    def failed(self, entry: ObjectEntry, place: str | None, error: S3StreamError) -> None:
        """Name an object that did not come."""
        status: Status = "refused" if isinstance(error, KeyRefused) else "failed"
        self._log.add(key=entry.key, path=place or "", size=entry.size, etag=entry.etag, verification="", status=status,
                      error=f"{type(error).__name__}: {error.message}")  # fmt: skip

    def flush(self) -> None:
        """Nothing waits for files."""

    def settle(self) -> None:
        """Have everything on disk."""
        self._room.sync()

    def close(self, error: BaseException | None) -> None:
        """End it. ``error`` broke it off; None: all was tried."""
        try:
            if error is not None and not isinstance(self._room, LocalDirectory):
                with suppress(S3StreamError):  # the disk may be what failed
                    self._room.sync()  # ends the shard under way, which the results name already
            if error is not None and self._keeps:
                self._log.discard()  # the old results still name what has to be retried
            else:
                self._log.close()
        finally:
            complete = error is None and not self.tally.failed
            self._room.close(complete=complete, interrupted=isinstance(error, Stopped | DeadlineExceeded))

    def _keep_good_results(self, path: Path) -> None:
        with path.open(encoding="utf-8") as lines:
            for line in lines:
                row = json.loads(line)
                if row["status"] not in FAILED:
                    self._log.add(**row)

    def _skip(self, entry: ObjectEntry, path: str, status: Status, why: str) -> None:
        self.tally.skip()
        self._log.add(
            key=entry.key, path=path, size=entry.size, etag=entry.etag, verification="", status=status, error=why
        )


class _LargeFile:
    """A large file, and its line in the manifest."""

    def __init__(self, log: ResultLog, entry: ObjectEntry, file: Any, size: int) -> None:
        self._log = log
        self._entry = entry
        self._file = file
        self._size = size
        self.pwrite = file.pwrite
        self.pread = file.pread
        self.discard = file.discard

    def commit(self, etag: str, level: str) -> None:
        """Publish it."""
        path = self._file.commit(_known(self._entry, self._size, etag))
        self._log.add(key=self._entry.key, path=path, size=self._size, etag=etag, verification=level, status="fetched")


def _known(entry: ObjectEntry, size: int, etag: str) -> ObjectEntry:
    """Give the entry as the version that came."""
    return entry if entry.size == size and entry.etag == etag else entry._replace(size=size, etag=etag)


def _request_id(bucket: str, wanted: Wanted, options: DownloadOptions) -> str:
    """Tell a repetition of the same download from another one into the same directory."""
    named = wanted.entries is not None
    what: list[Any] = [
        bucket,
        wanted.prefix,
        wanted.start_after,
        wanted.last_key,
        repr(wanted.selection),
        named,
        options.layout,
    ]
    if options.sink == "tar":
        # What named keys are is not known beforehand, so shards of them are never taken for those of another list.
        what += ["tar", options.shard_size, uuid4().hex if named else ""]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()[:16]
