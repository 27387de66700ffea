"""Deleting a job: all that any store holds of it goes, nothing of others does, and a crash at any point is mended."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import duckdb
import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import derive, season
from antenna_orchestration.catalog import backup as catalog_backup
from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.cli import deleting
from antenna_orchestration.domain.ids import JobId, PipelineSlug
from antenna_orchestration.domain.job import Job
from antenna_orchestration.ecology.reviews import Review
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.lake import derived, removal
from antenna_orchestration.lake import season as season_files
from antenna_orchestration.lake.merged import MergedFile, MergedTables, file_of
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.processing import cancel, collect, finish, publish, retry
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import backup, delete
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job
from tests.upkeep import dying_deleter

FINDS = PipelineRow(
    slug="finds",
    name="finds",
    version="1",
    description="",
    default_config={},
    algorithms=[
        AlgorithmRow(
            key="null_detector", version="1", name="finder", task="localization", description="", uri=None, labels=[]
        )
    ],
)


async def done(services: Services, project: str, *urls: str, **changes: object) -> Job:
    """A job of these photographs, processed to its end."""
    await services.catalog.pipelines.register(FINDS)
    named = [f"http://192.0.2.1/{project}/{url}.jpg" for url in urls]
    job = await claimed(services, await a_job(services, project, named, **changes))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, job.total), algorithms=[ALGORITHM])
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_manifest(services, job)
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)
    return await services.catalog.jobs.get(job.job_id)


async def a_job(services: Services, project: str, urls: Sequence[str], **changes: object) -> Job:
    return await make_job(services, project, 0, urls=urls, pipeline=PipelineSlug(FINDS.slug), **changes)


async def pending(services: Services, project: str, *urls: str) -> int:
    """How many of these photographs another job would process."""
    job = await a_job(services, project, [f"http://192.0.2.1/{project}/{url}.jpg" for url in urls])
    await cancel.cancel(services, job.job_id, reason="a test")
    return job.total


async def deleted(services: Services, *jobs: Job, reviews_too: bool = False) -> list[str]:
    for job in jobs:
        await delete.delete(services, job.job_id, by="someone", reviews_too=reviews_too)
    return await delete.bring_up_to_date(services, [job.job_id for job in jobs])


async def rows_of(services: Services, job: JobId) -> dict[str, int]:
    """What the catalog has of a job, by table, but for its deletion."""
    found = {}
    async with services.catalog.database.transaction() as connection:
        columns = await connection.execute(
            "SELECT table_name AS name FROM information_schema.columns WHERE column_name = 'job_id' AND table_schema = "
            "'public' AND table_name NOT IN ('deletions', 'source_photographs')"
        )
        for row in await columns.fetchall():
            counted = await connection.execute(f"SELECT count(*) AS n FROM {row['name']} WHERE job_id = %s", [job])
            found[row["name"]] = (await counted.fetchone() or {})["n"]
    assert found.keys() >= {"jobs", "job_images", "job_log", "job_generations", "collectors", "processed", "reviews"}
    return {table: count for table, count in found.items() if count}


async def is_gone(services: Services, job: Job, *, by: str = "someone") -> None:
    """Nothing of a job is anywhere."""
    assert await rows_of(services, job.job_id) == {}
    assert removal.held(services.lake, job.job_id) == {}
    assert job.job_run not in await services.queue.jobs_on_queue()
    assert job.job_run not in await services.live.counters.jobs()
    with pytest.raises(errors.NotFound, match=rf"job {job.job_id} was deleted on .* by {by}"):
        await services.catalog.jobs.get(job.job_id)


async def test_all_of_a_job_goes_and_nothing_of_others(services: Services, project: str) -> None:
    kept, job = await done(services, project, "a", "b"), await done(services, project, "c", "d", "e")
    await derive.derive(services, job=job.job_id)
    services.lake.write_bytes(f"exports/ena/job_id={job.job_id}/ena.tsv", b"rows")
    services.lake.write_bytes(f"downloads/job_id={job.job_id}/0-captures.csv", b"rows")
    services.lake.write_bytes(f"reports/job_id={job.job_id}/report.html", b"page")
    before = removal.held(services.lake, kept.job_id)
    rows = await rows_of(services, kept.job_id)
    planned = await delete.plan(services, job.job_id)
    assert (planned.rows.images, planned.rows.unprocessed, planned.rows.reviews) == (3, 3, 0)
    assert planned.files == removal.Held(
        sum(one.files for one in removal.held(services.lake, job.job_id).values()),
        sum(one.bytes for one in removal.held(services.lake, job.job_id).values()),
    )
    assert {folder.split("/")[0] for folder in planned.folders} >= {
        "captures", "detections", "manifest", "derived", "exports", "downloads", "reports",
    }  # fmt: skip
    assert (await services.catalog.jobs.get(job.job_id)).total == 3, "a plan changes nothing"
    await deleted(services, job)
    await is_gone(services, job)
    assert removal.held(services.lake, kept.job_id) == before
    assert await rows_of(services, kept.job_id) == rows
    with pytest.raises(errors.NotFound, match="was deleted"):
        await deleted(services, job)


@pytest.mark.long
async def test_a_season_is_without_deleted_jobs(services: Services, project: str) -> None:
    first, second = await done(services, project, "a", "b"), await done(services, project, "c")

    def found() -> int:
        return sum((season_files.read(services.lake, project) or season_files.Season()).nights["found"].to_pylist())

    await season.refresh(services, project)
    assert found() == 3
    await deleted(services, second)
    await season.refresh(services, project)
    assert found() == 2
    await deleted(services, first)
    await season.refresh(services, project)
    assert found() == 0


async def test_photographs_are_unprocessed_unless_another_job_did_them(services: Services, project: str) -> None:
    first = await done(services, project, "a", "b", "c")
    again = await done(services, project, "b", "c", "d", reprocess=True)
    canceled = await a_job(services, project, [f"http://192.0.2.1/{project}/a.jpg"], reprocess=True)
    await cancel.cancel(services, canceled.job_id, reason="a test")
    assert (await delete.plan(services, first.job_id)).rows.unprocessed == 1
    both = [first.job_id, again.job_id]
    plans = [await delete.plan(services, job, along_with=both) for job in both]
    assert sum(one.rows.unprocessed for one in plans) == 4, "neither is there then for the other's"
    await deleted(services, first)
    assert await pending(services, project, "a", "b", "c", "d") == 1, "only the first job did a"
    await deleted(services, again)
    assert await pending(services, project, "a", "b", "c", "d") == 4


@pytest.mark.long
async def test_newest_results_fall_back_to_an_older_job(own_services: Services, project: str) -> None:
    services = own_services
    old, new = await done(services, project, "a", "b"), await done(services, project, "a", reprocess=True)

    def current() -> list[tuple[str, int]]:
        with duckdb.connect() as session:
            session.execute(services.lake.read_bytes("current.sql").decode())
            found = session.execute("SELECT url, job_id FROM current_captures ORDER BY url").fetchall()
            return [(url[-5:-4], job) for url, job in found]

    assert current() == [("a", new.job_id), ("b", old.job_id)]
    await deleted(services, new)
    assert current() == [("a", old.job_id), ("b", old.job_id)]
    # The first merge under way may have read its rows already.
    async with services.catalog.jobs.merge_lock():
        with pytest.raises(errors.Conflict, match=f"job {old.job_id} is deleted, but not all of it is cleared"):
            await deleted(services, old)
    await deleted(services, old)
    assert "current.sql" not in services.lake.names(""), "DuckDB refuses views of no files"


@pytest.mark.long
async def test_tables_of_a_project_are_derived_anew(services: Services, project: str) -> None:
    kept, job = await done(services, project, "a"), await done(services, project, "b")
    scope = Scope(project=project)
    await derive.derive(services, project=project)
    assert await deleted(services, job) == [project]
    assert derived.jobs_of(services.lake, scope, "nights") == {kept.job_id: kept.generation}
    assert await deleted(services, kept) == [project]
    assert derived.jobs_of(services.lake, scope, "nights") is None, "nothing is left to derive from"


async def test_merged_tables_lose_the_job_alone(services: Services, project: str) -> None:
    kept, job = await done(services, project, "a", "b"), await done(services, project, "c")
    tables = MergedTables(services.lake)
    for one in (kept, job):
        file = MergedFile(file_of(one.job_id, 1), {one.job_id: one.generation}, {one.job_id: {}})
        tables.bring_up_to_date("captures", file)
    path = f"merged/captures/{file_of(kept.job_id, 1)}"

    def rows(of: Job) -> int:
        held = services.lake.batches_of_file(path)
        return sum(batch["job_id"].to_pylist().count(of.job_id) for batch in held)

    assert (rows(kept), rows(job)) == (2, 1)
    await deleted(services, job)
    assert (rows(kept), rows(job)) == (2, 0)


async def test_what_is_not_to_go_is_refused(services: Services, project: str) -> None:
    active = await claimed(services, await make_job(services, project, 1))
    with pytest.raises(errors.Conflict, match=f"is RUNNING: cancel it first .`antenna jobs cancel {active.job_id}"):
        await delete.delete(services, active.job_id, by="someone")
    with pytest.raises(errors.NotFound, match="there is no job"):
        await delete.delete(services, JobId(10**12), by="someone")
    job = await done(services, project, "a")
    await services.catalog.runs.beat(job.run_id or "")
    with pytest.raises(errors.Conflict, match="its run is not over yet"):
        await delete.delete(services, job.job_id, by="someone")
    await services.catalog.runs.forget([job.run_id or ""])
    await set_detections_of(services, active.job_id, job.job_id)
    with pytest.raises(errors.Conflict, match=f"cannot go before job {active.job_id}, which classified its boxes"):
        await delete.delete(services, job.job_id, by="someone")
    assert (await delete.plan(services, job.job_id, along_with=[active.job_id])).rows.images == 1
    await set_detections_of(services, active.job_id, None)
    [detection] = services.lake.read_table("detections", job.job_id)["detection_id"].to_pylist()
    said = Review(job.job_id, detection, "Noctua pronuba", "Ann", job.created_at)
    await services.catalog.reviews.add([said], imported_by="Ann")
    with pytest.raises(errors.Conflict, match=r"has 1 review by people.*reviews list --job .*--reviews-too"):
        await delete.delete(services, job.job_id, by="someone")
    assert (await delete.plan(services, job.job_id, reviews_too=True)).rows.reviews == 1
    assert await services.catalog.reviews.of(project) == [said], "nothing was lost"
    await deleted(services, job, reviews_too=True)
    await is_gone(services, job)


async def test_of_jobs_that_a_rule_chose_those_stay_that_others_build_on(services: Services, project: str) -> None:
    boxes, reviewed, free = [await done(services, project, name) for name in ("a", "b", "c")]
    await set_detections_of(services, reviewed.job_id, boxes.job_id)
    [detection] = services.lake.read_table("detections", reviewed.job_id)["detection_id"].to_pylist()
    said = Review(reviewed.job_id, detection, "Noctua pronuba", "Ann", reviewed.created_at)
    await services.catalog.reviews.add([said], imported_by="Ann")
    jobs = [boxes.job_id, reviewed.job_id, free.job_id]
    planned, refused = await deleting._planned(services, jobs, [], reviews_too=False, is_rule=True)
    assert [one.rows.job_id for one in planned] == [free.job_id]
    assert [line.partition(" has")[0].partition(" cannot")[0] for line in refused] == [
        f"job {reviewed.job_id}", f"job {boxes.job_id}",
    ]  # fmt: skip
    planned, refused = await deleting._planned(services, jobs, [], reviews_too=True, is_rule=True)
    assert ([one.rows.job_id for one in planned], refused) == (jobs[::-1], [])


@pytest.mark.long
async def test_a_job_that_was_tried_again_since_it_was_chosen_stays(
    services: Services,
    project: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Not where a stack of this checkout has been, whose Dagster would be asked.
    monkeypatch.chdir(tmp_path)
    gone, after = await done(services, project, "a"), await done(services, project, "c")
    job = await a_job(services, project, [f"http://192.0.2.1/{project}/b.jpg"])
    await cancel.cancel(services, job.job_id, reason="a test")
    await derive.derive(services, project=project)
    chosen = {one.job_id: one.generation for one in (gone, job, after)}
    await retry.retry(services, job.job_id)
    await cancel.cancel(services, job.job_id, reason="a test")
    with pytest.raises(errors.Conflict, match=f"job {job.job_id} was tried again since it was chosen"):
        await deleting._delete(services, chosen, reviews_too=False)
    assert f"deleted job {gone.job_id}\n" in capsys.readouterr().out, "what went before it is told, and complete"
    await is_gone(services, gone, by="")
    deletion = await services.catalog.deletions.find(gone.job_id)
    assert deletion is not None
    assert deletion.cleared_at
    assert {one.job_id for one in await services.catalog.jobs.list(project=project)} == {job.job_id, after.job_id}


async def set_detections_of(services: Services, job: JobId, of: JobId | None) -> None:
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE jobs SET detections_of = %s WHERE job_id = %s", [of, job])


@pytest.mark.long
@pytest.mark.parametrize("most", [None, 10])
async def test_two_who_delete_and_one_who_retries(services: Services, project: str, most: int | None) -> None:
    jobs = [await done(services, project, f"{n}") for n in range(3)]
    async with services.catalog.database.transaction() as connection:
        # Those are counted, with the project locked.
        await connection.execute("UPDATE jobs SET interactive = true WHERE project_id = %s", [jobs[0].project_id])
    acts = [delete.delete(services, job.job_id, by="someone") for job in jobs for _ in range(2)]
    acts += [retry.retry(services, job.job_id, most_interactive=most) for job in jobs]  # type: ignore[misc]
    ends = await asyncio.gather(*acts, return_exceptions=True)
    assert all(
        end is None or isinstance(end, errors.NotFound | errors.Conflict) or hasattr(end, "images") for end in ends
    )
    for job in jobs:
        if current := await services.catalog.jobs.find(job.job_id):
            assert current.generation == 2, "a retry came first, and nothing was deleted"
            assert removal.held(services.lake, job.job_id)
        else:
            await delete.bring_up_to_date(services, [job.job_id])
            await is_gone(services, job)


async def test_a_derivation_under_way_does_without_a_deleted_job(
    services: Services, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept, job = await done(services, project, "a"), await done(services, project, "b")
    loaded = derive.knowledge.load
    tries = []

    async def and_meanwhile(*arguments: object, **named: object) -> object:
        if not tries:
            await delete.delete(services, job.job_id, by="someone")
        tries.append(named["jobs"])
        return await loaded(*arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(derive.knowledge, "load", and_meanwhile)
    made = await derive.derive(services, project=project)
    assert (list(made.jobs), len(tries)) == ([kept.job_id], 2)


async def test_a_backup_holds_deletions_off(services: Services, project: str, tmp_path: Path) -> None:
    job = await done(services, project, "a")
    order = []

    async def remove() -> None:
        await delete.delete(services, job.job_id, by="someone")
        order.append("deleted")

    async with services.catalog.deletions.none(), services.catalog.deletions.none():
        waiting = asyncio.create_task(remove())
        done_, _ = await asyncio.wait([waiting], timeout=0.5)
        assert not done_
        assert await services.catalog.jobs.find(job.job_id)
        order.append("backed up")
    await waiting
    assert order == ["backed up", "deleted"]
    await backup.backup(services, str(tmp_path / "backup"))


@pytest.mark.long
async def test_no_number_is_given_again_after_a_restore(own_services: Services, project: str) -> None:
    services = own_services
    job = await done(services, project, "a")
    await deleted(services, job)
    tables = {}
    async with catalog_backup.snapshot(services.settings.database_url) as snapshot:
        for table in catalog_backup.TABLES:
            tables[table] = b"".join([block async for block in snapshot.rows(table)])
    async with services.catalog.database.transaction() as connection:
        await connection.execute("TRUNCATE projects, captures, jobs CASCADE")
    await catalog_backup.load(
        services.settings.database_url, {name: lambda rows=rows: [rows] for name, rows in tables.items()}
    )
    assert (await make_job(services, project, 1)).job_id > job.job_id
    with pytest.raises(errors.NotFound, match="was deleted"):
        await services.catalog.jobs.get(job.job_id)


def killed_at(stores: EmbeddedStores, job: JobId, point: str) -> None:
    """Delete a job in a process that is killed at a point."""
    ended = subprocess.run(
        [sys.executable, "-m", dying_deleter.__name__, str(job), point],
        env={**stores.variables, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == -9, ended.stderr


@pytest.mark.long
@pytest.mark.parametrize(
    "point",
    ["lake-2", *(pytest.param(one, marks=pytest.mark.slow) for one in dying_deleter.POINTS if one != "lake-2")],
)
async def test_what_a_killed_deletion_left_is_completed(
    shared_stores: EmbeddedStores, services: Services, project: str, point: str
) -> None:
    kept, job = await done(services, project, "a"), await done(services, project, "b")
    await derive.derive(services, project=project)
    await asyncio.to_thread(killed_at, shared_stores, job.job_id, point)
    if await services.catalog.jobs.find(job.job_id):
        assert point == "catalog", "the job is there as before"
        assert len(removal.held(services.lake, job.job_id)) >= 4
        assert await pending(services, project, "a", "b") == 0
        await deleted(services, job)
    else:
        assert await rows_of(services, job.job_id) == {}
        swept = await delete.complete(services)
        assert f"job {job.job_id}: its deletion completed" in swept.cleared
    await is_gone(services, job)
    in_tables = derived.jobs_of(services.lake, Scope(project=project), "nights") or {}
    assert kept.job_id in in_tables
    assert job.job_id not in in_tables
    assert not [line for line in (await delete.complete(services)).cleared if f"job {job.job_id}:" in line]


async def test_what_is_written_late_is_cleared_again(services: Services, project: str) -> None:
    job = await done(services, project, "a")
    await deleted(services, job)
    services.lake.write_bytes(f"downloads/job_id={job.job_id}/0-captures.csv", b"rows")
    services.lake.write_bytes(f"exports/ena/job_id={job.job_id}/ena.tsv", b"rows")
    swept = await delete.complete(services)
    assert f"job {job.job_id}: its deletion completed" in swept.cleared
    await is_gone(services, job)
