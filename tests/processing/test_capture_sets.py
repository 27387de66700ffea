"""Capture sets: what the samplers choose, that they say why not the rest, and what a submission takes of them."""

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import available_timezones

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from antenna_orchestration import errors
from antenna_orchestration.answers import deployments
from antenna_orchestration.catalog.capture_sets import CaptureSet, _zone
from antenna_orchestration.catalog.images import ImageOutcome
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain.capture_sets import Rule, Why
from antenna_orchestration.domain.ids import ImageId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.nights import Nights, night_of_local, nights_named, zone_named
from antenna_orchestration.ecology.model import Place
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import capture_sets
from antenna_orchestration.processing.services import Services, opened
from antenna_orchestration.processing.submit import Submission, submit
from antenna_orchestration.submission import capture_times, narrowing
from tests.processing.jobs_by_hand import make_job

_numbers = itertools.count()


def taken(project: str, deployment: str | None, at: datetime | None, number: int = 0) -> SubmittedImage:
    """A photograph whose clock showed a time, at a place that leads nowhere."""
    time = f"{at:%Y%m%d%H%M%S}" if at else "unknown"
    name = f"https://example.org/{project}/{deployment}/{time}-{number}.jpg"
    return SubmittedImage(name, at and at.replace(tzinfo=UTC), deployment, "5-1", stamp=at)


def two_nights(project: str) -> list[SubmittedImage]:
    """At each of two deployments a photograph every minute for ten minutes, in two nights, and one without a time."""
    starts = [datetime(2026, 6, 12, 22), datetime(2026, 6, 14, 2)]
    timed = [
        taken(project, name, start + timedelta(minutes=minute))
        for name in ("pond", "wood")
        for start in starts
        for minute in range(10)
    ]
    return [*timed, taken(project, "pond", None)]


async def known(services: Services, project: str, images: Sequence[SubmittedImage], **changes: object) -> Job:
    """A job by which the photographs become known."""
    return await make_job(services, project, 0, named=images, **changes)


async def urls(services: Services, one: CaptureSet) -> list[str]:
    images = [image async for some in services.catalog.capture_sets.images(one) for image in some]
    return [await services.catalog.images.get_url(image) for image in images]


async def test_a_set_is_a_frozen_list(services: Services, project: str) -> None:
    await known(services, project, two_nights(project))
    rule = Rule(deployments=("pond",), nights=nights_named("2026-06-12.."), every=300)
    made = await capture_sets.create(services, project, "thin", rule, created_by="me")
    assert (made.photographs, made.rule, made.created_by) == (4, rule, "me")
    assert made.not_chosen == {Why.OTHER_DEPLOYMENT: 20, Why.NO_TIME: 1, Why.SAME_INTERVAL: 16}
    first = await urls(services, made)
    assert [url[-20:-6] for url in first] == ["20260612220000", "20260612220500", "20260614020000", "20260614020500"]

    await known(services, project, [taken(project, "pond", datetime(2026, 6, 12, 21))])
    assert await urls(services, await services.catalog.capture_sets.get(project, "thin")) == first
    again = await capture_sets.refresh(services, project, "thin")
    assert (again.set_id, again.photographs, again.created_at) == (made.set_id, 5, made.created_at)
    inside = await capture_sets.contents(services, again)
    assert [(one.deployment, one.night, one.photographs) for one in inside.nights] == [
        ("pond", date(2026, 6, 12), 3),
        ("pond", date(2026, 6, 13), 2),
    ]
    assert (inside.photographs, inside.processed_by) == (5, [])
    await services.catalog.capture_sets.remove(project, "thin")
    assert await services.catalog.capture_sets.list(project) == []
    with pytest.raises(errors.NotFound, match="has no capture set 'thin'; `antenna sets list"):
        await services.catalog.capture_sets.remove(project, "thin")


