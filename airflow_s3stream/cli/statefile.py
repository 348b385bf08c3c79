"""What a copy leaves for the next one of the same command: a token in a file."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
from pathlib import Path

_LARGEST = 64 * 1024  # bytes; a token has less than 1 KB


class StateFile:
    """A small text in a file that only its owner can read; whole, or as it was."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def load(self) -> object:
        """Give what was saved last; None if there is no such file."""
        try:
            with self.path.open(encoding="utf-8") as file:
                return file.read(_LARGEST)
        except FileNotFoundError:
            return None

    def save(self, text: str) -> None:
        """Replace it; on disk when this returns."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        number, temporary = tempfile.mkstemp(prefix=f".{self.path.name}.", dir=self.path.parent)  # mode 0600
        try:
            with os.fdopen(number, "w", encoding="utf-8") as file:
                file.write(text + "\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, self.path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(temporary)
            raise

    def clear(self) -> None:
        """Remove the file."""
        self.path.unlink(missing_ok=True)


def default_path(destination: str, endpoint_url: str = "") -> Path:
    """
    Choose the file for a destination, ``s3://bucket/key`` of the store at ``endpoint_url``.

    Below ``XDG_STATE_HOME``, by default ``~/.local/state`` (XDG Base Directory Specification).
    """
    home = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    name = hashlib.sha256(f"{endpoint_url} {destination}".encode(errors="surrogatepass")).hexdigest()[:24]
    return Path(home) / "s3stream" / f"copy-{name}.json"
