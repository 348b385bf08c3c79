"""What the kernel says about files, told as this package's errors: the one place that maps errno."""

from __future__ import annotations

import errno

from airflow_s3stream.exceptions import DiskFull, KeyRefused, LocalDenied, LocalError

_FULL = {errno.ENOSPC, errno.EDQUOT}
_DENIED = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_DESCRIPTORS = {errno.EMFILE, errno.ENFILE}
# One name is in the way of another; the rest of the run is not touched by it.
_CLASH = {errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENOTEMPTY, errno.ELOOP}
_NOT_A_NAME = {errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL}

_ADVICE = {
    errno.ENOSPC: "free space or inodes there, or choose another directory",
    errno.EDQUOT: "free some of the quota, or choose another directory",
    errno.EACCES: "let this user write there, or choose another directory",
    errno.EPERM: "let this user write there, or choose another directory",
    errno.EROFS: "mount it writable, or choose another directory",
    errno.EMFILE: "raise the limit of open files (ulimit -n) or lower connections",
    errno.ENFILE: "the whole system is out of open files; raise fs.file-max or lower connections",
    errno.EIO: "the disk or its connection fails; look at the kernel's log",
    errno.EFBIG: "the file system or a limit (ulimit -f) does not allow a file of this size",
    errno.ENOLCK: "the file system has no locks; choose a directory on another one",
}


def local_error(error: OSError, root: str, doing: str) -> LocalError:
    """
    Tell a failure that stops the run.

    :param root: the directory of the run, as the user named it.
    :param doing: what failed, with the path below the root: ``write 'a/b'``.
    """
    number = error.errno or 0
    kind = DiskFull if number in _FULL else LocalDenied if number in _DENIED else LocalError
    said = error.strerror or type(error).__name__
    advice = f"; {_ADVICE[number]}" if number in _ADVICE else ""
    return kind(f"cannot {doing} in {root}: {said}{advice}", op="local", target=root)


def key_refused(error: OSError, key: str, path: str) -> KeyRefused | None:
    """Tell a failure that concerns one key only, or None."""
    if error.errno in _CLASH:
        # Whoever walks the directories puts the one that is in the way into the error; a rename its temporary name.
        named = error.filename
        blocking = named if isinstance(named, str) and path.startswith(f"{named}/") else path
        what = "a directory" if error.errno == errno.EISDIR else "a file or a symbolic link"
        return clash(key, path, f"{blocking!a} is {what} there")
    if error.errno in _NOT_A_NAME:
        return KeyRefused(f"key {key!a} cannot become a file: the file system refuses the name ({error.strerror})")
    return None


def clash(key: str, path: str, why: str) -> KeyRefused:
    """Tell that a path is taken."""
    return KeyRefused(f"key {key!a} cannot become the file {path!a}: {why}")
