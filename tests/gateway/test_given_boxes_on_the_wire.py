"""A new classifier on old boxes over HTTP: submission, tasks with boxes, and what results may say of them."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
import requests

from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.processing import cancel, publish
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import RunningGateway, collected, rows, token
from tests.gateway.http_worker import SPECIES, pipeline_description, success
from tests.gateway.http_worker import session as http_session
from tests.processing.boxes_by_hand import job_with_boxes
from tests.processing.jobs_by_hand import claimed, make_job
from tests.waiting import wait_until


def classified(task: dict[str, Any], *, moved: float = 0.0) -> dict[str, Any]:
    """A result with the task's boxes in another order, as whole numbers, under the worker's own detector."""
    said = success(task["image_id"])
    (example,) = said["detections"]
    said["detections"] = [
        {**example, "bbox": {name: int(value + moved) for name, value in given["bbox"].items()}}
        for given in reversed(task["detections"])
    ]
    return {"reply_subject": task["reply_subject"], "result": said}


@pytest.mark.long
async def test_old_boxes_get_new_names_over_http(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    unfinished = await make_job(services, project, 1)
    slug, deaf = f"b-{project}"[:60], f"d-{project}"[:60]
    elsewhere = f"{project[:50]}-other"
    secret = await token(services, project, role=Role.SUBMITTER)
    stranger = await token(services, elsewhere, role=Role.SUBMITTER)
    both = await token(services, project, elsewhere, role=Role.SUBMITTER)
    worker = await token(services, project)
    canceled = await make_job(services, project, 1)
    await cancel.cancel(services, canceled.job_id, reason="test")

    def register() -> None:
        """One pipeline that takes boxes, and one as existing workers describe theirs."""
        described = [{**pipeline_description(slug), "takes_detections": True}, pipeline_description(deaf)]
        with http_session(worker) as http:
            [mine] = http.get(f"{gateway.base}/projects/", timeout=60).json()["results"]
            answer = http.post(
                f"{gateway.base}/projects/{mine['id']}/pipelines/",
                json={"processing_service_name": "test worker (host)", "pipelines": described},
                timeout=60,
            )
        assert answer.status_code == 201, answer.text

    await asyncio.to_thread(register)

    def submit(secret: str, **changes: Any) -> requests.Response:
        wanted = {"project": project, "pipeline": slug, "detections_of": source.job_id, **changes}
        with http_session(secret) as http:
            return http.post(f"{gateway.base}/jobs/", json=wanted, timeout=60)

    def refusals() -> None:
        for who, changes, status, why in (
            (secret, {"detections_of": 10**9}, 404, "there is no job"),
            (secret, {"detections_of": 0}, 400, "detections_of"),
            (secret, {"detections_of": unfinished.job_id}, 409, "once it is finished"),
            (secret, {"detections_of": canceled.job_id}, 409, f"`antenna jobs retry {canceled.job_id}` finishes it"),
            (secret, {"pipeline": deaf}, 400, "cannot classify the boxes"),
            (stranger, {"project": elsewhere}, 404, "there is no job"),
            (both, {"project": elsewhere}, 400, f"is of project {project}, not of {elsewhere}"),
            (secret, {"images": [{"url": "https://x.org/strange.jpg"}]}, 400, "has done no image of these"),
        ):
            answer = submit(who, **changes)
            detail = answer.json()["detail"]
            assert (answer.status_code, why in detail, "\n" in detail) == (status, True, False), answer.text

    await asyncio.to_thread(refusals)
    made = await asyncio.to_thread(submit, secret)
    assert made.status_code == 201 and made.json()["detections_of"] == source.job_id, made.text
    job = await claimed(services, await services.catalog.jobs.get(made.json()["id"]))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)

    def lease() -> list[dict[str, Any]]:
        with http_session(worker) as http:
            answer = http.post(f"{gateway.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 8}, timeout=60)
        tasks: list[dict[str, Any]] = answer.json()["tasks"]
        return tasks

    def post(*results: dict[str, Any]) -> list[dict[str, Any]]:
        with http_session(worker) as http:
            answer = http.post(f"{gateway.base}/jobs/{job.job_id}/result/", json={"results": results}, timeout=60)
        told: list[dict[str, Any]] = answer.json()["tasks"]
        return told

    def work() -> None:
        # The photograph without boxes is done already.
        tasks = sorted(lease(), key=lambda task: len(task["detections"]))
        for task, count in zip(tasks, (1, 3), strict=True):
            assert task.keys() == {"id", "image_id", "image_url", "reply_subject", "config", "detections"}
            assert len(task["detections"]) == count
            for number, given in enumerate(task["detections"]):
                assert given == {
                    "source_image": {"id": task["image_id"], "url": task["image_url"]},
                    "bbox": {"x1": 8.5 * number, "y1": 1.0, "x2": 8.5 * number + 5, "y2": 9.0},
                    "crop_image_url": None,
                    "score": None if number == 1 else 0.75,
                    "algorithm": {"name": "finder", "key": "finder"},
                }
        one, three = tasks
        refused, taken = post(classified(one, moved=40.0), classified(three))
        assert (refused["status"], taken["status"]) == ("retry", "queued")
        assert (
            "is none of those given: the pipeline looked for boxes of its own" in refused["detail"]
            and "\n" not in refused["detail"]
        )
        again: list[dict[str, Any]] = []
        wait_until(lambda: bool(again.extend(lease()) or again), description="the image that is tried again")
        assert [told["status"] for told in post(*map(classified, again))] == ["queued"]

    async with collected(services, job) as ends:
        await asyncio.to_thread(work)
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert {(row["algorithm"], row["algorithm_version"]) for row in rows(services, "detections", job)} == {
        ("finder", "7")
    }
    old = {row["detection_id"]: row["score"] for row in rows(services, "detections", source)}
    assert {row["detection_id"]: row["score"] for row in rows(services, "detections", job)} == old
    species = [row for row in rows(services, "classifications", job) if row["terminal"]]
    assert {row["detection_id"] for row in species} == set(old)
    assert {row["algorithm"] for row in species} == {SPECIES["key"]}

    for path in (Path(services.lake.uri) / "detections" / f"job_id={source.job_id}").iterdir():
        path.unlink()
    gone = await asyncio.to_thread(submit, secret, reprocess=True)
    assert (gone.status_code, "is this the lake that the job was written to" in gone.text) == (409, True), gone.text

    ordinary = await make_job(services, project, 1)
    ordinary = await claimed(services, ordinary)
    await publish.publish(services, ordinary.job_id)
    with http_session(worker) as http:
        answer = http.post(f"{gateway.base}/jobs/{ordinary.job_id}/tasks/", json={"batch_size": 8}, timeout=60)
    assert [task.get("detections") for task in answer.json()["tasks"]] == [None]
