"""The season of a project from the catalog and the lake: as the project's derived tables, but night by night."""

import asyncio
import math
from collections import Counter
from dataclasses import asdict, replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from antenna_orchestration.answers import derive, season
from antenna_orchestration.answers import recipes as recipe_verbs
from antenna_orchestration.domain.alerts import Alert, Event, OpenAlert
from antenna_orchestration.domain.messages import Detection
from antenna_orchestration.ecology import recipes
from antenna_orchestration.ecology.reviews import Review
from antenna_orchestration.ecology.season import Finding
from antenna_orchestration.lake import derived, paths
from antenna_orchestration.lake import season as files
from antenna_orchestration.lake.paths import Scope
from antenna_orchestration.processing.services import Services
from antenna_orchestration.upkeep import alert_sources, delete
from antenna_orchestration.upkeep.alert_sources import Looking
from tests.answers.seasons import PER_NIGHT, SECONDS, look_and_process, put, stamps, traps
from tests.processing.classified_jobs import LABELS, found

pytestmark = pytest.mark.long

WHEN = {
    "alert_id": 1, "began_at": datetime.now(UTC), "seen_at": datetime.now(UTC), "told_at": None, "reminded_at": None
}  # fmt: skip

NIGHTS = 9
IN_PIECES = (0, 5)

LAST = datetime.now(UTC).date() - timedelta(days=2)
"""The last night that is over wherever it is now."""


def nth(number: int) -> date:
    return LAST - timedelta(days=NIGHTS - 1 - number)


async def agrees(services: Services, project: str) -> files.Season:
    """The season as it is in the lake, which has the rows of the project's tables."""
    await derive.derive(services, project=project)
    found = read(services, project)
    nights = derived.read(services.lake, Scope(project=project), "nights")
    order = [(name, "ascending") for name in ("pipeline", "deployment", "night")]
    assert found.nights.select(nights.schema.names).to_pylist() == nights.sort_by(order).to_pylist()
    counts = derived.read(services.lake, Scope(project=project), "counts")
    assert found.counts.to_pylist() == counts.sort_by([*order, ("taxon", "ascending")]).to_pylist()
    return found


def read(services: Services, project: str) -> files.Season:
    """The season as it is in the lake."""
    season = files.read(services.lake, project)
    assert season is not None
    return season


async def test_nights_that_changed_are_made_anew(services: Services, project: str, tmp_path: Path) -> None:
    with pytest.raises(season.NotMade, match="was not made yet"):
        await season.findings(services, project)
    watched = await traps(services, project, tmp_path, ["pond"])
    for number in range(3):
        put(tmp_path / "pond", stamps(nth(number), 4))
    await look_and_process(services, project, watched)
    assert (await season.refresh(services, project)).nights == [nth(0), nth(1), nth(2)]
    await agrees(services, project)
    assert (await season.refresh(services, project)).nights == []
    assert (await season.refresh(services, project, nights=[nth(1)])).nights == [nth(1)]

    # More of a night, and another one.
    put(tmp_path / "pond" / "late", stamps(nth(1), 6)[4:])
    put(tmp_path / "pond" / "late", stamps(nth(3), 4))
    await look_and_process(services, project, watched)
    assert (await season.refresh(services, project)).nights == [nth(1), nth(3)]
    whole = await agrees(services, project)
    assert whole.nights["found"].to_pylist() == [4, 6, 4, 4]

    # A word on a detection makes the nights of its job anew, and a recipe all.
    job = next(one for one in await services.catalog.jobs.list(project=project) if one.name.endswith(f"{nth(3)}"))
    [one, *_] = services.lake.read_table("detections", job.job_id).column("detection_id").to_pylist()
    [before] = [mark for mark in await services.catalog.seasons.marks() if mark.project == project]
    await services.catalog.reviews.add(
        [Review(job.job_id, one, "Euxoa nigricans", "Ada", datetime(2026, 7, 1, tzinfo=UTC))], imported_by="test"
    )
    [after] = [mark for mark in await services.catalog.seasons.marks() if mark.project == project]
    assert (before.mark != after.mark, after.under_way) == (True, 0)
    assert (await season.refresh(services, project)).nights == [nth(3)]
    assert "Euxoa nigricans" in (await agrees(services, project)).counts["taxon"].to_pylist()
    recipe = recipes.parsed("steps: [{flags: {at_edge: null, label_score: 0.9}}]", "recipe.yaml")
    await recipe_verbs.use(services, project, recipe, by="test")
    assert len((await season.refresh(services, project)).nights) == 4
    await agrees(services, project)

    await asyncio.to_thread(services.lake.drop, [f"derived/seasons/counts/project={project}/counts.parquet"])
    assert len((await season.refresh(services, project)).nights) == 4
    await agrees(services, project)

    # Nights go with their jobs, the last one, too.
    await delete.delete(services, job.job_id, by="test", reviews_too=True)
    assert (await season.refresh(services, project)).nights == [nth(3)]
    assert (await agrees(services, project)).nights["night"].to_pylist() == [nth(0), nth(1), nth(2)]
    for one in await services.catalog.jobs.list(project=project):
        await delete.delete(services, one.job_id, by="test")
    assert project in {mark.project for mark in await services.catalog.seasons.marks()}, "the sensor sees it"
    assert (await season.look(services, project)).made_anew == [nth(0), nth(1), nth(2)]
    assert read(services, project).nights.num_rows == read(services, project).counts.num_rows == 0
    assert (await season.look(services, project)).made_anew == []


