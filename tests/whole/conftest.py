"""Machines: one of a test's own, or one that lives on through the faults of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.homes import temporary_folder
from tests.recoveries import Recovery
from tests.whole.machine import Machine


@contextmanager
def _machine() -> Iterator[Machine]:
    with temporary_folder() as folder:
        made = Machine(folder, [])
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture
def machine(recoveries: list[Recovery]) -> Iterator[Machine]:
    """A machine of the test's own, its stack not started yet."""
    with _machine() as made:
        made.recoveries = recoveries
        yield made


@pytest.fixture(scope="module")
def _module_machine() -> Iterator[Machine]:
    with _machine() as made:
        yield made


@pytest.fixture
def lasting(_module_machine: Machine, recoveries: list[Recovery]) -> Machine:
    """The file's machine, running; started again if a test left it down."""
    _module_machine.recoveries = recoveries
    if _module_machine.process is None or _module_machine.process.poll() is not None:
        _module_machine.up()
    return _module_machine
