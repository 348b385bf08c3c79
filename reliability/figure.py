"""What a figure is: a question with a target, the cases that answer it, and what came out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

Verdict = Literal["met", "missed", "not measured"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How much is to be done."""

    seeds: int | None = None
    """Per kind; None: as many as the figure's target names."""
    quick: bool = False
    """A few seeds and small sizes: shows that it runs."""
    jobs: int = 2
    """Processes that cases are spread over; 1: none but this one."""
    remember: bool = False
    """Write a seed that finds something into the corpus."""

    def count(self, full: int, quick: int) -> int:
        """Give the number of seeds: what was asked for, else one of these two."""
        return self.seeds or (quick if self.quick else full)


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """One seed of one kind: all that must be known to do it again."""

    figure: str
    """The module's name."""
    kind: str
    seed: int

    @property
    def replay(self) -> str:
        """The command that does it again."""
        return f"python -m reliability {self.figure} --seed {self.seed} --kind '{self.kind}'"


@dataclass(frozen=True, slots=True)
class Finding:
    """What one case came to."""

    case: Case
    wrong: str = ""
    """What was wrong in one sentence; empty if all was well."""
    outcome: str = ""
    """What happened, in a word or two that can be counted: ``right``, ``refused``."""
    numbers: tuple[tuple[str, float], ...] = ()
    """What was measured on the way."""
    seconds: float = 0.0

    def number(self, name: str) -> float:
        return dict(self.numbers).get(name, 0.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One table of the page."""

    number: int
    """As in the list of figures; the page is in this order."""
    title: str
    target: str
    """What it should come to, in one sentence."""
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    verdict: Verdict
    seconds: float = 0.0
    seeds: str = ""
    """Which: ``0 to 99 of each kind``."""
    notes: Sequence[str] = ()
    failures: Sequence[str] = ()
    """What was wrong, each with the command that does it again."""


class Module(Protocol):
    """A module of ``reliability.figures``; ``KINDS`` and ``check`` only where there are seeds."""

    NUMBER: int
    TITLE: str
    TARGET: str
    KINDS: Sequence[str]

    def run(self, settings: Settings) -> Figure:
        """Measure; what goes wrong in a case is a row and a failure, never an exception."""

    def check(self, kind: str, seed: int) -> Finding:
        """Do one case, in this process; the same kind and seed do the same."""


def not_measured(number: int, title: str, target: str, why: str) -> Figure:
    """Give a figure that has no rows, and says why."""
    return Figure(number=number, title=title, target=target, columns=(), rows=(), verdict="not measured", notes=(why,))