async def test_a_set_is_submitted_to_another_pipeline(services: Services, project: str) -> None:
    await known(services, project, two_nights(project))
    await capture_sets.create(services, project, "thin", Rule(deployments=("pond",), every=300))
    submitted = await submit(services, Submission(capture_set="thin", project=project, pipeline="null"))
    job = await services.catalog.jobs.get(submitted.job_id)
    assert (job.total, job.skipped, job.name, dict(submitted.not_chosen)) == (4, 0, "set thin", {})
    narrowed = await submit(
        services, Submission(capture_set="thin", nights="2026-06-13", project=project, pipeline="null", limit=1)
    )
    assert (narrowed.total, narrowed.not_chosen) == (1, {Why.OTHER_NIGHT: 2})
    log = await services.catalog.job_log.newest(narrowed.job_id, limit=100)
    assert log[0].message.endswith("; not chosen: 2 of other nights")


async def finished(services: Services, job: Job, detections: Callable[[str], int]) -> None:
    """Process all images of a job, with so many detections by the URL."""
    await services.catalog.jobs.claim(1, job_id=job.job_id)
    await services.catalog.jobs.start(job.job_run, "run")
    rows = [row async for some in services.catalog.images.manifest(job.job_id) for row in some]
    outcomes = [
        ImageOutcome(ImageId(row["image_id"]), "done", None, 1, None, False, 1, 1, detections(row["url"]), 0, "w")
        for row in rows
    ]
    await services.catalog.images.commit(job.job_run, outcomes)
    await services.catalog.images.add_processed(job.job_id)
    await services.catalog.jobs.finish(job.job_run, JobStatus.SUCCESS, None)


async def test_sets_of_what_was_found_and_of_what_was_not_processed(services: Services, project: str) -> None:
    images = two_nights(project)
    first = await submit(services, Submission(images=images[:15], project=project, pipeline="null", exif="never"))
    job = await services.catalog.jobs.get(first.job_id)
    await finished(services, job, lambda url: int("/pond/20260612" in url))
    await known(services, project, images[15:])
    found = await capture_sets.create(services, project, "found", Rule(with_detections=True))
    assert (found.photographs, found.not_chosen) == (10, {Why.NO_DETECTIONS: 31})
    assert await urls(services, found) == [image.uri for image in images[:10]]
    of_other = Rule(with_detections_of="light_trap_insects")
    with pytest.raises(errors.InvalidInput, match="no photograph is left of 41: 41 without detections"):
        await capture_sets.create(services, project, "none", of_other)
    assert await services.catalog.capture_sets.find(project, "none") is None

    rest = await capture_sets.create(services, project, "rest", Rule(not_processed_by="null"))
    assert (rest.photographs, rest.not_chosen) == (26, {Why.PROCESSED: 15})
    # As a submission skips.
    submitted = await submit(services, Submission(known=True, project=project, pipeline="null"))
    assert (submitted.total, submitted.skipped) == (26, 15)
    inside = await capture_sets.contents(services, found)
    assert [(one.pipeline, one.photographs, one.with_detections) for one in inside.processed_by] == [("null", 10, 10)]


async def test_photographs_that_others_replaced_are_not_submitted(services: Services, project: str) -> None:
    old = taken(project, "pond", datetime(2026, 6, 12, 22))
    new = old._replace(
        version="6-2", stamp=datetime(2026, 6, 20, 22), captured_at=datetime(2026, 6, 20, 22, tzinfo=UTC)
    )
    await known(services, project, [old])
    await known(services, project, [new])
    submitted = await submit(services, Submission(known=True, project=project, pipeline="null"))
    assert (submitted.total, submitted.not_chosen) == (1, {Why.REPLACED: 1})
    # Their results are there, so a set has both.
    assert (await capture_sets.create(services, project, "both", Rule())).photographs == 2


