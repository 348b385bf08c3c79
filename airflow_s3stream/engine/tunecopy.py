"""Trials of copying: parts of a URL into a multipart upload that is never completed, by the relay of a real copy."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_s3stream.config import CopyOptions
from airflow_s3stream.engine.cleanup import clean_up
from airflow_s3stream.engine.events import Progressed, Retried
from airflow_s3stream.engine.pace import ConnectionLimiter
from airflow_s3stream.engine.protocols import ObjectHeaders
from airflow_s3stream.engine.publish import LINGER
from airflow_s3stream.engine.relay import Relay
from airflow_s3stream.engine.run import Run
from airflow_s3stream.engine.stop import POLL, StopFlag
from airflow_s3stream.exceptions import SourceRefused, Stopped
from airflow_s3stream.plan.parts import Part
from airflow_s3stream.plan.ranges import ByteRange

if TYPE_CHECKING:
    import threading
    from collections.abc import Iterator

    from airflow_s3stream.engine.events import Event
    from airflow_s3stream.engine.protocols import Sink, Source, Upload
    from airflow_s3stream.engine.trial import Trial
    from airflow_s3stream.engine.tuneplace import Place
    from airflow_s3stream.plan.probe import Probe
    from airflow_s3stream.plan.tuning import Kind

_WORD = "the trial is over"
_INTERVAL = 0.01  # seconds between looks, at least; the run looks whenever a part ends, and every POLL
_ENDING = 5.0  # seconds given to requests under way to end, before the next trial


class CopyTrials:
    """
    Tries settings on one source and one key.

    :raises SourceRefused: the source has no ranges to read in parallel, so there is nothing to choose.
    :raises S3StreamError: the source or the key cannot be used.
    """

    kind: Kind = "copy"

    def __init__(self, source: Source, sink: Sink, endpoint: str, place: Place) -> None:
        self.uri, self.source, self.endpoint = sink.name, source.name, endpoint
        self._source = source
        self._sink = sink
        self._place = place
        self.warnings: list[str] = []
        self._probe, self.size = self._ask()
        self._next = 0  # byte of the source where the next part begins
        self._numbers = 0
        self._upload: Upload | None = None
        self._stragglers: list[threading.Thread] = []

    def measure(self, trial: Trial) -> None:
        """Move parts until the trial has seen enough."""
        run, flag = self._run(trial)
        if self._upload is None:
            self._upload = self._begin(run)
        parts = _Parts(self, trial)
        relay = Relay(run, self._source, self._sink, self._probe, upload=self._upload)
        try:
            relay.move(parts, None)
        except Stopped:
            if not flag.over:
                raise
        finally:
            self._stragglers = [thread for thread in (*self._stragglers, *run.stragglers) if thread.is_alive()]
            self._settle()

    def close(self) -> str:
        """Abort the upload; say so, or how to do it."""
        upload, self._upload = self._upload, None
        if upload is None:
            return ""
        return clean_up(self._sink, upload, stragglers=self._stragglers).text

    def take(self, size: int) -> Part:
        """Give the next part: bytes of the source, from its start again after its end, under a number S3 takes."""
        start = self._next if self._next < self.size else 0
        self._next = min(start + size, self.size)
        # The same number again replaces the part; nobody will ask for it.
        self._numbers = self._numbers % CopyOptions().limits.max_parts + 1
        return Part(self._numbers, ByteRange(start, self._next))

    def _ask(self) -> tuple[Probe, int]:
        run = Run(self._options(1), self._place.stop, None, self._place.chances)
        probe, body = run.retrier.call("probing the source", lambda: run.open(self._source.probe))
        body.close()
        if probe.size is None or not probe.relayable:
            raise SourceRefused(
                "the source has no ranges, or no strong validator to pin them to, so a copy reads it as one stream "
                "whatever the setting; there is nothing to tune",
                op="probe",
                target=self.source,
            )
        return probe, probe.size

    def _run(self, trial: Trial) -> tuple[Run, _TrialFlag]:
        flag = _TrialFlag(self._place.stop)

        def hear(event: Event) -> None:
            if isinstance(event, Retried):
                trial.errors += 1
            elif isinstance(event, Progressed):
                trial.moved(event.stored + event.under_way - trial.bytes)
                if trial.look():
                    flag.end()

        run = Run(self._options(trial.setting.connections), flag, hear, self._place.chances)
        run.limiter = _CountingLimiter(run, trial)
        run.meter.start(None)
        return run, flag

    def _options(self, connections: int) -> CopyOptions:
        options = self._place.options
        left = max(self._place.limits.remaining() or 0.0, POLL)
        return CopyOptions(
            connections=connections,
            progress_interval=_INTERVAL,
            timeouts=replace(options.timeouts, deadline=left),
            retry=options.retry,
        )

    def _begin(self, run: Run) -> Upload:
        """Begin the upload; a stop waits for the answer, or for one that comes too late to abort what it began."""
        headers = ObjectHeaders(content_type=None, content_encoding=None, metadata={})
        return run.retrier.call(
            "beginning the upload",
            lambda: run.limits.call(lambda: self._sink.begin(headers), discard=self._sink.abort, linger=LINGER),
        )

    def _settle(self) -> None:
        """Wait for requests of this trial that are still under way: they would take from the next."""
        ends = time.monotonic() + _ENDING
        for thread in self._stragglers:
            while thread.is_alive() and time.monotonic() < ends and self._place.stop.reason is None:
                thread.join(POLL)
        self._stragglers = [thread for thread in self._stragglers if thread.is_alive()]


class _Parts:
    """What the relay takes for a plan: parts without end."""

    def __init__(self, trials: CopyTrials, trial: Trial) -> None:
        self._trials = trials
        self._trial = trial
        self.connections = trial.setting.connections

    def parts(self) -> Iterator[Part]:
        """Give part after part; whoever has had enough stops the run."""
        number = 0
        while True:
            first = number < self.connections
            number += 1
            self._trial.requests += 2  # the range's and the part's
            yield self._trials.take(self._trial.first_part(number - 1) if first else self._trial.setting.part_size)


class _TrialFlag(StopFlag):
    """Stops a trial, for its own end or because the whole is to stop."""

    def __init__(self, outer: StopFlag) -> None:
        super().__init__()
        self._outer = outer
        self._own = False

    def end(self) -> None:
        """End the trial."""
        self._own = True

    @property
    def over(self) -> bool:
        """Whether it was the trial's own end."""
        return self._own and self._outer.reason is None

    @property
    def reason(self) -> str | None:
        """Why, or None."""
        return self._outer.reason or (_WORD if self._own else None)


class _CountingLimiter(ConnectionLimiter):
    """Counts how often a side asks for less."""

    def __init__(self, run: Run, trial: Trial) -> None:
        super().__init__(trial.setting.connections, run.limits)
        self._trial = trial

    def throttled(self) -> None:
        """Halve, as a copy does, and count."""
        self._trial.throttles += 1
        super().throttled()
