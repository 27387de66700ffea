"""The environment in which a run's or a sensor's process finds the stores."""

from collections.abc import Iterator

import pytest

from antenna_orchestration import settings
from antenna_orchestration.embedded.stores import EmbeddedStores


@pytest.fixture
def wanted(shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[settings.Settings]:
    """The settings that the resource finds, as a run's process would: in the environment."""
    for name, value in shared_stores.variables.items():
        monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    yield settings.get()
    settings.get.cache_clear()
