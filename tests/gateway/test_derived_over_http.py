"""What submitters read of what is derived of their jobs."""

import asyncio
import csv
import io

import pyarrow.parquet as pq
import pytest
import requests

from antenna_orchestration.answers import derive
from antenna_orchestration.domain.access import Role
from antenna_orchestration.ecology import columns, recipes
from antenna_orchestration.lake import derived
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.processing import retry
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session
from tests.processing.classified_jobs import FORMULA, LABELS, finished_job, processed
from tests.processing.jobs_by_hand import claimed


@pytest.mark.long
async def test_derived_tables_are_read_over_http(services: Services, gateway: RunningGateway, project: str) -> None:
    labels = [FORMULA, *LABELS]
    job = await finished_job(services, project, labels, failing=1)
    secret = await token(services, project, role=Role.SUBMITTER)
    stranger = await token(services, f"{project[:50]}-other", role=Role.SUBMITTER)

    async def get(path: str, token: str = secret, **headers: str) -> requests.Response:
        def asked() -> requests.Response:
            with session(token) as http:
                return http.get(f"{gateway.base}{path}", headers=headers, timeout=60)

        return await asyncio.to_thread(asked)

    async def detail(path: str, status: int) -> str:
        answer = await get(path)
        assert answer.status_code == status, answer.text
        return str(answer.json()["detail"])

    of_job, of_project = f"/jobs/{job.job_id}/derived", f"/projects/{job.project_id}/derived"
    for path in ("/", "/nights.csv", "/counts.parquet"):
        assert f"antenna derive --job {job.job_id}" in await detail(of_job + path, 404)
        assert f"antenna derive --project {project}" in await detail(of_project + path, 404)
    await derive.derive(services, job=job.job_id)
    await derive.derive(services, project=project)

    # The listing names them, and each is what the lake has.
    for base, scope in ((of_job, Scope(job=job.job_id)), (of_project, Scope(project=project))):
        listed = (await get(base)).json()
        assert (listed["jobs"], listed["lacks"]) == ([job.job_id], [])
        assert [one["name"] for one in listed["tables"]] == list(columns.SCHEMAS)
        for one in listed["tables"]:
            assert one["recipe"] == recipes.default().hash
            content = (await get(one["parquet"].removeprefix(gateway.base))).content
            assert len(content) == one["bytes"]
            assert pq.read_table(io.BytesIO(content)) == derived.read(services.lake, scope, one["name"])
            text = (await get(one["csv"].removeprefix(gateway.base))).text
            assert text.splitlines()[0].split(",") == columns.SCHEMAS[one["name"]].names
    text = await get(f"{of_project}/observations.csv/")
    assert text.headers["content-disposition"] == f'attachment; filename="project-{project}-observations.csv"'
    rows = list(csv.DictReader(io.StringIO(text.text)))
    assert [row["label"] for row in rows] == ["'=Noctua", *LABELS[:2]], "a label is not a formula"

    # A download goes on, unless the tables were derived meanwhile.
    path = f"{of_project}/observations.parquet"
    of_csv = text.headers["etag"]
    rest = await get(f"{of_project}/observations.csv", Range="bytes=100-", **{"If-Range": of_csv})
    assert rest.status_code == 206 and text.content[:100] + rest.content == text.content
    whole = await get(path)
    tag = whole.headers["etag"]
    rest = await get(path, Range="bytes=100-", **{"If-Range": tag})
    assert rest.status_code == 206 and whole.content[:100] + rest.content == whole.content
    assert (await get(path, Range=f"bytes={len(whole.content)}-")).status_code == 416
    async with services.catalog.jobs.derivation_lock(f"project {project}"):
        for path_ in ("/", "/nights.csv", "/nights.parquet"):
            assert "are being derived" in await detail(of_project + path_, 409)
        assert (await get(of_job)).status_code == 200
    await derive.derive(services, project=project)
    again = await get(path, Range="bytes=100-", **{"If-Range": tag})
    assert again.status_code == 200 and again.headers["etag"] != tag and again.content == whole.content
    again = await get(f"{of_project}/observations.csv", Range="bytes=100-", **{"If-Range": of_csv})
    assert again.status_code == 200 and again.headers["etag"] != of_csv

    # Those of a job that runs again are of its results so far; a project's say what they lack.
    await retry.retry(services, job.job_id)
    lacking = f"lack its newest results; `antenna derive --job {job.job_id}`"
    assert lacking in await detail(f"{of_job}/counts.csv", 409)
    listed = (await get(f"/jobs/{job.job_id}/results")).json()
    assert "newer results than its derived tables" in listed["not_there"][0]
    assert not [one for one in listed["downloads"] if "/derived/" in one["url"]]
    await derive.derive(services, job=job.job_id)
    assert (await get(of_job)).json()["pending"] == 1
    assert len((await get(f"{of_job}/photographs.csv")).text.splitlines()) == len(labels)
    await processed(services, await claimed(services, await services.catalog.jobs.get(job.job_id)), labels)
    assert lacking in await detail(f"{of_job}/counts.csv", 409)
    assert (await get(of_project)).json()["lacks"] == [job.job_id]
    await derive.derive(services, job=job.job_id)
    assert len((await get(f"{of_job}/observations.csv")).text.splitlines()) == 1 + len(labels)

    for wrong in ("/captures.csv", "/_parts.parquet", "/observations.json", "/..%2fx.csv"):
        assert (await get(of_project + wrong)).status_code in (400, 404), wrong
    for path_ in (of_job, of_project, f"{of_job}/nights.csv", path):
        assert (await get(path_, stranger)).status_code == 404, path_
