"""A backup of a stack at work, restored into an empty one with empty NATS and Redis; and everything it refuses."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psycopg
import pytest

from antenna_orchestration import errors
from antenna_orchestration.catalog import backup as catalog_backup
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.lake import paths
from antenna_orchestration.processing import cancel, collect, finish, publish, reconcile, retry, watched_sources
from antenna_orchestration.processing.services import Services, opened, prepare
from antenna_orchestration.upkeep import backup
from tests.homes import temporary_folder
from tests.processing.jobs_by_hand import claimed, hands, make_job
from tests.processing.watched import photograph, watch

pytestmark = pytest.mark.long


@pytest.fixture
def other_stores(template: Path) -> Iterator[EmbeddedStores]:
    """A second, empty deployment."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


@pytest.fixture
async def empty(other_stores: EmbeddedStores) -> AsyncIterator[Services]:
    wanted = other_stores.settings
    await prepare(wanted)
    async with opened(wanted) as services:
        yield services


async def finished(services: Services, job: Job) -> Job:
    """Processed from where it stands to its end."""
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    left = (await services.catalog.images.count(job.job_id)).pending
    async with hands(services) as worker:
        while left:
            leases = await worker.lease(job, left)
            await worker.report(leases)
            left -= len(leases)
    await collect.collect(services, job, observer=collect.Observer())
    while (await finish.write_final_tables(services, job)).lost_parts:
        async with hands(services) as worker:
            await worker.report(await worker.lease(job, job.total))
        await collect.collect(services, job, observer=collect.Observer())
    assert await finish.finish_job(services, job) is JobStatus.SUCCESS
    return await services.catalog.jobs.get(job.job_id)


async def half_done(services: Services, project: str) -> Job:
    """A running job of ten: four are done and lie in a part, three are leased, three wait."""
    job = await claimed(services, await make_job(services, project, 10))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 4))
        await worker.lease(job, 3)
    async with services.results(job.job_run) as feed:
        received = await feed.pull(4, wait=5.0)
        await collect.Collector(services=services, job=job, observer=collect.Observer()).commit(received)
        await feed.acknowledge(received)
    return job


async def test_finished_jobs_show_as_before_and_unfinished_ones_go_on(
    own_services: Services, empty: Services, project: str, tmp_path: Path
) -> None:
    over = await finished(own_services, await claimed(own_services, await make_job(own_services, project, 20)))
    running = await half_done(own_services, project + "-b")
    queued = await make_job(own_services, project + "-c", 5)
    canceled = await half_done(own_services, project + "-d")
    await cancel.cancel(own_services, canceled.job_id, reason="a test")
    photograph(tmp_path / "card" / "20260612221500.jpg", "one")
    source = await watch(own_services, project, tmp_path / "card", settle="1h")
    await source.look()
    made = await backup.backup(own_services, str(tmp_path / "copy"))
    assert made.jobs == 4
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o700

    # What was made for downloads is made again: it does not make a lake one that is in use.
    for services in (own_services, empty):
        services.lake.write_bytes("downloads/job_id=1/x-detections.csv", b"made before")

    # Something of a job that the backup does not know, under a number that will come again.
    stranger = await make_job(own_services, project + "-e", 3)
    await empty.queue.open(stranger.pipeline, stranger.job_run, "epoch")  # type: ignore[arg-type]

    assert await backup.restore(empty, str(tmp_path / "copy")) == made
    assert (await watched_sources.show_source(empty, source.number)).found == 1, "its files are counted again"
    for job in (over, queued):
        assert _same(await empty.catalog.jobs.get(job.job_id), job)
    for table in ("detections", "classifications", "captures", "failed_images"):
        assert empty.lake.read_table(table, over.job_id) == own_services.lake.read_table(table, over.job_id)
    assert await empty.catalog.job_log.read(over.job_id) == await own_services.catalog.job_log.read(over.job_id)
    assert not await empty.queue.jobs_on_queue()

    for job in (running, queued):
        restored = await empty.catalog.jobs.get(job.job_id)
        assert (await reconcile.rebuild(empty, job.job_id)).is_needed
        if restored.status is JobStatus.QUEUED:
            await claimed(empty, restored)
        final = await finished(empty, await empty.catalog.jobs.get(job.job_id))
        images = empty.lake.read_table("detections", job.job_id).column("image_id").to_pylist()
        assert len(images) == len(set(images)) == final.total
    assert (await retry.retry(empty, canceled.job_id)).images == 6
    final = await finished(empty, await claimed(empty, await empty.catalog.jobs.get(canceled.job_id)))
    assert empty.lake.read_table("detections", canceled.job_id).num_rows == final.total

    fresh = await make_job(empty, project, 1)
    assert fresh.job_id > stranger.job_id, "numbers of the time after the backup are not given again"


