"""The push worker before a real service: the whole way, every fault, and leaving. Each image is counted once."""

import asyncio
import json
import signal
from pathlib import Path

import pytest
import requests

from antenna_orchestration.domain import reach
from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.job import DispatchMode, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import submit
from antenna_orchestration.processing.served_here import is_for_workers_here
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.remote_leases import RemoteLeases
from antenna_orchestration.upkeep import tokens
from tests.gateway.gateway_process import RunningGateway, collected, rows, token
from tests.gateway.http_worker import session
from tests.loading.image_server import serving
from tests.processing.boxes_by_hand import FINDER, begun, job_with_boxes
from tests.processing.jobs_by_hand import claimed
from tests.push.processing_service import CLASSIFIER, LABELS, ProcessingService
from tests.push.push_worker import PushWorker, job_to_push, shown
from tests.waiting import eventually

pytestmark = pytest.mark.long


async def all_done(services: Services, job_id: int, images: int) -> None:
    async def done() -> bool:
        counts = await services.catalog.images.count(job_id)  # type: ignore[arg-type]
        return counts.done + counts.failed == images

    await eventually(done, description=f"{images} images accounted for")


async def posts(service: ProcessingService, number: int) -> None:
    async def posted() -> bool:
        return len(service.batches) >= number

    await eventually(posted, description=f"{number} posts in the service's hands")


async def holds_a_post(service: ProcessingService) -> None:
    async def holds() -> bool:
        return service.held > 0

    await eventually(holds, description="a post in the service's hands")


async def test_from_submission_to_tables(
    services: Services,
    gateway: RunningGateway,
    service: ProcessingService,
    pushing: PushWorker,
    project: str,
    tmp_path: Path,
) -> None:
    service.fetches = service.takes_boxes = True
    pushing.start("--batch-size", "4", "--parallel", "2", ANTENNA_GATEWAY_PUBLIC_URL=gateway.url)
    worker = await shown(services, project, state="idle")
    assert worker.service == service.url and worker.pipelines == (service.slug,) and worker.host
    for number in range(10):
        (tmp_path / f"{number}.jpg").write_bytes(b"picture %d" % number)
    changed = await asyncio.to_thread(pushing.antenna, "projects", "set", project, "--dispatch-mode", "sync_api")
    assert changed.returncode == 0, changed.stderr
    wanted = {"reject": "moths", "request_source_image_batch_size": 2}
    submitted = await submit.submit(
        services,
        submit.Submission(sources=[str(tmp_path)], pipeline=service.slug, project=project, exif="never", config=wanted),
    )
    job = await claimed(services, await services.catalog.jobs.get(submitted.job_id))
    assert job.dispatch_mode is DispatchMode.SYNC
    async with collected(services, job) as ends:
        await all_done(services, job.job_id, 10)
    assert ends[job.job_id] is JobStatus.SUCCESS
    # The job's settings go along, apart from ours; its batch size is the one that counts.
    assert service.configs and all(config == {"reject": "moths"} for config in service.configs)
    assert max(len(batch) for batch in service.batches) == 2 and set(service.posts.values()) == {1}
    assert sorted(service.pictures.values()) == sorted(b"picture %d" % number for number in range(10))
    [*detections] = rows(services, "detections", job)
    assert len(detections) == 10 and {row["worker"] for row in detections} == {worker.worker}
    [*species] = rows(services, "classifications", job)
    assert {(row["label"], row["score"], row["algorithm_version"]) for row in species} == {(LABELS[0], 0.75, "1")}
    assert species[0]["top_labels"] == LABELS

    async def says_done() -> list[int]:
        listed = json.loads((await asyncio.to_thread(pushing.antenna, "workers", "--json")).stdout)
        return [one["done"] for one in listed if one["worker"] == worker.worker]

    async def has_said_it() -> bool:
        return await says_done() == [10]

    # With its next heartbeat.
    await eventually(has_said_it, description="the worker says that it did all ten")

    # Its boxes may be sent again, to be classified only.
    assert not service.given
    submitted = await submit.submit(
        services, submit.Submission(detections_of=job.job_id, pipeline=service.slug, project=project, reprocess=True)
    )
    again = await begun(services, submitted)
    async with collected(services, again) as ends:
        await all_done(services, again.job_id, 10)
    assert ends[again.job_id] is JobStatus.SUCCESS and sum(map(len, service.given)) == 10
    keys = ("image_id", "detection_id", "x1", "y1", "x2", "y2", "score", "algorithm", "algorithm_version")
    old, new = ({tuple(row[key] for key in keys) for row in rows(services, "detections", one)} for one in (job, again))
    assert old == new and len(rows(services, "classifications", again)) == 10


