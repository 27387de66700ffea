"""A photograph is its bytes and not its path (A2): the next card at a path is new, and what is known stays known."""

import asyncio
import dataclasses
import os
import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import fsspec
import pytest
from aiohttp import web

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.catalog.jobs import NewJob, SubmittedImage
from antenna_orchestration.domain.ids import ImageId, JobId, PipelineSlug
from antenna_orchestration.loading.loader import Loader
from antenna_orchestration.loading.memory import MemoryBudget
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import submit
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import pipeline_row
from antenna_orchestration.submission import sources, versions
from tests.submission.s3_store import CREDENTIALS, s3_store
from tests.submission.test_submit import finish, images_of, send


def card(folder: Path, text: str, *, at: float, name: str = "IMG_0001.jpg") -> Path:
    """A memory card with one photograph, taken at a time in seconds."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(text)
    os.utime(folder / name, (at, at))
    return folder


def listed_with(folder: Path, deployment: str, time: str) -> Path:
    path = folder.parent / f"{deployment}.csv"
    path.write_text(f"path,deployment,captured_at\n{folder / 'IMG_0001.jpg'},{deployment},{time}\n")
    return path


async def seen(services: Services, job: JobId) -> list[tuple[Any, ...]]:
    return [(row["image_id"], row["deployment"], row["captured_at"]) for row in await images_of(services, job)]


async def create(services: Services, project: str, images: list[SubmittedImage], **changes: Any) -> JobId:
    await services.catalog.pipelines.register(pipeline_row(registry.get("null")))
    values = {
        "project": project, "name": "test", "pipeline": PipelineSlug("null"), "config": {}, "config_hash": "0",
        "priority": 1, "interactive": False, "reprocess": False, "duplicates": 0, "source_kinds": ["http"],
    }  # fmt: skip
    return await services.catalog.jobs.create(NewJob(**{**values, **changes}), images)


async def test_the_next_card_at_the_same_path_is_new(services: Services, project: str, tmp_path: Path) -> None:
    """A2: it was skipped, because a photograph was known by its path alone."""
    folder = card(tmp_path / "card", "june", at=1_718_000_000)
    first = await send(services, folder, project=project)
    await finish(services, first.job_id)
    known = await send(services, folder, project=project)
    assert (known.total, known.skipped) == (0, 1)
    card(folder, "july", at=1_720_000_000)
    second = await send(services, folder, project=project)
    assert (second.total, second.skipped) == (1, 0)
    # Or it was copied without its time: the same bytes would be processed and counted twice, which nobody was told.
    assert second.warnings == (
        "1 image has the size that it had before at the same path, and another time of change: it is taken as new, "
        f"also if it was only copied again (`cp -p` keeps the time); `antenna jobs cancel {second.job_id}` stops that",
    )
    assert not (await send(services, folder, project=project)).warnings, "this time it is no news"
    (folder / "IMG_0001.jpg").write_bytes(b"of another size")
    assert not (await send(services, folder, project=project)).warnings
    [june], [july] = await images_of(services, first.job_id), await images_of(services, second.job_id)
    assert june["url"] == july["url"] and june["image_id"] != july["image_id"]


async def test_a_later_list_changes_no_earlier_job(services: Services, project: str, tmp_path: Path) -> None:
    """A2: a retry gave the finished job's table the site and the times of a later list."""
    folder = card(tmp_path / "card", "june", at=1_718_000_000)
    first = await send(services, listed_with(folder, "pond", "2024-06-10 22:00:00+00:00"), project=project)
    before = await seen(services, first.job_id)
    await finish(services, first.job_id)
    corrected = await send(services, listed_with(folder, "forest", "2024-06-11 22:00:00+00:00"), project=project)
    assert corrected.skipped == 1
    assert await seen(services, first.job_id) == before
    anew = await send(services, folder, project=project, reprocess=True)
    [(_, deployment, captured_at)] = await seen(services, anew.job_id)
    assert (deployment, captured_at) == ("forest", datetime(2024, 6, 11, 22, tzinfo=UTC))
    job = await services.catalog.jobs.get(first.job_id)
    await services.catalog.jobs.retry(job.job_id)
    assert await seen(services, first.job_id) == before


