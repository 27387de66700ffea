"""Jobs of pipelines that say more than boxes: all of it is in the lake, and jobs of boxes alone are as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pytest

from antenna_orchestration.domain import masks
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.lake import schemas
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import collect, finish, publish, retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.worker.options import WorkerOptions
from tests.pipelines import more_than_boxes
from tests.processing.boxes_by_hand import ended
from tests.processing.jobs_by_hand import Hands, claimed, hands, make_job
from tests.worker.worker_thread import running

PIPELINE = Path(more_than_boxes.__file__)
MORE: dict[str, Any] = {
    "width": more_than_boxes.WIDTH,
    "height": more_than_boxes.HEIGHT,
    "detections": [more_than_boxes.outlined(), more_than_boxes.plain()],
    "labels": more_than_boxes.labels(),
    "attributes": more_than_boxes.OF_IMAGE,
}
ONLY_LABELS: dict[str, Any] = {**MORE, "detections": []}


async def begun_by_hand(services: Services, project: str, images: int) -> Job:
    job = await claimed(services, await make_job(services, project, images, reprocess=True))
    await publish.publish(services, job.job_id)
    return await services.catalog.jobs.get(job.job_id)


async def over(services: Services, job: Job) -> Job:
    await collect.collect(services, job, observer=collect.Observer())
    assert not (await finish.write_final_tables(services, job)).lost_parts
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS
    return await services.catalog.jobs.get(job.job_id)


def table_rows(lake: Lake, name: str, job: Job) -> list[dict[str, Any]]:
    return lake.read_table(name, job.job_id).to_pylist()


def further(lake: Lake, job: Job) -> set[str]:
    return {name for name in schemas.FURTHER if lake.has_table(name, job.job_id)}


@pytest.mark.long
async def test_all_that_a_pipeline_says_comes_into_the_lake(services: Services, project: str, tmp_path: Path) -> None:
    """From the device process on: nothing is lost on the way, and plain photographs have no rows of it."""
    paths = [tmp_path / name for name in ("plain.jpg", "moth.jpg", "nothing.jpg")]
    for path in paths:
        path.write_bytes(b"not decoded")
    settings = services.settings.model_copy(
        update={"device": "cpu", "worker_threads": 1, "pipeline_paths": (PIPELINE,), "image_roots": (tmp_path,)}
    )
    made = await make_job(
        services,
        project,
        3,
        urls=[path.as_uri() for path in paths],
        pipeline="more_than_boxes",
        source_kinds=[f"file:{services.settings.host_id}"],
    )
    job = await claimed(services, made)
    await publish.publish(services, job.job_id)
    with running(settings, WorkerOptions(pipelines=("more_than_boxes",))):
        await ended(services, job)

    lake = services.lake
    captures = {Path(row["url"]).stem: row for row in table_rows(lake, "captures", job)}
    assert {name: row["detections"] for name, row in captures.items()} == {"plain": 1, "moth": 2, "nothing": 0}
    images = {name: row["image_id"] for name, row in captures.items()}
    [details] = table_rows(lake, "detection_details", job)
    assert details["detection_id"] == f"{images['moth']}-0"
    assert masks.of_json(details["mask"]) == more_than_boxes.mask()
    assert json.loads(details["attributes"]) == more_than_boxes.ATTRIBUTES
    assert details["rotated_angle"] == more_than_boxes.ROTATED.angle
    assert details["project"] == project
    labels = table_rows(lake, "image_labels", job)
    assert sorted((row["image_id"], row["label"]) for row in labels) == sorted(
        (images[name], one.label) for name in ("moth", "nothing") for one in more_than_boxes.labels()
    )
    attributes = {row["image_id"]: json.loads(row["attributes"]) for row in table_rows(lake, "image_attributes", job)}
    assert attributes == dict.fromkeys([images["moth"], images["nothing"]], more_than_boxes.OF_IMAGE)
    assert len(table_rows(lake, "detections", job)) == 3


async def test_a_job_of_boxes_alone_leaves_no_trace_of_more(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await begun_by_hand(services, project, 2)
        await worker.report(await worker.lease(job, 2))
        job = await over(services, job)
    assert further(services.lake, job) == set()
    for name in finish.TABLES:
        assert services.lake.read_table(name, job.job_id).schema.equals(schemas.TABLES[name])


@pytest.mark.parametrize("first", [MORE, {}], ids=["more before boxes", "boxes before more"])
async def test_a_retry_of_either_kind_adds_its_rows(services: Services, project: str, first: dict[str, Any]) -> None:
    second = {} if first else MORE
    async with hands(services) as worker:
        job = await begun_by_hand(services, project, 3)
        leases = await worker.lease(job, 3)
        await worker.report(leases[:2], **first)
        await worker.report(leases[2:], outcome="failed", reason="404", detections=[])
        job = await over(services, job)
        await retry.retry(services, job.job_id)
        job = await claimed(services, await services.catalog.jobs.get(job.job_id))
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        again = await worker.lease(job, 1)
        await worker.report(again, **second)
        job = await over(services, job)
    having = [lease.task.image for lease in (again if second else leases[:2])]
    for name, each in (("detection_details", 1), ("image_labels", 3), ("image_attributes", 1)):
        found = [row["image_id"] for row in table_rows(services.lake, name, job)]
        assert sorted(found) == sorted(having * each), name
    assert further(services.lake, job) == set(schemas.FURTHER)
    images = [row["image_id"] for row in table_rows(services.lake, "detections", job)]
    assert len(set(images)) == 3


async def test_a_part_that_lost_its_labels_is_done_again(services: Services, project: str) -> None:
    async with hands(services) as worker:
        job = await begun_by_hand(services, project, 2)
        await worker.report(await worker.lease(job, 2), **ONLY_LABELS)
        await collect.collect(services, job, observer=collect.Observer())
        # As a fault of the disk leaves it. The table of a first attempt must not stay, either.
        await finish.write_final_tables(services, job)
        root = Path(services.lake.uri)
        lost = sorted((root / "_parts" / f"job_id={job.job_id}").glob("*/image_labels.parquet"))
        for path in lost:
            path.unlink()
        written = await finish.write_final_tables(services, job)
        assert len(written.lost_parts) == len(lost) > 0
        job = await services.catalog.jobs.get(job.job_id)
        await worker.report(await worker.lease(job, 2))
        job = await over(services, job)
    assert further(services.lake, job) == set()
    assert len(table_rows(services.lake, "detections", job)) == 2


async def test_rows_so_far_have_what_there_is_of_more(services: Services, project: str, tmp_path: Path) -> None:
    async with hands(services) as worker:
        job = await begun_by_hand(services, project, 3)
        await worker.report(await worker.lease(job, 2), **MORE)
        async with services.results(job.job_run) as feed:
            received = await feed.pull(2, wait=5.0)
            await collect.Collector(services=services, job=job, observer=collect.Observer()).commit(received)
            await feed.acknowledge(received)
        into = Lake(str(tmp_path))
        assert await finish.write_rows_so_far(services, job, into) == 1
        assert further(into, job) == set(schemas.FURTHER)
        assert len(table_rows(into, "image_labels", job)) == 6
        await finish_rest(services, worker, job)


async def finish_rest(services: Services, worker: Hands, job: Job) -> None:
    await worker.report(await worker.lease(job, 1))
    await over(services, job)


async def test_the_views_of_the_newest_results_have_them_once_they_are_used(
    services: Services, project: str, tmp_path: Path
) -> None:
    async with hands(services) as worker:
        job = await begun_by_hand(services, project, 2)
        await worker.report(await worker.lease(job, 2), **ONLY_LABELS)
        job = await over(services, job)
    own = Lake(str(tmp_path / "lake"))
    for name in (*finish.TABLES, *schemas.FURTHER):
        if services.lake.has_table(name, job.job_id):
            own.write_table(name, job.job_id, job.generation, [services.lake.read_table(name, job.job_id)])
    with duckdb.connect() as session:
        session.execute(own.current())
        assert session.sql("SELECT count(*) FROM current_captures").fetchall() == [(2,)]
        found = session.sql("SELECT label, count(*) FROM current_image_labels WHERE terminal GROUP BY ALL ORDER BY ALL")
        assert found.fetchall() == [("Noctua pronuba", 2), ("rain", 2)]
        assert session.sql("SELECT count(*) FROM current_found").fetchall() == [(0,)]
    assert "detection_details" not in own.current()