async def test_a_set_follows_a_renamed_deployment(services: Services, project: str) -> None:
    await known(services, project, two_nights(project))
    await capture_sets.create(services, project, "few", Rule(deployments=("pond",)))
    for old, new in (("pond", "lake"), ("lake", "mere")):
        await deployments.rename(services, project, old, new)
    again = await capture_sets.refresh(services, project, "few")
    assert (again.rule.deployments, again.photographs) == (("mere",), 21)


async def test_a_time_zone_is_the_same_for_the_catalog(services: Services) -> None:
    zones = sorted(available_timezones() - {"Factory", "localtime"})
    moments = [datetime(2026, month, 15, 12) for month in (1, 7)]
    async with services.catalog.database.transaction() as connection:
        cursor = await connection.execute(
            "SELECT moment AT TIME ZONE 'UTC' AT TIME ZONE zone AS local FROM unnest(%s::timestamp[]) AS m (moment) "
            "CROSS JOIN unnest(%s::text[]) WITH ORDINALITY AS z (zone, ordinal) ORDER BY moment, ordinal",
            [moments, [_zone(name)["zone"] for name in zones]],
        )
        said = [row["local"] for row in await cursor.fetchall()]
    meant = [
        moment.replace(tzinfo=UTC).astimezone(zone_named(name)).replace(tzinfo=None)
        for moment in moments
        for name in zones
    ]
    assert [(name, local) for name, local, other in zip(zones * 2, said, meant, strict=True) if local != other] == []


async def test_a_photograph_that_is_gone_is_in_no_set(services: Services, project: str) -> None:
    await known(services, project, two_nights(project))
    made = await capture_sets.create(services, project, "all", Rule())
    async with services.catalog.database.transaction() as connection:
        await connection.execute("DELETE FROM captures WHERE url = %s", [two_nights(project)[0].uri])
        await connection.execute("DELETE FROM job_images WHERE job_id IN (SELECT job_id FROM jobs WHERE name = 'none')")
    inside = await capture_sets.contents(services, await services.catalog.capture_sets.get(project, "all"))
    assert (made.photographs, inside.photographs) == (41, 40)
    assert (await submit(services, Submission(capture_set="all", project=project, pipeline="null"))).total == 40


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (lambda: Rule(every=60, nth=2), "--every and --nth both thin out a night: choose one"),
        (lambda: Rule(every=86_401), "--every: an interval is between 1s and 1d"),
        (lambda: Rule(random=0), "--random 0: must be 1 or more"),
        (lambda: Rule(seed=1), "--seed is for --random and --per-night"),
        (lambda: Rule(nights=nights_named("2026-06-20..2026-06-12")), "2026-06-20 is after 2026-06-12"),
        (lambda: Rule(nights=nights_named("June")), "nights 'June': name one night, such as 2026-06-12"),
        (lambda: Rule(nights=nights_named("..")), "nights '..': name one night"),
        (lambda: Rule(time_zone="Mars"), "there is no time zone 'Mars'"),
    ],
)
def test_a_rule_that_cannot_be_is_refused(rule: Callable[[], Rule], error: str) -> None:
    with pytest.raises(errors.InvalidInput) as raised:
        rule()
    assert error in str(raised.value)


