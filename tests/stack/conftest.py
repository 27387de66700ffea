"""A whole running stack, started as a user starts it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.homes import temporary_folder
from tests.stack.antenna_up import RunningStack


@pytest.fixture(scope="module")
def running(template: Path) -> Iterator[RunningStack]:
    """One stack for the tests of a file, which leave it as it is; leases of two seconds."""
    with temporary_folder() as folder:
        stack = RunningStack(folder / ".antenna", template=template)
        stack.up()
        try:
            yield stack
        finally:
            stack.down()


@pytest.fixture
def own_stack_process(template: Path) -> Iterator[RunningStack]:
    """A stack of the test's own, not started yet."""
    with temporary_folder() as folder:
        stack = RunningStack(folder / ".antenna", template=template)
        try:
            yield stack
        finally:
            stack.down()
