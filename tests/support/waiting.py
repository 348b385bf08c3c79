"""Waiting for what happens in its own time, within bounds that a busy machine does not break."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

SOON = 8.0
"""
Seconds that what happens at once may take: a stop, a wake, the end of a thread.

How quick they are is a figure of ``make reliability``. A test tells them from what ends by a timeout, which takes
twice as long at least.
"""


def wait_for(condition: Callable[[], object], seconds: float = 30) -> None:
    """Look until it is so."""
    ends = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends, "it did not happen"
        time.sleep(0.02)
