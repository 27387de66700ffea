"""An existing worker, unmodified, from registration to a finished job."""

import asyncio
from pathlib import Path

import numpy as np
import requests

from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, collected, file_job, http_worker, job_for_http, rows, token
from tests.gateway.http_worker import SPECIES_LABELS, HttpWorker, JobItem, session, success, working
from tests.waiting import eventually


async def test_an_existing_worker_registers_polls_leases_and_posts(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    """C6: width, height and seconds that an HTTP worker sends reach the table `captures`."""
    slug = f"w-{project}"[:60]
    secret = await token(services, project, label="gpu-1")
    worker = HttpWorker(base=gateway.base, token=secret, slugs=(slug,), fetch=True, size={"width": 64, "height": 48})
    registered = await asyncio.to_thread(worker.register)
    assert registered is not None and registered.processing_service_id
    files = [tmp_path / f"{number}.jpg" for number in range(12)]
    for number, file in enumerate(files):
        file.write_bytes(b"picture %d" % number)
    job = await file_job(services, project, files, slug=slug)
    async with collected(services, job) as ends:
        with working(worker):

            async def done() -> bool:
                return (await services.catalog.images.count(job.job_id)).done == 12

            await eventually(done, description="all images done")
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert worker.errors == [] and set(worker.statuses) == {"queued"}
    detections = rows(services, "detections", job)
    assert len(detections) == 12
    # The contract has no score of a detection; it is not made up.
    assert {row["score"] for row in detections} == {None}
    assert {(row["width"], row["height"], row["seconds"]) for row in rows(services, "captures", job)} == {(64, 48, 0.5)}
    assert {row["algorithm"] for row in detections} == {"moth_detector"}
    assert {row["algorithm_version"] for row in detections} == {"1"}
    assert all(row["worker"].startswith("gpu-1-") for row in detections)
    species = [row for row in rows(services, "classifications", job) if row["terminal"]]
    assert {row["label"] for row in species} == {SPECIES_LABELS[0]}
    assert species[0]["top_labels"] == SPECIES_LABELS and species[0]["top_scores"][0] == 0.75
    assert np.frombuffer(species[0]["scores"], "<f2").tolist() == [0.75, 0.125, 0.125]


async def test_nothing_is_redirected(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 2)
    with session(await token(services, project)) as http:
        for path in ("jobs", "jobs/", "jobs/next", "jobs/next/", "projects", "projects/"):
            answer = http.get(f"{gateway.base}/{path}", allow_redirects=False, timeout=60)
            assert answer.status_code == 200, path
        for path in (f"jobs/{job.job_id}/tasks", f"jobs/{job.job_id}/tasks/"):
            answer = http.post(f"{gateway.base}/{path}", json={"batch_size": 1}, allow_redirects=False, timeout=60)
            assert answer.status_code == 200 and len(answer.json()["tasks"]) == 1, path


async def test_the_list_has_only_jobs_with_a_task_to_lease_now(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    worker = await http_worker(services, gateway, project)
    assert worker.jobs() == []
    job = await job_for_http(services, project, 3)
    assert [one.id for one in worker.jobs()] == [job.job_id]
    with session(worker.token) as http:
        tasks = worker.lease(http, job.job_id)
        assert len(tasks) == 3
        # All are in this worker's hands: a job in flight elsewhere is nobody's to poll.
        assert worker.jobs() == []
        assert worker.lease(http, job.job_id) == []
    results = [{"reply_subject": task.reply_subject, "result": success(task.image_id)} for task in tasks]
    assert worker.post(job.job_id, results)
    assert worker.jobs() == []


async def test_one_job_for_ids_only_and_the_others_in_fair_order(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    jobs = [await job_for_http(services, project, 40, name=f"fair {number}") for number in range(3)]
    workers = [await http_worker(services, gateway, project) for _ in range(3)]
    worker = workers[0]
    # Workers that ask at the same moment are sent to different jobs.
    first = [each.jobs() for each in workers]
    assert all(len(one) == 1 for one in first)
    assert {one[0].id for one in first} == {job.job_id for job in jobs}
    with session(worker.token) as http:
        assert (
            len(http.get(f"{gateway.base}/jobs", params={"ids_only": 1, "limit": 10}, timeout=60).json()["results"])
            == 3
        )
        filters = {"pipeline__slug__in": "another,and-another"}
        assert http.get(f"{gateway.base}/jobs", params=filters, timeout=60).json()["results"] == []
        assert (
            http.get(f"{gateway.base}/jobs", params={"dispatch_mode": "sync_api"}, timeout=60).json()["results"] == []
        )
        urgent = await job_for_http(services, project, 2, interactive=True)
        assert http.get(f"{gateway.base}/jobs/next", timeout=60).json()["id"] == urgent.job_id


async def test_the_older_forms_are_understood(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 2)
    secret = await token(services, project)
    for scheme in ("Token", "Api-Key", "Bearer"):
        headers = {"Authorization": f"{scheme} {secret}"}
        assert requests.get(f"{gateway.base}/jobs", headers=headers, timeout=60).status_code == 200
    with session(secret) as http:
        tasks = http.get(f"{gateway.base}/jobs/{job.job_id}/tasks/", params={"batch": 2}, timeout=60).json()["tasks"]
        assert len(tasks) == 2
        bare = [{"reply_subject": task["reply_subject"], "result": success(task["image_id"])} for task in tasks[:1]]
        # A null reply_subject is for what this worker holds.
        bare.append({"reply_subject": None, "result": success(tasks[1]["image_id"])})
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", json=bare, timeout=60)
        assert [one["status"] for one in answer.json()["tasks"]] == ["queued", "queued"]


async def test_scores_are_kept_as_the_job_asks(services: Services, gateway: RunningGateway, project: str) -> None:
    slug = f"s-{project}"[:60]
    worker = await http_worker(services, gateway, project, slugs=(slug,))
    worker.register()
    config = {"top_k": 2, "scores": "top"}
    job = await job_for_http(services, project, 1, slug=slug, register=False, config=config)
    async with collected(services, job):
        assert await asyncio.to_thread(worker.process, JobItem(id=job.job_id, pipeline_slug=slug))
    species = next(row for row in rows(services, "classifications", job) if row["terminal"])
    assert species["top_labels"] == SPECIES_LABELS[:2]
    assert species["scores"] is None
