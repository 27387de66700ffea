"""The report of a job or a project, as submitters read it."""

import asyncio

import requests

from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.lake import paths
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session
from tests.processing.jobs_by_hand import make_job

PAGE = "<!doctype html><title>caf\N{LATIN SMALL LETTER E WITH ACUTE}</title>" + 300_000 * "x"
"""Larger than one block."""


async def test_reports_are_read_by_submitters_and_forbid_scripts(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await make_job(services, project, 1)
    submitter = await token(services, project, role=Role.SUBMITTER)
    worker = await token(services, project)
    stranger = await token(services, f"{project[:50]}-other", role=Role.SUBMITTER)
    of_job = f"{gateway.base}/jobs/{job.job_id}/report/"
    of_project = f"{gateway.base}/projects/{job.project_id}/report/"

    async def get(url: str, secret: str = submitter, **headers: str) -> requests.Response:
        def read() -> requests.Response:
            with session(secret) as http:
                return http.get(url, headers=headers, timeout=60)

        return await asyncio.to_thread(read)

    # Of a job that is not over there is one once somebody wrote it.
    assert (await get(of_job)).status_code == 404
    assert await cancel.cancel(services, job.job_id, reason="a test")
    assert (await services.catalog.jobs.get(job.job_id)).status is JobStatus.CANCELED
    for url, command in (
        (of_job, f"antenna report --job {job.job_id}"),
        (of_project, f"antenna report --project {project}"),
    ):
        missing = await get(url)
        assert missing.status_code == 404 and command in missing.json()["detail"]

    for path in (paths.report(job=job.job_id), paths.report(project=project)):
        services.lake.write_bytes(path, PAGE.encode())

    for url in (of_job, of_project):
        answer = await get(url)
        assert answer.content.decode() == PAGE
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "sandbox" in policy and "script" not in policy
        assert answer.headers["content-disposition"].startswith("inline; filename=")
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert (await get(url, worker)).status_code == 403
        assert (await get(url, stranger)).status_code == 404
        # A download goes on.
        rest = await get(url, Range="bytes=1000-", **{"If-Range": answer.headers["etag"]})
        assert rest.status_code == 206 and answer.content[:1000] + rest.content == answer.content
        assert (await get(url, Range=f"bytes={len(answer.content)}-")).status_code == 416
