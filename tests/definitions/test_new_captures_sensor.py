"""The sensor that looks at watched sources, tick by tick."""

import asyncio
from pathlib import Path

import dagster as dg

from antenna_orchestration import settings
from antenna_orchestration.definitions import build_definitions
from antenna_orchestration.processing.services import opened
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.sensors.new_captures import new_captures
from tests.processing.watched import photograph, watch


def tick() -> str:
    with (
        dg.DagsterInstance.ephemeral() as instance,
        dg.build_sensor_context(
            instance=instance, resources={"stores": Stores()}, definitions=build_definitions()
        ) as context,
    ):
        result = new_captures(context)
    assert isinstance(result, dg.SkipReason) and result.skip_message
    return result.skip_message


def test_a_tick_submits_what_is_new_and_says_so(wanted: settings.Settings, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / "20260612221500.jpg", "one")

    async def begin() -> None:
        async with opened(wanted) as services:
            await watch(services, project, tmp_path / "a")

    async def jobs() -> int:
        async with opened(wanted) as services:
            found = await services.catalog.jobs.list(project=project)
            for source in await services.catalog.sources.list(project=project):
                await services.catalog.sources.pause(source.source_id)
            return len(found)

    async def beside() -> str:
        async with opened(wanted) as services, services.catalog.sources.lock():
            return await asyncio.to_thread(tick)

    asyncio.run(begin())
    assert asyncio.run(beside()) == "another process looks at the sources just now"
    assert "1 job submitted" in tick()
    assert asyncio.run(jobs()) == 1