async def test_a_job_without_times_does_not_get_them_later(services: Services, project: str, tmp_path: Path) -> None:
    folder = card(tmp_path / "card", "june", at=1_718_000_000)
    first = await send(services, folder, project=project)
    await send(services, listed_with(folder, "pond", "2024-06-10 22:00:00+00:00"), project=project)
    [(_, deployment, captured_at)] = await seen(services, first.job_id)
    assert (deployment, captured_at) == (None, None)


@pytest.mark.parametrize("url", ["http://192.0.2.1/a.jpg", "file:///card/a.jpg"])
@pytest.mark.parametrize(("age", "known"), [(timedelta(hours=1), True), (-timedelta(hours=1), False), (None, True)])
async def test_a_capture_from_before_versions_is_adopted_unless_older(
    services: Services, project: str, age: timedelta | None, known: bool, url: str
) -> None:
    first = await create(services, project, [SubmittedImage(url, None, None)])
    await finish(services, first)
    modified = datetime.now(UTC) - age if age is not None else None
    version = "v1"
    if url.startswith("file:") and modified:
        version, modified = f"5-{int(modified.timestamp())}000000000", None
    for _ in range(2):
        again = await create(services, project, [SubmittedImage(url, None, None, version, modified)])
        job = await services.catalog.jobs.get(again)
        assert (job.skipped == 1) is known
        [old] = await images_of(services, first)
        assert known or [old["image_id"]] != [row["image_id"] for row in await images_of(services, again)]
    # Whoever cannot tell the version means the newest.
    unknown = await create(services, project, [SubmittedImage(url, None, None)], reprocess=True)
    newest = await create(services, project, [SubmittedImage(url, None, None, version)], reprocess=True)
    [a], [b] = await images_of(services, unknown), await images_of(services, newest)
    assert a["image_id"] == b["image_id"]


async def test_simultaneous_submissions_neither_deadlock_nor_duplicate(services: Services, project: str) -> None:
    urls = [f"http://192.0.2.1/{number}.jpg" for number in range(300)]
    await create(services, project, [SubmittedImage(url, None, None) for url in urls[::2]])
    orders = [urls, urls[::-1], random.Random(7).sample(urls, 300), urls[::-1]]
    jobs = await asyncio.gather(
        *(create(services, project, [SubmittedImage(url, None, f"d{n}", "v1") for url in order])
          for n, order in enumerate(orders))
    )  # fmt: skip
    ids = [sorted(row["image_id"] for row in await images_of(services, job)) for job in jobs]
    assert len(ids[0]) == 300 and all(one == ids[0] for one in ids)


async def test_identity_and_skipping_follow_a_model(services: Services, project: str) -> None:
    """A2, as a state machine: files change, are submitted and processed in any order; a dictionary is right."""
    dice = random.Random(16)
    urls = [f"http://192.0.2.1/{number}.jpg" for number in range(4)]
    bytes_now = dict.fromkeys(urls, "v0")
    ids: dict[tuple[str, str], int] = {}
    processed: set[tuple[str, str]] = set()
    tables: dict[JobId, list[tuple[Any, ...]]] = {}
    for step in range(25):
        for url in dice.sample(urls, dice.randint(0, 2)):
            bytes_now[url] = f"v{dice.randint(0, 2)}"
        chosen = dice.sample(urls, dice.randint(1, 4))
        site = dice.choice([None, "pond", "forest"])
        time = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(hours=step) if dice.random() < 0.5 else None
        job = await create(services, project, [SubmittedImage(url, time, site, bytes_now[url]) for url in chosen])
        rows = await images_of(services, job)
        expected = [url for url in chosen if (url, bytes_now[url]) not in processed]
        assert [row["url"] for row in rows] == expected
        for row in rows:
            key = row["url"], bytes_now[row["url"]]
            assert ids.setdefault(key, row["image_id"]) == row["image_id"]
        assert len(set(ids.values())) == len(ids)
        tables[job] = await seen(services, job)
        if dice.random() < 0.5:
            await finish(services, job)
            processed |= {(url, bytes_now[url]) for url in chosen}
    for job, table in tables.items():
        assert await seen(services, job) == table


@pytest.fixture(scope="module")
def bucket() -> Iterator[Any]:
    with s3_store() as endpoint, pytest.MonkeyPatch.context() as patch:
        for name, value in CREDENTIALS.items():
            patch.setenv(name, value)
        store = fsspec.filesystem("s3", endpoint_url=endpoint, skip_instance_cache=True)
        store.mkdir("traps")
        yield store, endpoint


