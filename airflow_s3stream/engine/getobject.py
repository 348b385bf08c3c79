"""Download one object, however large, by parallel ranges into one local file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, NamedTuple

from airflow_s3stream.engine.absorb import Absorber
from airflow_s3stream.engine.cleanup import add
from airflow_s3stream.engine.curlcrew import threads_for
from airflow_s3stream.engine.events import Noted, ObjectFinished, ObjectStarted
from airflow_s3stream.engine.fetchrun import FetchRun
from airflow_s3stream.engine.follower import Follower
from airflow_s3stream.engine.objectfetch import ObjectFetch
from airflow_s3stream.engine.objectfile import ObjectFile, Version
from airflow_s3stream.engine.objecthead import ObjectHead, ask_head
from airflow_s3stream.engine.objectproof import find_promise_of, prove_joined
from airflow_s3stream.engine.proof import check_strict
from airflow_s3stream.exceptions import ConfigError, IntegrityError, SourceChanged, SourceMissing
from airflow_s3stream.plan.gaps import Gaps, paced, part_size_for
from airflow_s3stream.plan.getting import GetOptions, GetResult
from airflow_s3stream.plan.paths import path_of

if TYPE_CHECKING:
    from pathlib import Path

    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.objectproof import Promise
    from airflow_s3stream.engine.run import Chances
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.plan.digests import Algorithm

# After these, what has been fetched is of no use to a later run.
_SPOILT = (SourceChanged, SourceMissing, IntegrityError)
_OWN: Algorithm = "crc64nvme"  # of the journal, where the store keeps no checksum that can be joined


def get_object(
    client: S3Client,
    bucket: str,
    key: str,
    path: str | Path,
    options: GetOptions | None = None,
    *,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
    chances: Chances | None = None,
) -> GetResult:
    """
    Download one object into one file: whole and proved, or not at all.

    A run that fails or is killed leaves a temporary file and a journal beside ``path``; the next one fetches what is
    missing, if the object is still the same version.

    :param path: of the file; its directory is made if it is missing.
    :raises FileBusy: another run is writing to the same file.
    :raises DiskFull: there is no room for the object; raised before its first byte.
    :raises SourceChanged: it was replaced meanwhile; what was fetched is dropped.
    :raises IntegrityError: the bytes are not those the store promises; or, with ``strict``, it promises none.
    :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`.
    """
    options = options or GetOptions()
    run = FetchRun(
        client, bucket, f"s3://{bucket}/{key}", options, stop=stop, listener=listener, chances=chances,
        threads=threads_for(options.connections),
    )  # fmt: skip
    try:
        file = ObjectFile(path, resume=options.resume, if_exists=options.if_exists)
        getting = _Getting(run, key, file, options)
        try:
            return getting.result()
        except BaseException as error:
            getting.settle()
            if getting.begun and isinstance(error, _SPOILT):
                file.discard()
            else:
                file.keep()
            add(file.left, error)
            raise
    finally:
        run.readers.close()


def target_path(path: str | Path, key: str) -> str:
    """
    Give the file that ``path`` means: itself, or the key's last step below it where it is a directory.

    :raises ConfigError: it is empty; or it is a directory, and the key ends in ``/``.
    :raises KeyRefused: the key's last step cannot be the name of a file.
    """
    text = os.fspath(path)
    if not text:
        raise ConfigError("path='' must name a file, or a directory to put it into")
    if not text.endswith("/") and not os.path.isdir(text):
        return text
    if key.endswith("/"):
        raise ConfigError(f"path={text!r} is a directory, and key {key!r} ends in '/', so it names no file; name one")
    return os.path.join(text, path_of(key, key[: key.rfind("/") + 1]))


class _Fetched(NamedTuple):
    bytes: int
    resumed: int
    part_size: int
    slow_dropped: int


class _Getting:
    """One download under way."""

    def __init__(self, run: FetchRun, key: str, file: ObjectFile, options: GetOptions) -> None:
        self._run = run
        self._key = key
        self._file = file
        self._options = options
        self._absorber: Absorber | None = None
        self.begun = False
        """Whether what an earlier run left has been looked at, and is this run's now."""

    def settle(self) -> None:
        """See that nobody writes any more."""
        if self._absorber:
            self._absorber.close()

    def result(self) -> GetResult:
        """Do it all."""
        head = ask_head(self._run, self._key)
        version = Version(self._run.uri, head.etag, head.size, head.modified)
        if self._file.is_same(version):
            self._file.keep()  # as it is
            return self._told(head, "unchanged", self._file.verification, _Fetched(0, 0, 0, 0))
        promise = find_promise_of(head, self._run)
        if promise is None:
            check_strict(self._options.strict, *self._run.warnings)
        fetched = self._fetch(head, version, promise)
        level = promise.level if promise else "size"
        self._file.commit(level)
        return self._told(head, "downloaded", level, fetched)

    def _fetch(self, head: ObjectHead, version: Version, promise: Promise | None) -> _Fetched:
        run, options = self._run, self._options
        # Where the checksums of pieces prove nothing, any will do that an earlier run has begun with.
        own = self._file.algorithm_left(version) or _OWN
        algorithm = promise.algorithm if promise and promise.joinable else own
        ends = promise.ends if promise and promise.joinable else []
        done = self._file.begin(version, algorithm, joins=not ends, told=lambda _: run.limits.check())
        self.begun = True
        part_size = options.part_size or part_size_for(head.size, options.connections)
        part_size = paced(part_size, options.max_bandwidth) or part_size
        absorber = Absorber(self._file, algorithm, done=done, ends=ends)
        self._absorber = absorber
        follower = None
        try:
            gaps = Gaps(head.size, [(piece.start, piece.stop) for piece in done], part_size)
            resumed = absorber.stored
            transfer = ObjectFetch(run, head, gaps, absorber, min_speed=options.min_speed)
            if promise and not promise.joinable:
                follower = Follower(promise, self._file, absorber, head.size, run.limits)
            run.tell(
                ObjectStarted(
                    uri=run.uri, path=self._file.path, size=head.size, etag=head.etag, resumed=resumed,
                    part_size=part_size, connections=options.connections,
                    proof=promise.level if promise else "size",
                )
            )  # fmt: skip
            run.drive(transfer)
            if promise and follower:
                follower.finish()
            elif promise:
                prove_joined(promise, absorber.pieces)
        except BaseException:
            run.limits.abandon()  # a thread of boto3's may have more to give
            raise
        finally:
            absorber.close()  # nobody writes any more when the file is kept or removed
            if follower:
                follower.close()
        return _Fetched(head.size - resumed, resumed, part_size, transfer.slow_dropped)

    def _told(self, head: ObjectHead, status: str, level: str, fetched: _Fetched) -> GetResult:
        run = self._run
        for warning in run.warnings:
            run.tell(Noted(text=warning))
        seconds = run.seconds
        result = GetResult(
            uri=run.uri, path=self._file.path, status=status, size=head.size, fetched=fetched.bytes,  # type: ignore[arg-type]
            resumed=fetched.resumed, seconds=seconds, bytes_per_second=fetched.bytes / seconds if seconds else 0.0,
            etag=head.etag, verification=level, connections=run.width.peak, part_size=fetched.part_size,
            requests=run.requests, retries=run.retries, slow_dropped=fetched.slow_dropped, warnings=run.warnings,
        )  # fmt: skip
        run.tell(ObjectFinished(result=result))
        return result
