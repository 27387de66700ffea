"""What a client cannot do, whatever it sends."""

import gzip
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import requests

from antenna_orchestration.domain.access import Role, fingerprint
from antenna_orchestration.domain.http_lease import ImageClaim, LeaseClaim, Signer
from antenna_orchestration.domain.ids import Epoch, Generation, ImageId, JobId
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing.services import Services
from tests.gateway.gateway_process import (
    RunningGateway,
    collected,
    file_job,
    http_worker,
    job_for_http,
    rows,
    token,
)
from tests.gateway.http_worker import HttpWorker, Task, session, success


def result_of(task: Task, **changes: object) -> dict[str, object]:
    return {"reply_subject": task.reply_subject, "result": success(task.image_id), **changes}


def leased(worker: HttpWorker, job: int, wanted: int) -> list[Task]:
    worker.batch_size = wanted
    with session(worker.token) as http:
        return worker.lease(http, job)


def post(worker: HttpWorker, job: int, *results: object) -> requests.Response:
    with session(worker.token) as http:
        return http.post(f"{worker.base}/jobs/{job}/result/", json={"results": list(results)}, timeout=60)


async def test_post_for_another_projects_job(services: Services, gateway: RunningGateway, project: str) -> None:
    mine, theirs = await job_for_http(services, project, 1), await job_for_http(services, f"{project[:50]}-other", 1)
    worker = await http_worker(services, gateway, project)
    (task,) = leased(worker, mine.job_id, 1)
    assert post(worker, theirs.job_id, result_of(task)).status_code == 404
    with session(worker.token) as http:
        assert (
            http.post(f"{gateway.base}/jobs/{theirs.job_id}/tasks/", json={"batch_size": 1}, timeout=60).status_code
            == 404
        )
    assert await services.queue.unread_results(theirs.job_run) == set()


async def test_replay_a_token_from_another_job(services: Services, gateway: RunningGateway, project: str) -> None:
    first, second = await job_for_http(services, project, 1), await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    (task,) = leased(worker, first.job_id, 1)
    (said,) = post(worker, second.job_id, result_of(task)).json()["tasks"]
    assert (said["status"], said["detail"]) == ("rejected", "the lease is of another job")
    assert await services.queue.unread_results(second.job_run) == set()
    # Nor one that another worker was given, even in the same project.
    thief = await http_worker(services, gateway, project)
    (said,) = post(thief, first.job_id, result_of(task)).json()["tasks"]
    assert (said["status"], said["detail"]) == ("rejected", "the lease is another worker's")
    (said,) = post(thief, first.job_id, result_of(task, reply_subject=None)).json()["tasks"]
    assert said["status"] == "rejected"
    assert await services.queue.unread_results(first.job_run) == set()


async def test_report_on_a_task_twice_with_effect(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 2)
    worker = await http_worker(services, gateway, project)
    tasks = leased(worker, job.job_id, 2)
    once = result_of(tasks[0])
    failure = {"reply_subject": tasks[0].reply_subject, "result": {"error": "changed my mind", "image_id": None}}
    async with collected(services, job):
        assert post(worker, job.job_id, once, once).json()["results_queued"] == 1
        assert post(worker, job.job_id, failure).json()["tasks"][0]["status"] == "late"
        post(worker, job.job_id, once)
        assert post(worker, job.job_id, result_of(tasks[1])).json()["results_queued"] == 1
    assert sorted(row["image_id"] for row in rows(services, "detections", job)) == sorted(
        int(task.image_id) for task in tasks
    )
    assert post(worker, job.job_id, once).json()["tasks"][0]["status"] == "late"
    # Nor is it counted twice, in one large post or in several before anybody collected the first.
    job = await job_for_http(services, project, 1)
    (task,) = leased(worker, job.job_id, 1)
    again = [result_of(task)] * 70
    assert [one["status"] for one in post(worker, job.job_id, *again).json()["tasks"]] == ["queued"] + ["late"] * 69
    post(worker, job.job_id, result_of(task))
    (record,) = [
        one for one in await services.live.workers.heard_since(0) if one.name.endswith(fingerprint(worker.token))
    ]
    assert record.counters["settled"] == 3


