"""Pipelines that workers register, and jobs that name them."""

import asyncio
from typing import Any

import requests

from antenna_orchestration.domain.access import Role, fingerprint
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import HttpWorker, pipeline_description, session


def register(
    gateway: RunningGateway, secret: str, *pipelines: dict[str, Any], project: int | None = None
) -> requests.Response:
    with session(secret) as http:
        if project is None:
            project = http.get(f"{gateway.base}/projects/", timeout=60).json()["results"][0]["id"]
        body = {"processing_service_name": "lab (gpu-1)", "pipelines": list(pipelines)}
        return http.post(f"{gateway.base}/projects/{project}/pipelines/", json=body, timeout=60)


async def test_what_both_sides_of_the_contract_read(services: Services, gateway: RunningGateway, project: str) -> None:
    secret = await token(services, project)
    slug = f"r-{project}"[:60]
    first = register(gateway, secret, pipeline_description(slug))
    assert first.status_code == 201
    said = first.json()
    assert said["success"] is True and said["error"] is None
    assert said["pipelines_created"] == [slug] and said["pipelines_updated"] == []
    assert isinstance(said["processing_service_id"], int)
    again = register(gateway, secret, pipeline_description(slug)).json()
    assert again["pipelines_created"] == [] and again["pipelines_updated"] == [slug]
    assert again["algorithms_created"] == []


async def test_a_contradiction_is_an_error(services: Services, gateway: RunningGateway, project: str) -> None:
    secret = await token(services, project)
    slug = f"c-{project}"[:60]
    changed = pipeline_description(slug)
    assert register(gateway, secret, changed).status_code == 201
    changed["algorithms"] = changed["algorithms"][:1]
    answer = register(gateway, secret, changed)
    assert answer.status_code == 409 and "new version" in answer.json()["detail"]
    relabelled = pipeline_description(slug)
    relabelled["version"] = 2
    relabelled["algorithms"][1]["category_map"]["labels"] = ["nonmoth", "moth"]
    answer = register(gateway, secret, relabelled)
    assert answer.status_code == 409 and "other labels" in answer.json()["detail"]
    taken = {**pipeline_description("null")}
    assert register(gateway, secret, taken).status_code == 409
    # A pipeline that another project uses is not changed from here.
    stranger = await token(services, f"{project[:50]}-other")
    theirs = {**pipeline_description(slug), "version": 3, "algorithms": []}
    assert register(gateway, stranger, theirs).status_code == 409
    # Nor is it called otherwise, by one that serves just the same.
    renamed = {**pipeline_description(slug), "name": "Mine now"}
    assert register(gateway, stranger, renamed).status_code == 201
    known = await services.catalog.pipelines.find(slug)
    assert known is not None and known.name == pipeline_description(slug)["name"]


async def test_what_cannot_be_registered(services: Services, gateway: RunningGateway, project: str) -> None:
    secret = await token(services, project)
    with session(secret) as http:
        mine = http.get(f"{gateway.base}/projects/", timeout=60).json()["results"][0]["id"]
        book = {"pipelines": [], "client_info": {"hostname": "x" * 20_000}}
        answer = http.post(f"{gateway.base}/projects/{mine}/pipelines/", json=book, timeout=60)
        assert answer.status_code == 400 and "client_info" in answer.json()["detail"]
    for slug in ("Moths 2024", "a.b", "", ">", "x" * 65):
        answer = register(gateway, secret, pipeline_description(slug))
        assert answer.status_code == 400 and "slug" in answer.json()["detail"], slug
    assert register(gateway, secret, pipeline_description(), project=10**9).status_code == 404


