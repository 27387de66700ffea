"""What the health check says of disks and of a queue that stores nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import disk_space, health
from tests.small_disks import filled, no_room_for, small_disk

pytestmark = pytest.mark.long


async def test_a_full_lake_fails_the_check(services: Services, tmp_path: Path) -> None:
    with small_disk(tmp_path / "lake", megabytes=8) as lake:
        wanted = services.settings.model_copy(update={"lake_uri": str(lake)})
        assert not [disk for disk in disk_space.disks_of(wanted) if disk.is_low and disk.folder == lake]
        with filled(lake):
            (low,) = [disk for disk in disk_space.disks_of(wanted) if disk.folder == lake]
            assert low.is_low and low.holds == "lake" and "make room" in str(low)


async def test_a_queue_that_stores_nothing_fails_the_check(own_services: Services, own_stores: EmbeddedStores) -> None:
    assert not (await disk_space.look(own_services)).refusing
    with no_room_for(own_stores.pid("nats")):
        report = await health.check(own_services)
    (result,) = [result for result in report.results if result.name == "disk_space"]
    assert result.unfixable
    assert any("the queue stores nothing in TASKS and RESULTS" in line for line in result.details), result.details
