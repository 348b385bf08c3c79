"""A range of a stream, between its arrival and its reader."""

from __future__ import annotations

from collections import deque
from enum import Enum
from typing import TYPE_CHECKING

from airflow_s3stream.engine.ranges import RangeJob

if TYPE_CHECKING:
    from airflow_s3stream.engine.ranges import RangeOwner


class State(Enum):
    """What becomes of a range's connection. Only the network thread changes it."""

    FLOWS = "under way, or waiting to be asked for again"
    PAUSED = "connected, and not read from"
    PARKED = "paused for so long that it has no connection any more"
    ENDED = "complete, or lost"


class AheadPart(RangeJob):
    """A range, and what of it has arrived and not been taken."""

    __slots__ = ("front", "paused_at", "pieces", "state")

    def __init__(self, owner: RangeOwner, start: int, stop: int) -> None:
        super().__init__(owner, start, stop)
        self.front = start  # offset of the first byte that is still wanted; ``pieces`` begins there
        self.pieces: deque[bytes] = deque()
        self.state = State.FLOWS
        self.paused_at = 0.0

    @property
    def rests(self) -> bool:
        """Whether nothing of it comes until it is let go on."""
        return self.state in (State.PAUSED, State.PARKED)

    def pop(self, most: int) -> bytes:
        """Take the first piece, or the first ``most`` bytes of it."""
        piece = self.pieces.popleft()
        if len(piece) > most:
            self.pieces.appendleft(piece[most:])
            piece = piece[:most]
        self.front += len(piece)
        return piece

    def skip_to(self, offset: int) -> int:
        """Want nothing before ``offset`` any more; give the number of bytes dropped."""
        dropped = 0
        while self.pieces and self.front < offset:
            dropped += len(self.pop(offset - self.front))
        self.front = max(self.front, offset)
        return dropped


def without_first(pieces: list[bytes], size: int) -> list[bytes]:
    """Give the pieces without their first ``size`` bytes."""
    kept = []
    for piece in pieces:
        if size >= len(piece):
            size -= len(piece)
        else:
            kept.append(piece[size:] if size else piece)
            size = 0
    return kept