async def test_a_job_can_name_a_registered_pipeline(services: Services, gateway: RunningGateway, project: str) -> None:
    slug = f"j-{project}"[:60]
    worker = HttpWorker(base=gateway.base, token=await token(services, project), slugs=(slug,))
    worker.register()
    new = {"project": project, "pipeline": slug, "name": "by http", "config": {"top_k": 3},
           "images": [{"url": f"https://example.org/{number}.jpg"} for number in range(3)]}  # fmt: skip
    secret = await token(services, project, role=Role.SUBMITTER)
    with session(secret) as http:
        made = http.post(f"{gateway.base}/jobs/", json=new, timeout=60)
        assert made.status_code == 201, made.text
        job = made.json()
        assert (job["status"], job["total"], job["pipeline_slug"]) == ("PENDING", 3, slug)
        assert [one.id for one in worker.jobs()] == [job["id"]]
        shown = http.get(f"{gateway.base}/jobs/{job['id']}/", params={"logs_limit": 5}, timeout=60).json()
        assert [stage["key"] for stage in shown["progress"]["stages"]] == ["collect", "process", "results"]
        assert shown["logs"][0]["action"] == "submitted"
        # A1: it says what it waits for. The worker asked, so that only the run is missing.
        assert shown["status_reason"].startswith("a run to collect its results")
        assert http.post(f"{gateway.base}/jobs/{job['id']}/run", timeout=60).status_code == 200
        assert http.post(f"{gateway.base}/jobs/{job['id']}/retry/", timeout=60).status_code == 409
        canceled = http.post(f"{gateway.base}/jobs/{job['id']}/cancel/", timeout=60).json()
        assert canceled["status"] == "REVOKED"
        assert worker.jobs() == []
        assert http.post(f"{gateway.base}/jobs/{job['id']}/retry/", timeout=60).json()["status"] == "PENDING"
        http.post(f"{gateway.base}/jobs/{job['id']}/cancel/", timeout=60)
        told = http.get(f"{gateway.base}/jobs/{job['id']}/", params={"logs_limit": 50}, timeout=60).json()["logs"]
        by = f", by submitter {fingerprint(secret)}"
        acts = [one["action"] for one in told if one["message"].endswith(by)]
        assert sorted(acts) == ["canceling", "canceling", "retried", "submitted"], told
        unknown = http.post(f"{gateway.base}/jobs/", json={**new, "pipeline": "nobody-has-it"}, timeout=60)
        assert unknown.status_code == 400 and "nobody-has-it" in unknown.json()["detail"]


