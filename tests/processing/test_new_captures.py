"""What a round over watched sources finds, waits for and submits."""

import asyncio
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import deployments
from antenna_orchestration.domain import watching
from antenna_orchestration.domain.watching import BucketPosition, ReadFile
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import new_captures, watched_sources
from antenna_orchestration.processing.new_captures import Round
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.processing.submit import Submission, submit
from antenna_orchestration.submission import watching as looking
from antenna_orchestration.upkeep import health
from tests.processing.watched import photograph, watch

EVENING, MORNING = "20260612221500.jpg", "20260613044000.jpg"
NEXT = "20260613221500.jpg"


async def test_each_night_becomes_a_job_and_what_comes_later_a_further_one(
    services: Services, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "card"
    for name in (EVENING, MORNING, NEXT, "other.jpg"):
        photograph(folder / "100MEDIA" / name, name)
    photograph(folder / "notes.txt", "no photograph")
    photograph(folder / ".hidden.jpg", "hidden")
    source = await watch(services, project, folder)
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 2", "pond 2026-06-13: 1", "pond time unknown: 1"]
    await source.look()
    assert len(await source.jobs()) == 3
    photograph(folder / "101MEDIA" / "20260613050000.jpg", "later")
    await source.look()
    assert (await source.jobs())[3:] == ["pond 2026-06-12 (2): 1"]
    state = await source.state()
    assert (state.found, state.submitted, state.duplicates, state.jobs) == (5, 5, 0, 4)
    [standing] = watched_sources.standing(state, datetime.now(UTC))
    assert standing.startswith("next look in ")


async def test_nights_are_cut_at_the_noon_of_the_deployment(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / "2026-06-13T02-30-00Z.jpg", "20:30 in Panama, of the 12th")
    photograph(tmp_path / "a" / "20260612130000.jpg", "13:00 in Panama")
    source = await watch(services, project, tmp_path / "a")
    await deployments.set_values(services, project, "pond", {"time_zone": "America/Panama"})
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 2"]


async def test_a_source_is_looked_at_when_its_cron_expression_says(
    services: Services, project: str, tmp_path: Path
) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    source = await watch(services, project, tmp_path / "a", cron="0  7 * * *", settle="1h")
    await deployments.set_values(services, project, "pond", {"time_zone": "Asia/Tokyo"})
    await source.look()
    state = await source.state()
    assert watched_sources.looks(state) == "at 0 7 * * * in Asia/Tokyo"
    # A file waits: others of its night may come.
    assert state.next_look_at <= datetime.now(UTC) + timedelta(hours=1)
    source.later(3601)
    await source.look()
    # The photograph was read and submitted after this look.
    await source.look()
    state = await source.state()
    assert (await source.jobs(), state.next_look_at.astimezone(UTC).strftime("%H:%M")) == (
        ["pond 2026-06-12: 1"],
        "22:00",
    )
    assert state.next_look_at - datetime.now(UTC) <= timedelta(days=1)


def test_a_night_is_that_of_the_tables() -> None:
    evening = ReadFile("file:///a.jpg", "1-1", b"", datetime(2026, 6, 12, 23, 0), None, 0)
    berlin = Place(deployment="pond", time_zone="Europe/Berlin", zone=ZoneInfo("Europe/Berlin"))
    assert new_captures.night_of(evening, berlin, UTC) == date(2026, 6, 12)
    assert new_captures.night_of(evening._replace(stamp_offset=-600), berlin, UTC) == date(2026, 6, 12)
    assert new_captures.night_of(evening._replace(stamp_offset=-720), berlin, UTC) == date(2026, 6, 13)
    assert new_captures.night_of(evening, None, ZoneInfo("Asia/Tokyo")) == date(2026, 6, 12)
    assert new_captures.night_of(evening._replace(stamp=None), berlin, UTC) is None


async def test_a_card_that_is_being_copied_is_waited_for(services: Services, project: str, tmp_path: Path) -> None:
    first = photograph(tmp_path / "card" / EVENING, "a part of")
    source = await watch(services, project, tmp_path / "card", settle="1h")
    await source.look()
    assert (await source.state()).moving == 1
    # It grows where it is, which leaves its folder's time as it was.
    photograph(first, "a part of it and the rest", changed=1_700_000_050)
    source.later(3601)
    await source.look()
    assert (await source.jobs(), (await source.state()).moving) == ([], 1)
    source.later(3601)
    photograph(tmp_path / "card" / MORNING, "the next")
    await source.look()
    state = await source.state()
    assert (await source.jobs(), state.moving, state.read) == ([], 1, 1)
    assert "1 photograph wait until all are at rest" in watched_sources.standing(state, datetime.now(UTC))
    source.later(3601)
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 2"]


async def test_a_camera_that_sends_all_the_time_is_not_waited_for(
    services: Services, project: str, tmp_path: Path
) -> None:
    photograph(tmp_path / "a" / EVENING, "first")
    source = await watch(services, project, tmp_path / "a", settle="1h")
    await source.look()
    source.later(watching.HELD_AT_MOST + 1)
    photograph(tmp_path / "a" / MORNING, "of just now")
    await source.look()
    assert (await source.jobs(), (await source.state()).moving) == (["pond 2026-06-12: 1"], 1)


async def test_the_same_bytes_under_another_name_are_duplicates(
    services: Services, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "card"
    first = photograph(folder / EVENING, "one photograph")
    photograph(folder / "again" / EVENING, "one photograph")
    source = await watch(services, project, folder)
    await source.look()
    first.rename(folder / "renamed.jpg")
    photograph(folder / "uploaded again.jpg", "one photograph", changed=1_800_000_000)
    await source.look()
    # Touched, and copied again without its time.
    photograph(folder / "renamed.jpg", "one photograph", changed=1_900_000_000)
    source.later(3)
    await source.look()
    state = await source.state()
    assert await source.jobs() == ["pond 2026-06-12: 1"]
    assert (state.found, state.submitted, state.duplicates) == (4, 1, 3)


async def test_a_file_that_changed_in_place_is_another_photograph(
    services: Services, project: str, tmp_path: Path
) -> None:
    file = photograph(tmp_path / "a" / EVENING, "the first card")
    source = await watch(services, project, tmp_path / "a")
    for _ in range(2):
        await source.look()
        source.later(3)
    photograph(file, "the next card", changed=1_700_000_050)
    await source.look()
    assert len(await source.jobs()) == 1, "a folder in which nothing came was listed"
    source.later(new_captures.LOOKED_AGAIN_AFTER)
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 1", "pond 2026-06-12 (2): 1"]


async def test_what_was_submitted_by_hand_is_not_processed_again(
    services: Services, project: str, tmp_path: Path
) -> None:
    photograph(tmp_path / "a" / "1" / EVENING, "by hand")
    by_hand = await submit(services, Submission(sources=[str(tmp_path / "a")], pipeline="null", project=project))
    source = await watch(services, project, tmp_path / "a")
    await source.look()
    jobs = await services.catalog.jobs.list(project=project)
    assert [job.created_by == by_hand for job in jobs] and len(jobs) == 2
    manifests = [
        {
            row["image_id"]
            for rows in [part async for part in services.catalog.images.manifest(job.job_id)]
            for row in rows
        }
        for job in jobs
    ]
    assert manifests[0] == manifests[1], "the same file became another capture"


async def test_two_daemons_submit_a_night_once(
    shared_stores: EmbeddedStores, services: Services, project: str, tmp_path: Path
) -> None:
    for number in range(20):
        photograph(tmp_path / "a" / f"202606122215{number:02}.jpg", f"photograph {number}")
    source = await watch(services, project, tmp_path / "a")
    await new_captures.list_due(services, Round())
    await new_captures.read_waiting(services, Round())
    async with opened(shared_stores.settings) as other:
        # Without the lock that usually keeps one of them out.
        await asyncio.gather(*(new_captures.submit_read(one, Round()) for one in (services, other, services, other)))
    assert await source.jobs() == ["pond 2026-06-12: 20"]
    async with services.catalog.sources.lock():
        assert await new_captures.round_(services) is None


async def test_a_source_that_is_paused_or_removed_gets_no_job(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    source = await watch(services, project, tmp_path / "a")
    await new_captures.list_due(services, Round())
    await new_captures.read_waiting(services, Round())
    [ready] = [one for one in await services.catalog.sources.to_submit(100, held=0) if one.source_id == source.number]
    await services.catalog.sources.pause(source.number)
    with pytest.raises(errors.Conflict, match="was paused or removed"):
        await new_captures._submit_nights(services, ready, Round(), float("inf"))
    assert (await source.jobs(), watched_sources.standing(await source.state(), datetime.now(UTC))) == ([], ["paused"])
    await source.look()
    assert await source.jobs() == ["pond 2026-06-12: 1"]
    await services.catalog.sources.remove(source.number)
    for act in (source.state, source.look, lambda: services.catalog.sources.remove(source.number)):
        with pytest.raises(errors.NotFound, match=f"there is no source {source.number}"):
            await act()


async def test_a_folder_that_cannot_be_listed_is_told_and_tried_again(
    services: Services, project: str, tmp_path: Path
) -> None:
    folder = tmp_path / "share"
    photograph(folder / EVENING, "one")
    source = await watch(services, project, folder)
    await source.look()
    folder.rename(tmp_path / "away")
    pauses = []
    for failures in (1, 2, 3):
        await source.look()
        state = await source.state()
        assert (state.failures, state.error) == (
            failures,
            f"folder {folder} cannot be listed: No such file or directory",
        )
        pauses.append((state.next_look_at - datetime.now(UTC)).total_seconds())
    assert pauses == sorted(pauses) and pauses[2] > 2 * pauses[0]
    [line] = await watched_sources.troubles(services, project)
    assert line.startswith(f"source {source.number} of deployment pond ({folder}): it cannot be listed: folder")
    [result] = [one for one in (await health.watch(services)).results if one.name == "sources"]
    assert line in result.details and result.unfixable
    (tmp_path / "away").rename(folder)
    photograph(folder / NEXT, "two")
    await source.look()
    assert (await source.jobs())[1:] == ["pond 2026-06-13: 1"]
    assert not await watched_sources.troubles(services, project)


async def test_a_part_that_cannot_be_read_holds_up_nothing(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    photograph(tmp_path / "a" / MORNING, "")
    # Longer than a URI may be.
    deep = tmp_path / "a" / "/".join(["x" * 200] * 14)
    photograph(deep / NEXT, "too deep")
    (tmp_path / "a" / "link.jpg").symlink_to("nowhere.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    source = await watch(services, project, tmp_path / "a")
    await source.look()
    state = await source.state()
    assert await source.jobs() == ["pond 2026-06-12: 1"]
    assert (state.found, state.left_out, state.left_out_why) == (2, 1, "it is empty")
    # The photograph arrives after all.
    photograph(tmp_path / "a" / MORNING, "it has bytes now")
    source.later(new_captures.TRIED_AGAIN_AFTER)
    await source.look()
    await source.look()
    assert (await source.jobs())[1:] == ["pond 2026-06-12 (2): 1"]


async def test_what_vanishes_before_it_is_read_is_forgotten(services: Services, project: str, tmp_path: Path) -> None:
    file = photograph(tmp_path / "a" / EVENING, "one")
    source = await watch(services, project, tmp_path / "a")
    await new_captures.list_due(services, Round())
    file.unlink()
    await source.look()
    state = await source.state()
    assert (state.left_out, state.left_out_why) == (1, looking.GONE)
    source.later(new_captures.TRIED_AGAIN_AFTER)
    await source.look()
    assert ((await source.state()).found, await source.jobs()) == (0, [])


async def test_a_pipeline_that_is_gone_is_told(services: Services, project: str, tmp_path: Path) -> None:
    photograph(tmp_path / "a" / EVENING, "one")
    source = await watch(services, project, tmp_path / "a", config={"detections": 3})
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE sources SET pipeline = 'gone' WHERE source_id = %s", [source.number])
    await source.look()
    state = await source.state()
    assert "gone" in state.refusal and state.submit_at > datetime.now(UTC)
    assert await watched_sources.troubles(services, project)
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE sources SET pipeline = 'null' WHERE source_id = %s", [source.number])
    await source.look()
    assert (await source.jobs(), (await source.state()).refusal) == (["pond 2026-06-12: 1"], "")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"uri": "/no/such/folder"}, "folder /no/such/folder cannot be listed"),
        ({"uri": "ftp://example.org/traps"}, "only folders, s3:// and lists at http"),
        ({"uri": "https://example.org/a.jpg"}, "is one photograph"),
        ({"uri": "s3://traps/*"}, "--pattern"),
        ({"uri": "/"}, "name a folder below /"),
        ({"settle": "soon"}, "settle 'soon' is not a length of time"),
        ({"every": "1s"}, "every '1s' is not between 15s and 30d"),
        ({"cron": "0 7 * *"}, "is not a cron expression: it has 5 fields"),
        ({"cron": "0 7 * * *", "every": "5m"}, "either how often to look"),
        ({"deployment": " "}, "name the deployment"),
        ({"pipeline": "no-such"}, "no-such"),
        ({"config": {"no": 1}}, "no"),
        ({"pattern": "a/" * 101}, "the limit is 100"),
    ],
)
async def test_a_source_that_cannot_work_is_refused(
    services: Services, project: str, tmp_path: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(errors.InvalidInput, match=said.replace("*", r"\*")):
        await watch(services, project, **{"uri": tmp_path, **options})
    assert not await watched_sources.list_sources(services, project)


async def test_two_sources_of_the_same_files_are_refused(services: Services, project: str, tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    await watch(services, project, tmp_path / "a", pattern="pond*/*")
    await watch(services, project, tmp_path / "a", pattern="meadow*/*", deployment="meadow")
    with pytest.raises(errors.Conflict, match="would be processed twice"):
        await watch(services, project, tmp_path / "a" / "b")
    with pytest.raises(errors.Conflict, match="would be processed twice"):
        await watch(services, project, tmp_path / "a", pattern="pond*/*")


@pytest.mark.parametrize(
    ("pattern", "taken"),
    [
        ("", {"a.JPG", "n/b.png"}), ("*.jpg", {"a.JPG"}), ("A.*", {"a.JPG"}), ("N/*", {"n/b.png"}),
        ("**/*.png", {"n/b.png"}), ("n*", set()),
    ],
)  # fmt: skip
def test_patterns_are_of_names_or_of_paths(pattern: str, taken: set[str]) -> None:
    takes = looking.taker(pattern)
    assert {path for path in ("a.JPG", "n/b.png") if takes(path)} == taken


def read_file(name: str, *, waited: float = 0.0) -> ReadFile:
    return ReadFile(f"file:///{name}", "1-1", name.encode(), None, None, waited)


def test_nights_wait_for_what_moves_and_for_their_folders() -> None:
    one, two = date(2026, 6, 12), date(2026, 6, 13)
    found = {None: [read_file("x/a")], two: [read_file("b/a")], one: [read_file("a/a"), read_file("b/b")]}
    assert watching.ready_nights(found, is_moving=False, unread=[]) == [one, two, None]
    assert watching.ready_nights(found, is_moving=False, unread=["file:///b/"]) == [None]
    assert watching.ready_nights(found, is_moving=True, unread=[]) == []
    held = {**found, two: [read_file("b/a", waited=watching.HELD_AT_MOST)]}
    assert watching.ready_nights(held, is_moving=True, unread=[]) == [two]


def test_a_bucket_is_listed_on_from_the_last_name_that_is_old() -> None:
    now = datetime(2026, 6, 20, tzinfo=UTC)
    old, new = now - timedelta(days=2), now
    start = BucketPosition("", None, "")
    assert watching.quiet_upto(start, [("a", old), ("b", old), ("c", new), ("d", old)], now) == "b"
    assert watching.quiet_upto(start, [("a", None)], now) == ""
    # The second page of a look: what comes after a name that is not old does not count.
    assert watching.quiet_upto(BucketPosition("b", "d", ""), [("e", old)], now) == "b"
    assert watching.quiet_upto(BucketPosition("b", "b", ""), [("c", old)], now) == "c"