async def test_publish_to_a_subject_of_its_choice(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    (task,) = leased(worker, job.job_id, 1)
    assert task.reply_subject is not None
    heard: list[str] = []

    async def hear(message: object) -> None:
        heard.append(message.subject)  # type: ignore[attr-defined]

    watching = [await services.connection.subscribe(subject, cb=hear) for subject in ("evil.>", "results.>", "tasks.>")]
    stranger = Signer("not this deployment's key").sign(
        LeaseClaim(
            job=JobId(job.job_id), generation=Generation(1), image=ImageId(int(task.image_id)), delivery=1,
            epoch=Epoch("x.y>"), sequence=1, place=1, worker=1, expires=int(time.time()) + 1000,
        )
    )  # fmt: skip
    swapped = task.reply_subject[:-4] + ("AAAA" if task.reply_subject[-4:] != "AAAA" else "BBBB")
    for forged in ("evil.subject", f"$JS.ACK.TASKS.j{job.job_id}.1.1.1.1.0", stranger, swapped, "\0", "a" * 100_000):
        (said,) = post(worker, job.job_id, result_of(task, reply_subject=forged)).json()["tasks"]
        assert (said["status"], said["detail"]) == ("rejected", "not signed by this deployment")
    await services.connection.flush()
    for subscription in watching:
        await subscription.unsubscribe()
    assert heard == []


async def test_read_another_projects_images_or_jobs(
    services: Services, gateway: RunningGateway, project: str, tmp_path: Path
) -> None:
    picture = tmp_path / "picture.jpg"
    picture.write_bytes(b"a picture")
    await job_for_http(services, project, 1)
    job = await file_job(services, f"{project[:50]}-other", [picture])
    stranger = await token(services, project, role=Role.SUBMITTER)
    with session(stranger) as http:
        assert http.get(f"{gateway.base}/jobs/{job.job_id}/", timeout=60).status_code == 404
        assert http.post(f"{gateway.base}/jobs/{job.job_id}/cancel/", timeout=60).status_code == 404
        listed = http.get(f"{gateway.base}/jobs/", timeout=60).json()["results"]
        assert {one["project"] for one in listed} == {project}
        assert [one["slug"] for one in http.get(f"{gateway.base}/projects/", timeout=60).json()["results"]] == [project]
        assert http.get(f"{gateway.base}/projects/{job.project_id}/pipelines/", timeout=60).status_code == 404
    theirs = await http_worker(services, gateway, f"{project[:50]}-other")
    (task,) = leased(theirs, job.job_id, 1)
    assert requests.get(task.image_url, timeout=60).content == b"a picture"
    # The link is for this one capture, for a time; another's number in it is noticed.
    signer = Signer(services.settings.secret_key)
    image = ImageId(int(task.image_id))
    for link in (
        signer.sign(ImageClaim(image=image, expires=int(time.time()) - 1)),
        Signer("another").sign(ImageClaim(image=image, expires=int(time.time()) + 100)),
        signer.sign(ImageClaim(image=ImageId(10**12), expires=int(time.time()) + 100)),
        "../../etc/passwd",
        str(image),
    ):
        assert requests.get(f"{gateway.base}/images/{link}", timeout=60).status_code == 404
    # A link that somebody puts in the file's place leads nowhere.
    picture.unlink()
    picture.symlink_to("/etc/passwd")
    assert requests.get(task.image_url, timeout=60).status_code == 404


async def test_do_what_its_role_is_not_for(services: Services, gateway: RunningGateway, project: str) -> None:
    job = await job_for_http(services, project, 1)
    worker = await token(services, project)
    submitter = await token(services, project, role=Role.SUBMITTER)
    new = {"project": project, "images": [{"url": "http://192.0.2.1/a.jpg"}]}
    with session(worker) as http:
        for path in (f"jobs/{job.job_id}/cancel/", f"jobs/{job.job_id}/retry/", f"jobs/{job.job_id}/run/"):
            assert http.post(f"{gateway.base}/{path}", timeout=60).status_code == 403
        assert http.post(f"{gateway.base}/jobs/", json=new, timeout=60).status_code == 403
        assert http.get(f"{gateway.base}/jobs/{job.job_id}/", timeout=60).status_code == 403
    with session(submitter) as http:
        answer = http.post(f"{gateway.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 1}, timeout=60)
        assert answer.status_code == 403 and "submitter" in answer.json()["detail"]
        assert (
            http.post(f"{gateway.base}/jobs/{job.job_id}/result/", json={"results": []}, timeout=60).status_code == 403
        )
        local = {"project": project, "pipeline": "null", "sources": ["/etc"]}
        assert http.post(f"{gateway.base}/jobs/", json=local, timeout=60).status_code == 400
        inside = {"project": project, "pipeline": "null", "images": [{"url": "http://169.254.169.254/latest"}]}
        assert http.post(f"{gateway.base}/jobs/", json=inside, timeout=60).status_code == 400


def bomb() -> Iterator[bytes]:
    """Gigabytes of results in a few megabytes."""
    packer = gzip.zlib.compressobj(9, gzip.zlib.DEFLATED, 31)  # type: ignore[attr-defined]
    yield packer.compress(b'{"results":[')
    for _ in range(200):
        yield packer.compress(b"{}," * 350_000)
    yield packer.compress(b"{}]}") + packer.flush()


def post_large(
    gateway: RunningGateway, worker: HttpWorker, job: int, body: object, **headers: str
) -> requests.Response:
    """Post a large body, and see that the gateway keeps little of it."""
    process = psutil.Process(gateway.pid)
    before = process.memory_full_info().uss
    with session(worker.token) as http:
        answer = http.post(
            f"{gateway.base}/jobs/{job}/result/",
            data=body,  # type: ignore[arg-type]
            headers={"Content-Type": "application/json", **headers},
            timeout=120,
        )
    assert process.memory_full_info().uss - before < 100 * 2**20
    return answer


@pytest.mark.long
@pytest.mark.parametrize("kind", ["bomb", "many-items", "deep"])
async def test_exhaust_memory_with_one_request(
    shared_stores: EmbeddedStores, services: Services, gateway: RunningGateway, project: str, kind: str
) -> None:
    job = await job_for_http(services, project, 1)
    worker = await http_worker(services, gateway, project)
    headers: dict[str, str] = {}
    body: object
    if kind == "bomb":
        headers["Content-Encoding"] = "gzip"
        body = bomb()
        expected = 413
    elif kind == "many-items":
        body = b'{"results":[' + b"{}," * 5_000_000 + b"{}]}"
        expected = 413
    else:
        body = b'{"results":[' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"]}"
        expected = 400
    answer = post_large(gateway, worker, job.job_id, body, **headers)
    assert answer.status_code == expected, answer.text
    assert not list((Path(shared_stores.settings.home) / "gateway").glob("*"))


@pytest.mark.long
async def test_exhaust_memory_with_the_scores_of_one_classification(
    own_stores: EmbeddedStores, own_services: Services, patient: RunningGateway, project: str
) -> None:
    job = await job_for_http(own_services, project, 1)
    worker = await http_worker(own_services, patient, project)
    (task,) = leased(worker, job.job_id, 1)
    body = (
        b'{"results":[{"reply_subject":"%s","result":{"detections":[{"algorithm":{"key":"a"},"bbox":'
        b'{"x1":0,"y1":0,"x2":1,"y2":1},"classifications":[{"algorithm":{"key":"b"},"classification":"c",'
        b'"scores":[%s0]}]}]}}]}' % ((task.reply_subject or "").encode(), b"0," * 10_000_000)
    )
    answer = post_large(patient, worker, job.job_id, body)
    assert answer.status_code == 200, answer.text
    (said,) = answer.json()["tasks"]
    assert said["status"] == "retry" and "more scores" in said["detail"]
    assert not list((Path(own_stores.settings.home) / "gateway").glob("*"))


async def test_a_configuration_without_bounds(services: Services, gateway: RunningGateway, project: str) -> None:
    """S4: the job was written, and then nobody could list jobs any more."""
    await job_for_http(services, project, 0)
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    with session(await token(services, project, role=Role.SUBMITTER)) as http:
        new = {"project": project, "pipeline": "null", "images": [{"url": "https://example.org/a.jpg"}]}
        for config, complaint in (({"a": deep}, "20 levels deep"), ({"a": "x" * 2**17}, "the limit is 65536")):
            refused = http.post(f"{gateway.base}/jobs/", json={**new, "config": config}, timeout=60)
            assert refused.status_code in (400, 422) and complaint in refused.text, refused.text
        listed = http.get(f"{gateway.base}/jobs/", timeout=60)
    assert listed.status_code == 200


async def test_a_job_from_before_configurations_were_bounded(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    deep: object = 1
    for _ in range(300):
        deep = [deep]
    await job_for_http(services, project, 1, config={"a": deep})
    with session(await token(services, project, role=Role.SUBMITTER)) as http:
        (shown,) = http.get(f"{gateway.base}/jobs/", timeout=60).json()["results"]
    assert shown["config"] == {"omitted": "the configuration is nested more than 20 levels deep"}