def of_bucket(source: str, config: settings.Settings, *, listed: bool) -> dict[str, str]:
    found = sources.gather([source], settings=config)
    images, warnings = versions.fill(found.images, found.versions if listed else {}, config)
    assert not warnings
    return {image.uri: image.version for image in images}


@pytest.mark.long
def test_an_upload_of_the_same_bytes_is_known(bucket: Any, tmp_path: Path) -> None:
    """A2: by ETag and size, from the listing, and the same when objects are named one by one or in a list."""
    store, endpoint = bucket
    config = settings.load(home=tmp_path, s3_endpoint_url=endpoint)
    for number in range(10):
        store.pipe_file(f"traps/card/{number}.jpg", b"same")
    before = of_bucket("s3://traps/card", config, listed=True)
    assert all(before.values()) and before == of_bucket("s3://traps/card", config, listed=False)
    store.pipe_file("traps/card/0.jpg", b"same")
    store.pipe_file("traps/card/1.jpg", b"other")
    after = of_bucket("s3://traps/card", config, listed=True)
    assert {uri for uri in before if before[uri] != after[uri]} == {"s3://traps/card/1.jpg"}
    one = "s3://traps/card/1.jpg"
    assert of_bucket(one, config, listed=False) == {one: after[one]}


@pytest.fixture
async def web_server() -> AsyncIterator[str]:
    """Tells an ETag at /etag, a time at /time, nothing at /mute, refuses HEAD at /get, and links signed for GET."""

    async def answer(request: web.Request) -> web.Response:
        kind = request.path.strip("/")
        if request.method == "HEAD" and (kind == "get" or request.query):
            return web.Response(status=403)
        headers = {"time": {"Last-Modified": "Wed, 21 Oct 2015 07:28:00 GMT"}, "mute": {}}.get(kind, {"ETag": '"e"'})
        if request.method == "GET":
            assert request.headers["Range"] == "bytes=0-0"
            return web.Response(status=206, body=b"x", headers={**headers, "Content-Range": "bytes 0-0/5"})
        return web.Response(body=b"xxxxx", headers=headers)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


async def test_web_servers_are_asked_without_a_download(web_server: str, tmp_path: Path) -> None:
    """A2: what a server does not tell is unknown, and the submission says so."""
    config = settings.load(home=tmp_path, allow_private_hosts=True)
    names = ["etag", "get", "etag?X-Amz-Signature=s", "time", "mute"]
    images = [SubmittedImage(f"{web_server}/{name}", None, None) for name in names]
    filled, warnings = await asyncio.to_thread(versions.fill, images, {}, config)
    assert [image.version for image in filled] == ["e", "e", "e", "Wed, 21 Oct 2015 07:28:00 GMT-5", ""]
    assert filled[3].modified_at == datetime(2015, 10, 21, 7, 28, tzinfo=UTC)
    assert warnings == [f"{web_server} does not say which version 1 image is: known by URL only"]
    refused, _ = await asyncio.to_thread(
        versions.fill, images, {}, config.model_copy(update={"allow_private_hosts": False})
    )
    assert not any(image.version for image in refused)


async def test_fresh_signatures_are_loaded_with_and_no_identity(
    services: Services, project: str, tmp_path: Path
) -> None:
    """A2: links signed anew were new captures, so everything was processed again, and tables held the signatures."""
    fresh = ""

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=b"x", headers={"ETag": '"e"'}, status=200 if fresh in request.query_string else 403)

    runner = web.AppRunner(app := web.Application())
    app.router.add_get("/{path:.*}", answer)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    config = services.settings.model_copy(update={"allow_private_hosts": True})
    services = dataclasses.replace(services, settings=config)
    shown = [f"http://127.0.0.1:{runner.addresses[0][1]}/{name}.jpg" for name in "ab"]

    async def signed_submission(**changes: Any) -> tuple[Any, list[str]]:
        amz = f"X-Amz-Algorithm=a&X-Amz-Credential=c&X-Amz-Date=d&X-Amz-Expires=9&X-Amz-Signature={fresh}"
        links = [f"{url}?{amz}" for url in shown]
        listing = tmp_path / "list.txt"
        listing.write_text("\n".join(links))
        return await submit.submit(
            services, submit.Submission(sources=(str(listing),), pipeline="null", project=project, **changes)
        ), links

    fresh = "june"
    first, links = await signed_submission()
    assert (first.total, first.warnings) == (2, ())
    assert [row["url"] for row in await images_of(services, first.job_id)] == shown
    await finish(services, first.job_id)
    fresh = "july"
    assert ((again := (await signed_submission())[0]).total, again.skipped) == (0, 2)
    third, links = await signed_submission(reprocess=True)
    job = await services.catalog.jobs.get(third.job_id)
    published = await services.catalog.images.to_publish(job.job_run, after=0, limit=9)
    assert [one.uri for one in published] == links
    async with Loader(settings=config, memory=MemoryBudget(2**20)) as loader:
        assert [await loader.load(one.uri, version=one.version) for one in published] == [b"x", b"x"]
    named = await submit.submit(
        services, submit.Submission(sources=(links[0],), pipeline="null", project=project, reprocess=True)
    )
    assert named.name == "a.jpg"
    await runner.cleanup()


