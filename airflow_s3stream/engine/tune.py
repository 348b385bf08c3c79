"""Find out by measuring which part size and how many connections suit a place, to download from or to copy to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from airflow_s3stream.config import MiB
from airflow_s3stream.engine.cleanup import add
from airflow_s3stream.engine.trial import Box, Trial
from airflow_s3stream.engine.trialcost import PeakMemory, Processors
from airflow_s3stream.engine.tunecopy import CopyTrials
from airflow_s3stream.engine.tuneevents import Tried, TuneFinished, TuneStarted
from airflow_s3stream.engine.tuneget import GetTrials
from airflow_s3stream.engine.tuneplace import Place
from airflow_s3stream.engine.width import affordable
from airflow_s3stream.exceptions import ConfigError, DeadlineExceeded, S3StreamError, SourceStalled, Stopped
from airflow_s3stream.plan.tuneoptions import TuneOptions, TuneResult
from airflow_s3stream.plan.tunesearch import FullGrid, Search
from airflow_s3stream.plan.tuneverdict import Measured, verdict
from airflow_s3stream.plan.tuning import default_setting, make_grid

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

    from airflow_s3stream.engine.events import Listener
    from airflow_s3stream.engine.protocols import Sink, Source
    from airflow_s3stream.engine.run import Chances
    from airflow_s3stream.engine.stop import StopFlag
    from airflow_s3stream.engine.tuneplace import Trials
    from airflow_s3stream.plan.tuneoptions import StoppedBy
    from airflow_s3stream.plan.tunesearch import Order
    from airflow_s3stream.plan.tuning import Grid, Sample, Setting

# Seconds of a steady flow. In the full grid each setting has them all, so that no single one decides in which something
# else happened.
_GRID_TRIAL = 3.0
# In a search half a second is mostly enough. Where the flow stays uneven, twice that must do, and what the choice hangs
# on is measured again: a noisy figure taken for longer costs as many bytes, and tells less than another one later.
_SEARCH_TRIAL, _SEARCH_WORK = 1.0, 2.5  # seconds; seconds of connections' work, which few connections take longer for
_UNDER_WAY = 0.5  # seconds in which the connections of a trial get there
_SHARE = 4  # of the bytes left, one trial of a search may have this part; at 100 Gbit/s they would be gone in a second
_ENOUGH = 0.7  # seconds at the greatest speed so far, for which bytes must be left for another trial
_LEAST_BYTES, _LEAST_SECONDS = 4 * MiB, 1.0  # likewise
_SETTLE = 1.0  # seconds given to a store that asked for less, before it is asked again


def tune_get(
    client: S3Client,
    bucket: str,
    key: str,
    options: TuneOptions | None = None,
    *,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
    chances: Chances | None = None,
) -> TuneResult:
    """
    Measure how an object is downloaded best from here. Its bytes are dropped; nothing is stored.

    :param stop: ends it within about a second, with :class:`Stopped`.
    :raises SourceRefused: the object is too small to tell one setting from another.
    :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`.
    """
    place = Place(options or TuneOptions(), stop, listener, chances)
    return Tuning(GetTrials(client, bucket, key, place), place).result()


def tune_copy(
    source: Source,
    sink: Sink,
    endpoint: str,
    options: TuneOptions | None = None,
    *,
    stop: StopFlag | None = None,
    listener: Listener | None = None,
    chances: Chances | None = None,
) -> TuneResult:
    """
    Measure how a source is copied best to a key. Real parts go into a multipart upload of that key, and it is aborted,
    however this ends: nothing is ever published.

    :param endpoint: URL of the store, for the result.
    :param stop: ends it within about three seconds, with :class:`Stopped`.
    :raises SourceRefused: the source has no ranges to read in parallel, or is too small.
    :raises S3StreamError: see :mod:`airflow_s3stream.exceptions`.
    """
    place = Place(options or TuneOptions(), stop, listener, chances)
    return Tuning(CopyTrials(source, sink, endpoint, place), place).result()


class Tuning:
    """
    One tune under way.

    :param memory: tells what trials take of it, :param processors: of the CPU.
    """

    def __init__(
        self,
        trials: Trials,
        place: Place,
        *,
        memory: PeakMemory | None = None,
        processors: Processors | None = None,
    ) -> None:
        self._trials = trials
        self._place = place
        self._options = options = place.options
        self._began = place.clock()
        self._memory = memory or PeakMemory()
        self._processors = processors or Processors(alone=trials.kind == "get")
        self._bytes = self._requests = self._number = 0
        self._stopped_by: StoppedBy = "converged"
        self._warnings: list[str] = []
        self._grid = self._afford(make_grid(trials.kind, trials.size, options.connections, options.part_sizes))
        default = default_setting(trials.kind, trials.size)
        # Who names the connections knows why there must not be more.
        self._default = default if default.connections <= self._grid.connections[-1] else None
        self._first = self._default or self._grid.nearest(default)
        # Who names settings wants one of those.
        narrowed = options.connections is not None or options.part_sizes is not None
        order = FullGrid if options.full_grid else Search
        self._order: Order = order(self._grid, self._first, only_grid=narrowed)

    def result(self) -> TuneResult:
        """Measure, and choose."""
        try:
            self._run()
        except BaseException as error:
            add(self._trials.close(), error)
            raise
        left = self._trials.close()
        result = verdict(
            Measured(
                kind=self._trials.kind,
                uri=self._trials.uri,
                source=self._trials.source,
                endpoint=self._trials.endpoint,
                size=self._trials.size,
                default=self._default,
                options=self._options,
                trials=self._number,
                bytes=self._bytes,
                seconds=self._place.clock() - self._began,
                requests=self._requests,
                stopped_by=self._stopped_by,
                left=left,
                warnings=[*self._trials.warnings, *self._warnings],
            ),
            self._order,
            self._grid,
        )
        self._place.tell(TuneFinished(result=result))
        return result

    def _run(self) -> None:
        setting = self._order.next()
        self._place.tell(
            TuneStarted(
                kind=self._trials.kind, uri=self._trials.uri, source=self._trials.source, size=self._trials.size,
                settings=len(self._grid.settings()), full_grid=self._options.full_grid,
                max_bytes=self._options.bytes, max_seconds=self._options.seconds, first=setting or self._first,
            )
        )  # fmt: skip
        while setting is not None:
            box = self._box(setting)
            sample = self._measure(setting, box) if box else None
            if sample is None:
                break
            again = any(known.setting == setting for known in self._order.samples)
            self._order.tell(sample)
            setting = self._order.next()
            self._place.tell(
                Tried(
                    sample=sample, again=again, number=self._number, samples=self._order.samples, bytes=self._bytes,
                    seconds=self._place.clock() - self._began, next=setting,
                )
            )  # fmt: skip
            if sample.throttled and (self._place.limits.remaining() or 0.0) > _SETTLE + _LEAST_SECONDS:
                self._place.limits.sleep(_SETTLE)
        if not any(sample.bytes for sample in self._order.samples):
            raise SourceStalled(
                f"not one setting could be measured: {self._bytes} bytes came in {self._options.seconds:g} s",
                op="tune",
                target=self._trials.uri,
            )

    def _box(self, setting: Setting) -> Box | None:
        """Say what the next trial may take; None if too little is left, and why is noted."""
        left, remaining = self._options.bytes - self._bytes, self._place.limits.remaining() or 0.0
        least = _ENOUGH * max((sample.bytes_per_second for sample in self._order.samples), default=0.0)
        least = max(least, _LEAST_BYTES)
        if left < least or remaining < _LEAST_SECONDS:
            if not self._order.done:
                self._stopped_by = "max_bytes" if left < least else "max_seconds"
            return None
        if self._options.full_grid:
            settings = max(1, len(self._grid.settings()) - len(self._order.samples))
            seconds = max(min(_GRID_TRIAL, remaining / settings - _UNDER_WAY), _LEAST_SECONDS / 2)
            return Box(seconds, max(left // settings, round(least)), early=False)
        seconds = max(_SEARCH_TRIAL, _SEARCH_WORK / setting.connections)
        return Box(seconds, max(left // _SHARE, round(least)), early=True)

    def _measure(self, setting: Setting, box: Box) -> Sample | None:
        """Try a setting; None if the budget ended it before it could tell anything."""
        trial = Trial(setting, box, self._place.clock, self._memory, self._processors)
        error: S3StreamError | None = None
        try:
            self._trials.measure(trial)
        except DeadlineExceeded:
            self._stopped_by = "max_seconds"
            return trial.sample() if trial.sure else None
        except Stopped:
            raise
        except S3StreamError as caught:
            # That the first setting cannot be moved at all is the store's doing; of the others, it may be their own.
            if not caught.retryable or not self._order.samples:
                raise
            error = caught
        finally:
            self._number += 1
            self._bytes += trial.bytes
            self._requests += trial.requests
        sample = trial.sample()
        if error is None:
            return sample
        self._warnings.append(f"{setting} did not work: {error}")
        return replace(sample, bytes=0, bytes_per_second=0.0, error=1.0)

    def _afford(self, grid: Grid) -> Grid:
        """Leave out the connections for which the process may not open enough files."""
        counts = tuple(count for count in grid.connections if affordable(count) >= count)
        if not counts:
            raise ConfigError(
                f"connections={list(grid.connections)} are more than the limit on open files allows (ulimit -n)"
            )
        if len(counts) < len(grid.connections):
            self._warnings.append(
                f"no more than {counts[-1]} connections were tried: the limit on open files (ulimit -n) allows no more"
            )
        return replace(grid, connections=counts)
