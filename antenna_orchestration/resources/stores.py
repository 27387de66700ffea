"""The deployment's stores as a Dagster resource.

Belongs here: how a definition gets its services. Setting up is free, because Dagster sets a resource up at every sensor
tick and twice in `dagster job execute`; connections are opened for the length of a `call` only.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.processing.services import Services, opened

T = TypeVar("T")


class Stores(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the services of the `ANTENNA_*` settings."""

    @property
    def settings(self) -> settings.Settings:
        """The process's settings."""
        return settings.get()

    async def use(self, act: Callable[[Services], Awaitable[T]]) -> T:
        """Connect, do something, disconnect."""
        async with opened(self.settings) as services:
            return await act(services)

    def call(self, act: Callable[[Services], Awaitable[T]]) -> T:
        """The same for synchronous callers such as sensors; keep it short, nothing interrupts it."""
        return asyncio.run(self.use(act))

    @property
    def is_stopping(self) -> bool:
        """Whether `antenna up` is stopping: then an interrupted run was not terminated by a person."""
        return (self.settings.home / "stopping").exists()
