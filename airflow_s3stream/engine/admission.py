"""Where objects will go, found before they are asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from airflow_s3stream.exceptions import KeyRefused

if TYPE_CHECKING:
    from airflow_s3stream.engine.fetch import Fetch
    from airflow_s3stream.plan.objects import ObjectEntry


class Admission:
    """Entries whose places are to be found, on a finishing thread, for that may touch the disk."""

    __slots__ = ("_accepted", "_entries", "_fetch", "_refused")

    def __init__(self, fetch: Fetch, entries: list[ObjectEntry]) -> None:
        self._fetch = fetch
        self._entries = entries
        self._accepted: list[tuple[ObjectEntry, Any]] = []
        self._refused: list[tuple[ObjectEntry, KeyRefused]] = []

    def finish(self) -> None:
        """Find the places."""
        admit = self._fetch.destination.admit
        for entry in self._entries:
            try:
                place = admit(entry)
            except KeyRefused as error:
                self._refused.append((entry, error))
            else:
                if place is not None:
                    self._accepted.append((entry, place))

    def settle(self) -> None:
        """Nothing was reserved."""

    def finished(self, error: BaseException | None) -> None:
        """Pass them on."""
        if error is not None:
            raise self._fetch.own(error)
        self._fetch.admitted(len(self._entries), self._accepted)
        for entry, refusal in self._refused:
            self._fetch.failed(entry, None, refusal, general=False)
