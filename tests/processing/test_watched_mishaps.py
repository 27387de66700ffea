"""Watched sources as people have them: links that lead nowhere, files renamed before they are submitted, lost disks."""

import os
from pathlib import Path
from urllib.parse import quote

import psycopg
import pytest

from antenna_orchestration.processing import new_captures
from antenna_orchestration.processing.new_captures import Round
from antenna_orchestration.processing.services import Services
from tests.processing.watched import Watched, photograph, watch

EVENING, MORNING = "20260612221500.jpg", "20260613044000.jpg"


async def images(source: Watched) -> list[str]:
    """Where the images of a source's jobs lie, below its folder."""
    with psycopg.connect(source.services.settings.database_url) as connection:
        rows = connection.execute(
            "SELECT c.url FROM source_jobs s JOIN job_images i USING (job_id) JOIN captures c USING (image_id) "
            "WHERE s.source_id = %s ORDER BY c.url",
            [source.number],
        ).fetchall()
    return [url.rpartition("/a/")[2] for (url,) in rows]


async def test_a_link_that_leads_nowhere_holds_up_no_folder(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    (tmp_path / "a" / "to itself.jpg").symlink_to("to itself.jpg")
    (tmp_path / "a" / "below a file").symlink_to(f"{EVENING}/below")
    (tmp_path / "a" / "too long").symlink_to("x" * 300)
    source = await watch(services, project, tmp_path / "a")
    done = await source.look()
    assert (await source.jobs(), done.failed) == (["pond 2026-06-12: 1"], [])


async def test_what_is_renamed_before_it_is_submitted_is_processed_where_it_is(
    services: Services, project: str, tmp_path: Path
) -> None:
    photograph(tmp_path / "a" / "DCIM" / EVENING, "one")
    photograph(tmp_path / "a" / "DCIM" / MORNING, "two")
    source = await watch(services, project, tmp_path / "a")
    await new_captures.list_due(services, Round())
    await new_captures.read_waiting(services, Round())
    assert (await source.state()).read == 2
    (tmp_path / "a" / "DCIM").rename(tmp_path / "a" / "night 1")
    await source.look()
    await source.look()
    assert await images(source) == [f"night%201/{EVENING}", f"night%201/{MORNING}"]


async def test_what_goes_before_it_is_submitted_is_in_no_job(services: Services, project: str, tmp_path: Path) -> None:
    gone = photograph(tmp_path / "a" / EVENING, "one")
    other = photograph(tmp_path / "a" / MORNING, "two")
    source = await watch(services, project, tmp_path / "a")
    await new_captures.list_due(services, Round())
    await new_captures.read_waiting(services, Round())
    gone.unlink()
    photograph(other, "another", changed=1_700_000_100)
    await new_captures.submit_read(services, Round())
    assert await source.jobs() == []
    await source.look()
    assert (await images(source), await source.jobs()) == ([MORNING], ["pond 2026-06-12: 1"])


async def test_sources_that_wait_keep_no_place_of_those_that_are_ready(
    services: Services, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_captures, "SUBMITTED_AT_ONCE", 1)
    photograph(tmp_path / "waits" / EVENING, "one")
    photograph(tmp_path / "ready" / EVENING, "one")
    waits = await watch(services, project, tmp_path / "waits", deployment="first")
    ready = await watch(services, project, tmp_path / "ready", deployment="second")
    await new_captures.list_due(services, Round())
    await new_captures.read_waiting(services, Round())
    with psycopg.connect(services.settings.database_url) as connection:
        connection.execute(
            "UPDATE sources SET settle_seconds = 3600, submit_at = '-infinity' WHERE source_id = %s", [waits.number]
        )
    photograph(tmp_path / "waits" / MORNING, "it still comes")
    await waits.look()
    done = Round()
    while not await ready.jobs():
        # Sources of other tests that are ready come before it, one a round.
        before = len(done.jobs)
        await new_captures.submit_read(services, done)
        assert len(done.jobs) > before
    assert (await ready.jobs(), await images(waits)) == (["second 2026-06-12: 1"], [])


async def test_a_source_that_takes_long_lets_others_go_first(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    photograph(tmp_path / "b" / EVENING, "one")
    long = await watch(services, project, tmp_path / "a", deployment="first")
    other = await watch(services, project, tmp_path / "b", deployment="second")

    async def order() -> list[int]:
        due = [one.source_id for one in await services.catalog.sources.due(10_000)]
        return [number for number in due if number in (long.number, other.number)]

    assert await order() == [long.number, other.number]
    await services.catalog.sources.note_listed_in_part(long.number, came_forward=True)
    assert await order() == [other.number, long.number]


async def test_an_empty_mount_point_is_no_loss(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / "1" / EVENING, "one")
    source = await watch(services, project, tmp_path / "a")
    await source.look()
    photograph(tmp_path / "a" / "1" / MORNING, "two")
    photograph(tmp_path / "a" / "2" / MORNING, "three")
    await new_captures.list_due(services, Round())
    (tmp_path / "a").rename(tmp_path / "away")
    (tmp_path / "a").mkdir()
    for _ in range(2):
        await source.look()
        source.later(new_captures.TRIED_AGAIN_AFTER)
    (tmp_path / "a").rmdir()
    (tmp_path / "away").rename(tmp_path / "a")
    await source.look()
    assert await images(source) == [f"1/{EVENING}", f"1/{MORNING}", f"2/{MORNING}"]


async def test_names_of_any_bytes_are_taken(services: Services, project: str, tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    source = await watch(services, project, tmp_path / "a")
    names = [b"a\nb.jpg", b"caf\xe9.jpg", "\u65e5.JPG".encode(), b"%41?#.jpg", b" .jpg", b"\x1b[31m.jpg", b"._left.jpg"]
    for number, name in enumerate(names):
        Path(os.fsdecode(os.fsencode(tmp_path / "a") + b"/" + name)).write_text(str(number))
    await source.look()
    assert await source.jobs() == ["pond time unknown: 6"]
    assert await images(source) == sorted(quote(name) for name in names[:6])
