"""Objects as members of tar shards: ``shard-00000.tar``, ``shard-00001.tar``, ..., each of a given size."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING, Literal

from airflow_s3stream.engine.localerrors import clash, local_error
from airflow_s3stream.engine.localindex import ShardIndex
from airflow_s3stream.engine.localnames import PackedHashes
from airflow_s3stream.engine.localroot import LocalRoot, syncfs
from airflow_s3stream.engine.localrun import read_boot_id
from airflow_s3stream.engine.localshard import LargeMember, Shard, write_member
from airflow_s3stream.engine.localtar import header, padding
from airflow_s3stream.exceptions import ConfigError, LocalError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from airflow_s3stream.engine.localfiles import IfFileExists
    from airflow_s3stream.engine.localplace import Body
    from airflow_s3stream.plan.objects import ObjectEntry
    from airflow_s3stream.plan.paths import Layout

_SHARD = re.compile(r"shard-([0-9]{5,})\.tar")


class TarShards:
    """
    Writes objects into tar archives, with the methods of :class:`~airflow_s3stream.engine.localfiles.LocalDirectory`.

    A shard has a temporary name until it is full and whole. It is at most ``shard_size`` bytes long, unless its only
    member is longer. Headers tell nothing of this machine, so the same objects in the same order are the same bytes;
    the order is the one in which objects arrive.

    While a run is under way, ``.s3stream/shard-NNNNN.index`` remembers what is in each finished shard: 16 bytes for
    each member. After a run that was killed or failed, the next one with the same ``request_id`` keeps these shards
    and does not want their members again. A member that changed in between is wanted, and stands in a later shard.

    :param if_exists: ``overwrite``: this run's shards replace all that are there, the surplus ones when it succeeds.
        ``fail``: there must be none.
    """

    def __init__(
        self,
        root: Path,
        *,
        shard_size: int,
        if_exists: IfFileExists = "overwrite",
        layout: Layout = "paths",
        request_id: str,
        sync: Callable[[int], None] = syncfs,
        boot_id: Callable[[], str] = read_boot_id,
    ) -> None:
        if if_exists == "skip_same":
            raise ConfigError('if_exists="skip_same" cannot be had with sink="tar"; use "overwrite" or "fail"')
        if shard_size < 1:
            raise ConfigError(f"shard_size={shard_size} must be above 0 bytes")
        self._shard_size = shard_size
        self._root = LocalRoot(root, request_id, sync=sync, boot_id=boot_id)
        self._lock = threading.Lock()
        self._shard: Shard | None = None
        self._under_way: set[Shard] = set()
        self._paths = PackedHashes() if layout == "flatten" else None
        self._next = 0
        self._root.begin()
        try:
            self._index = ShardIndex(self._root)
            if if_exists == "fail":
                self._check_none_other()
        except BaseException as error:
            self._root.close(complete=False)
            if isinstance(error, OSError):
                raise local_error(error, self._root.name, "read the shards") from error
            raise

    @property
    def state(self) -> int:
        """A descriptor of ``ROOT/.s3stream``, where the results go; valid until :meth:`close`."""
        return self._root.state.fd

    @property
    def shards(self) -> int:
        """How many shards are finished."""
        return len(self._index.finished)

    def wanted(self, entry: ObjectEntry, path: str) -> Literal["fetch", "same"]:
        """
        Tell whether the object has to be fetched. Call it once for each object, before its GET.

        :raises KeyRefused: another key has the path.
        """
        if self._paths is not None and not self._paths.add(hash(path)):
            raise clash(entry.key, path, "another key of this run has the same path")
        return "same" if self._index.holds(entry) else "fetch"

    def write(self, entry: ObjectEntry, path: str, body: Body) -> str:
        """
        Write a whole object; give the shard and the path for the results.

        :raises LocalError: the run cannot go on.
        """
        pieces = body if isinstance(body, list) else [bytes(body)]
        size = sum(map(len, pieces))
        head = header(path, size, int(entry.modified))
        shard, offset = self._reserve(len(head) + size + padding(size))
        try:
            write_member(shard, offset, head, pieces, size)
        except OSError as error:
            raise self._failed(error, shard) from error
        self._released(shard, shard.release(entry))
        return f"{shard.name}:{path}"

    def open_large(self, entry: ObjectEntry, path: str, size: int) -> LargeMember:
        """
        Reserve the place of an object that comes in ranges.

        :raises DiskFull: there is no room for it.
        """
        head = header(path, size, int(entry.modified))
        with self._lock:
            shard = self._shard_with_room(len(head) + size + padding(size))
            member = LargeMember(shard, entry, path, size, head, released=self._released, failed=self._failed)
        return member

    def sync(self) -> None:
        """End the shard under way, and return when all of them are on disk."""
        with self._lock:
            shard, self._shard = self._shard, None
        if shard is not None:
            self._released(shard, shard.close())
        if any(shard.broken for shard in self._under_way):
            raise LocalError(f"a shard in {self._root.name} could not be written whole", op="local")
        self._root.sync()

    def close(self, *, complete: bool, interrupted: bool = False) -> None:
        """
        End the run: call it once, when no thread writes any more.

        :param complete: the run succeeded: end the last shard, sync, remove shards that are not this run's.
        :param interrupted: as for files.
        """
        try:
            if complete:
                self.sync()
                self._remove_others()
        except BaseException as error:
            self._abandon()
            self._root.close(complete=False)
            if isinstance(error, OSError):
                raise local_error(error, self._root.name, "remove shards of an earlier run") from error
            raise
        self._abandon()
        self._root.close(complete=complete, interrupted=interrupted)

    def _abandon(self) -> None:
        for shard in self._under_way:
            shard.discard()
        self._under_way.clear()

    def _reserve(self, size: int) -> tuple[Shard, int]:
        with self._lock:
            shard = self._shard_with_room(size)
            return shard, shard.reserve(size)

    def _shard_with_room(self, size: int) -> Shard:
        """Give the shard under way, or a new one. Called with the lock."""
        shard = self._shard
        if shard is not None and not shard.room_for(size, self._shard_size):
            self._shard = None
            if shard.close():
                self._publish(shard)
            shard = None
        if shard is None:
            shard = self._shard = self._new_shard()
        return shard

    def _new_shard(self) -> Shard:
        while self._next in self._index.finished:
            self._next += 1
        try:
            shard = Shard(self._root.fd, self._next, self._root.temp_name())
        except OSError as error:
            raise local_error(error, self._root.name, f"write shard {self._next}") from error
        self._next += 1
        self._under_way.add(shard)
        return shard

    def _released(self, shard: Shard, ready: bool) -> None:
        if ready:
            with self._lock:
                self._publish(shard)

    def _publish(self, shard: Shard) -> None:
        try:
            shard.publish(self._index.note)
        except OSError as error:
            raise self._failed(error, shard) from error
        self._under_way.discard(shard)
        self._index.finished.add(shard.number)

    def _failed(self, error: OSError, shard: Shard) -> LocalError:
        shard.broken = True  # there is a gap in it now; never released, it is never published
        return local_error(error, self._root.name, f"write {shard.name}")

    def _others(self) -> list[str]:
        """Give the names of shards that are not this run's."""
        matches = (_SHARD.fullmatch(name) for name in os.listdir(self._root.fd))
        return [match[0] for match in matches if match and int(match[1]) not in self._index.finished]

    def _check_none_other(self) -> None:
        others = self._others()
        if others:
            raise LocalError(
                f'{self._root.name} holds {min(others)} already and if_exists="fail"; choose another directory',
                op="local",
                target=self._root.name,
            )

    def _remove_others(self) -> None:
        for name in self._others():
            os.unlink(name, dir_fd=self._root.fd)
        self._index.forget()
