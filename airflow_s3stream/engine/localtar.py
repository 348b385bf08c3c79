"""Headers of a tar archive: the same bytes for the same object, in the POSIX (pax) format every tar reads."""

from __future__ import annotations

import tarfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

BLOCK = 512
END = bytes(2 * BLOCK)  # two zero blocks end an archive
_PLAIN_PATH = 100  # bytes; beyond it, and for what is not ASCII, a pax header goes ahead
_PLAIN_SIZE = 8**11
_PLAIN_TIME = 8**11
_MODE = 0o644
# Owner and group are nobody's: not this machine's users, so archives do not differ between machines.
_BEFORE = b"%07o\0%07o\0%07o\0" % (_MODE, 0, 0)
_BEHIND = b"0" + bytes(100) + b"ustar\x0000" + bytes(64 + 16 + 155 + 12)
_FIXED_SUM = sum(_BEFORE) + 8 * ord(" ") + sum(_BEHIND)
_FILLER = 1 << 20  # bytes of one filler, for readers take it into memory


def header(path: str, size: int, modified: int) -> bytes:
    """Give what stands in front of a member's bytes."""
    if len(path) > _PLAIN_PATH or not path.isascii() or size >= _PLAIN_SIZE or not 0 <= modified < _PLAIN_TIME:
        member = tarfile.TarInfo(path)
        member.size, member.mtime, member.mode = size, modified, _MODE
        return member.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")
    # The same by hand: TarInfo.tobuf takes ten times as long, and there may be ten thousand of these in a second.
    name = path.encode("ascii")
    numbers = b"%011o\0%011o\0" % (size, modified)
    total = _FIXED_SUM + sum(name) + sum(numbers)
    return b"".join((name, bytes(100 - len(name)), _BEFORE, numbers, b"%06o\0 " % total, _BEHIND))


def padding(size: int) -> int:
    """Give how many zero bytes follow a member's bytes."""
    return -size % BLOCK


def filler(size: int) -> Iterator[bytes]:
    """
    Fill a gap with what readers pass over: global pax headers that hold nothing but a blank comment.

    :param size: a multiple of 512.
    """
    while size:
        length = min(size, _FILLER)
        content = length - BLOCK  # in a single block there is room for the header alone
        member = tarfile.TarInfo("pax_global_header")
        member.size, member.type, member.mode = content, tarfile.XGLTYPE, _MODE
        comment = (b"%d comment=" % content).ljust(content - 1) + b"\n" if content else b""
        yield member.tobuf(tarfile.USTAR_FORMAT, "ascii", "strict") + comment
        size -= length
