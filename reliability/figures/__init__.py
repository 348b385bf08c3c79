"""
The figures, one module each; a new one is one more module that fits :class:`reliability.figure.Module`.

Nothing lists them: their ``NUMBER`` is their place on the page.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from typing import cast

from reliability.figure import Module


def names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def load(name: str) -> Module:
    """Import one figure."""
    return cast(Module, importlib.import_module(f"{__name__}.{name}"))


def kinds(name: str) -> Sequence[str]:
    """Give the kinds of seeds that a figure has; none, where it draws from none."""
    return getattr(load(name), "KINDS", ())


def everything() -> dict[str, Module]:
    """Give all figures by name, in the order of the page."""
    found = {name: load(name) for name in names()}
    return dict(sorted(found.items(), key=lambda entry: entry[1].NUMBER))
