"""The deployment's stores as a Dagster resource.

Belongs here: how a definition gets its services. Setting up costs nothing, because Dagster sets a resource up at every
sensor tick and twice in `dagster job execute`. Runs open connections at their first use; ticks of sensors share those
that the code server keeps.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import TypeVar

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.processing import services
from antenna_orchestration.processing.services import Records, Services
from antenna_orchestration.resources import kept_connections, run_states

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
        """Let a synchronous caller, such as an op, use the services. Nothing interrupts `act`: keep it short."""
        return asyncio.run(self._call(act))

    def in_tick(self, act: Callable[[Services], Awaitable[T]]) -> T:
        """Let a sensor's tick use the services, over connections that this process keeps. Nothing interrupts `act`.

        It shares an event loop with all other ticks: what blocks belongs on a thread. Raises `Unavailable`.
        """
        return kept_connections.of_this_process().with_services(self.settings, act)

    def in_tick_without_queue(self, act: Callable[[Records], Awaitable[T]]) -> T:
        """The same for a tick that the queue need not answer."""
        return kept_connections.of_this_process().with_records(self.settings, act)

    async def _call(self, act: Callable[[Services], Awaitable[T]]) -> T:
        async with self.opened() as connected:
            return await act(connected)

    @property
    def is_stopping(self) -> bool:
        """Whether `antenna up` is stopping: an interrupted run was then not terminated by a person."""
        return run_states.is_stack_stopping()
