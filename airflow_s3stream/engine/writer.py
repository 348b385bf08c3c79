"""The writing process: proves small bodies and makes them files, beside the process that fetches them.

Writing a file is five system calls. On a thread each of them lets go of the interpreter's lock and has to win it back
from the network thread, which costs more than the calls themselves; in a process of their own they cost nothing but
their time on another core. It is a child of the run, reads batches from a socket, answers each, and ends with the
socket or with its parent.

A batch is ``marshal`` data behind its length in 4 bytes: a list of (key, size, etag, modified, path, head lines, body).
The answer is as long a list of (level, etag, size), or (error's class, message, retryable).
"""

from __future__ import annotations

import ctypes
import itertools
import json
import marshal
import signal
import socket
import struct
import sys
from typing import Any, NamedTuple

from airflow_s3stream.engine.localdirs import Directories
from airflow_s3stream.engine.localmatch import Matching
from airflow_s3stream.engine.localplace import Placer
from airflow_s3stream.engine.localroot import syncfs
from airflow_s3stream.engine.proof import dated, prove_whole
from airflow_s3stream.engine.reader import parse_head
from airflow_s3stream.exceptions import S3StreamError
from airflow_s3stream.plan.objects import ObjectEntry

Work = tuple[str, int | None, str, float, str, list[bytes], bytes]
Done = tuple[str, str, int | bool]

LENGTH = struct.Struct("<I")
_PR_SET_PDEATHSIG = 1


class Settings(NamedTuple):
    """What the child must know. JSON on its command line."""

    socket: int
    root: int
    """Descriptors it inherits."""
    name: str
    """The root as the user named it."""
    token: str
    """For temporary names."""
    mtime_step_ns: int
    replaces: bool
    strict: bool


def main(text: str) -> None:
    """Serve until the socket ends."""
    settings = Settings(*json.loads(text))
    # Whatever is sent to the whole group is for the parent to act on, and the child dies with it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    directories = Directories(settings.root)
    numbers = itertools.count(1 << 60)  # the parent counts from 0
    placer = Placer(
        directories,
        Matching(settings.mtime_step_ns),
        lambda: f".s3stream-{settings.token}-{next(numbers):x}.tmp",
        replaces=settings.replaces,
        root=settings.name,
    )
    with socket.socket(fileno=settings.socket) as parent:
        while (batch := receive(parent)) is not None:
            send(parent, [_finish(work, placer, strict=settings.strict) for work in batch])
    for mount in directories.mounts.values():
        syncfs(mount)


def _finish(work: Work, placer: Placer, *, strict: bool) -> Done:
    key, size, etag, modified, path, head, body = work
    entry, headers = ObjectEntry(key, size, etag, modified), parse_head(head)
    try:
        level, found = prove_whole(entry, headers, body, strict=strict)
        placer.write(dated(entry, headers)._replace(size=len(body), etag=found), path, body)
    except S3StreamError as error:
        return type(error).__name__, error.message, error.retryable
    return level, found, len(body)


def send(peer: socket.socket, batch: list[Any]) -> None:
    """Send a list."""
    payload = marshal.dumps(batch)
    peer.sendall(LENGTH.pack(len(payload)) + payload)


def receive(peer: socket.socket) -> list[Any] | None:
    """Receive a list; None at the end."""
    head = _exactly(peer, LENGTH.size)
    if head is None:
        return None
    payload = _exactly(peer, LENGTH.unpack(head)[0])
    return None if payload is None else marshal.loads(payload)  # noqa: S302 - from our own other half


def _exactly(peer: socket.socket, size: int) -> bytearray | None:
    taken = bytearray(size)
    view, at = memoryview(taken), 0
    while at < size:
        got = peer.recv_into(view[at:])
        if not got:
            return None
        at += got
    return taken


if __name__ == "__main__":
    main(sys.argv[1])
