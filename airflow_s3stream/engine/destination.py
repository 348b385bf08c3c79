"""Where objects go, as a small protocol: files, tar shards, memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from airflow_s3stream.engine.writer import Settings
    from airflow_s3stream.exceptions import S3StreamError
    from airflow_s3stream.plan.objects import ObjectEntry


class LargeBody(Protocol):
    """Room for one large object, filled by ranges in any order."""

    def pwrite(self, chunk: bytes, offset: int) -> None:
        """Take bytes. The network thread, or several threads at once."""

    def pread(self, size: int, offset: int) -> bytes:
        """Give back at most ``size`` bytes that were written, to be proved. A finishing thread."""

    def commit(self, etag: str, level: str) -> None:
        """Publish it. A finishing thread."""

    def discard(self) -> None:
        """Leave nothing behind. Any thread, once; not after ``commit``."""


class Destination(Protocol):
    """
    Takes objects. ``place`` is what :meth:`admit` gave: a path, or an index.

    All methods but ``failed`` may be called from several finishing threads at once, and raise S3StreamError.
    """

    holds: bool
    """Whether bodies stay in memory after they were delivered, until somebody takes them."""
    inline: bool
    """Whether delivering a small body costs next to nothing, so that the network thread may do it."""
    wanted: int
    """Where order matters: the number of the object that is to be taken next."""

    @property
    def held(self) -> int:
        """Bodies delivered that nobody has taken yet."""

    def flush(self) -> None:
        """A batch has been delivered. Any thread."""

    def admit(self, entry: ObjectEntry) -> Any:
        """
        Say where an object will go; None if it is not to be fetched, which is noted.

        :raises KeyRefused: there is no place for it.
        """

    def deliver(self, entry: ObjectEntry, place: Any, body: bytes, etag: str, level: str) -> None:
        """Take a whole body that has been proved."""

    def other_process(self, *, strict: bool) -> Settings | None:
        """Give what a writing process needs to deliver whole bodies in its place; None where that cannot be."""

    def note(self, entry: ObjectEntry, place: Any, size: int, etag: str, level: str) -> None:
        """Take note of a body that the writing process has delivered."""

    def open_large(self, entry: ObjectEntry, place: Any, size: int) -> LargeBody:
        """Make room for a large object."""

    def failed(self, entry: ObjectEntry, place: Any, error: S3StreamError) -> None:
        """Take note of an object that will not come. The network thread."""
