"""Keys as paths: where below a directory an object's file goes, or why it cannot go anywhere."""

from __future__ import annotations

import re
import unicodedata
from typing import TYPE_CHECKING, Literal, NoReturn

from airflow_s3stream.exceptions import KeyRefused

if TYPE_CHECKING:
    from airflow_s3stream.plan.objects import ObjectEntry

Layout = Literal["paths", "flatten"]

STATE = ".s3stream"  # the folder for lock, run record and results, directly below the root
TEMP = re.compile(r"\.s3stream-([0-9a-f]+)-[0-9a-f]+\.tmp")  # what a file is called while it is written

_MAX_SEGMENT = 255  # bytes; every Linux file system's NAME_MAX
_MAX_PATH = 4095  # bytes; PATH_MAX counts the closing NUL
_DOTS = re.compile(r"(?:\A|/)(\.{1,2})(?:/|\Z)")  # segments that a file system does not read as names
# Where one UTF-8 character may take four bytes, a key this short cannot hold a segment that is too long.
_SHORT = _MAX_SEGMENT // 4


def relative_key(key: str, prefix: str) -> str:
    """
    Give the part of ``key`` below the folder in which ``prefix`` ends.

    The folder is the prefix up to its last ``/``: below ``logs/2024-``, the key ``logs/2024-01/a`` is
    ``2024-01/a``. So nothing is ever cut in the middle of a name, and two keys stay two.

    :raises KeyRefused: the key is not below that folder.
    """
    cut = prefix.rfind("/") + 1
    if not cut:
        return key
    if not key.startswith(prefix[:cut]):
        _refuse(key, f"it is not below the prefix {prefix[:cut]!r}")
    return key[cut:]


def is_directory_marker(entry: ObjectEntry) -> bool:
    """
    Tell whether the object only marks a folder: its key ends in ``/`` and it is empty.

    Consoles make such objects. There is nothing to write; the result log names them as skipped. With a size that is
    not known, it is not taken for a marker: :func:`path_of` refuses its key by name.
    """
    return entry.size == 0 and entry.key.endswith("/")


def path_of(key: str, prefix: str, layout: Layout = "paths") -> str:
    """
    Give the path, relative to the root and with ``/``, of the file for ``key``.

    ``paths`` keeps the key below the prefix as it is, so two keys never get one path. ``flatten`` keeps the last
    segment only; whoever writes the files finds out when two of those are equal. Nothing is replaced or escaped:
    backslashes and control characters are names on Linux.

    :raises KeyRefused: the key has no path below the root: ``..``, ``.`` or an empty segment, absolute, NUL, too
        long, not UTF-8, or a name that is reserved for this package.
    """
    path = relative_key(key, prefix)
    # Cheap looks first, for there may be ten thousand keys in a second: most have no segment that begins with a dot.
    dotted = path[:1] == "." or "/." in path
    if not path or path[0] == "/" or path[-1] == "/" or "//" in path or "\0" in path or (dotted and _DOTS.search(path)):
        _refuse(key, _what_is_wrong(path))
    if len(path) > _SHORT or not path.isascii():
        _check_length(key, path)
    if layout == "flatten":
        path = path[path.rfind("/") + 1 :]
    if (dotted or not path.isascii()) and _reserved(path):
        _refuse(key, f"names like {STATE!r} are reserved for what is under way")
    return path


def _refuse(key: str, why: str) -> NoReturn:
    raise KeyRefused(f"key {key!a} cannot become a file: {why}")


def _what_is_wrong(path: str) -> str:
    if not path:
        return "nothing is left of it below the prefix"
    if "\0" in path:
        return "no name may hold a NUL"
    if path.startswith("/"):
        return "it would be an absolute path"
    if path.endswith("/"):
        return "it ends in '/' as a directory does, and is not an empty object"
    match = _DOTS.search(path)
    return f"{match[1]!r} is not a name" if match else "it has an empty segment, '//'"


def _check_length(key: str, path: str) -> None:
    try:
        encoded = path.encode()
    except UnicodeEncodeError:
        _refuse(key, "it is not text that UTF-8 can carry")
    if len(encoded) > _MAX_PATH:
        _refuse(key, f"its path has {len(encoded)} bytes, more than {_MAX_PATH}")
    longest = max(map(len, encoded.split(b"/")))
    if longest > _MAX_SEGMENT:
        _refuse(key, f"it has a segment of {longest} bytes; file systems take {_MAX_SEGMENT}")


def _reserved(path: str) -> bool:
    """
    Tell whether a path would fall on the state folder or on a temporary file.

    File systems that fold case, normal forms or invisible characters would take other spellings for the same name.
    """
    if not path.isascii():
        # What folds to a reserved name still holds its letters when everything beyond ASCII is left out.
        letters = unicodedata.normalize("NFKC", path).casefold().encode("ascii", "ignore")
        if STATE.encode() not in letters:
            return False
    first, *rest = path.split("/")
    return _folded(first) == STATE or any(TEMP.fullmatch(_folded(name)) for name in (first, *rest))


def _folded(name: str) -> str:
    if name.isascii():
        return name.lower()
    plain = unicodedata.normalize("NFKC", name).casefold()
    return "".join(letter for letter in plain if unicodedata.category(letter) not in ("Cf", "Mn"))
