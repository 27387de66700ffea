"""Watching a list on the web: what of it becomes photographs, and what it says when something is wrong with it."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.typedefs import Handler

from antenna_orchestration import errors
from antenna_orchestration.domain import versions
from antenna_orchestration.domain.versions import Validators
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import watched_sources
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.submission import limits, watching, web_lists
from tests.processing.watched import Watched, watch

EVENING, MORNING, NEXT = "20260612221500.jpg", "20260613044000.jpg", "20260613221500.jpg"


class Traps:
    """A web server with a folder, as a camera uploads to it; `hangs` keeps it from answering."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = ""
        # Paths and statuses of the answers.
        self.answers: list[tuple[str, int]] = []
        self.hangs = False
        self.let_go = asyncio.Event()
        self._written = 1_700_000_000

    def write(self, text: str, name: str = "trap7.txt") -> str:
        """A list, with a time of change of its own; its address."""
        file = self.folder / name
        file.write_text(text)
        self._written += 60
        os.utime(file, (self._written, self._written))
        return f"{self.url}/traps/{name}"

    @web.middleware
    async def hang(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self.hangs:
            await self.let_go.wait()
        return await handler(request)

    async def note(self, request: web.Request, response: web.StreamResponse) -> None:
        self.answers.append((request.path, response.status))


@contextlib.asynccontextmanager
async def serving(folder: Path) -> AsyncIterator[Traps]:
    traps = Traps(folder)
    app = web.Application(middlewares=[traps.hang])
    app.on_response_prepare.append(traps.note)
    # Answers with ETag and Last-Modified, and with 304 where these are as they were.
    app.router.add_static("/traps", folder)
    runner = web.AppRunner(app, shutdown_timeout=0.5)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    traps.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield traps
    finally:
        traps.let_go.set()
        await runner.cleanup()


@pytest.fixture
async def traps(tmp_path: Path) -> AsyncIterator[Traps]:
    async with serving(tmp_path) as served:
        yield served


@pytest.fixture
async def near(shared_stores: EmbeddedStores) -> AsyncIterator[Services]:
    """Services that may fetch from this machine."""
    async with opened(shared_stores.settings.model_copy(update={"allow_private_hosts": True})) as services:
        yield services


async def standing(source: Watched) -> list[str]:
    return watched_sources.standing(await source.state(), datetime.now(UTC))


async def test_new_lines_become_jobs_each_photograph_once(near: Services, project: str, traps: Traps) -> None:
    elsewhere = f"{traps.url}/elsewhere/{NEXT}"
    night = f"2026-06-12/{EVENING}"
    lines = ["# of trap 7", "", night, f"./{night}", elsewhere, "notes.md", ".hidden.jpg"]
    address = traps.write("\n".join(lines))
    source = await watch(near, project, address)
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 1", "pond 2026-06-13: 1"]
    images = [
        row["url"]
        for job in await near.catalog.jobs.list(project=project)
        async for part in near.catalog.images.manifest(job.job_id)
        for row in part
    ]
    assert sorted(images) == sorted([f"{traps.url}/traps/{night}", elsewhere])
    # The same lines, in another order, with one more.
    traps.write("\r\n".join([MORNING, *reversed(lines)]))
    await source.look()
    await source.look()
    assert (await source.jobs())[2:] == ["pond 2026-06-12 (2): 1"]
    state = await source.state()
    assert (state.found, state.submitted, state.duplicates, state.error) == (3, 3, 0, "")
    assert {path for path, _ in traps.answers} == {"/traps/trap7.txt"}, "a photograph was asked for"
    await near.catalog.sources.pause(source.number)


async def test_a_list_that_did_not_change_is_one_request_without_a_body(
    near: Services, project: str, traps: Traps
) -> None:
    source = await watch(near, project, traps.write(EVENING))
    await source.look()
    del traps.answers[:]
    await source.look()
    await source.look()
    assert traps.answers == [("/traps/trap7.txt", 304)] * 2
    assert ((await source.state()).error, await source.jobs()) == ("", ["pond 2026-06-12: 1"])
    await near.catalog.sources.pause(source.number)


async def test_a_table_has_a_column_of_addresses(near: Services, project: str, traps: Traps) -> None:
    source = await watch(near, project, traps.write(f"etag;url\n1;{EVENING}\n2;{NEXT}\n", "trap7.csv"), pattern="*12*")
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 1"]
    traps.write("camera;size\n1;2\n", "trap7.csv")
    await source.look()
    said = (await source.state()).error
    assert said.startswith(f"{traps.url}/traps/trap7.csv has no column url") and "/tmp" not in said
    await near.catalog.sources.pause(source.number)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("file:///etc/secret.jpg", "is not an http(s) address"),
        ("s3://traps/a.jpg", "is not an http(s) address"),
        ("http:/a.jpg", "is not an http(s) address"),
        (r"C:\DCIM\a.jpg", "is not an http(s) address"),
        ("<a href='a.jpg'>a.jpg</a>", "is not an http(s) address"),
        ("a\x1b[31m.jpg", r"'a\x1b[31m.jpg' is not an http(s) address"),
        ("http://[::1/a.jpg", "is not an http(s) address"),
        ("x" * 3000 + ".jpg", "is longer than 2000 characters"),
        ("a.jpg?sv=1&sig=abc&se=2", "is a signed link, which expires"),
        ("http://10.0.0.1/a.jpg", "ANTENNA_ALLOW_PRIVATE_HOSTS=true allows them"),
        ("//127.1/a.jpg", "ANTENNA_ALLOW_PRIVATE_HOSTS=true allows them"),
    ],
)
def test_a_line_that_cannot_be_a_photograph_is_refused(shared_stores: EmbeddedStores, line: str, said: str) -> None:
    within = watching.locator(shared_stores.settings.model_copy(update={"allow_private_hosts": False}))
    with pytest.raises(errors.InvalidSource) as refused:
        web_lists.photograph("https://example.org/traps/trap7.txt", line, within)
    assert said in str(refused.value) and len(str(refused.value)) < 300 and str(refused.value).isprintable()


