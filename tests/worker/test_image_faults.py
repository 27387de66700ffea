"""Images that cannot be processed: each fails alone with its reason, and what passes costs a delay only."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from antenna_orchestration.settings import Settings
from antenna_orchestration.worker.options import WorkerOptions
from antenna_orchestration.worker.policy.load_concurrency import START
from antenna_orchestration.worker.policy.source_health import HOST_PATIENCE
from tests import waiting
from tests.loading.image_server import ImageServer, serving
from tests.worker import lying
from tests.worker.bench import Bench, once_each
from tests.worker.worker_thread import running

pytestmark = pytest.mark.long

DECODES = "light_trap_insects"


@pytest.fixture
async def server() -> AsyncIterator[ImageServer]:
    async with serving() as running:
        yield running


async def test_bad_images_fail_alone_and_a_503_costs_a_delay(
    bench: Bench, settings: Settings, server: ImageServer, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"max_image_bytes": 100_000})
    folder = tmp_path / "trap"
    folder.mkdir()
    (folder / "good.jpg").write_bytes(server.image)
    (folder / "text.jpg").write_text("this is called .jpg and is none")
    failing = {
        server.uri("status/404"): "HTTP 404",
        server.uri("page/login.jpg"): "web page",
        server.uri("truncated/a.jpg"): "truncated",
        server.uri("empty/a.jpg"): "empty",
        server.uri("large/200000"): "MAX_IMAGE_BYTES",
        (folder / "text.jpg").as_uri(): "not an image",
        (folder / "missing.jpg").as_uri(): "no such file",
    }
    good = [server.uri(f"good/{number}") for number in range(5)]
    good += [server.uri("recovers/a.jpg"), (folder / "good.jpg").as_uri()]
    uris = [uri for pair in zip(good, failing, strict=True) for uri in pair]
    job = await bench.submit(uris, pipeline=DECODES)
    with running(settings):
        results = once_each(await bench.results(job))
    by_uri = {uri: results[image] for image, uri in enumerate(uris, start=1)}
    for uri in good:
        assert by_uri[uri].outcome == "done", by_uri[uri].reason
        assert (by_uri[uri].width, by_uri[uri].height) == (64, 48)
    for uri, reason in failing.items():
        assert by_uri[uri].outcome == "failed"
        assert reason in (by_uri[uri].reason or ""), uri
    assert by_uri[server.uri("recovers/a.jpg")].delivery == 2
    assert not any(by_uri[uri].retryable for uri in failing)


async def test_an_image_that_hangs_fails_at_its_last_attempt_and_is_retryable(
    bench: Bench, settings: Settings, server: ImageServer
) -> None:
    # A job of its own: on a busy machine a good image, too, may take more than this time-out.
    settings = settings.model_copy(update={"load_timeout": 1.0, "max_attempts": 2})
    job = await bench.submit([server.uri("hang/a.jpg")])
    with running(settings):
        [result] = await bench.results(job)
    assert (result.outcome, result.delivery, result.retryable) == ("failed", 2, True)
    assert f"{server.url}: not loaded within 1 s, since 20" in (result.reason or "")


async def test_a_load_is_given_up_together_with_its_task(
    bench: Bench, settings: Settings, server: ImageServer, pictures: list[str]
) -> None:
    """A load that hung on a line which was cut kept others from beginning when the line was mended."""
    settings = settings.model_copy(update={"load_timeout": 600.0, "load_concurrency": 1})
    hangs = await bench.submit([server.uri("hang/a.jpg")])

    async def is_under_way() -> bool:
        return server.requests["hang/a.jpg"] > 0

    with running(settings):
        await waiting.eventually(is_under_way, description="the load that hangs")
        await bench.withdraw(hangs)
        near = await bench.submit(pictures)
        assert len(once_each(await bench.results(near))) == len(pictures)


async def test_an_outage_of_the_store_fails_no_image(
    bench: Bench, settings: Settings, server: ImageServer, pictures: list[str], tmp_path: Path
) -> None:
    server.outage = 503
    away = await bench.submit([server.uri(f"good/{number}") for number in range(60)])
    near = await bench.submit(pictures)
    with running(settings) as worker:
        once_each(await bench.results(near))
        waiting.wait_until(lambda: "failures in a row" in worker.log, description="the host to rest")
        # It rests before all images have been tried, and none has failed.
        assert sum(server.requests.values()) <= HOST_PATIENCE + START
        assert await bench.unread(away) == 0


async def test_images_out_of_rights_rest_the_job_until_they_can_be_loaded(
    bench: Bench,
    settings: Settings,
    server: ImageServer,
    pictures: list[str],
    tmp_path: Path,
) -> None:
    server.outage = 403
    forbidden = await bench.submit([server.uri(f"good/{number}") for number in range(30)])
    near = await bench.submit(pictures)
    with running(settings) as worker:
        once_each(await bench.results(near))
        waiting.wait_until(lambda: f"job {forbidden.job}, generation 1 rests" in worker.log, description="a warning")
        assert await bench.unread(forbidden) == 0
        assert sum(server.requests.values()) <= START
        assert worker.log.count("rests on this worker") == 1


async def test_a_job_whose_images_lie_elsewhere_is_left_to_others(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    elsewhere = await bench.submit(pictures, source_kinds=("file:another-host",))
    here = await bench.submit(pictures, source_kinds=(f"file:{settings.host_id}",))
    with running(settings, WorkerOptions(exit_when_idle=5.0)) as worker:
        once_each(await bench.results(here))
        assert (await worker.leaves()).done == len(pictures)
        assert "out of this worker's reach" in worker.log
    assert (await bench.counts(elsewhere)).delivered == 0


async def test_a_shared_mount_can_be_declared(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"worker_reaches": ("file:*",)})
    job = await bench.submit(pictures, source_kinds=("file:another-host",))
    with running(settings):
        assert len(once_each(await bench.results(job))) == len(pictures)


async def test_where_a_job_was_submitted_a_missing_folder_is_no_such_file(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """A1: elsewhere it is a share that may be mounted yet; here nobody has it, and the job would wait for ever."""
    uris = [*pictures[:2], (tmp_path / "no folder" / "a.jpg").as_uri()]
    job = await bench.submit(uris, source_kinds=(f"file:{settings.host_id}",))
    with running(settings):
        results = once_each(await bench.results(job))
    assert [results[image].outcome for image in (1, 2, 3)] == ["done", "done", "failed"]
    assert "no such file: the folder" in (results[3].reason or "")
    assert results[3].retryable


async def test_a_share_that_goes_away_in_a_job_fails_none_of_it(
    bench: Bench, settings: Settings, pictures: list[str], tmp_path: Path
) -> None:
    """All of it failed within seconds on the machine that submitted it."""
    share, night = tmp_path / "share", tmp_path / "share/2025/night"
    share.mkdir()
    job = await bench.submit(
        [*pictures[:2], *((night / f"{number}.jpg").as_uri() for number in range(30))],
        source_kinds=(f"file:{settings.host_id}",),
    )

    async def all_are_read() -> bool:
        return await bench.unread(job) == 0

    with running(settings) as worker:
        once_each(await bench.results(job, count=2))
        waiting.wait_until(lambda: "is it mounted?" in worker.log, description="the job to rest")
        # The queue may still be told that the first two are read; of an image that failed there is nobody to read.
        await waiting.eventually(all_are_read, description="no image has failed")
        night.mkdir(parents=True)
        for number in range(30):
            (night / f"{number}.jpg").write_bytes(b"not really an image " * 50)
        results = once_each(await bench.results(job, count=30))
    assert {result.outcome for result in results.values()} == {"done"}


async def test_what_no_photograph_can_show_fails_its_image(
    bench: Bench, settings: Settings, pictures: list[str]
) -> None:
    """P6, P8, P9: NaN meant no insects, and a float of numpy failed the job."""
    job = await bench.submit(pictures[: len(lying.SAID)], pipeline="lying")
    with running(settings):
        results = once_each(await bench.results(job))
    for image, (_, _, reason) in enumerate(lying.SAID, start=1):
        assert results[image].outcome == ("failed" if reason else "done"), results[image].reason
        assert reason in (results[image].reason or "")
        assert results[image].retryable is bool(reason)
    [taken] = results[2].detections
    assert (taken.box, taken.score, taken.classifications[0].label) == ((0.0, 2.0, 3.0, 300.0), 0.5, "fly")
