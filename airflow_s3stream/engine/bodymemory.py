"""The memory of bodies under way: how much each needs, and whether it may be had."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.config import KiB
from airflow_s3stream.plan.download import BOOKKEEPING, WHOLE

if TYPE_CHECKING:
    from airflow_s3stream.engine.destination import Destination
    from airflow_s3stream.engine.pace import MemoryBudget
    from airflow_s3stream.plan.objects import ObjectEntry

_UNKNOWN = 64 * KiB  # room reserved for a body of unknown size, until a larger one has been seen


class BodyMemory:
    """
    One run's reservations in the memory budget of the process. The network thread's.

    :param ceiling: bytes that all runs may hold when another body of this one is let in.
    :param numbered: whether places are numbers, so that ``destination.wanted`` tells which body is waited for.
    """

    def __init__(self, destination: Destination, ceiling: int, *, numbered: bool, budget: MemoryBudget) -> None:
        self._destination = destination
        self._ceiling = ceiling
        self._numbered = numbered
        self._budget = budget
        self._reserved = 0
        self._unknown = _UNKNOWN

    def reserve(self, entry: ObjectEntry, place: Any) -> int | None:
        """Make room for a body, and give its bytes; None if it has to wait."""
        room = self._room(entry)
        if not self._granted(room, place):
            return None
        self._reserved += room
        return room

    def release(self, reserved: int) -> None:
        """Give back the memory of a body."""
        self._reserved -= reserved
        self._budget.release(reserved)

    def delivered(self, reserved: int, size: int) -> None:
        """Take note of a body that was delivered; where the destination holds it, its memory is not free yet."""
        held = size + BOOKKEEPING if self._destination.holds else 0
        # What was seen last counts most: one large object among small ones must not make room scarce for ever.
        self._unknown = max(_UNKNOWN, size, self._unknown - self._unknown // 16)
        self._reserved -= reserved
        self._budget.release(reserved - held)

    def learn(self, size: int) -> None:
        """Take note of the size of a body that was larger than the room made for it."""
        if size <= WHOLE:
            self._unknown = max(self._unknown, size)

    def close(self) -> None:
        """Give all back."""
        self.release(self._reserved)

    def _room(self, entry: ObjectEntry) -> int:
        if entry.size is None:
            return self._unknown + BOOKKEEPING
        if entry.size <= WHOLE or self._destination.holds:
            return entry.size + BOOKKEEPING
        return BOOKKEEPING  # its ranges go straight to the disk

    def _granted(self, room: int, place: Any) -> bool:
        if self._budget.try_reserve(room, self._ceiling):
            return True
        # Whoever takes the bodies waits for this one, so none of those that fill the memory will be taken before it; or
        # it is other runs that hold it all, and they may go on only when this one has ended.
        alone = not self._reserved and not self._destination.held
        if not alone and (not self._numbered or place != self._destination.wanted):
            return False
        return self._budget.try_reserve(room, self._budget.held + room)
