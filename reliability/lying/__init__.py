"""A server that lies: what a seed draws, and what may come of it."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from airflow_s3stream.exceptions import S3StreamError
from reliability.figure import Case, Finding
from tests.support import faults, readlies
from tests.support.faults import Fault
from tests.support.resource import Request

LIES = (
    "ignores Range",
    "right Content-Range, wrong bytes",
    "Content-Range starts elsewhere",
    "overwritten, If-Match ignored",
    "one bit flipped",
    "206 shorter than asked",
)
SILENT = frozenset({"right Content-Range, wrong bytes", "one bit flipped"})
"""Those that nothing in any answer tells: who knows no checksum of the object cannot notice them."""
WEAK = frozenset({"", "none", "size"})
"""Verifications that claim no more than the length."""

FAR = 5000
"""Bytes by which what is served may be beside what was asked for, at most."""


def drawn(kind: str, seed: int) -> random.Random:
    """Give the randomness of a case: the same for the same two, whatever else is done."""
    return random.Random(f"{kind}/{seed}")


def nothing(size: int) -> dict[str, Any]:
    """Give what a store knows of an object of which nobody can prove a byte: an upload in two parts, no checksum."""
    return {"part_size": size // 2 + 1}


def lie_of(
    rng: random.Random, name: str, only: Callable[[Fault], Fault], *, size: int, part: int, requests: int
) -> Fault:
    """
    Draw how the lie is told, and of which requests.

    :param only: narrows a fault to the requests that it is to be told of, before they are counted.

    :param size: of the object; its last range must be longer than ``FAR``.
    :param part: bytes of its ranges.
    :param requests: for ranges of it that are certain to come.
    """
    by, later = rng.randrange(1, FAR), requests > 1 and rng.random() < 0.5
    if name == "ignores Range":
        return _aimed(rng, only(faults.ignore_range()), requests)
    if name == "right Content-Range, wrong bytes":
        if later:
            return _aimed(rng, only(faults.other_bytes(by)).where(readlies.beyond(by)), requests - 1)
        return _aimed(rng, only(faults.other_bytes(-by)), requests)
    if name == "Content-Range starts elsewhere":
        if later:
            return _aimed(rng, only(faults.wrong_start(-by)).where(readlies.beyond(by)), requests - 1)
        return _aimed(rng, only(faults.wrong_start(by)).where(_before(size - by)), requests)
    if name == "overwritten, If-Match ignored":
        newer = only(Fault("overwritten", version=lambda resource: resource.rewritten(obeys_if_match=False)))
        return _from(rng.randint(2, requests), newer) if requests > 1 else newer
    if name == "one bit flipped":
        at = rng.randrange(size)
        return _aimed(rng, only(faults.flip_bit(at)).where(_covers(at)), 1)
    assert name == "206 shorter than asked", name
    count = rng.randrange(min(part, size) // 16, min(part, size))
    return _aimed(rng, only(faults.short_range(count)), requests)


def _aimed(rng: random.Random, fault: Fault, requests: int) -> Fault:
    """Draw whether it is told every time, once, of one request in the middle, or from one on."""
    aims: Sequence[Callable[[], Fault]] = (
        lambda: fault,
        fault.once,
        lambda: readlies.nth(rng.randint(2, requests), fault),
        lambda: _from(rng.randint(2, requests), fault),
    )
    return rng.choice(aims if requests > 1 else aims[:2])()


def _from(number: int, fault: Fault) -> Fault:
    """Strike the ``number``-th request that would be struck, and all after it."""
    seen, lock = 0, threading.Lock()

    def late(request: Request) -> bool:
        nonlocal seen
        with lock:
            seen += 1
            return seen >= number

    return fault.where(late)


def _before(stop: int) -> Callable[[Request], bool]:
    return lambda request: request.range is not None and request.range[0] < stop


def _covers(at: int) -> Callable[[Request], bool]:
    def covers(request: Request) -> bool:
        if request.range is None:
            return True
        first, last = request.range
        return first <= at and (last is None or at <= last)

    return covers


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a client made of it."""

    body: bytes | None
    """What it handed over as the object; None: it did not."""
    error: Exception | None = None
    level: str = ""
    """What it says was verified."""
    left: Sequence[str] = ()
    """What it left behind that it should not."""


def judged(case: Case, outcome: Outcome, right: bytes, *, strict: bool, silent: bool, struck: bool) -> Finding:
    """
    Say whether the outcome is right.

    A wrong success is: handed over as the object, with wrong bytes, and strict, or with a verification that claims more
    than the length, or although the answer itself gave the lie away.

    :param silent: nothing in the answers, and no checksum, could have told.
    """
    if outcome.body is None:
        if not isinstance(outcome.error, S3StreamError) or not str(outcome.error):
            return Finding(case, f"no word of its own: {outcome.error!r}", "broken")
        if outcome.left:
            return Finding(case, f"left behind: {', '.join(outcome.left)}", "litter")
        return Finding(case, "", "refused" if struck else "not told")
    if outcome.left:
        return Finding(case, f"left behind: {', '.join(outcome.left)}", "litter")
    if outcome.body == right:
        return Finding(case, "", "right" if struck else "not told")
    if strict or outcome.level not in WEAK or not silent:
        how = f"strict, verification {outcome.level!r}" if strict else f"verification {outcome.level!r}"
        return Finding(case, f"a wrong object was reported as done ({how})", "wrong")
    return Finding(case, "", "weak")
