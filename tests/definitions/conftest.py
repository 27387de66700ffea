"""The environment in which a run's or a sensor's process finds the stores."""

from collections.abc import Iterator

import pytest

from antenna_orchestration import settings
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.resources import kept_connections


@pytest.fixture
def wanted(shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> Iterator[settings.Settings]:
    """The settings that the resource finds, as a run's process would: in the environment."""
    for name, value in shared_stores.variables.items():
        monkeypatch.setenv(name, value)
    settings.get.cache_clear()
    yield settings.get()
    # Those of the ticks; the stores end before this process does.
    kept_connections.of_this_process().close()
    settings.get.cache_clear()
