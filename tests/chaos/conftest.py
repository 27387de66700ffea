"""One rig a module, its worker alive from fault to fault."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import embedded_stores
from tests.chaos.rig import Rig, rig
from tests.homes import temporary_folder
from tests.recoveries import Recovery
from tests.stack.conftest import running

__all__ = ["running"]


@pytest.fixture(scope="module")
def module_rig(template: Path) -> Iterator[Rig]:
    with (
        temporary_folder() as folder,
        embedded_stores(folder / ".antenna", template=template) as stores,
        rig(stores, folder) as made,
    ):
        yield made


@pytest.fixture(name="rig")
def repaired_rig(module_rig: Rig, recoveries: list[Recovery]) -> Iterator[Rig]:
    """The module's rig, whole before and after."""
    module_rig.prepare()
    module_rig.recoveries = recoveries
    yield module_rig
    module_rig.repair()
