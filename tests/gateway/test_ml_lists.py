"""What a token's projects may run, and who serves it."""

import asyncio
from typing import Any

from antenna_orchestration.domain.access import Role
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, collected, file_job, token
from tests.gateway.http_worker import HttpWorker, session, working
from tests.gateway.test_registration import register
from tests.waiting import eventually


async def test_lists_show_what_a_project_may_run_and_its_workers(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Any
) -> None:
    slug, others = f"l-{project}"[:60], f"m-{project}"[:60]
    theirs = f"{project[:50]}-other"
    secret, stranger = await token(services, project, label="gpu-1"), await token(services, theirs)
    worker = HttpWorker(base=gateway.base, token=secret, slugs=(slug,))
    worker.register("lab (gpu-1)")
    HttpWorker(base=gateway.base, token=stranger, slugs=(others,)).register("elsewhere")
    submitter = await token(services, project, role=Role.SUBMITTER)

    def get(path: str) -> Any:
        with session(submitter) as http:
            answer = http.get(f"{gateway.base}/ml/{path}", timeout=60)
            assert answer.status_code == 200, answer.text
            return answer.json()

    (service,) = get("processing_services")["results"]
    assert (service["name"], service["kind"], service["pipelines"]) == ("lab (gpu-1)", "http", [slug])
    assert service["last_seen_latency"] is None
    pipelines = {one["slug"]: one for one in get("pipelines/")["results"]}
    assert others not in pipelines
    assert pipelines[slug]["processing_services"] == [service["id"]]
    assert [one["key"] for one in pipelines[slug]["algorithms"]] == ["moth_detector", "moth_binary", "moth_species"]
    algorithms = {one["key"]: one for one in get("algorithms/")["results"]}
    assert (algorithms["moth_species"]["category_count"], algorithms["moth_species"]["task_type"]) == (
        3, "classification"
    )  # fmt: skip

    file = tmp_path / "1.jpg"
    file.write_bytes(b"picture")
    job = await file_job(services, project, [file], slug=slug)
    async with collected(services, job):
        with working(worker):

            async def measured() -> bool:
                status = await asyncio.to_thread(get, f"processing_services/{service['id']}/status")
                return bool(status["server_live"] and status["latency"] and status["pipelines_online"] == [slug])

            await eventually(measured, description="a live worker with a latency")
    # Workers of other projects are none of theirs.
    with session(stranger) as http:
        url = f"{gateway.base}/ml/processing_services"
        assert http.get(f"{url}/{service['id']}/status/", timeout=60).status_code == 404
        assert [one["name"] for one in http.get(url, timeout=60).json()["results"]] == ["elsewhere"]
    assert register(gateway, secret, {"name": "x", "slug": others, "version": 1}).status_code == 409
