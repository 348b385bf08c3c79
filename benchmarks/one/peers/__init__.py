"""
The tools that fetch one huge object, one module each; a new one is one more module with its ``PEERS``.

Those written in Python are run as ``python -m benchmarks.one.peers.<module>`` and told their task by BENCH_*
environment variables; see :class:`benchmarks.one.task.Asked`.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from benchmarks.measure import Usage
    from benchmarks.one.task import Task, What


class Peer(Protocol):
    """One tool."""

    name: str
    note: str
    """What a reader of the table must know of it; may be empty."""
    can: frozenset[What]

    def missing(self) -> str:
        """Tell what it lacks on this machine and how to install that; empty when it can run."""

    def command(self, task: Task) -> Sequence[str]:
        """Give the command that does the task."""

    def learnt(self, usage: Usage) -> Mapping[str, Any]:
        """
        Give what the tool itself told of the run.

        ``seconds`` of its own clock where it tells them; of a stream ``bytes``, and ``crc`` for a proof.
        """


def load() -> dict[str, Peer]:
    """Give every peer by name."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    peers = [peer for module in modules for peer in getattr(module, "PEERS", ())]
    return {peer.name: peer for peer in peers}
