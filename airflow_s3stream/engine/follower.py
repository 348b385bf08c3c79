"""A checksum that needs the bytes in order, of a file that is written in any order.

MD5 and the SHA family cannot be joined from pieces. So a thread follows the download through the file, over what has
just been written and is still in the page cache, and is at its end soon after the last byte has come.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.objectproof import OrderedProof
from airflow_s3stream.engine.stop import POLL
from airflow_s3stream.exceptions import LocalError

if TYPE_CHECKING:
    from airflow_s3stream.engine.absorb import Absorber
    from airflow_s3stream.engine.objectfile import ObjectFile
    from airflow_s3stream.engine.objectproof import Promise
    from airflow_s3stream.engine.stop import Limits

_READ = MiB


class Follower:
    """Computes a promise while the file is being written."""

    def __init__(self, promise: Promise, file: ObjectFile, absorber: Absorber, size: int, limits: Limits) -> None:
        self._proof = OrderedProof(promise)
        self._file = file
        self._absorber = absorber
        self._size = size
        self._limits = limits
        self._at = self._known = self._anchor = 0
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._work, name="s3stream-prove", daemon=True)
        self._thread.start()

    def finish(self) -> None:
        """
        Wait for the last byte, and compare.

        :raises IntegrityError: the bytes are not what the store promises.
        """
        while not self._over.wait(POLL):
            self._limits.check()
        if self._error is not None:
            raise self._error
        self._proof.finish()

    def close(self) -> None:
        """End it, wherever it is."""
        self._size = 0
        self._thread.join()

    def _work(self) -> None:
        try:
            while self._at < self._size:
                if self._known <= self._at:
                    self._anchor, self._known = self._absorber.reach(self._anchor, self._known)
                    if self._known <= self._at:
                        continue
                piece = self._file.read(min(_READ, self._known - self._at), self._at)
                if not piece:
                    raise LocalError(f"the temporary file ends at {self._at}, before what was written into it")
                self._proof.update(piece)
                self._at += len(piece)
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            self._error = error
        finally:
            self._over.set()