async def test_a_project_cannot_run_or_change_another_s_pipeline(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    slug, theirs = f"o-{project}"[:60], f"{project[:50]}-other"
    mine = pipeline_description(slug)
    owner, stranger = await token(services, project), await token(services, theirs)
    assert register(gateway, owner, mine).status_code == 201
    new = {"pipeline": slug, "images": [{"url": "https://example.org/1.jpg"}]}
    for name, expected in [(project, 201), (theirs, 400)]:
        with session(await token(services, name, role=Role.SUBMITTER)) as http:
            made = http.post(f"{gateway.base}/jobs/", json={**new, "project": name}, timeout=60)
            assert made.status_code == expected, made.text
    # As if there were none of that name.
    assert f"no pipeline {slug!r}" in made.json()["detail"], made.text
    # What it has is not told to those that it is not for.
    changed = {**mine, "name": "Mine now", "algorithms": mine["algorithms"][:1]}
    for version in (1, 2):
        answer = register(gateway, stranger, {**changed, "version": version})
        assert answer.status_code == 409 and "choose another slug" in answer.json()["detail"]
        assert "moth_binary" not in answer.text
    # Who serves the very same may do so for its own project, under the owner's name.
    assert register(gateway, stranger, {**mine, "name": "Mine now"}).status_code == 201
    with session(await token(services, theirs, role=Role.SUBMITTER)) as http:
        made = http.post(f"{gateway.base}/jobs/", json={**new, "project": theirs}, timeout=60)
        assert made.status_code == 201, made.text
    known = await services.catalog.pipelines.find(slug)
    assert known is not None and (known.name, known.is_public) == (mine["name"], False)


async def test_who_serves_the_same_locks_nobody_out(services: Services, gateway: RunningGateway, project: str) -> None:
    """M2: the owner got 409 for new versions, as soon as another project had registered the very same or had a job."""
    slug, theirs = f"l-{project}"[:60], f"{project[:50]}-other"
    mine = pipeline_description(slug)
    owner, stranger = await token(services, project), await token(services, theirs)
    assert register(gateway, owner, mine).status_code == 201
    assert register(gateway, stranger, mine).status_code == 201
    with session(await token(services, theirs, role=Role.SUBMITTER)) as http:
        new = {"project": theirs, "pipeline": slug, "images": [{"url": "https://example.org/1.jpg"}]}
        assert http.post(f"{gateway.base}/jobs/", json=new, timeout=60).status_code == 201
    changed = {**mine, "version": 2, "algorithms": mine["algorithms"][:1]}
    refused = register(gateway, stranger, {**changed, "version": 3})
    assert refused.status_code == 409 and "serves other projects" in refused.json()["detail"]
    assert register(gateway, owner, changed).status_code == 201
    known = await services.catalog.pipelines.find(slug)
    assert known is not None and known.version == "2"


async def test_a_new_slug_is_whose_worker_is_first(services: Services, gateway: RunningGateway, project: str) -> None:
    """Each found the slug free, and the later one became the owner of what the other's worker serves."""
    projects = [project, f"{project[:50]}-other"]
    tokens = [await token(services, one) for one in projects]
    for number in range(5):
        mine = pipeline_description(f"n{number}-{project}"[:60])
        asked = [mine, {**mine, "algorithms": mine["algorithms"][:1]}]
        answers = await asyncio.gather(
            *(asyncio.to_thread(register, gateway, secret, one) for secret, one in zip(tokens, asked, strict=True))
        )
        assert sorted(one.status_code for one in answers) == [201, 409]
        first = asked[[one.status_code for one in answers].index(201)]
        known = await services.catalog.pipelines.find(mine["slug"])
        assert known is not None and len(known.algorithms) == len(first["algorithms"])


async def test_a_slug_that_nobody_uses_is_not_held(services: Services, gateway: RunningGateway, project: str) -> None:
    """M2: whoever registered a slug first kept it from everybody else for ever."""
    slug, theirs = f"s-{project}"[:60], f"{project[:50]}-other"
    mine = pipeline_description(slug)
    squatter, owner = await token(services, theirs), await token(services, project)
    squatted = {**mine, "algorithms": mine["algorithms"][:1]}
    assert register(gateway, squatter, squatted).status_code == 201
    refused = register(gateway, owner, mine)
    assert refused.status_code == 409 and mine["algorithms"][0]["key"] not in refused.text
    await services.catalog.tokens.revoke(fingerprint(squatter), by="a test")
    assert register(gateway, owner, mine).status_code == 201
    for name, expected in [(project, 201), (theirs, 400)]:
        with session(await token(services, name, role=Role.SUBMITTER)) as http:
            new = {"project": name, "pipeline": slug, "images": [{"url": "https://example.org/1.jpg"}]}
            assert http.post(f"{gateway.base}/jobs/", json=new, timeout=60).status_code == expected
    # It is in use now, and no longer to be had.
    again = register(gateway, await token(services, theirs), squatted)
    assert again.status_code == 409


async def test_an_admin_of_all_projects_publishes_for_all(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    slug, theirs = f"p-{project}"[:60], f"{project[:50]}-other"
    worker, admin = await token(services, project), await token(services, role=Role.ADMIN)
    with session(worker) as http:
        number = http.get(f"{gateway.base}/projects/", timeout=60).json()["results"][0]["id"]
    url = f"{gateway.base}/projects/{number}/pipelines/"
    body = {"processing_service_name": "lab", "pipelines": [pipeline_description(slug)], "public": True}
    with session(worker) as http:
        refused = http.post(url, json=body, timeout=60)
        assert refused.status_code == 403 and "admin of all projects" in refused.json()["detail"]
    with session(admin) as http:
        assert http.post(url, json=body, timeout=60).status_code == 201
    with session(await token(services, theirs, role=Role.SUBMITTER)) as http:
        new = {"project": theirs, "pipeline": slug, "images": [{"url": "https://example.org/1.jpg"}]}
        assert http.post(f"{gateway.base}/jobs/", json=new, timeout=60).status_code == 201
    # Nobody else changes it, wherever it is used.
    changed = {**pipeline_description(slug), "version": 2, "algorithms": []}
    answer = register(gateway, worker, changed)
    assert answer.status_code == 409 and "is public" in answer.json()["detail"]
    # Serving it in a project does not make it private again.
    assert register(gateway, worker, pipeline_description(slug)).status_code == 201
    known = await services.catalog.pipelines.find(slug)
    assert known is not None and known.is_public
