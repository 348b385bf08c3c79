"""docs/faults.md names every fault once, and for each a test that exists or the reason why there is none."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "faults.md"
_TEST = re.compile(r"`(tests/[^`]*)`")
_REASON = re.compile(r"None: \w.{20,}\.")


class Row(NamedTuple):
    """One row of the tables."""

    number: int
    fault: str
    does: str
    shown: str

    @property
    def tests(self) -> list[str]:
        return _TEST.findall(self.shown)


def read_rows(text: str) -> list[Row]:
    """Return the rows of all tables, in the order of the page."""
    rows = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip().strip("|").split(" | ")]
        if line.startswith("|") and cells[0].isdigit():
            assert len(cells) == 4, line
            rows.append(Row(int(cells[0]), *cells[1:]))
    return rows


ROWS = read_rows(PAGE.read_text())


@cache
def named_in(path: str) -> frozenset[str]:
    """Return the tests of a file, as pytest calls them within it; none where there is no such file."""
    if not (ROOT / path).is_file():
        return frozenset()
    found = set()
    for node in ast.parse((ROOT / path).read_text()).body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
            found |= {f"{node.name}::{inner.name}" for inner in node.body if isinstance(inner, ast.FunctionDef)}
    return frozenset(name for name in found if name.split("::")[-1].startswith("test_"))


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    return name in named_in(path)


def test_every_fault_is_there_once_and_in_order() -> None:
    assert [row.number for row in ROWS] == list(range(1, 100))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_every_fault_has_a_test_or_a_reason(row: Row) -> None:
    assert row.fault
    assert row.does
    assert bool(row.tests) != bool(_REASON.fullmatch(row.shown)), row.shown


@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.number))
def test_every_test_that_is_named_exists(row: Row) -> None:
    assert [test for test in row.tests if not exists(test)] == []
    assert len(set(row.tests)) == len(row.tests)


@pytest.mark.parametrize(
    "test",
    [
        "tests/unit/test_fault_table.py::test_nothing_of_this_name",
        "tests/unit/test_no_such_file.py::test_anything",
        "tests/unit/test_fault_table.py::Row::tests",
        "tests/unit/test_fault_table.py",
    ],
)
def test_what_does_not_exist_is_noticed(test: str) -> None:
    assert not exists(test)
    assert exists("tests/unit/test_fault_table.py::test_what_does_not_exist_is_noticed")


def test_a_row_that_is_missing_or_says_nothing_is_noticed() -> None:
    rows = read_rows(
        "| # | the fault | what happens | shown by |\n|---|---|---|---|\n| 1 | a | b | None: no. |\n| 3 | a | b | - |"
    )
    assert [row.number for row in rows] == [1, 3]
    assert not any(row.tests or _REASON.fullmatch(row.shown) for row in rows)