async def test_what_cannot_be_made_is_refused_and_leaves_nothing(services: Services, project: str) -> None:
    with pytest.raises(errors.NotFound, match="there is no project"):
        await capture_sets.create(services, project, "all", Rule())
    await known(services, project, two_nights(project))
    made = await capture_sets.create(services, project, "all", Rule())
    for name, rule, error in (
        ("all", Rule(random=1), "has a capture set all already: name another one, or make it anew with --replace"),
        ("A b", Rule(), "name 'A b' is not a slug"),
        ("new", Rule(deployments=("lake",)), "has no deployment 'lake'"),
        ("new", Rule(nights=nights_named("2027-01-01")), "no photograph is left of 41: 1 without a time, 40 of other"),
        ("new", Rule(not_processed_by="nothing"), "nothing"),
        ("new", Rule(with_detections_of="nothing"), "nothing"),
    ):
        with pytest.raises(errors.AntennaError) as raised:
            await capture_sets.create(services, project, name, rule)
        assert error in str(raised.value)
    with pytest.raises(errors.InvalidInput, match="no photograph is left"):
        await capture_sets.create(services, project, "all", Rule(nights=nights_named("2027-01-01")), again=True)
    assert await services.catalog.capture_sets.list(project) == [made]
    assert len(await urls(services, made)) == 41


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"capture_set": "x", "known": True}, "--known takes all known photographs, --set those of a capture set"),
        ({"known": True, "sources": ["."]}, "--known takes photographs that are known: name no sources with it"),
        ({"capture_set": "x", "deployment": "d"}, "with --set, --only-deployment chooses one"),
        ({"capture_set": "none"}, "has no capture set 'none'"),
        ({"known": True, "every": "0"}, "--every: an interval is between 1s and 1d"),
        ({"known": True, "every": "ten"}, "every 'ten' is not a length of time"),
        ({"known": True, "only_deployments": ["lake"]}, "has no deployment 'lake'"),
    ],
)
async def test_a_submission_of_known_photographs_is_refused_in_one_line(
    services: Services, project: str, changes: dict[str, object], error: str
) -> None:
    await known(services, project, two_nights(project))
    with pytest.raises(errors.AntennaError) as raised:
        await submit(services, Submission(project=project, pipeline="null", **changes))  # type: ignore[arg-type]
    assert error in str(raised.value)
    assert len(await services.catalog.jobs.list(project=project)) == 1


ZONES = [None, "Europe/Berlin", "America/Panama", "+05:45", "-03:00", "CET"]

# Around the nights in which summer time begins and ends, and noon.
MOMENTS = st.builds(
    lambda day, second: day + timedelta(seconds=second),
    st.sampled_from([datetime(2026, 3, 28, 12), datetime(2026, 6, 12, 11), datetime(2026, 10, 24, 12)]),
    st.integers(0, 30 * 3600),
)

PHOTOGRAPHS = st.lists(
    st.tuples(
        st.sampled_from(["a", "b", "c", None]),
        MOMENTS | st.none(),
        st.sampled_from([None, None, 0, 120]),
        st.integers(0, 1),
    ),
    min_size=1,
    max_size=30,
)

PLACES = st.lists(
    st.tuples(st.sampled_from(ZONES), st.sampled_from(["local", "utc"]), st.sampled_from([0, 3600, -90])),
    min_size=3,
    max_size=3,
)