def _same(one: Job, other: Job) -> bool:
    fields = ("status", "name", "total", "generation", "created_at", "finished_at", "config", "source_kinds")
    return all(getattr(one, name) == getattr(other, name) for name in fields)


async def test_what_is_refused(own_services: Services, project: str, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with pytest.raises(errors.InvalidInput, match="holds no backup"):
        await backup.restore(own_services, str(tmp_path / "nowhere"))
    with pytest.raises(errors.InvalidInput, match="lies in the lake"):
        await backup.backup(own_services, f"{own_services.settings.lake}/copy")
    await finished(own_services, await claimed(own_services, await make_job(own_services, project, 2)))
    await backup.backup(own_services, str(copy))
    with pytest.raises(errors.Conflict, match="is not empty"):
        await backup.backup(own_services, str(copy))
    with pytest.raises(errors.Conflict, match=r"the catalog is not empty .* 1 jobs"):
        await backup.restore(own_services, str(copy))


async def test_a_restore_that_is_refused_changes_nothing(
    own_services: Services, empty: Services, project: str, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    await finished(own_services, await claimed(own_services, await make_job(own_services, project, 2)))
    await backup.backup(own_services, str(copy))
    mark = json.loads((copy / "backup.json").read_text())

    for changes, message in (
        ({"catalog_version": "0000"}, "the backup is of catalog version 0000"),
        ({"format": 2}, "has format 2"),
        ({"bytes": 1}, "is damaged"),
        ({"files": None}, "cannot be read"),
    ):
        (copy / "backup.json").write_text(json.dumps(mark | changes))
        with pytest.raises(errors.AntennaError, match=message):
            await backup.restore(empty, str(copy))
    (copy / "backup.json").write_text(json.dumps(mark))

    rows = copy / "catalog/job_images.copy.gz"
    whole = rows.read_bytes()
    for content in (whole[:-20], gzip.compress(b"no\trow\n")):
        rows.write_bytes(content)
        with pytest.raises(errors.InvalidInput):
            await backup.restore(empty, str(copy))
        assert await catalog_backup.version_and_use(empty.settings.database_url) == (mark["catalog_version"], None)
        assert [path.name for path in Path(empty.settings.lake).rglob("*") if path.is_file()] == [paths.MARK]
    rows.write_bytes(whole)

    (Path(empty.settings.lake) / "captures").mkdir(parents=True, exist_ok=True)
    (Path(empty.settings.lake) / "captures/one").write_text("another's")
    with pytest.raises(errors.Conflict, match="is not empty"):
        await backup.restore(empty, str(copy))
    (Path(empty.settings.lake) / "captures/one").unlink()
    assert (await backup.restore(empty, str(copy))).jobs == 1


def test_every_table_is_in_the_backup(shared_stores: EmbeddedStores) -> None:
    wanted = shared_stores.settings
    asyncio.run(prepare(wanted))
    with psycopg.connect(wanted.database_url) as connection:
        query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        found = {row[0] for row in connection.execute(query)}
    # What is under way elsewhere is none of a restored catalog's.
    under_way = {"run_heartbeats", "worker_starts", "worker_pools", "sensor_ticks"}
    # What is wrong is looked at anew.
    under_way |= {"alerts", "alert_messages", "alert_targets", "alert_rounds"}
    # A trigger counts the files of sources that are restored.
    under_way.add("source_counts")
    # What is restored is another catalog, with a lake of its own.
    under_way.add("lake_mark")
    assert found == {*catalog_backup.TABLES, "alembic_version", *under_way}
