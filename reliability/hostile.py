"""Keys that would like to be somewhere else, or nobody: 200 that are listed, and as many more as one wants."""

from __future__ import annotations

import random
from collections.abc import Sequence

from tests.support.hostile import HOSTILE_KEYS

LISTED = 200
_ODD = (
    "..", ".", "...", "....", " ..", ".. ", ". .", "..;", "..%00", "%2e%2e", "%2E%2E%2f", "..%2f", "..%5c",
    "%252e%252e",
    "..\\..\\up", "..\\", "\\..", "C:\\up", "C:", "C:up", "\\\\host\\share", "//host/share", "\uff0e\uff0e",
    "\u2024\u2024",
    "\u2025", "..\u200b", "\u200b..", "..\x00", "..\x00/x", "\x00", "a\x00b", "\x01", "\x1b[2J", "\r\n", "\n", "\t",
    "\x7f", "\x85", "\u2028", "\ufeff", "\u202egpj.exe", "~", "~root", "$HOME", "`id`", "$(id)", "-rf", "--", "*",
    "?",
    "CON", "nul.txt", "aux", "a:b", "a|b", "<a>", '"a"', "a ", " a", "a.", ".a", ".s3stream", ".S3Stream", ".s3stream ",
    ".s3stream-0-0.tmp", ".s3stream-a1-ff.tmp", ".\uff533stream", ".s3\u200bstream", ".git", ".ssh", ".bashrc",
    "x" * 255, "x" * 256, "\u00e4" * 127, "\u00e4" * 128, "\U0001f600" * 63, "\U0001f600" * 64, "e\u0301", "\u00e9",
    "A", "a", "\u00c5", "\u212b", "A\u030a", "ss", "\u00df", "\u0130", "i\u0307", "\u017f", "\u1e9e", "\ufb01", "",
)  # fmt: skip
"""Segments that some system reads as another name, or as none."""
_PLACES = ("{}", "{}/x", "d/{}", "d/{}/x", "{0}/{0}/x", "a/../{}", "/{}", "{}//x", "{}/")


def keys(number: int, count: int) -> list[str]:
    """Give one batch: the listed ones first, ``count`` at a time, and then generated ones; never one key twice."""
    listed = _listed()
    batches = -(-len(listed) // count)
    if number < batches:
        return listed[number * count : (number + 1) * count]
    return _generated(random.Random(f"keys/{number}"), count)


def _listed() -> list[str]:
    singles = [place.format(segment) for place in _PLACES for segment in _ODD]
    fixed = random.Random("listed").sample(list(dict.fromkeys(singles)), LISTED)
    return list(dict.fromkeys([*HOSTILE_KEYS, *(f"{'../' * up}up{up}" for up in range(1, 9)), *fixed]))[:LISTED]


def _generated(rng: random.Random, count: int) -> list[str]:
    found: dict[str, None] = {}
    while len(found) < count:
        key = "/".join(_segment(rng) for _ in range(rng.choice([1, 2, 2, 3, 3, 4, 6, 20])))
        key = ("/" if rng.random() < 0.05 else "") + key + ("/" if rng.random() < 0.05 else "")
        if key and len(key.encode()) < 1000:  # S3 allows 1,024 bytes, and they stand below a prefix
            found[key] = None
    return list(found)


def _segment(rng: random.Random) -> str:
    draw = rng.random()
    if draw < 0.15:
        return ".."
    if draw < 0.5:
        return rng.choice(_ODD)
    if draw < 0.7:
        return rng.choice(["d", "e", "f", "link", "deep", "up"])
    return "".join(_letter(rng) for _ in range(rng.randrange(1, 12)))


def _letter(rng: random.Random) -> str:
    ranges: Sequence[tuple[int, int]] = ((1, 0x20), (0x20, 0x7F), (0x20, 0x7F), (0x80, 0x250), (0x300, 0x370))
    return chr(rng.randrange(*rng.choice([*ranges, (0x2000, 0x2070), (0xFF00, 0xFFEF), (0x1F600, 0x1F640)])))
