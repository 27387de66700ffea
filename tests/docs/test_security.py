"""The threat table of SECURITY.md names tests that exist, for every finding of the trial."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FINDINGS = {f"S{number}" for number in range(1, 9)} | {f"M{number}" for number in range(1, 10)}
WITHOUT_A_TEST: set[str] = set()
"""Rows that no test is named for yet; whoever fills one takes it out here."""


def rows() -> list[tuple[str, ...]]:
    """The cells of each row of the threat table."""
    table = (ROOT / "SECURITY.md").read_text().partition("\n## Threats\n")[2]
    cells = [
        tuple(cell.strip() for cell in line.strip("|").split("|")) for line in re.findall(r"^\|.*\|$", table, re.M)
    ]
    assert cells[0] == ("no.", "threat", "what stands against it", "tests")
    return cells[2:]


def named(cell: str) -> list[tuple[str, str]]:
    """Files and functions that a cell names."""
    return re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", cell)


def test_every_finding_has_a_row_and_a_test() -> None:
    table = rows()
    assert not [row for row in table if len(row) != 4]
    numbers = [row[0] for row in table]
    assert set(numbers) >= FINDINGS
    assert set(numbers) - FINDINGS == {"low", "held"}
    assert {row[0] for row in table if not named(row[3])} == WITHOUT_A_TEST
    for row in table:
        assert row[3] == " ".join(f"`{file}::{name}`" for file, name in named(row[3])), "nothing but names of tests"


@pytest.mark.parametrize("file", sorted({file for row in rows() for file, _ in named(row[3])}))
def test_the_tests_that_it_names_exist(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text())
    there = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert {name for row in rows() for each, name in named(row[3]) if each == file} <= there
