"""Files that are made for downloads: each once, whole or not at all, resumable, and not too many of them."""

import asyncio
import csv
import io
import json
import os
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import requests

from antenna_orchestration import errors
from antenna_orchestration.answers import derive, kept_downloads
from antenna_orchestration.answers.kept_downloads import Kept
from antenna_orchestration.domain.access import Role
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.exports import csv_tables
from antenna_orchestration.gateway.making import MOST_OF_ONE, MOST_WAITING, Making
from antenna_orchestration.lake import paths
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.lake.store import Lake
from antenna_orchestration.processing import cancel, collect, finish, publish
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import lake_leftovers
from tests.gateway.gateway_process import RunningGateway, token
from tests.gateway.http_worker import session
from tests.processing.classified_jobs import LABELS, MOTHS, found, registered
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job
from tests.small_disks import small_disk
from tests.waiting import eventually

SCOPE = Scope(job=JobId(5))


async def accounted(services: Services, job: Job, number: int) -> bool:
    return (await services.catalog.images.count(job.job_id)).accounted == number


@pytest.mark.long
async def test_a_running_job_is_read_and_a_download_resumed(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await claimed(services, await make_job(services, project, 3, pipeline=await registered(services, project)))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    secret = await token(services, project, role=Role.SUBMITTER)
    of_job = f"{gateway.base}/jobs/{job.job_id}"

    async def get(url: str, **headers: str) -> requests.Response:
        def asked() -> requests.Response:
            with session(secret) as http:
                return http.get(url, headers=headers, timeout=60)

        return await asyncio.to_thread(asked)

    early = await get(f"{of_job}/results")
    assert early.status_code == 409 and "has no results yet" in early.json()["detail"]
    async with hands(services) as worker:
        leases = await worker.lease(job, 3)
        await worker.report(leases[:1], detections=[found(LABELS[0])], algorithms=[ALGORITHM, MOTHS])
        await worker.report(leases[1:2], outcome="failed", reason="no such file", detections=[])
        collecting = asyncio.create_task(collect.collect(services, job, observer=collect.Observer()))
        try:
            await eventually(lambda: accounted(services, job, 2), description="two collected")
            listed = (await get(f"{of_job}/results")).json()
            text = f"job {job.job_id} is RUNNING and not complete: 1 image of it has no result yet"
            assert (listed["is_complete"], listed["pending"], listed["notice"]) == (False, 1, text)
            assert [one.split("`")[1].split()[1] for one in listed["not_there"]] == ["derive", "report"]
            # Everything that it names is there, with the notice.
            for one in listed["downloads"]:
                answer = await get(one["url"])
                assert answer.status_code == 200 and answer.headers["content-type"].startswith(one["type"]), one
                assert answer.headers["antenna-images-pending"] == "1" and one["what"]
            assert (await get(listed["megadetector"])).json()["info"]["antenna"]["complete"] is False
            tables = {table["name"]: table for table in listed["tables"]}
            [file] = tables["captures"]["parquet"]
            assert pq.read_table(io.BytesIO((await get(file["url"])).content)).num_rows == 2

            # Eight at a time get one file, made once.
            path = f"{of_job}/results/captures.csv"
            answers = await asyncio.gather(*(get(path) for _ in range(8)))
            [(tag, content)] = {(one.headers["etag"], one.content) for one in answers}
            assert len(list(csv.DictReader(io.StringIO(content.decode())))) == 2
            rest = await get(path, Range="bytes=9-", **{"If-Range": tag})
            assert rest.status_code == 206 and content[:9] + rest.content == content
            # Who does not say what it began with might join two files.
            whole = await get(path, Range="bytes=9-")
            assert whole.status_code == 200 and whole.content == content

            await worker.report(leases[2:], detections=[found(LABELS[1])], algorithms=[ALGORITHM, MOTHS])
            await asyncio.wait_for(collecting, 60)
        finally:
            collecting.cancel()
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)

    # What changed is another file, of which a client that goes on gets the whole.
    again = await get(path, Range="bytes=9-", **{"If-Range": tag})
    assert again.status_code == 200 and again.headers["etag"] != tag
    assert len(list(csv.DictReader(io.StringIO(again.text)))) == 3 and "antenna-images-pending" not in again.headers
    rest = await get(path, Range="bytes=9-", **{"If-Range": again.headers["etag"]})
    assert rest.status_code == 206 and again.content[:9] + rest.content == again.content
    beyond = await get(path, Range=f"bytes={len(again.content)}-")
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(again.content)}")
    known = await get(path, **{"If-None-Match": f'"old", W/{again.headers["etag"]}'})
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", again.headers["etag"])

    def head() -> requests.Response:
        with session(secret) as http:
            return http.head(path, timeout=60)

    only_head = await asyncio.to_thread(head)
    assert (only_head.status_code, only_head.content) == (200, b"")
    same = ("content-length", "etag", "accept-ranges", "content-disposition", "content-type")
    assert [only_head.headers[one] for one in same] == [again.headers[one] for one in same]
    # Two thresholds are two files.
    for threshold in ("0.1", "0.2"):
        assert (await get(f"{of_job}/results/megadetector.json?threshold={threshold}")).status_code == 200
    kept = services.lake.names(f"downloads/job_id={job.job_id}")
    assert sum(one.endswith(("-0.1-megadetector.json", "-0.2-megadetector.json")) for one in kept) == 2
    assert [one for one in kept if one.endswith("captures.csv")] == [f"{again.headers['etag'][1:-1]}-captures.csv"]

    # What was made of rows so far goes with the next look at the lake.
    assert any(one.startswith("so-far-") for one in kept)
    leftovers = await lake_leftovers.clear(services)
    assert any(one.startswith(f"job {job.job_id}: the rows so far") for one in leftovers.cleared)
    assert not any(one.startswith("so-far-") for one in services.lake.names(f"downloads/job_id={job.job_id}"))

    # With all that can be made of it, the list has all of it.
    await derive.derive(services, job=job.job_id)
    services.lake.write_bytes(paths.report(job=job.job_id), b"<!doctype html>")
    listed = (await get(f"{of_job}/results")).json()
    assert (listed["is_complete"], listed["notice"], listed["not_there"]) == (True, None, [])
    below = {one["url"].removeprefix(of_job) for one in listed["downloads"]}
    assert {"/report", "/derived/observations.csv", "/derived/counts.parquet", "/results/megadetector.json"} < below
    for one in listed["downloads"]:
        first = await get(one["url"])
        assert first.status_code == 200 and first.headers["accept-ranges"] == "bytes", one
        assert (await get(one["url"], Range="bytes=0-2")).content == first.content[:3]

    # A retry that ends while a file is made of the tables leaves no file of some of both.
    readable = await kept_downloads.final(services, await services.catalog.jobs.get(job.job_id))
    pieces = readable.unchanged(csv_tables.of_job(services.lake, "captures", job.job_id))
    next(pieces)
    services.lake.write_table("captures", job.job_id, Generation(9), [])
    with pytest.raises(kept_downloads.Changed):
        list(pieces)


