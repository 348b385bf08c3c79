"""Guards of listings and of places: no key lost, none outside."""

from __future__ import annotations

from reliability.guards import Mutation, Seeds, tests

_PATHS = "airflow_s3stream/plan/paths.py"
_DIRECTORIES = "airflow_s3stream/engine/localdirs.py"
_PLACE = "airflow_s3stream/engine/localplace.py"
_ERRORS = "airflow_s3stream/engine/localerrors.py"
_PAGE = "airflow_s3stream/plan/listpage.py"
_LISTING = "airflow_s3stream/plan/listing.py"
_FILES = "airflow_s3stream/engine/localfiles.py"

MUTATIONS = [
    Mutation(
        "no path goes up",
        _PATHS,
        "(dotted and _DOTS.search(path)):",
        "False:",
        Seeds("keys", "no link", 6),
    ),
    Mutation(
        "no path is absolute",
        _PATHS,
        'path[0] == "/" or path[-1] == "/" or "//" in path',
        'path[-1] == "/"',
        Seeds("keys", "no link", 6),
    ),
    Mutation(
        "no name holds a NUL",
        _PATHS,
        ' or "\\0" in path or (dotted',
        " or (dotted",
        Seeds("keys", "no link", 6),
    ),
    Mutation(
        "no object takes the name of what is under way",
        _PATHS,
        "    if (dotted or not path.isascii()) and _reserved(path):",
        "    if False:",
        Seeds("keys", "no link", 6),
    ),
    Mutation(
        "a reserved name is known in every spelling",
        _PATHS,
        '    first, *rest = path.split("/")\n    return _folded(first) == STATE',
        '    first, *rest = path.split("/")\n    return first == STATE',
        tests("unit/test_paths.py"),
    ),
    Mutation(
        "a key is below the prefix",
        _PATHS,
        "    if not key.startswith(prefix[:cut]):",
        "    if False:",
        tests("unit/test_paths.py"),
    ),
    Mutation(
        "no link is followed into a directory",
        _DIRECTORIES,
        "_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        Seeds("keys", "planted links", 4),
    ),
    Mutation(
        "no link is followed while it is raced",
        _DIRECTORIES,
        "_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC",
        "_FLAGS = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC",
        Seeds("keys", "raced links", 4),
    ),
    Mutation(
        "what fails leaves no temporary file",
        _PLACE,
        "            with suppress(OSError):\n                os.unlink(temp, dir_fd=directory)\n            raise",
        "            raise",
        Seeds("keys", "no link", 6),
    ),
    Mutation(
        "one key in the way of another is refused by name",
        _ERRORS,
        "    if error.errno in _CLASH:",
        "    if False:",
        Seeds("keys", "planted links", 4),
    ),
    Mutation(
        "two keys of one flat name do not replace each other",
        _FILES,
        "        if self._paths is not None and not self._paths.add(hash(path)):",
        "        if False:",
        tests("functional/test_local_files.py", only="flatten"),
    ),
    Mutation(
        "where a file system takes two names for one, neither is lost",
        _PLACE,
        "                if os.stat(name, dir_fd=directory, follow_symlinks=False).st_ino in self._inodes:",
        "                if False:",
        tests("functional/test_local_files.py", only="folding"),
    ),
    Mutation(
        "a file that is not to be replaced is not",
        _PLACE,
        "        if not self._replaces:  #",
        "        if False:  #",
        tests("functional/test_local_files.py", only="fail_refuses"),
    ),
    Mutation(
        "a listing ascends",
        _PAGE,
        "        if following <= key:",
        "        if False:",
        tests("unit/test_listpage.py", only="cannot_be_trusted"),
    ),
    Mutation(
        "a listing stays below its prefix",
        _PAGE,
        "        if not entry.key.startswith(prefix):",
        "        if False:",
        tests("unit/test_listing.py", only="outside_the_prefix"),
    ),
    Mutation(
        "a listing says whether there is more",
        _PAGE,
        '    if truncated not in {"true", "false"}:',
        "    if False:",
        tests("unit/test_listpage.py", only="cannot_be_trusted"),
    ),
]
