"""The deployment's stores as a Dagster resource.

Belongs here: how a definition gets its services. Setting up costs nothing, because Dagster sets a resource up at every
sensor tick and twice in `dagster job execute`; connections are opened only while they are used.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.processing import services
from antenna_orchestration.processing.services import Services
from antenna_orchestration.resources import run_states

T = TypeVar("T")


class Stores(dg.ConfigurableResource):  # type: ignore[type-arg]
    """Opens the services of the `ANTENNA_*` settings."""

    @property
    def settings(self) -> settings.Settings:
        """The process's settings."""
        return settings.get()

    def opened(self) -> AbstractAsyncContextManager[Services]:
        """The services, connected for the length of a block."""
        return services.opened(self.settings)

    def call(self, act: Callable[[Services], Awaitable[T]]) -> T:
        """Let a synchronous caller, such as a sensor, use the services. Nothing interrupts `act`: keep it short."""
        return asyncio.run(self._call(act))

    async def _call(self, act: Callable[[Services], Awaitable[T]]) -> T:
        async with self.opened() as connected:
            return await act(connected)

    @property
    def is_stopping(self) -> bool:
        """Whether `antenna up` is stopping: an interrupted run was then not terminated by a person."""
        return run_states.is_stack_stopping()