@pytest.mark.slow
async def test_a_service_classifies_the_boxes_of_another_job(
    services: Services, service: ProcessingService, pushing: PushWorker, project: str, tmp_path: Path
) -> None:
    source = await job_with_boxes(services, project, tmp_path)
    # The first answer has boxes of its own: it is refused, and its images are sent once more.
    service.takes_boxes, service.own_boxes = True, 1
    pushing.start("--batch-size", "4")
    await shown(services, project)
    wanted = submit.Submission(
        detections_of=source.job_id, pipeline=service.slug, project=project, dispatch_mode=DispatchMode.SYNC
    )
    job = await begun(services, await submit.submit(services, wanted))
    async with collected(services, job) as ends:
        await all_done(services, job.job_id, 3)
    assert ends[job.job_id] is JobStatus.SUCCESS
    # Those of the first post were sent twice, with the same boxes.
    assert {image for image, posts in service.posts.items() if posts == 2} == set(service.batches[0])
    assert set(service.posts.values()) <= {1, 2} and len(service.posts) == 2
    told = {(one["source_image"]["id"], one["bbox"]["x1"]): one for batch in service.given for one in batch}
    assert sorted((x1, one["score"]) for (_, x1), one in told.items()) == [
        (0.0, 0.75), (0.0, 0.75), (8.5, None), (17.0, 0.75)
    ]  # fmt: skip
    assert all(one["algorithm"] == {"name": FINDER.key, "key": FINDER.key} for one in told.values())
    assert all(one["bbox"] == {"x1": x1, "y1": 1.0, "x2": x1 + 5, "y2": 9.0} for (_, x1), one in told.items())
    old = {row["detection_id"]: (row["x1"], row["score"]) for row in rows(services, "detections", source)}
    new = rows(services, "detections", job)
    assert {row["detection_id"]: (row["x1"], row["score"]) for row in new} == old
    assert {(row["algorithm"], row["algorithm_version"]) for row in new} == {(FINDER.key, FINDER.version)}
    species = rows(services, "classifications", job)
    assert {row["detection_id"] for row in species} == set(old)
    assert {row["algorithm"] for row in species} == {CLASSIFIER["key"]}


