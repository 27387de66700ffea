"""What a camera wrote is recorded beside the moment that it means: of names, EXIF data, lists and requests."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from antenna_orchestration.answers import deployments
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.contract import models
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing import submit as submit_module
from antenna_orchestration.processing.preview import preview
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import Submission, Submitted
from tests.processing.jobs_by_hand import claimed, hands
from tests.submission.pictures import empty, taken_at

SITES = b"""deployment,timezone,clock
panama,America/Panama,local
cyprus,Asia/Nicosia,UTC
"""

URL = "https://example.org/2022081022"


async def submitted(services: Services, project: str, rows: list[str], folder: Path, **changes: Any) -> Submitted:
    """A submission of a list with these rows: path, time, deployment."""
    (folder / "list.csv").write_text("path,captured_at,deployment\n" + "\n".join(rows))
    values = {"pipeline": "null", "exif": "always", "project": project, **changes}
    return await submit_module.submit(services, Submission(sources=[str(folder / "list.csv")], **values))


async def seen(services: Services, job: Submitted) -> list[tuple[Any, ...]]:
    """Of each image: deployment, moment, stamp, offset."""
    return [
        tuple(row[name] for name in ("deployment", "captured_at", "stamp", "stamp_offset"))
        async for rows in services.catalog.images.manifest(job.job_id)
        for row in rows
    ]


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


async def test_stamps_are_kept_and_become_moments(services: Services, project: str, tmp_path: Path) -> None:
    await deployments.import_file(services, project, SITES, "sites.csv")
    empty(tmp_path, "x")
    taken_at(tmp_path / "exif.jpg", "2022:08:10 22:00:04")
    taken_at(tmp_path / "zone.jpg", "2022:08:10 22:00:05", offset="+02:00")
    job = await submitted(
        services, project,
        [
            f"{URL}0001.jpg,,panama", f"{URL}0002.jpg,,cyprus", f"{URL}0003.jpg,,oak",
            f"{tmp_path}/exif.jpg,,panama", f"{tmp_path}/zone.jpg,,panama", "https://example.org/none.jpg,,panama",
            "https://example.org/a.jpg,2022-08-10 22:00:06,panama",
            "https://example.org/b.jpg,2022-08-10T22:00:07-03:30,oak",
        ],
        tmp_path,
    )  # fmt: skip
    stamps = [datetime(2022, 8, 10, 22, 0, second) for second in range(8)]
    assert await seen(services, job) == [
        ("panama", utc("2022-08-11T03:00:01"), stamps[1], None),
        ("cyprus", utc("2022-08-10T22:00:02"), stamps[2], None),
        ("oak", utc("2022-08-10T22:00:03"), stamps[3], None),
        ("panama", utc("2022-08-11T03:00:04"), stamps[4], None),
        ("panama", utc("2022-08-10T20:00:05"), stamps[5], 120),
        ("panama", None, None, None),
        ("panama", utc("2022-08-11T03:00:06"), stamps[6], None),
        ("oak", utc("2022-08-11T01:30:07"), stamps[7], -210),
    ]
    [warning] = [line for line in job.warnings if "time zone" in line]
    assert warning.startswith("no time zone is known for 1 deployment (oak)")


async def test_what_a_file_said_outlasts_what_only_its_name_says(
    services: Services, project: str, tmp_path: Path
) -> None:
    """Night by night files are opened; a whole season at once they are not, and it took their zones away."""
    photograph = tmp_path / "20220810220005.jpg"
    taken_at(photograph, "2022:08:10 22:00:05", offset="+02:00")
    for exif in ("always", "never"):
        job = await submitted(services, project, [f"{photograph},,"], tmp_path, exif=exif, reprocess=True)
        ((_, captured_at, stamp, offset),) = await seen(services, job)
        assert (captured_at, stamp, offset) == (utc("2022-08-10T20:00:05"), datetime(2022, 8, 10, 22, 0, 5), 120)


async def test_a_shift_that_is_known_is_in_the_moment(services: Services, project: str, tmp_path: Path) -> None:
    await deployments.import_file(services, project, SITES + b"oak,,\n", "sites.csv")
    for name in ("panama", "oak"):
        await deployments.shift(services, project, name, "+1h")
    job = await submitted(services, project, [f"{URL}0000.jpg,,panama", f"{URL}0001.jpg,,oak"], tmp_path)
    assert [row[1] for row in await seen(services, job)] == [utc("2022-08-11T04:00:00"), utc("2022-08-10T23:00:01")]


async def test_the_same_images_again_keep_what_is_known(services: Services, project: str, tmp_path: Path) -> None:
    first = await submitted(services, project, [f"{URL}0000.jpg,,panama"], tmp_path)
    assert (await seen(services, first))[0][1] == utc("2022-08-10T22:00:00")
    await deployments.import_file(services, project, SITES, "sites.csv")
    with_zone = await submitted(services, project, [f"{URL}0000.jpg,,panama"], tmp_path, reprocess=True)
    expected = [("panama", utc("2022-08-11T03:00:00"), datetime(2022, 8, 10, 22), None)]
    assert await seen(services, with_zone) == expected
    # Without its deployment, the list says nothing new.
    bare = await submitted(services, project, [f"{URL}0000.jpg,,"], tmp_path, reprocess=True)
    assert await seen(services, bare) == expected
    # What the first job wrote is its own.
    assert (await seen(services, first))[0][1] == utc("2022-08-10T22:00:00")


async def test_tables_have_stamps_and_nights_of_the_place(services: Services, project: str, tmp_path: Path) -> None:
    """A night in Brisbane, submitted before its zone was known, with noon in UTC in the middle of it."""
    rows = ["https://example.org/20220811193000.jpg,,brisbane", "https://example.org/20220812030000.jpg,,brisbane"]
    rows += ["https://example.org/20220811193000-utc.jpg,2022-08-12T11:00:00Z,brisbane", f"{URL}0000.jpg,,"]
    job = await submitted(services, project, rows, tmp_path)
    await deployments.import_file(services, project, b"deployment,timezone\nbrisbane,Australia/Brisbane\n", "s")
    async with hands(services) as worker:
        run = await claimed(services, await services.catalog.jobs.get(job.job_id))
        await publish.publish(services, run.job_id)
        run = await services.catalog.jobs.get(run.job_id)
        await finish.write_manifest(services, run)
        await worker.report(await worker.lease(run, len(rows)))
        await collect.collect(services, run, observer=collect.Observer())
        await finish.write_final_tables(services, run)
        await finish.finish_job(services, run)
    captures = services.lake.read_table("captures", run.job_id)
    assert captures.column("night").to_pylist() == [date(2022, 8, 11)] * 2 + [date(2022, 8, 12), date(2022, 8, 10)]
    assert captures.column("stamp").to_pylist()[1:3] == [datetime(2022, 8, 12, 3), datetime(2022, 8, 12, 11)]
    assert captures.column("stamp_offset").to_pylist() == [None, None, 0, None]
    manifest = services.lake.read_table("manifest", run.job_id)
    assert manifest.column("stamp").to_pylist() == captures.column("stamp").to_pylist()


async def test_a_preview_knows_places_and_says_what_it_lacks(services: Services, project: str, tmp_path: Path) -> None:
    await deployments.import_file(services, project, SITES, "sites.csv")
    (tmp_path / "list.csv").write_text(f"path,deployment\n{URL}0000.jpg,panama\n{URL}0001.jpg,oak\n")
    submission = Submission(sources=[str(tmp_path / "list.csv")], pipeline="null", project=project)
    known = await services.catalog.deployments.places(project)
    found = preview(services.settings, submission, known=known)
    assert (found.latest, list(found.nights)) == (utc("2022-08-11T03:00:00"), [date(2022, 8, 10)])
    assert found.zones == ["America/Panama", "UTC"]
    assert any(line.startswith("no time zone is known for 1 deployment (oak)") for line in found.warnings)
    assert not any("time zone" in line for line in preview(services.settings, submission).warnings)


@pytest.mark.parametrize(
    ("text", "stamp", "offset"),
    [
        ("2022-08-10T22:00:00", datetime(2022, 8, 10, 22), None),
        ("2022-08-10T22:00:00Z", datetime(2022, 8, 10, 22), 0),
        ("2022-08-10T22:00:00+05:45", datetime(2022, 8, 10, 22), 345),
    ],
)
def test_a_request_keeps_the_digits_it_sends(text: str, stamp: datetime, offset: int | None) -> None:
    from antenna_orchestration.settings import Settings
    from antenna_orchestration.submission.sources import gather

    new = models.NewImage.model_validate({"url": "https://example.org/a.jpg", "captured_at": text})
    [image] = gather([], [SubmittedImage(new.url, new.captured_at, None)], settings=Settings()).images
    assert (image.stamp, image.stamp_offset) == (stamp, offset)
    zone = timezone(timedelta(minutes=offset or 0))
    assert image.captured_at == stamp.replace(tzinfo=zone)


async def test_a_clock_that_was_not_at_its_place_is_told(services: Services, project: str, tmp_path: Path) -> None:
    """The traps of Cyprus ran at UTC+1, as their EXIF data say; their names look like local times."""
    await deployments.import_file(services, project, SITES, "sites.csv")
    for name, offset in (("20220810220004", "+01:00"), ("20220810220005", "-05:00"), ("20220810220006", "+00:00")):
        digits = f"2022:08:10 {name[8:10]}:{name[10:12]}:{name[12:]}"
        taken_at(tmp_path / f"{name}.jpg", digits, offset=offset)
    rows = [f"{tmp_path}/2022081022000{number}.jpg,,panama" for number in (4, 5, 6)]
    # Times in a list are meant as they are written.
    rows.append("https://example.org/20220810220007.jpg,2022-08-11T03:00:07Z,panama")
    rows.append(f"{tmp_path}/20220810220004.jpg,,oak")
    job = await submitted(services, project, rows[:4], tmp_path)
    told = [warning for warning in job.warnings if "EXIF" in warning]
    assert told == [
        f"1 photograph of panama: their EXIF data say that the clock was at {offset}, while America/Panama was at "
        "UTC-05:00; the EXIF data count, so local times differ from those in the names"
        for offset in ("UTC+00:00", "UTC+01:00")
    ]
    elsewhere = await submitted(services, project, rows[4:], tmp_path, reprocess=True)
    assert not [warning for warning in elsewhere.warnings if "EXIF" in warning]
