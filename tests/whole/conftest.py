"""Machines: one of a test's own, or one that lives on through the faults of a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field

import pytest

from tests.homes import temporary_folder
from tests.recoveries import Recovery
from tests.whole.machine import Machine


@contextmanager
def _machine(recoveries: list[Recovery]) -> Iterator[Machine]:
    with temporary_folder() as folder:
        made = Machine(folder, recoveries)
        try:
            yield made
        finally:
            made.remove()


@pytest.fixture
def machine(recoveries: list[Recovery]) -> Iterator[Machine]:
    """A machine of the test's own, its stack not started yet."""
    with _machine(recoveries) as made:
        yield made


@dataclass
class _Kept:
    """The file's machine, if there is one."""

    machine: Machine | None = None
    held: ExitStack = field(default_factory=ExitStack)

    def forget(self) -> None:
        self.machine = None
        self.held.close()


@pytest.fixture(scope="module")
def _kept() -> Iterator[_Kept]:
    kept = _Kept()
    yield kept
    kept.forget()


@pytest.fixture
def lasting(_kept: _Kept, recoveries: list[Recovery], request: pytest.FixtureRequest) -> Iterator[Machine]:
    """The file's machine, running; another one after a test that failed."""
    if _kept.machine is None:
        _kept.machine = _kept.held.enter_context(_machine(recoveries))
        _kept.machine.up()
    _kept.machine.recoveries = recoveries
    failed = request.session.testsfailed
    yield _kept.machine
    if request.session.testsfailed > failed:
        _kept.forget()
