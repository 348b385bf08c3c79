"""Open directories below a root, reached without following a single link."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from typing import Any

_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Directories:
    """
    A bounded cache of directory descriptors, one for each thread, so that no lock stands between a file and its name.

    Directories are opened one component after the other, each relative to the one above and never through a symbolic
    link; no other process can lead a path out of the root, however it races. What another process moves away while it
    is open here stays that process's directory: a file may still arrive in it, as it would have just before the move.
    """

    def __init__(self, root: int, room: int = 64) -> None:
        self._root = root
        self._room = max(room, 2)  # the one above must stay open until the one below is
        self._here = threading.local()
        self._lock = threading.Lock()
        self._caches: list[dict[str, int]] = []
        self._device = os.fstat(root).st_dev
        self.mounts: dict[int, int] = {}  # other file systems mounted below the root: device -> descriptor

    def open(self, path: str, *, make: bool) -> int:
        """
        Give a descriptor of the directory, valid until this thread asks for another one.

        :param path: relative to the root, "" is the root.
        :param make: make what is missing.
        :raises OSError: with the path of the component in ``filename``.
        """
        if not path:
            return self._root
        cache: dict[str, int] | None = getattr(self._here, "cache", None)
        if cache is None:
            cache = self._new_cache()
        found = cache.pop(path, None)
        if found is None:
            return self._walk(cache, path, make=make)
        cache[path] = found  # the last to be closed
        return found

    def forget(self) -> None:
        """Close this thread's descriptors: they are needed elsewhere, or their directories were deleted."""
        _close_all(getattr(self._here, "cache", {}))

    def close(self) -> None:
        """Close everything. No thread may be at work."""
        with self._lock:
            for cache in self._caches:
                _close_all(cache)
            _close_all(self.mounts)

    def _new_cache(self) -> dict[str, int]:
        cache: dict[str, int] = {}
        with self._lock:
            self._caches.append(cache)
        self._here.cache = cache
        return cache

    def _walk(self, cache: dict[str, int], path: str, *, make: bool) -> int:
        missing: list[str] = []
        above = path
        while above and above not in cache:
            above, _, name = above.rpartition("/")
            missing.append(name)
        directory = self._root
        if above:
            directory = cache[above] = cache.pop(above)
        for name in reversed(missing):
            above = f"{above}/{name}" if above else name
            try:
                directory = _step(directory, name, make=make)
            except OSError as error:
                error.filename = above
                raise
            self._keep(cache, above, directory)
        return directory

    def _keep(self, cache: dict[str, int], path: str, directory: int) -> None:
        if len(cache) >= self._room:
            os.close(cache.pop(next(iter(cache))))
        cache[path] = directory
        device = os.fstat(directory).st_dev
        if device != self._device:
            with self._lock:
                if device not in self.mounts:
                    self.mounts[device] = os.dup(directory)


def _step(directory: int, name: str, *, make: bool) -> int:
    try:
        return os.open(name, _FLAGS, dir_fd=directory)
    except FileNotFoundError:
        if not make:
            raise
    with suppress(FileExistsError):  # another thread was faster; what stands there is looked at now
        os.mkdir(name, dir_fd=directory)
    return os.open(name, _FLAGS, dir_fd=directory)


def _close_all(cache: dict[Any, int]) -> None:
    while cache:
        os.close(cache.popitem()[1])
