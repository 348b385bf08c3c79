"""
The figures, one module each; a new one is one more module that fits :class:`reliability.figure.Module`.

Nothing lists them: their ``NUMBER`` is their place on the page.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import cast

from reliability.figure import Module


def names() -> list[str]:
    return sorted(found.name for found in pkgutil.iter_modules(__path__))


def load(name: str) -> Module:
    """Import one figure."""
    return cast(Module, importlib.import_module(f"{__name__}.{name}"))


def everything() -> dict[str, Module]:
    """Give all figures by name, in the order of the page."""
    found = {name: load(name) for name in names()}
    return dict(sorted(found.items(), key=lambda entry: entry[1].NUMBER))
