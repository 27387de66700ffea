"""The lake as people read it: DuckDB, pandas and Polars on the folders as they are, across jobs."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import polars as pl
import pyarrow.parquet as pq
import pytest

from antenna_orchestration import errors
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.embedded.stores import EmbeddedStores, embedded_stores
from antenna_orchestration.lake import merged, schemas
from antenna_orchestration.processing import collect, finish, merge, publish, retry
from antenna_orchestration.processing.services import Services, opened, prepare
from tests.homes import temporary_folder
from tests.pipelines import more_than_boxes
from tests.processing.jobs_by_hand import Hands, claimed, hands, make_job

Rows = list[tuple[int, int]]
"""Job and image of each row, sorted."""

FIRST, SECOND = 5, 3


def by_duckdb(folder: Path) -> Rows:
    found = duckdb.sql(f"SELECT job_id, image_id FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true)")
    return sorted(found.fetchall())


def by_pandas(folder: Path) -> Rows:
    table = pd.read_parquet(folder)
    return sorted((int(job), int(image)) for job, image in zip(table["job_id"], table["image_id"], strict=True))


def by_polars(folder: Path) -> Rows:
    return sorted(pl.scan_parquet(folder, hive_partitioning=True).select("job_id", "image_id").collect().rows())


READERS = [by_duckdb, by_pandas, by_polars]


@pytest.fixture(scope="module")
def own(template: Path) -> Iterator[EmbeddedStores]:
    """Stores of these tests alone: they look at the whole lake."""
    with temporary_folder() as folder, embedded_stores(folder / ".antenna", template=template) as stores:
        yield stores


@pytest.fixture(scope="module")
def jobs(own: EmbeddedStores) -> list[Job]:
    """Two finished jobs; two images of the first failed and were done by a retry."""

    async def made() -> list[Job]:
        wanted = own.settings
        await prepare(wanted)
        async with opened(wanted) as services, hands(services) as worker:
            return [await retried(services, worker), await finished(services, worker, SECOND)]

    return asyncio.run(made())


async def finished(services: Services, worker: Hands, images: int, *, failing: int = 0) -> Job:
    """A job from submission to its end."""
    return await done(services, worker, await make_job(services, "readers", images, reprocess=True), failing=failing)


async def done(services: Services, worker: Hands, job: Job, *, failing: int = 0) -> Job:
    job = await claimed(services, job)
    await finish.write_manifest(services, job)
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    left = (await services.catalog.images.count(job.job_id)).pending
    leases = await worker.lease(job, left)
    assert len(leases) == left
    await worker.report(leases[failing:])
    if failing:
        await worker.report(leases[:failing], outcome="failed", reason="404", detections=[])
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    assert (await finish.finish_job(services, job)) is JobStatus.SUCCESS
    return await services.catalog.jobs.get(job.job_id)


async def retried(services: Services, worker: Hands) -> Job:
    job = await finished(services, worker, FIRST, failing=2)
    await retry.retry(services, job.job_id)
    return await done(services, worker, await services.catalog.jobs.get(job.job_id))


@pytest.mark.long
@pytest.mark.parametrize("read", READERS)
@pytest.mark.parametrize("table", ["manifest", "captures", "detections"])
def test_a_table_folder_is_read_as_it_is(
    jobs: list[Job], own: EmbeddedStores, read: Callable[[Path], Rows], table: str
) -> None:
    found = [row for row in read(Path(own.settings.lake) / table) if row[0] in {int(job.job_id) for job in jobs}]
    assert len(found) == len(set(found)) == FIRST + SECOND
    assert sum(job == jobs[0].job_id for job, _ in found) == FIRST


@pytest.mark.parametrize("table", sorted(schemas.TABLES))
def test_the_columns_are_those_of_the_documentation(jobs: list[Job], own: EmbeddedStores, table: str) -> None:
    folder = Path(own.settings.lake) / table
    wanted = {*schemas.TABLES[table].names, "job_id"}
    assert set(pd.read_parquet(folder).columns) == wanted
    assert set(pl.read_parquet(folder, hive_partitioning=True).columns) == wanted
    query = duckdb.sql(f"SELECT * FROM read_parquet('{folder}/*/*.parquet', hive_partitioning = true)")
    assert set(query.columns) == wanted


# Merged tables


def merged_rows(lake: str, table: str = "detections") -> Rows:
    """By all three readers, which must agree."""
    folder = Path(lake) / "merged" / table
    query = f"SELECT job_id, image_id FROM '{folder}/*.parquet'"
    found: Any = sorted(duckdb.sql(query).fetchall())
    table_ = pd.read_parquet(folder)
    assert sorted(zip(table_["job_id"], table_["image_id"], strict=True)) == found
    assert sorted(pl.read_parquet(folder).select("job_id", "image_id").rows()) == found
    return list(found)


def own_rows(lake: str, table: str = "detections") -> Rows:
    return by_duckdb(Path(lake) / table)


def merged_files(lake: str) -> dict[str, int]:
    """The merged files, and when each was written."""
    return {str(path): path.stat().st_mtime_ns for path in sorted((Path(lake) / "merged").glob("*/*.parquet"))}


@pytest.fixture
async def services(own: EmbeddedStores, jobs: list[Job]) -> Any:
    async with opened(own.settings) as services:
        yield services


@pytest.mark.long
async def test_merged_tables_hold_what_the_folders_hold(services: Services) -> None:
    lake = services.settings.lake
    async with hands(services) as worker:
        await merge.merge(services)
        for table in merged.TABLES:
            assert merged_rows(lake, table) == own_rows(lake, table)
        files = merged_files(lake)
        again = await merge.merge(services)
        assert (again.files_written, again.jobs_written) == (0, 0)
        assert merged_files(lake) == files

        new = await finished(services, worker, 2, failing=1)
        assert (await merge.merge(services)).jobs_written == 1
        assert set(merged_files(lake)) == set(files), "the new job went into the file of its neighbours"
        for table in merged.TABLES:
            assert merged_rows(lake, table) == own_rows(lake, table)
        assert [row for row in merged_rows(lake, "failed_images") if row[0] == new.job_id]

        # While a retry runs, its job's rows stay as they were, also when the file is written for another's sake.
        before = [row for row in merged_rows(lake) if row[0] == new.job_id]
        await retry.retry(services, new.job_id)
        await finished(services, worker, 1)
        assert (await merge.merge(services)).jobs_written == 1
        assert [row for row in merged_rows(lake) if row[0] == new.job_id] == before
        await done(services, worker, await services.catalog.jobs.get(new.job_id))
        assert (await merge.merge(services)).jobs_written == 1
        for table in merged.TABLES:
            assert merged_rows(lake, table) == own_rows(lake, table)
        assert not [row for row in merged_rows(lake, "failed_images") if row[0] == new.job_id]


async def test_a_merge_that_broke_off_is_made_up_for(services: Services) -> None:
    lake = services.settings.lake
    await merge.merge(services)
    # As a kill leaves it: one table's file is there, another's is not, of a third a draft; and a fourth is damaged.
    paths = {Path(path).parent.name: Path(path) for path in merged_files(lake)}
    paths["captures"].unlink()
    (Path(lake) / ".drafts" / f"{paths['detections'].name}.0123abcd").write_bytes(b"PAR1 half")
    paths["classifications"].write_bytes(b"PAR1 half")
    await merge.merge(services)
    for table in merged.TABLES:
        assert merged_rows(lake, table) == own_rows(lake, table)


async def test_of_two_merges_at_once_the_second_is_refused(services: Services) -> None:
    async with services.catalog.jobs.merge_lock():
        with pytest.raises(errors.Conflict, match="merged already"):
            await merge.merge(services)
    await merge.merge(services)


async def test_a_damaged_table_of_one_job_is_named_and_leaves_the_rest(services: Services) -> None:
    lake = services.settings.lake
    await merge.merge(services)
    async with hands(services) as worker:
        job = await finished(services, worker, 1)
    [path] = (Path(lake) / f"detections/job_id={job.job_id}").glob("*.parquet")
    content = path.read_bytes()
    path.write_bytes(b"not Parquet")
    before = merged_rows(lake)
    with pytest.raises(errors.Unavailable, match=rf"1 of 1 files .*detections/job_id={job.job_id} is damaged"):
        await merge.merge(services)
    assert merged_rows(lake) == before
    path.write_bytes(content)
    await merge.merge(services)
    assert merged_rows(lake) == own_rows(lake)


async def test_jobs_that_say_more_are_read_beside_those_of_boxes(services: Services) -> None:
    lake = services.settings.lake
    await merge.merge(services)
    before = merged_files(lake)
    assert not any(name in path for path in before for name in schemas.FURTHER)
    boxes = {table: own_rows(lake, table) for table in merged.TABLES}
    async with hands(services) as worker:
        job = await claimed(services, await make_job(services, "readers", 2, reprocess=True))
        await publish.publish(services, job.job_id)
        job = await services.catalog.jobs.get(job.job_id)
        said = {"detections": [more_than_boxes.outlined()], "labels": more_than_boxes.labels()}
        await worker.report(await worker.lease(job, 2), width=64, height=48, **said)
        await collect.collect(services, job, observer=collect.Observer())
        await finish.write_final_tables(services, job)
        await finish.finish_job(services, job)
    await merge.merge(services)
    for table in merged.TABLES:
        # Every reader reads the folders as they are, whatever a job's pipeline says.
        assert merged_rows(lake, table) == own_rows(lake, table) >= boxes[table]
    for read in READERS:
        assert len(read(Path(lake) / "detections")) == len(boxes["detections"]) + 2
        assert [row for row in read(Path(lake) / "detection_details") if row[0] != job.job_id] == []
    assert merged_rows(lake, "detection_details") == own_rows(lake, "detection_details")
    assert merged_rows(lake, "image_labels") == sorted(own_rows(lake, "image_labels"))
    assert len(merged_rows(lake, "image_labels")) == 6
    assert (await merge.merge(services)).files_written == 0
    for folder in ("", "/merged"):
        with duckdb.connect() as session:
            session.execute(f"SET VARIABLE lake = '{lake}{folder}'")
            session.execute((Path(lake) / "current.sql").read_text())
            query = (
                "SELECT count(mask) FROM current_detection_details JOIN current_detections USING (job_id, detection_id)"
            )
            assert session.sql(query).fetchall() == [(2,)]
            assert session.sql("SELECT count(*) FROM current_image_labels").fetchall() == [(6,)]


async def test_files_of_an_earlier_version_get_the_new_columns(services: Services) -> None:
    """B4: a merged file of an earlier version is made anew, and what its jobs' own files lack is in the catalog."""
    lake = Path(services.settings.lake)
    await merge.merge(services)
    names = {str(job.job_id): (job.name, job.project, job.pipeline) for job in await services.catalog.jobs.list()}
    of_job = [name for name, _ in schemas.OF_JOB]
    for path in [*lake.glob("merged/*/*.parquet"), *lake.glob("[a-z]*/job_id=*/*.parquet")]:
        table = pq.ParquetFile(path).read()
        held = {key: value for key, value in (table.schema.metadata or {}).items() if key == b"antenna.jobs"}
        pq.write_table(table.drop_columns(of_job).replace_schema_metadata(held), path)
    before = merged_rows(str(lake))
    await merge.merge(services)
    assert merged_rows(str(lake)) == before
    for table in merged.TABLES:
        read = pd.read_parquet(lake / "merged" / table)
        said = read[["job_id", "job_name", "project", "pipeline"]].drop_duplicates()
        assert {str(job): tuple(rest) for job, *rest in said.itertuples(index=False)}.items() <= names.items()
        assert set(read["pipeline_version"]) <= {"1", "2"}
    assert (await merge.merge(services)).files_written == 0
    # The views read either: the merged tables name the pipeline that the jobs' own files do not.
    for folder, pipelines in (("", {None}), ("/merged", {"null"})):
        connection = duckdb.connect()
        connection.execute(f"SET VARIABLE lake = '{lake}{folder}'")
        connection.execute((lake / "current.sql").read_text())
        assert {name for (name,) in connection.sql("SELECT pipeline FROM current_found").fetchall()} == pipelines


def test_where_a_job_belongs_depends_on_its_id_and_size_alone() -> None:
    assert merged.file_of(42_017, 20) == merged.file_of(42_999, 10_000) == "jobs-000042000.parquet"
    assert merged.file_of(43_000, 20) == "jobs-000043000.parquet"
    assert merged.file_of(42_017, 10_001) == "job-000042017.parquet"
