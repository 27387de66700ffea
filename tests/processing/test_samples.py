"""Pictures for the UI, of images wherever they lie."""

import asyncio
import multiprocessing
import os
import signal
from collections.abc import AsyncIterator, Iterator
from multiprocessing import forkserver
from multiprocessing.connection import Connection
from typing import Any

import psutil
import pytest

from antenna_orchestration import settings
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.embedded.code_server.__main__ import FORK_SERVER
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import collect, drawing, finish, photographs, publish, samples
from antenna_orchestration.processing.drawing import Drawing, NotDrawn
from antenna_orchestration.processing.services import Services, opened
from tests.loading.image_server import ImageServer, jpeg, serving
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job

pytestmark = pytest.mark.long


@pytest.fixture
async def server() -> AsyncIterator[ImageServer]:
    async with serving() as running:
        yield running


async def finished_job(services: Services, project: str, server: ImageServer) -> list[samples.Sample]:
    """Pictures of a job with one detection in each of two images behind a web server."""
    urls = [server.uri("good/1.jpg?signature=secret"), server.uri("status/404")]
    job = await claimed(services, await make_job(services, project, 2, urls=urls))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, 2))
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    return await samples.sample_pictures(services, job, count=2, width=32)


@pytest.fixture
def wanted(shared_stores: EmbeddedStores) -> settings.Settings:
    return shared_stores.settings


async def test_an_image_behind_http_is_drawn_if_wanted(
    wanted: settings.Settings, project: str, server: ImageServer
) -> None:
    allowing = wanted.model_copy(update={"allow_private_hosts": True, "pictures_of_urls": True})
    async with opened(allowing) as services:
        first, second = await finished_job(services, project, server)
    assert first.caption == "no deployment, time unknown, 1.jpg: 1 detection"
    assert first.jpeg is not None and first.jpeg.startswith(b"\xff\xd8")
    assert (second.jpeg, second.why) == (None, "HTTP 404 Not Found from 127.0.0.1")


@pytest.mark.parametrize(
    ("changes", "why"),
    [({"allow_private_hosts": True}, photographs.NOT_OF_URLS), ({"pictures_of_urls": True}, "not a public address")],
)
async def test_no_url_and_no_private_address_is_asked(
    wanted: settings.Settings, project: str, server: ImageServer, changes: dict[str, bool], why: str
) -> None:
    """Low: pictures loaded URLs in the orchestrator's network, although the documents say never."""
    async with opened(wanted.model_copy(update=changes)) as services:
        found = await finished_job(services, project, server)
    assert [(one.jpeg, why in one.why) for one in found] == [(None, True)] * 2
    assert not server.requests


async def test_a_process_that_dies_or_hangs_costs_one_picture(
    wanted: settings.Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S3: drawing held the interpreter's lock in the collector's process, and no deadline ended it."""
    boxes = [Detection(box=(1.0, 2.0, 30.0, 40.0), score=0.5, algorithm=ALGORITHM)]
    async with Drawing(wanted) as drawer:
        assert (await drawer.draw(jpeg(), boxes, width=32, most=None)).startswith(b"\xff\xd8")
        assert drawer._process is not None
        os.kill(drawer._process.pid, signal.SIGSTOP)
        with monkeypatch.context() as patch, pytest.raises(NotDrawn, match="too long"):
            patch.setattr(drawing, "DRAW_TIMEOUT", 0.1)
            await drawer.draw(jpeg(), boxes, width=32, most=None)
        assert (await drawer.draw(jpeg(), boxes, width=None, most=None)).startswith(b"\xff\xd8")
        os.kill(drawer._process.pid, signal.SIGKILL)
        with pytest.raises(NotDrawn, match="ended"):
            await drawer.draw(jpeg(), boxes, width=32, most=None)
        with pytest.raises(NotDrawn, match="truncated JPEG"):
            await drawer.draw(jpeg()[:300], boxes, width=32, most=None)


@pytest.fixture
def server_of_runs() -> Iterator[None]:
    """A fork server that has imported what that of runs has: a process has one, and other tests may have begun it."""
    server: Any = forkserver._forkserver  # type: ignore[attr-defined]
    before = server._preload_modules
    server._stop()
    server.set_forkserver_preload([FORK_SERVER])
    yield
    server._stop()
    server.set_forkserver_preload(before)


@pytest.mark.usefixtures("server_of_runs")
def test_a_run_draws_in_a_process_forked_beside_it(wanted: settings.Settings) -> None:
    """As the code server starts runs: the process begins with what takes a second of CPU to import."""
    context = multiprocessing.get_context("forkserver")
    ours, its = context.Pipe()
    run = context.Process(target=_draw_as_a_run, args=(its, wanted))
    run.start()
    try:
        assert ours.poll(60), "the run answers"
        beside, first, second = ours.recv()
    finally:
        run.join(60)
    assert beside, "its parent is the run's"
    assert first.startswith(b"\xff\xd8") and second == "the process that drew it ended"
    assert run.exitcode == 0


def _draw_as_a_run(its: Connection, wanted: settings.Settings) -> None:
    boxes = [Detection(box=(1.0, 2.0, 30.0, 40.0), score=0.5, algorithm=ALGORITHM)]

    async def draw() -> tuple[bool, bytes, str]:
        async with Drawing(wanted) as drawer:
            first = await drawer.draw(jpeg(), boxes, width=32, most=None)
            assert drawer._process is not None
            beside = psutil.Process(drawer._process.pid).ppid() == os.getppid()
            os.kill(drawer._process.pid, signal.SIGKILL)
            try:
                await drawer.draw(jpeg(), boxes, width=32, most=None)
            except NotDrawn as error:
                return beside, first, str(error)
            return beside, first, ""

    its.send(asyncio.run(draw()))
