"""Rules of CONTRIBUTING that no linter knows: docstrings of modules, waiting in tests, names of helpers."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.long

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "antenna_orchestration"
TESTS = ROOT / "tests"

DAGSTER_FOLDERS = ("assets", "jobs", "resources", "schedules", "sensors")

MAY_SLEEP = {
    "waiting.py",  # the one place that waits for a fact, or lets an outage last
    "embedded/tiny_definitions.py",  # stand-ins for slow work and slow servers
    "engines/image_host.py",
    "hostile/hostile_clients.py",  # slow ones
    "loading/image_server.py",
    "pipelines/faulty.py",
    "pipelines/wrong_in_one_way.py",
    "processing/rounds_process.py",  # between two ticks of a sensor
    "push/processing_service.py",
    "worker/recording.py",
    "worker/side_by_side.py",
}
"""Files of `tests/` in which time passes on purpose. Everywhere else a test waits for a fact."""


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def sleeps(path: Path) -> Iterator[int]:
    """Lines that call `time.sleep` or `asyncio.sleep` with anything but a constant zero, which only yields."""
    for node in ast.walk(tree(path)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "sleep"):
            continue
        if ast.unparse(node.func) in ("time.sleep", "asyncio.sleep"):
            [argument] = node.args
            if not (isinstance(argument, ast.Constant) and argument.value == 0):
                yield node.lineno


def test_every_module_begins_with_what_belongs_in_it() -> None:
    without = [path for path in PACKAGE.rglob("*.py") if not ast.get_docstring(tree(path))]
    assert not without


def test_nothing_waits_in_a_way_that_swallows_a_cancellation() -> None:
    """`asyncio.wait_for` does, up to Python 3.11, if it comes together with the result; `asyncio.timeout` does not."""
    assert [path for path in PACKAGE.rglob("*.py") if "asyncio.wait_for(" in path.read_text()] == []


def test_a_test_never_sleeps() -> None:
    found = {str(path.relative_to(TESTS)): list(sleeps(path)) for path in TESTS.rglob("*.py")}
    assert not {name: lines for name, lines in found.items() if lines and name not in MAY_SLEEP}


def test_sleeping_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "test_slow.py"
    file.write_text("import asyncio, time\nasyncio.sleep(0)\ntime.sleep(0.1)\n")
    assert list(sleeps(file)) == [3]


def test_helpers_have_names_of_their_own() -> None:
    named: dict[str, list[str]] = {}
    for path in TESTS.rglob("*.py"):
        if not path.name.startswith(("test_", "__init__", "conftest")):
            named.setdefault(path.name, []).append(str(path.relative_to(TESTS)))
    assert not {name: paths for name, paths in named.items() if len(paths) > 1}


def test_a_test_name_is_a_sentence_of_at_most_twelve_words() -> None:
    names = [
        node.name.removeprefix("test_")
        for path in TESTS.rglob("test_*.py")
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
    ]
    assert not [name for name in names if len(name.split("_")) > 12]


def test_dagster_reads_annotations_as_types() -> None:
    """A postponed annotation of `context` or a `Config` breaks assets, ops and sensors."""
    postponed = [
        path
        for folder in DAGSTER_FOLDERS
        for path in (PACKAGE / folder).rglob("*.py")
        for node in tree(path).body
        if isinstance(node, ast.ImportFrom) and node.module == "__future__"
    ]
    assert not postponed
