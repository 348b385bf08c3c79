"""What outlives a try, in memory; and tries that end early."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from airflow_s3stream.engine.handover import Resume
from airflow_s3stream.engine.stop import StopFlag
from airflow_s3stream.exceptions import Stopped
from airflow_s3stream.plan.resume import ResumeToken
from tests.support.origin import Origin
from tests.support.stores import Store
from tests.support.transfers import Recorder, transfer


@dataclass
class KeptState:
    """A state store that remembers every save; ``fails`` names the calls that raise."""

    text: str | None = None
    saves: list[str] = field(default_factory=list)
    clears: int = 0
    fails: tuple[str, ...] = ()

    def load(self) -> object:
        self._fail("load")
        return self.text

    def save(self, text: str) -> None:
        self._fail("save")
        self.saves.append(text)
        self.text = text

    def clear(self) -> None:
        self._fail("clear")
        self.clears += 1
        self.text = None

    def _fail(self, name: str) -> None:
        if name in self.fails:
            raise ConnectionError(f"no {name} today")

    @property
    def token(self) -> ResumeToken:
        token = ResumeToken.from_text(self.text)
        assert token is not None, self.text
        return token

    def resume(self, *, again: bool = True) -> Resume:
        return Resume(store=self, again=lambda: again)


def stopped(
    origin: Origin, store: Store, state: KeptState, after: int, *, url: str = "", again: bool = True, **options: Any
) -> str:
    """Copy until the origin has sent so many bytes more, then stop; return what the error says."""
    stop = StopFlag()
    origin.when_sent(after, lambda: stop.request("the test says so"))
    try:
        result = transfer(url or origin.url, store, stop=stop, resume=state.resume(again=again), **options)
    except Stopped as error:
        return str(error)
    raise AssertionError(f"it was not stopped: {result}")


def told(heard: Recorder) -> str:
    """Return all that was noted, one line each."""
    return "\n".join(event.text for event in heard.events if hasattr(event, "text"))
