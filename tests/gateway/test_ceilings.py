"""What a submitter may ask for at most, so that its jobs leave the workers to others."""

import asyncio

import requests

from antenna_orchestration import errors
from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing import retry
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import SLUG, RunningGateway, job_for_http, token
from tests.gateway.http_worker import session


async def test_priority_and_interactive_have_ceilings_by_role(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    """S6: a submitter's jobs may not take all workers; an admin's may."""
    await job_for_http(services, project, 1)
    address = f"{gateway.base}/jobs/"

    def asks(http: requests.Session, number: int, **wish: object) -> requests.Response:
        body = {"project": project, "pipeline": SLUG, "images": [{"url": f"https://example.org/{number}.jpg"}], **wish}
        return http.post(address, json=body, timeout=60)

    with session(await token(services, project, role=Role.SUBMITTER)) as http:
        refused = asks(http, 0, priority=11)
        assert refused.status_code == 403 and "at most 10" in refused.json()["detail"]
        assert asks(http, 1, priority=10).status_code == 201
        jobs = [asks(http, number, interactive=True) for number in (2, 3)]
        assert [one.status_code for one in jobs] == [201, 201]
        third = asks(http, 4, interactive=True)
        assert third.status_code == 409 and "2 interactive jobs of this project are under way" in third.json()["detail"]
        assert asks(http, 4).status_code == 201
        # One that is over makes room, and is itself no way around the limit.
        over = jobs[0].json()["id"]
        assert http.post(f"{address}{over}/cancel/", timeout=60).status_code == 200
        assert asks(http, 5, interactive=True).status_code == 201
        assert http.post(f"{address}{over}/retry/", timeout=60).status_code == 409
    with session(await token(services, project, role=Role.ADMIN)) as http:
        assert asks(http, 6, interactive=True, priority=100).status_code == 201


async def test_retries_at_once_keep_to_the_limit(services: Services, gateway: RunningGateway, project: str) -> None:
    """Each counted the interactive jobs before any other was opened again."""
    await job_for_http(services, project, 1)
    address = f"{gateway.base}/jobs/"
    with session(await token(services, project, role=Role.ADMIN)) as http:
        jobs = []
        for number in range(6):
            images = [{"url": f"https://example.org/{number}.jpg"}]
            body = {"project": project, "pipeline": SLUG, "images": images, "interactive": True}
            jobs.append(http.post(address, json=body, timeout=60).json()["id"])
            assert http.post(f"{address}{jobs[-1]}/cancel/", timeout=60).status_code == 200
    acts = [retry.retry(services, job, most_interactive=2) for job in jobs]
    ends = await asyncio.gather(*acts, return_exceptions=True)
    assert sum(isinstance(end, retry.Retried) for end in ends) == 2
    assert sum(isinstance(end, errors.Conflict) for end in ends) == 4
    secret = await token(services, project, role=Role.SUBMITTER)
    with session(secret) as http:
        refused = http.post(f"{address}{jobs[[*map(type, ends)].index(errors.Conflict)]}/retry/", timeout=60)
        assert refused.status_code == 409 and "2 interactive jobs" in refused.json()["detail"]