async def test_a_file_that_changed_after_submission_is_refused(tmp_path: Path) -> None:
    """A2: its result would be stored under the name of the bytes that were submitted."""
    folder = card(tmp_path / "card", "june", at=1_718_000_000)
    config = settings.load(home=tmp_path / ".antenna")
    found = sources.gather([str(folder)], settings=config)
    [image], _ = versions.fill(found.images, {}, config)
    async with Loader(settings=config, memory=MemoryBudget(2**20)) as loader:
        loader.memory.release(len(await loader.load(image.uri, version=image.version)))
        card(folder, "july", at=1_720_000_000)
        with pytest.raises(errors.ImageChanged, match=r"changed since it was submitted \(submit it again\)"):
            await loader.load(image.uri, version=image.version)


async def test_an_upgrade_during_a_job_marks_nothing_as_seen(services: Services, project: str) -> None:
    """C1: the ledger recorded the algorithms that were registered when the job ended."""
    slug = PipelineSlug(f"own-{project[:8]}")
    old = pipeline_row(registry.get("null"))
    row = type(old)(**{name: getattr(old, name) for name in old.__slots__} | {"slug": slug})
    algorithms = tuple(
        type(one)(**{name: getattr(one, name) for name in one.__slots__} | {"version": "99"}) for one in row.algorithms
    )
    newer = type(row)(
        **{name: getattr(row, name) for name in row.__slots__} | {"version": "99", "algorithms": algorithms}
    )
    await services.catalog.pipelines.register(row)
    images = [SubmittedImage(f"http://192.0.2.1/{number}.jpg", None, None) for number in range(2)]
    first = await create(services, project, images, pipeline=slug)
    await services.catalog.pipelines.register(newer)
    await finish(services, first)
    second = await create(services, project, images, pipeline=slug)
    job = await services.catalog.jobs.get(second)
    assert (job.total, job.skipped) == (2, 0)
    terms = await services.catalog.generations.terms(job.job_run)
    assert terms.version == "99" and {one.version for one in terms.algorithms} == {"99"}
    of_first = await services.catalog.generations.terms((await services.catalog.jobs.get(first)).job_run)
    assert of_first.version == row.version
    # A retry takes the version that there is now.
    await services.catalog.jobs.retry(first)
    again = await services.catalog.generations.terms((await services.catalog.jobs.get(first)).job_run)
    assert again == terms


async def test_images_of_other_algorithms_are_not_in_the_ledger(services: Services, project: str) -> None:
    """C1: an older worker's results count, and are processed again when the images are submitted again."""
    images = [SubmittedImage(f"http://192.0.2.1/{number}.jpg", None, None) for number in range(2)]
    first = await create(services, project, images)
    current = await services.catalog.jobs.get(first)
    rows = await images_of(services, first)
    await services.catalog.jobs.claim(1, job_id=first)
    await services.catalog.jobs.start(current.job_run, "run")
    outcomes = [
        ImageOutcome(ImageId(row["image_id"]), "done", None, 1, None, False, 1, 1, 0, 0, "w", by_others=number == 0)
        for number, row in enumerate(rows)
    ]
    await services.catalog.images.commit(current.job_run, outcomes)
    await services.catalog.images.add_processed(first)
    second = await create(services, project, images)
    assert [row["image_id"] for row in await images_of(services, second)] == [rows[0]["image_id"]]
