"""Lists of jobs: each filter of the contract is honoured or refused, and says who submitted what."""

from typing import Any

import pytest

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import HttpWorker, session
from tests.gateway.test_registration import register


def listed(gateway: RunningGateway, secret: str, **filters: Any) -> list[int]:
    with session(secret) as http:
        answer = http.get(f"{gateway.base}/jobs/", params=filters, timeout=60)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["results"]]


async def test_jobs_by_deployment_and_submitter(services: Services, gateway: RunningGateway, project: str) -> None:
    slug = f"f-{project}"[:60]
    worker = HttpWorker(base=gateway.base, token=await token(services, project), slugs=(slug,))
    worker.register()
    anna = await token(services, project, role=Role.SUBMITTER, label="Anna")
    unnamed = await token(services, project, role=Role.SUBMITTER)
    jobs = []
    for number, (secret, deployment) in enumerate([(anna, "pond"), (unnamed, "forest")]):
        new = {"project": project, "pipeline": slug, "deployment": deployment,
               "images": [{"url": f"https://example.org/{project}/{number}.jpg"}]}  # fmt: skip
        with session(secret) as http:
            made = http.post(f"{gateway.base}/jobs/", json=new, timeout=60).json()
        jobs.append(made)
    first, second = (job["id"] for job in jobs)
    assert jobs[0]["created_by"] == "Anna" and jobs[1]["created_by"].startswith("submitter ")
    # For people, and for workers: those see what they can lease now.
    for secret, extra in [(anna, {}), (worker.token, {"limit": 10, "ids_only": 1})]:
        assert sorted(listed(gateway, secret, **extra)) == [first, second]
        assert listed(gateway, secret, deployment="pond", **extra) == [first]
        assert listed(gateway, secret, deployment="nowhere", **extra) == []
        assert listed(gateway, secret, created_by="Anna", **extra) == [first]
        assert listed(gateway, secret, deployment="forest", created_by="Anna", **extra) == []
        assert sorted(listed(gateway, secret, job_type_key="ml", **extra)) == [first, second]
        assert listed(gateway, secret, job_type_key="data_storage_sync", **extra) == []
        # Without a value, a filter is none.
        assert sorted(listed(gateway, secret, deployment="", source_image_single="", **extra)) == [first, second]
    with session(worker.token) as http:
        named = http.get(f"{gateway.base}/jobs/next/", params={"deployment": "forest"}, timeout=60).json()
        assert named["id"] == second
        nothing = http.get(f"{gateway.base}/jobs/next/", params={"deployment": "nowhere"}, timeout=60)
        assert nothing.status_code == 204


@pytest.mark.parametrize("name", ["source_image_collection", "source_image_single"])
async def test_filters_without_an_answer_are_refused(
    name: str, services: Services, gateway: RunningGateway, project: str
) -> None:
    for role in (Role.WORKER, Role.SUBMITTER):
        with session(await token(services, project, role=role)) as http:
            answer = http.get(f"{gateway.base}/jobs", params={name: "7"}, timeout=60)
        assert answer.status_code == 400
        assert answer.json()["detail"].startswith(f"{name}: ") and "filter by deployment" in answer.json()["detail"]


async def test_any_task_type_is_kept(services: Services, gateway: RunningGateway, project: str) -> None:
    secret = await token(services, project)
    kinds = ["detection", "localization", "segmentation", "embedding", "tracking", "ocr of labels", None]
    algorithms = [
        {"name": "a", "key": f"{project}-{number}", "task_type": kind, "version": 1}
        for number, kind in enumerate(kinds)
    ]
    slug = f"t-{project}"[:60]
    described = {"name": "All", "slug": slug, "version": 1, "algorithms": algorithms}
    assert register(gateway, secret, described).status_code == 201
    kept = await services.catalog.pipelines.find(slug)
    assert kept is not None
    assert [one.task for one in kept.algorithms] == [*kinds[:-1], "localization"]
    described["algorithms"] = [{**algorithms[0], "task_type": "x" * 101}]
    assert register(gateway, secret, described).status_code == 400