async def test_only_what_a_new_night_changes_is_made_anew(services: Services, project: str, tmp_path: Path) -> None:
    def with_a_screw(uri: str) -> list[Detection]:
        # In one spot on each photograph of the pond.
        return [msgspec.structs.replace(found(LABELS[0]), box=(50.0, 60.0, 90.0, 80.0))] if "/pond/" in uri else []

    def rows(whole: files.Season) -> dict[tuple[str, date], datetime]:
        keys = whole.nights.select(["deployment", "night", "made_of"]).to_pylist()
        return {(row["deployment"], row["night"]): row["made_of"] for row in keys}

    watched = await traps(services, project, tmp_path, ["pond", "meadow"])
    for number in range(2):
        put(tmp_path / "pond", stamps(nth(number), 2))
        put(tmp_path / "meadow", stamps(nth(number), 2))
    await look_and_process(services, project, watched, on=with_a_screw)
    await season.refresh(services, project)
    before = rows(await agrees(services, project))

    # With the third night, the screw is known to be one, on the other two as well.
    put(tmp_path / "pond", stamps(nth(2), 2))
    await look_and_process(services, project, watched, on=with_a_screw)
    assert (await season.refresh(services, project)).nights == [nth(0), nth(1), nth(2)]
    after = rows(await agrees(services, project))
    assert dict(before.items() - after.items()).keys() == {("pond", nth(0)), ("pond", nth(1))}
    assert after.keys() - before.keys() == {("pond", nth(2))}

    # Another night of the pond changes none of them, and nothing of the meadow is read.
    put(tmp_path / "pond", stamps(nth(4), 2))
    await look_and_process(services, project, watched, on=with_a_screw)
    for job in await services.catalog.jobs.list(project=project):
        if job.name.startswith("meadow"):
            await asyncio.to_thread(services.lake.drop_folder, f"detections/job_id={job.job_id}")
    assert (await season.refresh(services, project)).nights == [nth(4)]
    assert after.items() <= rows(read(services, project)).items()


