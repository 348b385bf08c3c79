"""The hook: one method for each kind of transfer."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import Timeouts
from airflow_s3stream.engine.boto3reader import BOTO3_CONNECTIONS
from airflow_s3stream.engine.copy import copy
from airflow_s3stream.engine.download import download
from airflow_s3stream.engine.getobject import get_object, target_path
from airflow_s3stream.engine.listobjects import LISTERS, list_objects, split_prefix
from airflow_s3stream.engine.named import entries_of, named_entries
from airflow_s3stream.engine.objectstream import ObjectStream, open_object
from airflow_s3stream.engine.readobjects import read_objects
from airflow_s3stream.engine.s3sink import S3Sink
from airflow_s3stream.engine.tune import tune_copy, tune_get
from airflow_s3stream.exceptions import ConfigError
from airflow_s3stream.hooks.profiles import settled
from airflow_s3stream.hooks.taskstate import KEY, resume_in
from airflow_s3stream.hooks.uploads import UploadsHook
from airflow_s3stream.plan.download import Wanted, read_download_options, read_read_options
from airflow_s3stream.plan.getting import GetResult, read_get_options
from airflow_s3stream.plan.names import parse_s3_prefix, parse_s3_uri
from airflow_s3stream.plan.options import read_copy_options
from airflow_s3stream.plan.selection import read_selection
from airflow_s3stream.plan.tuneoptions import read_tune_options
from airflow_s3stream.plan.tuning import MOST_CONNECTIONS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from airflow_s3stream.config import TransferResult
    from airflow_s3stream.plan.download import DownloadResult
    from airflow_s3stream.plan.objects import ObjectEntry
    from airflow_s3stream.plan.tuneoptions import TuneResult

_OF_COPIES = ("storage_class", "server_side_encryption", "kms_key_id", "allow_private", "allowed_hosts")


class S3StreamHook(UploadsHook):
    """
    Move bytes between URLs and S3 in a fixed amount of memory.

    :param aws_conn_id: the AWS connection; None: boto3's default credential chain.
    :param http_conn_id: an HTTP connection whose host, credentials, headers, proxies and certificates are used for
        the source; None: the URL alone.
    :param region_name: overrides the connection's region.
    :param verify: TLS verification of the store: False, True, or the path of a CA bundle.
    :param botocore_config: arguments of :class:`botocore.config.Config`; retries and pool size are the hook's own.
    """

    def copy_url(
        self,
        url: str,
        s3_key: str,
        s3_bucket: str | None = None,
        *,
        headers: dict[str, str] | None = None,
        context: Mapping[str, Any] | None = None,
        state_key: str = KEY,
        **options: Any,
    ) -> TransferResult:
        """
        Copy what is at ``url`` to an S3 key, never holding more than a fixed amount of it in memory.

        :param url: absolute http or https URL, or a path below the HTTP connection. Without one it may come from
            anywhere, so what it and its redirects lead to must be public; ``allow_private`` allows more.
        :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
        :param headers: sent to the URL's own host, and to no other it redirects to.
        :param context: of the running task: a later try then goes on where this one was, by Airflow's task state store
            (3.3 and later). None: each try begins afresh, and a failed one leaves nothing.
        :param state_key: under which the state is kept; a task that makes several copies gives each its own.
        :param options: see :func:`~airflow_s3stream.plan.options.read_copy_options`; sizes in bytes or as ``"64MiB"``,
            times in seconds. ``profile``: see :meth:`tune`.
        :returns: what was stored and what was proved about it.
        :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`; ConfigError before any byte moves.
        """
        bucket, key = parse_s3_uri(s3_key, s3_bucket)
        settings = read_copy_options(**settled(options, "copy"))
        source = self._source(url, headers, settings)
        sink = S3Sink(self._client(settings.connections, settings.timeouts), bucket, key, options=settings.object)
        resume = resume_in(context, state_key, warn=self.log.warning)
        return copy(source, sink, settings, listener=self._report, stop=self._stop, resume=resume)

    def download_prefix(
        self,
        s3_prefix: str | None,
        directory: str | Path,
        s3_bucket: str | None = None,
        *,
        keys: Iterable[str] | None = None,
        manifest: str | None = None,
        retry_failed: str | None = None,
        start_after: str = "",
        last_key: str | None = None,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        min_bytes: int | str | None = None,
        max_bytes: int | str | None = None,
        modified_after: datetime | str | None = None,
        modified_before: datetime | str | None = None,
        **options: Any,
    ) -> DownloadResult:
        """
        Download many objects into a local directory, in parallel and in a fixed amount of memory.

        What to fetch is all below the prefix, or the keys named by ``keys``, ``manifest`` or ``retry_failed``, of which
        one may be given. A key's path is what follows the prefix's last ``/``.

        :param s3_prefix: ``s3://bucket/prefix/``, or a prefix beside ``s3_bucket``; may be empty.
        :param directory: made if it is missing.
        :param keys: whole keys, or ``s3://bucket/key``.
        :param manifest: a file that names keys, local or ``s3://``: text, CSV or JSON lines.
        :param retry_failed: the results manifest of an earlier download; what failed there is fetched.
        :param start_after: of the prefix, keys up to this one are left out.
        :param last_key: of the prefix, keys after this one are left out.
        :param include: globs of what is wanted (:mod:`airflow_s3stream.plan.selection`). Without ``/`` they match the
            last step of a path (``*.csv``), else the path below the prefix (``2024/**/*.csv``).
        :param exclude: globs of what is left out, whatever ``include`` says.
        :param min_bytes: least size, :param max_bytes: greatest size of an object.
        :param modified_after: objects last modified at or after this; a time without a zone is UTC.
        :param modified_before: objects last modified before this.
        :param options: fields of :class:`~airflow_s3stream.plan.download.DownloadOptions`, and ``connect_timeout``,
            ``read_timeout``, ``stall_timeout``, ``deadline``, ``retry_attempts``, ``retry_budget``.
        :returns: counts, and the place of the results manifest that names each object.
        :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`. ConfigError before any byte moves, but for a line
            of a manifest, which is read as it is needed.
        """
        settings = read_download_options(**options)
        bucket, prefix = parse_s3_prefix(s3_prefix, s3_bucket)
        selection = read_selection(
            include, exclude, min_bytes, max_bytes, modified_after=modified_after, modified_before=modified_before
        )
        client = self._client(BOTO3_CONNECTIONS, settings.timeouts)
        entries = named_entries(client, bucket, keys=keys, manifest=manifest, retry_failed=retry_failed)
        wanted = Wanted(
            prefix=prefix,
            entries=entries,
            start_after=start_after or "",
            last_key=last_key or None,
            selection=selection,
            retries=retry_failed or None,
        )
        return download(client, bucket, wanted, directory, settings, listener=self._report, stop=self._stop)

    def download_object(self, s3_key: str, path: str | Path, s3_bucket: str | None = None, **options: Any) -> GetResult:
        """
        Download one object, however large, by parallel ranges into one file: whole and proved, or not at all.

        Interrupted at any point, it goes on where it was when called again, if the object is still the same version.

        :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
        :param path: of the file; where it ends with ``/`` or is a directory, the key's last step is added.
        :param options: fields of :class:`~airflow_s3stream.plan.getting.GetOptions`, and ``connect_timeout``,
            ``read_timeout``, ``stall_timeout``, ``deadline``, ``retry_attempts``, ``retry_budget``; ``profile``: see
            :meth:`tune`.
        :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`. The message says what is left for the next call,
            and how to remove it.
        """
        bucket, key = parse_s3_uri(s3_key, s3_bucket)
        settings = read_get_options(**settled(options, "get"))
        client = self._client(BOTO3_CONNECTIONS, settings.timeouts)
        target = target_path(path, key)
        return get_object(client, bucket, key, target, settings, listener=self._report, stop=self._stop)

    def open_object(self, s3_key: str, s3_bucket: str | None = None, **options: Any) -> ObjectStream:
        """
        Open one object as a readable, seekable binary stream, fed by parallel ranges ahead of the reader.

        What is read is proved when the end has been reached in order; see
        :class:`~airflow_s3stream.engine.objectstream.ObjectStream`. Close it, or use it in a ``with`` statement.

        :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
        :param options: as for :meth:`download_object`; ``max_memory`` is what may be read ahead, and ``connections=1``
            means one plain GET.
        :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`; also while reading.
        """
        bucket, key = parse_s3_uri(s3_key, s3_bucket)
        about_file = [name for name in ("if_exists", "resume") if name in options]
        if about_file:
            raise ConfigError(
                f"{' and '.join(about_file)} are about a file, and open_object makes none; leave them out"
            )
        settings = read_get_options(**settled(options, "get", stream=True))
        client = self._client(BOTO3_CONNECTIONS, settings.timeouts)
        return open_object(client, bucket, key, settings, listener=self._report, stop=self._stop)

    def tune(
        self,
        s3_key: str,
        s3_bucket: str | None = None,
        *,
        url: str | None = None,
        headers: dict[str, str] | None = None,
        **options: Any,
    ) -> TuneResult:
        """
        Measure which part size and how many connections are best from here, for downloads of an object.

        :func:`~airflow_s3stream.plan.profile.make_profile` makes a profile of what it returns, which
        :meth:`download_object`, :meth:`open_object` and :meth:`copy_url` take as ``profile=``: as it is, as the path of
        a file (with a ``/``, or ending in ``.json``), or as the name of an Airflow Variable. What is set beside it
        wins.

        :param s3_key: ``s3://bucket/key``, or a key beside ``s3_bucket``.
        :param url: measure copies of this URL to the key instead; its parts go into an upload that is aborted.
        :param headers: sent to the URL's own host.
        :param options: fields of :class:`~airflow_s3stream.plan.tuneoptions.TuneOptions`, ``connect_timeout``,
            ``read_timeout``, ``stall_timeout``, ``retry_attempts``, ``retry_budget``; of a copy also
            ``storage_class``, ``server_side_encryption``, ``kms_key_id``, ``allow_private``, ``allowed_hosts``.
        """
        bucket, key = parse_s3_uri(s3_key, s3_bucket)
        of_copies = {name: options.pop(name) for name in _OF_COPIES if name in options}
        settings = read_tune_options(**options)
        most = max(settings.connections or (MOST_CONNECTIONS,))
        client = self._client(most, settings.timeouts)
        if url is None:
            if headers or of_copies:
                raise ConfigError(f"headers and {', '.join(_OF_COPIES)} are about copies; give url too")
            return tune_get(client, bucket, key, settings, listener=self._report, stop=self._stop)
        ends = replace(read_copy_options(**of_copies), connections=most, timeouts=settings.timeouts)
        source, sink = self._source(url, headers, ends), S3Sink(client, bucket, key, options=ends.object)
        return tune_copy(source, sink, client.meta.endpoint_url, settings, listener=self._report, stop=self._stop)

    def read_objects(
        self,
        keys: Iterable[str | ObjectEntry],
        s3_bucket: str | None = None,
        *,
        ordered: bool = True,
        apply: Callable[[str, bytes], Any] | None = None,
        **options: Any,
    ) -> Iterator[tuple[str, Any]]:
        """
        Iterate over (key, body) of objects, fetched in parallel ahead of the caller, within ``max_memory``.

        :param keys: keys of ``s3_bucket``, or ``s3://bucket/key``, all of one bucket; or what :meth:`list_objects`
            gives, whose sizes and ETags are then checked.
        :param ordered: in the order of ``keys``; else as they come.
        :param apply: maps (key, body) to what is given instead of the body; called on other threads, several at once.
        :param options: fields of :class:`~airflow_s3stream.plan.download.ReadOptions`, and ``connect_timeout``,
            ``read_timeout``, ``stall_timeout``, ``deadline``, ``retry_attempts``, ``retry_budget``.
        :raises S3StreamError: an object could not be read. With ``on_error="continue"`` it is given as (key, error).
        """
        settings = read_read_options(**options)
        bucket, entries = entries_of(keys, s3_bucket)
        if bucket is None:
            return iter(())
        client = self._client(BOTO3_CONNECTIONS, settings.timeouts)
        return read_objects(client, bucket, entries, settings, ordered=ordered, apply=apply, stop=self._stop,
                            listener=self._report)  # fmt: skip

    def list_objects(
        self,
        s3_prefix: str | None,
        s3_bucket: str | None = None,
        *,
        start_after: str = "",
        last_key: str | None = None,
        listers: int = LISTERS,
    ) -> Iterator[ObjectEntry]:
        """
        Iterate over the objects below a prefix, listed by ``listers`` requests at once; in no order unless that is 1.

        :param start_after: keys up to this one are left out.
        :param last_key: keys after this one are left out.
        """
        bucket, prefix = parse_s3_prefix(s3_prefix, s3_bucket)
        client = self._client(BOTO3_CONNECTIONS, Timeouts())
        return list_objects(client, bucket, prefix, start_after=start_after, last_key=last_key, listers=listers,
                            stop=self._stop)  # fmt: skip

    def split_prefix(
        self, s3_prefix: str | None, s3_bucket: str | None = None, *, pieces: int = 16
    ) -> list[dict[str, str | None]]:
        """
        Split a prefix into about ``pieces`` ranges of keys of similar size, for mapped tasks to share.

        :returns: JSON for ``expand_kwargs``: ``start_after`` and ``last_key``, which :meth:`download_prefix` takes.
            Together they cover the prefix without gap or overlap.
        """
        bucket, prefix = parse_s3_prefix(s3_prefix, s3_bucket)
        client = self._client(BOTO3_CONNECTIONS, Timeouts())
        ranges = split_prefix(client, bucket, prefix, pieces=pieces, stop=self._stop)
        return [{"start_after": piece.start_after, "last_key": piece.last} for piece in ranges]