async def test_others_leave_pushed_jobs_alone(
    services: Services, gateway: RunningGateway, service: ProcessingService, pushing: PushWorker, project: str
) -> None:
    pushing.start()
    worker = await shown(services, project, state="idle")
    pushing.signal()
    await asyncio.to_thread(pushing.leaves)
    job = await job_to_push(services, project, service.slug, 2)
    leased = await job_to_push(services, project, service.slug, 2, mode=DispatchMode.ASYNC)
    assert reach.can_serve(worker, job) and not reach.can_serve(worker, leased)
    # No worker of ours is started for a job that is pushed.
    assert is_for_workers_here(leased, {service.slug}) and not is_for_workers_here(job, {service.slug})
    with session(await token(services, project)) as http:
        found = http.get(f"{gateway.base}/jobs", params={"limit": 10}, timeout=60).json()["results"]
        assert [one["id"] for one in found] == [leased.job_id]
        refused = http.post(f"{gateway.base}/jobs/{job.job_id}/tasks/", json={"batch_size": 1}, timeout=60)
        assert (refused.status_code, refused.json()["detail"]) == (400, "Only async_api jobs have fetchable tasks")
    with session(await token(services, project, role=Role.SUBMITTER)) as http:
        answer = http.get(f"{gateway.base}/jobs", params={"dispatch_mode": "sync_api"}, timeout=60)
        assert [(one["id"], one["dispatch_mode"]) for one in answer.json()["results"]] == [(job.job_id, "sync_api")]
        new = {"project": project, "pipeline": service.slug, "dispatch_mode": "sync_api",
               "images": [{"url": "http://93.184.216.34/a.jpg"}]}  # fmt: skip
        made: requests.Response = http.post(f"{gateway.base}/jobs/", json=new, timeout=60)
        assert made.status_code == 201 and made.json()["dispatch_mode"] == "sync_api", made.text
    await tokens.revoke(services, worker.worker.rpartition("-")[2])
    ended = await asyncio.to_thread(pushing.antenna, "push", service.url, "--project", project)
    assert ended.returncode == 1 and "was revoked" in ended.stderr


async def test_what_a_service_gets_wrong_costs_only_the_images_it_is_about(
    services: Services, service: ProcessingService, pushing: PushWorker, project: str
) -> None:
    service.faults = {
        "1.jpg": "refuse", "2.jpg": "leave-out", "3.jpg": "error", "4.jpg": "bad-box", "5.jpg": "stranger",
        "6.jpg": "hang-once", "7.jpg": "empty",
    }  # fmt: skip
    # One post hangs; the others are answered within the time-out on a busy machine, too.
    pushing.start("--batch-size", "4", "--timeout", "5", ANTENNA_MAX_ATTEMPTS="2")
    await shown(services, project)
    job = await job_to_push(services, project, service.slug, 16)
    async with collected(services, job) as ends:
        await all_done(services, job.job_id, 16)
    assert ends[job.job_id] is JobStatus.SUCCESS
    failed = {row["url"].rpartition("/")[2]: row for row in rows(services, "failed_images", job)}
    # Left out of an answer with an error, an image has that for its reason; the second time they may share an answer.
    words = {
        "1.jpg": ["cannot identify"],
        "2.jpg": ["left it out", "no such species"],
        "3.jpg": ["no such species"],
        "4.jpg": ["cannot be used"],
    }
    assert failed.keys() == words.keys()
    for image, row in failed.items():
        assert any(part in row["reason"] for part in words[image]) and row["attempts"] == 2
    empty = [row["detections"] for row in rows(services, "captures", job) if row["url"].endswith("/7.jpg")]
    assert empty == [0]
    assert "not sent: 999999999" in pushing.log.read_text()


@pytest.mark.slow
async def test_an_image_that_nobody_can_read_is_posted_once_alone(
    services: Services, service: ProcessingService, pushing: PushWorker, project: str
) -> None:
    service.faults = {"text": "refuse", "odd": "refuse"}
    pushing.start("--batch-size", "4", ANTENNA_ALLOW_PRIVATE_HOSTS="true")
    await shown(services, project)
    async with serving() as images:
        urls = [images.uri(name) for name in ("good/1", "good/2", "good/odd", "text")]
        job = await job_to_push(services, project, service.slug, 4, urls=urls)
        async with collected(services, job) as ends:
            await all_done(services, job.job_id, 4)
    assert ends[job.job_id] is JobStatus.SUCCESS
    failed = {row["url"].rpartition("/")[2]: row for row in rows(services, "failed_images", job)}
    assert failed.keys() == {"odd", "text"}
    assert failed["text"]["attempts"] == 1 and failed["text"]["reason"].endswith("read it either: not an image")
    # It can be read, so it had one more try.
    assert failed["odd"]["attempts"] == 2 and failed["odd"]["reason"].endswith('cannot identify image file"}')
    pushing.signal()
    assert "2 done, 2 failed" in pushing.leaves()