@pytest.mark.long
@hypothesis_settings(max_examples=40, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_every_sampler_keeps_its_promise(shared_stores: EmbeddedStores, data: st.DataObject) -> None:
    """Of any photographs in any order: nights are those of the one rule, and the seed alone decides what is drawn."""
    images = data.draw(PHOTOGRAPHS)
    described = [
        Place(
            deployment=name,
            time_zone=zone,
            zone=zone_named(zone) if zone else None,
            clock=clock,  # type: ignore[arg-type]
            shift_seconds=shift,
        )
        for name, (zone, clock, shift) in zip("abc", data.draw(PLACES), strict=True)
    ]
    rule = Rule(
        nights=data.draw(
            st.sampled_from([Nights(), nights_named("2026-03-28..2026-06-12"), nights_named("2026-10-24")])
        ),
        deployments=data.draw(st.sampled_from([(), ("a",), ("a", "b")])),
        every=(every := data.draw(st.none() | st.sampled_from([60, 600, 7000]))),
        nth=data.draw(st.integers(1, 3)) if every is None and data.draw(st.booleans()) else None,
        per_night=data.draw(st.none() | st.integers(1, 3)),
        random=data.draw(st.none() | st.integers(1, 10)),
        time_zone=data.draw(st.sampled_from(["UTC", "America/Panama", "+02:00"])),
    )
    if rule.draws:
        rule = replace(rule, seed=data.draw(st.integers(0, 2)))
    asyncio.run(_check(shared_stores, images, described, rule, data.draw(st.permutations(range(len(images))))))


async def _check(
    stores: EmbeddedStores,
    images: Sequence[tuple[str | None, datetime | None, int | None, int]],
    described: Sequence[Place],
    rule: Rule,
    order: Sequence[int],
) -> None:
    known_places = {place.deployment: place for place in described}
    number = next(_numbers)
    async with opened(stores.settings) as services:
        chosen = []
        for way in ("forth", "back"):
            project = f"samplers-{number}-{way}"
            submitted = {
                one.uri: one
                for name, at, offset, which in images
                for one in [taken("p", name, at, which)._replace(stamp_offset=offset if at else None)]
            }
            # In any order, some before others.
            every = list(submitted.values())
            if way == "back":
                every = [every[one] for one in order if one < len(every)]
            placed, _ = capture_times.at_places(every, {})
            await services.catalog.deployments.describe(project, lambda _: described, by="a test")
            for place in described:
                if place.shift_seconds:
                    await services.catalog.deployments.shift(
                        project, place.deployment, place.shift_seconds, reason="", by=""
                    )
            for some in (placed[:7], placed[7:]):
                if some:
                    await known(services, project, some)
            chosen.append(await _chosen(services, project, rule, placed, known_places))
        assert chosen[0] == chosen[1]


async def _chosen(
    services: Services, project: str, rule: Rule, images: Sequence[SubmittedImage], places: dict[str, Place]
) -> list[str]:
    """What a rule chooses, after it was held against what Python says of the same photographs."""
    placed = [
        one if one.stamp_offset is None or one.captured_at is None
        else one._replace(captured_at=one.captured_at - timedelta(minutes=one.stamp_offset))
        for one in images
    ]  # fmt: skip
    placed, _ = capture_times.at_places(placed, places)
    named = replace(rule, nth=None, per_night=None, random=None, seed=None)
    try:
        expected, why_not = narrowing.narrow(placed, named, places)
    except errors.InvalidSource:
        expected, why_not = [], {}
    try:
        made = await capture_sets.create(services, project, "s", rule)
    except errors.InvalidInput:
        assert not expected or rule.needs_time
        return []
    found = await urls(services, made)
    assert len(set(found)) == len(found) == made.photographs
    assert made.photographs + sum(made.not_chosen.values()) == len(images)
    if rule == named:
        assert sorted(found) == sorted(one.uri for one in expected)
        assert made.not_chosen == why_not
    elif rule.every is not None or rule.nth is None:
        assert set(found) <= {one.uri for one in expected}
    zone = zone_named(rule.time_zone)
    local = {
        one.uri: one.captured_at.astimezone((one.deployment and places[one.deployment].zone) or zone).replace(
            tzinfo=None
        )
        for one in placed
        if one.captured_at
    }
    of = {one.uri: one.deployment for one in placed}
    nights = Counter((of[url], night_of_local(local[url])) for url in found if url in local)
    if rule.per_night is not None:
        assert max(nights.values()) <= rule.per_night
    if rule.random is not None:
        assert len(found) <= rule.random
    if rule.every is not None:
        intervals = [
            (
                of[url],
                night,
                (local[url] - datetime.combine(night, datetime.min.time()) - timedelta(hours=12))
                // timedelta(seconds=rule.every),
            )
            for url in found
            for night in [night_of_local(local[url])]
        ]
        assert len(set(intervals)) == len(intervals)
    inside = await capture_sets.contents(services, made)
    if rule.needs_time:
        assert {(one.deployment, one.night): one.photographs for one in inside.nights} == nights
    assert await urls(services, await capture_sets.refresh(services, project, "s")) == found
    return found
