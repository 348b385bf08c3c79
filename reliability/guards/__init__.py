"""What protects the bytes, guard by guard, and what fails without it. One module per part of the product."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Tests:
    """Tests, as pytest is told of them."""

    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join(argument.rpartition("/")[2] for argument in self.arguments)


@dataclass(frozen=True, slots=True)
class Seeds:
    """Seeds of a figure's kind, from 0 on, until one is wrong."""

    figure: str
    kind: str
    count: int = 60

    def __str__(self) -> str:
        return f"{self.figure}, {self.kind}, {self.count} seeds"


Check = Tests | Seeds


@dataclass(frozen=True, slots=True)
class Mutation:
    """One guard taken out."""

    name: str
    """What the guard does, in a few words."""
    file: str
    """Relative to the checkout."""
    old: str
    """Exactly once in the file."""
    new: str
    check: Check


def tests(*paths: str, only: str = "") -> Tests:
    """Give tests by their paths below tests/; ``only``: those whose names fit, as pytest's ``-k`` has it."""
    return Tests((*(f"tests/{path}" for path in paths), *(("-k", only) if only else ())))


def everything() -> list[Mutation]:
    """Give every mutation, module by module."""
    modules = [importlib.import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
    return [mutation for module in modules for mutation in module.MUTATIONS]