@pytest.mark.long
async def test_a_canceled_job_is_read_as_far_as_it_came(
    services: Services, gateway: RunningGateway, project: str
) -> None:
    job = await claimed(services, await make_job(services, project, 2, pipeline=await registered(services, project)))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        leases = await worker.lease(job, 1)
        await worker.report(leases, detections=[found(LABELS[0])], algorithms=[ALGORITHM, MOTHS])
    collecting = asyncio.create_task(collect.collect(services, job, observer=collect.Observer()))
    try:
        await eventually(lambda: accounted(services, job, 1), description="one collected")
        await cancel.cancel(services, job.job_id, reason="a test")
        with suppress(collect.JobLeft):
            await collecting
    finally:
        collecting.cancel()
    secret = await token(services, project, role=Role.SUBMITTER)

    def read(**headers: str) -> requests.Response:
        with session(secret) as http:
            return http.get(f"{gateway.base}/jobs/{job.job_id}/results/detections.csv", headers=headers, timeout=60)

    answer = await asyncio.to_thread(read)
    assert answer.headers["antenna-images-pending"] == "1" and len(answer.text.splitlines()) == 2

    # As if there were more by now.
    folder = f"downloads/job_id={job.job_id}"
    [so_far] = [name for name in services.lake.names(folder) if name.startswith("so-far-")]
    about = {"generation": job.generation, "pending": 2, "made_at": 0, "bytes": 1}
    services.lake.write_bytes(f"{folder}/{so_far}/about.json", json.dumps(about).encode())
    newer = await asyncio.to_thread(read)
    assert newer.headers["etag"] != answer.headers["etag"]
    # Who has begun with the earlier rows goes on with them.
    resumed = {"Range": "bytes=9-", "If-Range": answer.headers["etag"]}
    rest = await asyncio.to_thread(read, **resumed)
    assert (rest.status_code, answer.content[:9] + rest.content) == (206, answer.content)
    # Not for ever.
    services.lake.write_bytes(f"{folder}/so-far-20200101T000000000000/about.json", b"{}")
    await lake_leftovers.clear(services)
    left = [name for name in services.lake.names(folder) if name.startswith("so-far-")]
    assert len(left) == 2 and so_far in left


def made(lake: Lake, name: str, *state: object, size: int = 10, most: int = 100) -> Kept:
    kept = Kept.of(SCOPE, name, *state)
    room = kept_downloads.Room(most)
    kept_downloads.make(lake, kept, iter([b"x" * size]), room=room, stop=threading.Event())
    return kept


def aged(lake: Lake, kept: Kept) -> None:
    """What was just made is never dropped."""
    os.utime(Path(lake.uri) / kept.path, (9, 9))