@pytest.mark.slow
async def test_a_service_that_breaks_and_goes_away_fails_no_image(
    services: Services, service: ProcessingService, pushing: PushWorker, project: str
) -> None:
    service.broken, service.delay = 2, 0.1
    pushing.start("--parallel", "2")
    await shown(services, project)
    job = await job_to_push(services, project, service.slug, 30)
    async with collected(services, job) as ends:
        await posts(service, 8)
        service.gate.clear()
        await holds_a_post(service)
        await service.stop()
        worker = await shown(services, project, state="waiting")
        # A service that is away serves nobody, which the job's log says.
        assert not reach.can_serve(worker, job)
        service.gate.set()
        await service.start()
        await all_done(services, job.job_id, 30)
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert (await services.catalog.images.count(job.job_id)).failed == 0


@pytest.mark.slow
async def test_leaving_finishes_what_is_posted_and_a_killed_one_is_followed_up(
    services: Services, shared_stores: EmbeddedStores, service: ProcessingService, pushing: PushWorker, project: str
) -> None:
    # However slowly the second process starts on a busy machine, the held post and its lease do not run out.
    patiently, long_leases = ("--batch-size", "2", "--timeout", "60"), {"ANTENNA_HTTP_LEASE": "120"}
    service.gate.clear()
    pushing.start(*patiently, **long_leases)
    await shown(services, project)
    job = await job_to_push(services, project, service.slug, 8)
    async with collected(services, job) as ends:
        await holds_a_post(service)
        # A second process of the same worker waits, and leaves the first one's leases alone.
        second = PushWorker(shared_stores, service.url, project, name="second")
        second.start(**long_leases)
        await eventually(lambda: said(second, "runs already"), description="a second one that waits")
        second.signal()
        assert "0 handed back" in await asyncio.to_thread(second.leaves)
        pushing.signal()
        service.gate.set()
        # The first post may hold one image of the two, when the other was still being fetched.
        posted = sum(map(len, service.batches))
        expected = f"(asked): {posted} done, 0 failed, {2 - posted} handed back"
        assert expected in await asyncio.to_thread(pushing.leaves)

        async def is_gone() -> bool:
            return project not in {name for one in await services.heartbeats.workers() for name in one.projects}

        await eventually(is_gone, description="the worker is no longer shown")
        service.gate.clear()
        pushing.start(*patiently, **long_leases)
        await holds_a_post(service)
        pushing.signal()
        await eventually(lambda: said(pushing, "leaving"), description="the first signal heard")
        pushing.signal(signal.SIGINT)
        assert "2 handed back" in await asyncio.to_thread(pushing.leaves)
        assert job.epoch is not None
        assert await RemoteLeases(services.connection).is_deliverable(job.job_run, job.epoch)
        pushing.start(*patiently, **long_leases)
        await holds_a_post(service)
        pushing.kill()
        # The next one takes over at once what this one held.
        service.gate.set()
        pushing.start(*patiently, **long_leases)
        await all_done(services, job.job_id, 8)
    assert ends[job.job_id] is JobStatus.SUCCESS
    assert (await services.catalog.images.count(job.job_id)).failed == 0


async def said(pushing: PushWorker, words: str) -> bool:
    return words in pushing.log.read_text()


async def test_bad_input_is_one_line(services: Services, pushing: PushWorker, service: ProcessingService) -> None:
    for arguments, words in {
        ("push", "ftp://example.org"): "not the address of a service",
        ("push", service.url, "--timeout", "60"): "ANTENNA_HTTP_LEASE",
        ("projects", "set", "nobody-s", "--dispatch-mode", "sync_api"): "there is no project nobody-s",
    }.items():
        ended = await asyncio.to_thread(pushing.antenna, *arguments)
        assert ended.returncode in (2, 3) and words in ended.stderr and ended.stderr.count("\n") == 1, ended.stderr
