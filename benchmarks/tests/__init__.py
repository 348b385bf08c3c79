"""The benchmark itself is tested here: a harness that measures wrongly is worse than none."""

from __future__ import annotations
