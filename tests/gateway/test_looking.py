"""The gateway's own looks at images, and the tasks that it holds or lets wait meanwhile; without a gateway process."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import psutil
import pytest
from PIL import Image

from antenna_orchestration.dispatch import looks as looks_module
from antenna_orchestration.dispatch import reported
from antenna_orchestration.dispatch import services as dispatch_services
from antenna_orchestration.dispatch.looks import AT_ONCE, Looks
from antenna_orchestration.domain.access import digest
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.reported_errors import Finding, Look, Report
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.live.leases import KeptLease
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.leasing import Lease
from antenna_orchestration.settings import Settings
from tests.gateway.gateway_process import job_for_http, token
from tests.gateway.reporting_worker import broken, photograph
from tests.loading.image_server import serving
from tests.waiting import PATIENCE, eventually


@pytest.fixture
async def looks(shared_stores: EmbeddedStores, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Looks]:
    # Two processes look at all pictures of a test, one after the other.
    monkeypatch.setattr(looks_module, "LONGEST_WAIT", PATIENCE)
    made = Looks(shared_stores.settings.model_copy(update={"max_pixels": 100_000}))
    yield made
    await made.close()


async def look_at(looks: Looks, uri: str) -> Look:
    async with looks.turn() as is_ours:
        assert is_ours
        return await looks.look(uri)


def lookers() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children()
        if child.status() != psutil.STATUS_ZOMBIE and "look_process" in " ".join(child.cmdline())
    ]


async def test_what_a_look_finds(looks: Looks, tmp_path: Path) -> None:
    large = tmp_path / "large.png"
    Image.new("L", (500, 500)).save(large)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(photograph(tmp_path, "whole.jpg").read_bytes()[:-200])
    expected = {
        photograph(tmp_path, "fine.jpg").as_uri(): (Finding.READABLE, ""),
        broken(tmp_path, "broken.jpg").as_uri(): (Finding.UNUSABLE, "not an image"),
        cut.as_uri(): (Finding.UNUSABLE, "truncated JPEG"),
        large.as_uri(): (Finding.UNUSABLE, "over MAX_PIXELS"),
        "http://127.0.0.1:1/private.jpg": (Finding.UNKNOWN, "not a public address"),
        "ftp://nowhere/a.jpg": (Finding.UNUSABLE, "only file, http(s) and s3"),
    }
    found = dict(zip(expected, await asyncio.gather(*(look_at(looks, uri) for uri in expected)), strict=True))
    for uri, (finding, why) in expected.items():
        assert found[uri].finding is finding and why in found[uri].why, (uri, found[uri])
    assert len(lookers()) <= AT_ONCE


@pytest.mark.long
async def test_a_store_that_does_not_answer_is_no_fault_of_the_image(shared_stores: EmbeddedStores) -> None:
    looks = Looks(shared_stores.settings.model_copy(update={"allow_private_hosts": True, "load_timeout": 10.0}))
    try:
        async with serving() as images:
            expected = {
                "good/1": Finding.READABLE,
                "page": Finding.UNUSABLE,
                "status/404": Finding.UNUSABLE,
                "status/503": Finding.UNREACHABLE,
                "status/403": Finding.UNKNOWN,
                "hang": Finding.UNREACHABLE,
            }
            found = [(await look_at(looks, images.uri(name))).finding for name in expected]
        assert found == list(expected.values())
    finally:
        await looks.close()


@pytest.mark.long
async def test_a_look_outlives_the_process_that_was_at_it(looks: Looks, tmp_path: Path) -> None:
    fine = photograph(tmp_path, "fine.jpg").as_uri()
    assert (await look_at(looks, fine)).finding is Finding.READABLE
    (first,) = lookers()
    # It neither answers nor ends until it is killed.
    first.suspend()
    looking = asyncio.create_task(look_at(looks, fine))
    # Starts the look, and waits for nothing: whether it is handed over before or after the kill, it has to end.
    await asyncio.sleep(0)
    first.kill()
    assert (await looking).finding is Finding.READABLE
    assert first.pid not in [one.pid for one in lookers()]


@pytest.fixture
async def http(shared_stores: EmbeddedStores) -> AsyncIterator[dispatch_services.HttpServices]:
    # The queue is not to offer what nobody extends.
    settings: Settings = shared_stores.settings.model_copy(update={"task_ack_wait": 600.0})
    async with dispatch_services.opened(settings) as opened:
        yield opened


async def leased_by_hand(http: dispatch_services.HttpServices, job: Job, *, wait: float = 30.0) -> Lease:
    assert job.epoch is not None
    found = await http.leaser.lease(job.job_run, job.epoch, 1, wait=wait)
    assert found
    return found[0]


async def test_a_long_wait_is_shortened_when_all_else_is_done(
    http: dispatch_services.HttpServices, services: Services, project: str
) -> None:
    job = await job_for_http(services, project, 2)
    one, other = await leased_by_hand(http, job), await leased_by_hand(http, job)
    now = await http.live.leases.now()
    lease = KeptLease(
        holder=1, epoch=one.epoch, sequence=one.ack.sequence, place=one.ack.place, delivery=1, since=now, confirmed=now
    )
    await http.remote_leases.hand_back([one.ack], 600.0)
    await http.live.reports.put(job.job_run, {one.task.image: Report(passing=4, reason="oom")})
    http.open_questions.waiting[job.job_run, one.task.image] = (lease, now + 600.0)
    await reported.keep(http, longest=0.5)
    # The other image is still being processed.
    assert http.open_questions.waiting
    await other.acknowledge()

    async def is_let_go() -> bool:
        await reported.keep(http, longest=0.5)
        return not http.open_questions.waiting

    await eventually(is_let_go, description="the wait is shortened")
    again = await leased_by_hand(http, job)
    assert (again.task.image, again.delivery) == (one.task.image, 2)


async def test_what_is_held_when_the_process_ends_is_offered_at_once(
    http: dispatch_services.HttpServices, services: Services, project: str
) -> None:
    job = await job_for_http(services, project, 1)
    one = await leased_by_hand(http, job)
    now = await http.live.leases.now()
    lease = KeptLease(
        holder=1, epoch=one.epoch, sequence=one.ack.sequence, place=one.ack.place, delivery=1, since=now, confirmed=now
    )
    worker = await services.catalog.tokens.find(digest(await token(services, project)))
    assert worker is not None
    report = Report().after("odd", holder=1, shared=False, now=now)
    question = reported.Reported(
        image=one.task.image, lease=lease, reason="odd", shared=False, before=None, report=report
    )
    # Nobody gets a turn to look.
    async with http.looks.turn(), http.looks.turn():
        reported.take_up(http, job, worker, [question])
        await reported.keep(http)
        assert list(http.open_questions.held) == [(job.job_run, one.task.image)]
        await reported.hand_back_all(http)
    assert not http.open_questions.held
    assert (await leased_by_hand(http, job)).task.image == one.task.image
