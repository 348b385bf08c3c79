"""What all trials of a tune share, and what trials are, whichever way the bytes go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from airflow_s3stream.engine.run import Chances
from airflow_s3stream.engine.stop import Limits, StopFlag

if TYPE_CHECKING:
    from airflow_s3stream.engine.events import Event, Listener
    from airflow_s3stream.engine.trial import Trial
    from airflow_s3stream.plan.tuneoptions import TuneOptions
    from airflow_s3stream.plan.tuning import Kind


class Place:
    """What all trials of a tune share: options, limits, time and chance."""

    def __init__(
        self,
        options: TuneOptions,
        stop: StopFlag | None = None,
        listener: Listener | None = None,
        chances: Chances | None = None,
    ) -> None:
        self.options = options
        self.stop = stop or StopFlag()
        self.chances = chances or Chances()
        self.clock = self.chances.clock
        self.limits = Limits(self.stop, options.seconds, clock=self.clock, sleep=self.chances.sleep)
        self._listener = listener

    def tell(self, event: Event) -> None:
        """Pass on an event."""
        if self._listener:
            self._listener(event)


class Trials(Protocol):
    """Tries settings in one direction: downloading, or copying."""

    @property
    def kind(self) -> Kind:
        """Which direction."""

    @property
    def uri(self) -> str:
        """Of the object."""

    @property
    def source(self) -> str:
        """Of a copy the redacted URL, else ""."""

    @property
    def endpoint(self) -> str:
        """URL of the store."""

    @property
    def size(self) -> int:
        """Bytes of the object, or of the source."""

    @property
    def warnings(self) -> list[str]:
        """What people should know."""

    def measure(self, trial: Trial) -> None:
        """
        Move bytes until the trial has seen enough.

        :raises S3StreamError: it cannot be done; Stopped, DeadlineExceeded.
        """

    def close(self) -> str:
        """Leave nothing behind; say what became of what there was, "" if there was nothing."""
