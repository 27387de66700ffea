"""The lake's mark: whose it is, and whether its disk is mounted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.lake import paths
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services, opened, prepare
from antenna_orchestration.settings import Settings
from antenna_orchestration.upkeep import backup, delete, lake_leftovers
from tests.processing.jobs_by_hand import claimed, hands, make_job

IMAGES = 3


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """A lake on a disk of its own: not in the home."""
    return tmp_path / "nas" / "lake"


@pytest.fixture
def apart(own_stores: EmbeddedStores, lake: Path) -> Settings:
    return own_stores.settings.model_copy(update={"lake_uri": str(lake), "task_ack_wait": 60.0})


@pytest.fixture
async def prepared(apart: Settings) -> AsyncIterator[Services]:
    await prepare(apart)
    async with opened(apart) as services:
        yield services


@contextmanager
def unmounted(lake: Path) -> Iterator[None]:
    """What is seen of a lake while its disk is not mounted: the empty folder below it."""
    away = lake.with_name("away")
    lake.rename(away)
    lake.mkdir()
    try:
        yield
    finally:
        lake.rmdir()
        away.rename(lake)


async def collected(services: Services, project: str) -> Job:
    """A job whose results lie in parts."""
    job = await claimed(services, await make_job(services, project, IMAGES))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, IMAGES))
    await collect.collect(services, job, observer=collect.Observer())
    return job


async def test_a_job_waits_for_a_lake_that_is_not_mounted(
    prepared: Services, apart: Settings, lake: Path, project: str
) -> None:
    """Its images were processed again, and the tables written below the mount point: the next mount hid them."""
    job = await collected(prepared, project)
    ended = await collected(prepared, project)
    await finish.write_final_tables(prepared, ended)
    assert await finish.finish_job(prepared, ended) is JobStatus.SUCCESS
    with unmounted(lake):
        with pytest.raises(errors.LakeUnavailable, match=r"there is no .*/\.antenna\.json: is it mounted\?"):
            await finish.write_final_tables(prepared, job)
        with pytest.raises(errors.LakeUnavailable, match="is it mounted"):
            await delete.delete(prepared, ended.job_id, by="test")
        with pytest.raises(errors.LakeUnavailable, match="is it mounted"):
            prepared.lake.count_rows("detections", ended.job_id)
        await lake_leftovers.clear(prepared)
        with pytest.raises(errors.LakeUnavailable, match="is empty, and was not: mount it"):
            await prepare(apart)
        assert list(lake.iterdir()) == []
    assert (await prepared.catalog.images.count(job.job_id)).done == IMAGES
    await prepare(apart)
    assert not (await finish.write_final_tables(prepared, job)).lost_parts
    assert await finish.finish_job(prepared, job) is JobStatus.SUCCESS
    assert prepared.lake.count_rows("detections", job.job_id) == IMAGES


async def test_a_lost_lake_is_begun_anew_when_a_person_says_so(
    prepared: Services, apart: Settings, lake: Path, project: str
) -> None:
    await make_job(prepared, project, 1)
    lake.rename(lake.with_name("lost"))
    lake.mkdir()
    with pytest.raises(errors.LakeUnavailable, match=f"make an empty file {lake}/{paths.MARK} once it is mounted"):
        await prepare(apart)
    (lake / paths.MARK).touch()
    await prepare(apart)
    await prepare(apart)
    prepared.lake.write_current()


@pytest.mark.usefixtures("prepared")
async def test_a_lake_is_missed_before_the_first_job(apart: Settings, lake: Path) -> None:
    """The folder below the mount point was marked, and every later mount and unmount went unnoticed."""
    with unmounted(lake):
        with pytest.raises(errors.LakeUnavailable, match="is empty, and was not"):
            await prepare(apart)
        assert list(lake.iterdir()) == []


async def test_no_backup_is_made_of_a_lake_that_is_away(
    prepared: Services, lake: Path, project: str, tmp_path: Path
) -> None:
    """It held no file of the lake, was a valid one, and made the good ones before it go."""
    await collected(prepared, project)
    with unmounted(lake), pytest.raises(errors.LakeUnavailable, match="is it mounted"):
        await backup.backup(prepared, str(tmp_path / "backup"))
    assert not (tmp_path / "backup" / backup.MARK).exists()


async def test_a_lake_of_earlier_releases_is_marked(prepared: Services, apart: Settings, lake: Path) -> None:
    await make_job(prepared, "earlier", 1)
    (lake / "manifest" / "job_id=1").mkdir(parents=True)
    (lake / paths.MARK).unlink()
    await prepare(apart)
    assert (lake / paths.MARK).exists()


@pytest.mark.usefixtures("prepared")
async def test_a_lake_belongs_to_one_catalog(apart: Settings, lake: Path) -> None:
    """Two had a job 1 each, and wrote their tables over each other's."""
    with psycopg.connect(apart.database_url) as other:
        other.execute("UPDATE lake_mark SET mark = gen_random_uuid()")
    with pytest.raises(errors.Conflict, match=f"the lake {lake} belongs to another catalog, that of {apart.home}"):
        await prepare(apart)
    (lake / paths.MARK).write_text("{")
    with pytest.raises(errors.Conflict, match="is damaged"):
        await prepare(apart)


async def test_a_catalog_that_is_older_than_the_mark_is_taken(prepared: Services, apart: Settings, lake: Path) -> None:
    """As the release before this one left it; a new catalog in the same place is another one."""
    before = (lake / paths.MARK).read_text()
    with psycopg.connect(apart.database_url) as catalog:
        catalog.execute("UPDATE lake_mark SET mark = gen_random_uuid(), claimed_at = NULL")
    with pytest.raises(errors.Conflict, match="belongs to another catalog"):
        await prepare(apart)
    await make_job(prepared, "p", 1)
    await prepare(apart)
    assert (lake / paths.MARK).read_text() != before


async def test_new_jobs_are_numbered_after_those_in_the_lake(prepared: Services, apart: Settings, lake: Path) -> None:
    """The catalog was put back from yesterday's copy: today's numbers would overwrite what the lake has of them."""
    before = await make_job(prepared, "p", 1)
    (lake / "manifest" / "job_id=70").mkdir(parents=True)
    (lake / "manifest" / "somebody's folder").mkdir()
    await prepare(apart)
    assert (await make_job(prepared, "p", 1)).job_id == 71
    (lake / "manifest" / "job_id=70").rmdir()
    await prepare(apart)
    assert (await make_job(prepared, "p", 1)).job_id == 72
    assert before.job_id < 70