async def test_a_season_says_what_went_wrong(services: Services, project: str, tmp_path: Path) -> None:
    watched = await traps(services, project, tmp_path, ["pond", "meadow", "wood"])
    died, cut, off = nth(6), nth(3), nth(4)
    for number in range(NIGHTS):
        night = nth(number)
        taken = stamps(night)
        # Of some nights, the first half comes before the second one.
        put(tmp_path / "pond", taken[: PER_NIGHT // 2] if number in IN_PIECES else taken)
        if night < died:
            put(tmp_path / "wood", taken)
        year = timedelta(days=365 if night == off else 0)
        put(tmp_path / "meadow", [one - year for one in (taken[:4] if night == cut else taken)])
    await look_and_process(services, project, watched)
    for number in IN_PIECES:
        put(tmp_path / "pond", stamps(nth(number))[PER_NIGHT // 2 :])
    # A card comes a second time, under other names.
    for path in sorted((tmp_path / "wood").iterdir()):
        again = tmp_path / "wood" / "again" / path.name
        again.parent.mkdir(exist_ok=True)
        again.write_bytes(path.read_bytes())
    await look_and_process(services, project, watched)

    await season.refresh(services, project)
    whole = await agrees(services, project)
    counted = Counter({row["deployment"]: 0 for row in whole.nights.to_pylist()})
    for row in whole.nights.to_pylist():
        counted[row["deployment"]] += row["found"]
    # Each photograph counts once.
    assert counted == {
        "pond": NIGHTS * PER_NIGHT,
        "meadow": NIGHTS * PER_NIGHT - (PER_NIGHT - 4),
        "wood": 6 * PER_NIGHT,
    }
    first, *_ = season.nights_of(whole)
    assert first.numbers["photographs_found"] == first.numbers["photographs_expected"] == PER_NIGHT
    assert first.numbers["work_seconds_per_1000_images"] == 1000 * SECONDS
    workers = await services.catalog.seasons.worker_nights(project, since=datetime.now(UTC) - season.RATES_OF)
    assert {(one.worker, one.seconds) for one in workers} == {("test", SECONDS)}
    assert sum(one.photographs for one in workers) == counted.total()
    found = await season.findings(services, project)
    assert {(one.deployment, one.kind, one.night) for one in found} == {
        ("meadow", "clock_off", off - timedelta(days=365)),
        # Whatever its clock says, of that night there is nothing.
        ("meadow", "trap_silent", off),
        ("meadow", "card_half_copied", cut),
        ("wood", "trap_silent", died),
    }
    # The rest of the upload comes.
    put(tmp_path / "meadow", stamps(cut)[4:])
    await look_and_process(services, project, watched)
    assert (await season.refresh(services, project)).nights == [cut]
    assert "card_half_copied" not in {one.kind for one in await season.findings(services, project)}


async def test_a_retry_takes_no_night_away(services: Services, project: str, tmp_path: Path) -> None:
    watched = await traps(services, project, tmp_path, ["pond"])
    for number in range(2):
        put(tmp_path / "pond", stamps(nth(number), 1))
    await look_and_process(services, project, watched)
    await season.refresh(services, project)
    job, _ = await services.catalog.jobs.list(project=project)
    assert await services.catalog.jobs.retry(job.job_id)
    assert (await season.refresh(services, project, nights=[nth(0)])).nights == []
    assert read(services, project).nights["night"].to_pylist() == [nth(0), nth(1)]
    # It waits for a worker that never comes.
    async with services.catalog.database.transaction() as connection:
        await connection.execute("UPDATE job_log SET at = at - interval '25 h' WHERE job_id = %s", [job.job_id])
    assert len((await season.refresh(services, project)).nights) == 1
    assert await services.catalog.jobs.cancel(job.job_id, "test")


async def test_new_findings_are_alerts(
    services: Services, project: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = await traps(services, project, tmp_path, ["pond"])
    for number in (0, 1, 3, 4, 5, 6, 7):
        put(tmp_path / "pond", stamps(nth(number), 1))
    await look_and_process(services, project, watched)
    await season.refresh(services, project)
    looking = Looking(since=await services.catalog.now(), wanted=frozenset(Event), opened=())

    async def told() -> list[Alert]:
        monkeypatch.setattr(alert_sources, "_seasons_looked_at", -math.inf)
        seen = await alert_sources.findings_of_seasons(services, looking)
        assert seen.of == ("season:",)
        return [alert for alert in seen.alerts if alert.project == project]

    [gap] = [alert for alert in await told() if str(nth(2)) in alert.subject]
    assert gap.subject == f"trap silent: pond, night {nth(2)}"
    assert "battery" in gap.text and f"`antenna season --project {project}`" in gap.text
    assert not (await alert_sources.findings_of_seasons(services, looking)).of, "not again in this minute"
    # A version that makes seasons otherwise finds none that it can read: that is no all-clear.
    nights = paths.season("nights", project)
    kept = services.lake.read_bytes(nights)
    await asyncio.to_thread(services.lake.drop, [nights])
    opened = replace(looking, opened=[OpenAlert(**{**asdict(gap), **WHEN})])
    monkeypatch.setattr(alert_sources, "_seasons_looked_at", -math.inf)
    seen = await alert_sources.findings_of_seasons(services, opened)
    assert gap.key in {alert.key for alert in seen.alerts}
    await asyncio.to_thread(services.lake.write_file, nights, lambda sink: sink.write(kept))
    monkeypatch.setattr(Finding, "is_new", lambda *_: False)
    looking = replace(looking, opened=[OpenAlert(**{**asdict(gap), **WHEN})])
    assert await told() == []
