"""How much waits, as one figure for whoever starts workers from outside."""

from __future__ import annotations

import asyncio
from typing import Any

import requests

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.processing.jobs_by_hand import make_job
from tests.waiting import eventually


async def asked(gateway: RunningGateway, secret: str, path: str) -> requests.Response:
    headers = {"Authorization": f"Bearer {secret}"}
    return await asyncio.to_thread(requests.get, f"{gateway.base}/scale/{path}", headers=headers, timeout=60)


async def test_a_monitor_reads_how_much_waits_for_a_pipeline(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    monitor = await token(services, project, role=Role.MONITOR)
    job = await make_job(services, project, 100, source_kinds=["s3:traps"])
    elsewhere = await make_job(services, project, 7, source_kinds=["file:elsewhere"])
    for one in (job, elsewhere):
        await publish.publish(services, one.job_id)

    async def figure(path: str, images: int) -> dict[str, Any]:
        async def told() -> dict[str, Any] | None:
            answer = await asked(gateway, monitor, path)
            assert answer.status_code == 200, answer.text
            found: dict[str, Any] = answer.json()
            return found if found["images"] == images else None

        found = await eventually(told, description=f"{images} images at {path}")
        assert found is not None
        return found

    far = await figure("null/?within=100000", 100)
    assert (set(far), far["workers"]) == ({"images", "seconds", "workers"}, 1)
    assert far["seconds"] > 0
    near = await figure(f"null/?within={20 + far['seconds'] / 2.5:.3f}", 100)
    # Three could do it, but not for more than a quarter of what there is (`overhead`): starting them is not free.
    assert near["workers"] == max(1, min(3, int(0.25 * far["seconds"] / 80)))
    assert await figure("null/?reaches=http,s3:*,file:*&within=100000", 107)
    assert await figure("?within=100000", 100) == far
    assert (await figure("light_trap_insects/", 0))["workers"] == 0
    stranger = await token(services, f"{project[:50]}-other", role=Role.MONITOR)
    assert (await asked(gateway, stranger, "null/")).json() == {"images": 0, "seconds": 0.0, "workers": 0}
    # Of all projects, like an admin's.
    of_all = (await asked(gateway, await token(services, role=Role.MONITOR), "null/")).json()
    assert of_all["images"] >= 100


async def test_what_is_not_known_is_no_zero(services: Services, gateway: RunningGateway, project: str) -> None:
    """KEDA leaves the number of workers as it is on any other status than 200; of a zero it would stop them all."""
    monitor = await token(services, project, role=Role.MONITOR)
    answer = await asked(gateway, monitor, "no-such/")
    assert answer.status_code == 404
    assert answer.json()["detail"] == "workers of this installation serve no pipeline no-such"
    for wrong in ("null/?within=0", "null/?within=nan", "null/?within=inf", f"null/?reaches={'x' * 2000}"):
        assert (await asked(gateway, monitor, wrong)).status_code == 400, wrong