def test_earlier_states_and_the_oldest_files_are_dropped(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    first = made(lake, "a.csv", 1)
    second = made(lake, "a.csv", 2)
    assert first.tag != second.tag
    assert [kept_downloads.is_there(lake, one) for one in (first, second)] == [False, True]
    # Rows so far go as a whole.
    so_far = tmp_path / "downloads/job_id=5/so-far-1"
    (so_far / "captures/job_id=5").mkdir(parents=True)
    for name in ("about.json", "captures/job_id=5/part-g0-00000.parquet"):
        (so_far / name).write_bytes(b"x" * 40)
    for age, path in enumerate([tmp_path / second.path, *so_far.rglob("*.*")]):
        os.utime(path, (age, age))
    third = made(lake, "b.csv", size=15)
    assert (kept_downloads.is_there(lake, second), so_far.exists()) == (False, True)
    aged(lake, third)
    # The newest stays, however large it is.
    fourth = made(lake, "c.csv", size=500)
    assert not so_far.exists()
    assert [kept_downloads.is_there(lake, one) for one in (third, fourth)] == [False, True]
    # Those who wait for it may not have opened it yet.
    fifth = made(lake, "d.csv", size=500)
    assert [kept_downloads.is_there(lake, one) for one in (fourth, fifth)] == [True, True]


def test_rows_so_far_that_are_being_written_are_not_dropped(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    path = "downloads/job_id=5/so-far-1/captures/job_id=5/part-g0-00000.parquet"
    lake.write_bytes(path, b"x" * 40)
    for minutes, is_kept in ((5, True), (600, False)):
        at = time.time() - minutes * 60
        os.utime(tmp_path / path, (at, at))
        made(lake, "a.csv", minutes, most=20)
        assert lake.has_file(path) is is_kept


def test_a_gateway_looks_what_is_there_only_when_room_may_lack(tmp_path: Path) -> None:
    lake = Lake(str(tmp_path))
    room = kept_downloads.Room(1_000)
    foreign = Kept.of(SCOPE, "foreign.csv")

    def is_there_after(name: str, size: int) -> bool:
        kept_downloads.make(lake, Kept.of(SCOPE, name), iter([b"x" * size]), room=room, stop=threading.Event())
        return kept_downloads.is_there(lake, foreign)

    assert not is_there_after("a.csv", 10)
    # Another gateway's.
    lake.write_bytes(foreign.path, b"x" * 5_000)
    aged(lake, foreign)
    assert is_there_after("b.csv", 100) and is_there_after("c.csv", 100)
    assert not is_there_after("d.csv", 100)


@pytest.mark.parametrize("stops", [True, False])
def test_what_cannot_be_made_leaves_no_file(tmp_path: Path, stops: bool) -> None:
    lake = Lake(str(tmp_path))
    stop = threading.Event()
    kept = Kept.of(SCOPE, "a.csv")

    def pieces() -> Iterator[bytes]:
        yield b"half"
        if stops:
            stop.set()
            yield b"more"
        raise errors.Conflict("no")

    with pytest.raises(errors.Unavailable if stops else errors.Conflict):
        kept_downloads.make(lake, kept, pieces(), room=kept_downloads.Room(100), stop=stop)
    assert [one for one in tmp_path.rglob("*") if one.is_file()] == []


def test_a_full_disk_is_named_as_such(tmp_path: Path) -> None:
    kept = Kept.of(SCOPE, "a.csv")
    with small_disk(tmp_path / "lake", megabytes=1) as disk:
        with pytest.raises(errors.LakeFull, match="No space left"):
            kept_downloads.make(
                Lake(str(disk)),
                kept,
                iter([b"x" * 2**21]),
                room=kept_downloads.Room(2**22),
                stop=threading.Event(),
            )
        assert [one for one in disk.rglob("*") if one.is_file()] == []


async def test_a_file_is_made_once_and_goes_on_without_its_readers() -> None:
    making = Making()
    go = asyncio.Event()
    begun: list[str] = []

    async def make(what: str) -> str:
        begun.append(what)
        await go.wait()
        return what

    def asked(what: str, token: int) -> asyncio.Task[str]:
        return asyncio.create_task(making.once(what, token, lambda: make(what)))

    async def enough_begun() -> bool:
        return len(begun) >= MOST_OF_ONE

    gone, *same = [asked("a", token) for token in (1, 1, 2)]
    others = [asked(f"b{number}", 1) for number in range(MOST_WAITING - 1)]
    await eventually(enough_begun, description="as many begun as one token may have")
    assert begun == ["a", "b0"] and MOST_OF_ONE == 2
    with pytest.raises(errors.TooMany):
        await making.once("c", 1, lambda: make("c"))
    gone.cancel()
    other = asked("c", 2)
    go.set()
    assert await asyncio.gather(*same, other, *others) == ["a", "a", "c", *(f"b{n}" for n in range(MOST_WAITING - 1))]
    assert begun.count("a") == 1

    async def fail() -> str:
        raise errors.Conflict("no")

    for _ in range(2):
        with pytest.raises(errors.Conflict):
            await making.once("a", 1, fail)