async def test_a_hostile_line_is_told_and_holds_up_nothing(near: Services, project: str, traps: Traps) -> None:
    address = traps.write(f"{EVENING}\nfile:///etc/passwd.jpg\n{NEXT}\nC:\\a.jpg\n")
    source = await watch(near, project, address)
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 1", "pond 2026-06-13: 1"]
    told = (
        f"{address}, line 2: 'file:///etc/passwd.jpg' is not an http(s) address, and none relative to that of the list "
        "(and 1 more line like it)"
    )
    # The same list says the same again.
    await source.look()
    assert f"a part cannot be listed: {told}" in await standing(source)
    traps.write("thumbs.db\nnight.mp4\n")
    await source.look()
    assert (await source.state()).error == f"{address}: none of its 2 lines names a photograph"
    traps.write(EVENING)
    await source.look()
    assert ((await source.state()).error, len(await source.jobs())) == ("", 2)
    await near.catalog.sources.pause(source.number)


async def test_a_list_that_is_gone_or_hangs_is_told_and_tried_again(near: Services, project: str, traps: Traps) -> None:
    address = traps.write(EVENING)
    source = await watch(near, project, address)
    (traps.folder / "trap7.txt").rename(traps.folder / "away.txt")
    await source.look()
    state = await source.state()
    assert (state.failures, state.error) == (1, f"{address}: HTTP 404 Not Found from 127.0.0.1")
    assert state.next_look_at > datetime.now(UTC)
    traps.hangs = True
    async with opened(near.settings.model_copy(update={"load_timeout": 0.5})) as impatient:
        await replace(source, services=impatient).look()
    state = await source.state()
    assert (state.failures, state.error) == (2, f"{address}: not loaded within 0.5 s")
    traps.hangs = False
    (traps.folder / "away.txt").rename(traps.folder / "trap7.txt")
    await source.look()
    assert (await source.jobs(), (await source.state()).error) == (["pond 2026-06-12: 1"], "")
    await near.catalog.sources.pause(source.number)


async def test_a_list_is_bounded(near: Services, project: str, traps: Traps, monkeypatch: pytest.MonkeyPatch) -> None:
    address = traps.write(f"{EVENING}\n" * 30)
    monkeypatch.setattr(limits, "MOST_WATCHED_LINES", 20)
    with pytest.raises(errors.InvalidSource, match="has more than 20 lines"):
        await watch(near, project, address)
    monkeypatch.setattr(limits, "MOST_WATCHED_BYTES", 100)
    with pytest.raises(errors.InvalidSource, match="over the most that a watched list may have"):
        await watch(near, project, address)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("no-such.txt", "HTTP 404"),
        ("a.jpg", "is one photograph"),
        ("a.parquet", "only lists that are text or .csv"),
        ("a.txt?sv=1&sig=abc&se=2", "a signed link expires"),
    ],
)
async def test_a_list_that_cannot_be_watched_is_refused(
    near: Services, project: str, traps: Traps, name: str, said: str
) -> None:
    with pytest.raises(errors.InvalidSource, match=said):
        await watch(near, project, f"{traps.url}/traps/{name}")
    with pytest.raises(errors.InvalidSource, match="with a password"):
        await watch(near, project, f"{traps.url}/a.txt".replace("//", "//me:secret@"))
    assert not await watched_sources.list_sources(near, project)


async def test_lists_are_fetched_by_the_rules_of_photographs(services: Services, project: str, traps: Traps) -> None:
    """No address of this network, in the address or behind a name."""
    settings = services.settings.model_copy(update={"allow_private_hosts": False})
    with pytest.raises(errors.InvalidSource, match="ALLOW_PRIVATE_HOSTS"):
        web_lists.address(traps.write(EVENING), watching.locator(settings))
    named = traps.write(EVENING).replace("127.0.0.1", "localhost.localdomain")
    for one in (traps.write(EVENING), named):
        with pytest.raises((errors.InvalidSource, errors.Unavailable)):
            await asyncio.to_thread(web_lists.fetch, one, Validators(), settings)
    assert not traps.answers


def test_a_time_of_change_that_is_just_over_says_nothing() -> None:
    stamp, later = "Fri, 12 Jun 2026 22:15:00 GMT", "Fri, 12 Jun 2026 22:15:02 GMT"
    assert versions.validators_of({"Last-Modified": stamp, "Date": later}) == Validators("", stamp)
    assert versions.validators_of({"Last-Modified": stamp, "Date": stamp, "ETag": 'W/"1"'}) == Validators('W/"1"', "")
    assert versions.validators_of({"Last-Modified": "soon", "Date": later, "ETag": "\u00fc"}) == Validators()
