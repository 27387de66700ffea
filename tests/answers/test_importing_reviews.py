"""Reviews of a job's detections: all of a file or nothing, and nothing twice."""

from __future__ import annotations

import asyncio
import copy
import json
from functools import partial
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from antenna_orchestration import errors
from antenna_orchestration.answers import agreement, export, reviews
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import Job
from antenna_orchestration.ecology.columns import SCHEMAS
from antenna_orchestration.ecology.reviews import newest
from antenna_orchestration.exports import formats
from antenna_orchestration.exports.selection import Selection
from antenna_orchestration.lake import paths
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job

HEADER = "detection_id,label"


async def job_with_detections(
    services: Services, project: str, images: int, **changes: object
) -> tuple[Job, list[str]]:
    """A job that is over, and the ids of its detections, one of each image; `changes` are of the results."""
    job = await claimed(services, await make_job(services, project, images))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        await worker.report(await worker.lease(job, images), **changes)
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)
    found = services.lake.read_table("detections", job.job_id, ["detection_id"])
    return job, sorted(found["detection_id"].to_pylist())


async def imported(services: Services, *lines: str, header: str = HEADER, **options: object) -> reviews.Imported:
    content = "\n".join([header, *lines]).encode()
    given = {"name": "reviews.csv", "imported_by": "a test", **options}
    return await reviews.import_file(services, content, **given)  # type: ignore[arg-type]


async def test_reviews_are_added_once_and_the_newest_counts(services: Services, project: str) -> None:
    job, (one, two) = await job_with_detections(services, project, 2)
    key = f"{job.job_id}-"
    first = await imported(services, f"{key}{one},moth", f"{key}{two},fly", project=project, reviewer="Ana")
    assert (first.reviews, first.added, first.projects) == (2, 2, [project])
    again = [imported(services, f"{one},moth", f"{two},fly", job=job.job_id, reviewer="Ana") for _ in range(3)]
    assert [each.added for each in await asyncio.gather(*again)] == [0, 0, 0]

    # What others said before, and then another word of hers.
    dated = f"{HEADER},reviewer,reviewed_at"
    for added in (2, 0):
        lines = f"{key}{one},fly,Ben,2020-01-01T12:00:00Z", f"{key}{one},beetle,Ben,2020-01-01T13:00:00Z"
        assert (await imported(services, *lines, header=dated)).added == added
    assert (await imported(services, f"{key}{two},not an insect", reviewer="Ana")).added == 1

    stored = await services.catalog.reviews.of(project)
    assert len(stored) == 5
    counts = newest(stored)
    assert list(zip(counts["detection_id"], counts["label"], counts["reviewer"], strict=True)) == [
        (one, "moth", "Ana"),
        (two, "not an insect", "Ana"),
    ]
    assert await services.catalog.reviews.of(project, jobs=[JobId(job.job_id + 1)]) == []
    [listed, *_] = await services.catalog.reviews.list(project=project, job=None, limit=1)
    assert (listed.label, listed.imported_by, listed.project) == ("not an insect", "a test", project)


async def test_nothing_is_imported_of_a_file_with_a_fault(services: Services, project: str) -> None:
    job, [one] = await job_with_detections(services, project, 1)
    waiting = await make_job(services, project, 1)
    good = f"{job.job_id}-{one},moth"
    dated = f"{HEADER},reviewed_at"
    for lines, options, message in [
        ([good, f"{job.job_id}-{one[:-1]}7,moth"], {}, f"line 3: job {job.job_id} has no detection {one[:-1]}7"),
        ([good, "999999999-1-0,moth"], {}, "line 3: there is no job 999999999"),
        ([good, f"{waiting.job_id}-1-0,moth"], {}, f"line 3: job {waiting.job_id} has no tables yet"),
        ([good], {"project": "another"}, f"line 2: there is no job {job.job_id} in another"),
        ([good], {"job": waiting.job_id}, f"line 2: of job {job.job_id}, not of job {waiting.job_id}"),
        ([f"{good},2999-01-01"], {"header": dated}, "line 2, reviewed_at: 2999-01-01T00:00:00+00:00 lies in the"),
        ([good], {"reviewer": "x\x1b"}, "a reviewer is printable text"),
    ]:
        with pytest.raises(errors.InvalidInput) as refused:
            await imported(services, *lines, **options)  # type: ignore[arg-type]
        assert message in str(refused.value)
    assert await services.catalog.reviews.of(project) == []


@pytest.mark.long
async def test_corrections_in_label_studio_change_the_determinations(
    services: Services, project: str, tmp_path: Path
) -> None:
    said = messages.Classification(algorithm=ALGORITHM, label="Noctua comes", score=0.6, terminal=True)
    box = messages.Detection(box=(1.0, 2.0, 3.0, 4.0), score=0.5, algorithm=ALGORITHM, classifications=[said])
    job, _ = await job_with_detections(services, project, 3, detections=[box])
    exporting = partial(export.order, formats.named("label-studio"), Selection(jobs=(job.job_id,)))
    await export.export(services, exporting(out=str(tmp_path / "before")))

    # As Label Studio exports them: one corrected, one deleted, one left as it was.
    tasks = json.loads((tmp_path / "before/tasks.json").read_bytes())
    for number, task in enumerate(tasks, 1):
        [prediction] = task["predictions"]
        result = copy.deepcopy(prediction["result"])
        if number == 1:
            result[1]["value"]["choices"] = ["Noctua pronuba"]
        kept = [] if number == 2 else result
        task |= {
            "id": number,
            "predictions": [{**prediction, "id": number}],
            "annotations": [
                {
                    "result": kept, "parent_prediction": number, "was_cancelled": False,
                    "completed_by": {"email": "ana@example.org"}, "updated_at": "2026-07-03T10:00:00Z",
                }
            ],
        }  # fmt: skip
    content = json.dumps(tasks).encode()
    found = await reviews.import_file(services, content, name="export.json", project=project, imported_by="a test")
    assert (found.added, found.notes) == (3, ["1 box that reviewers deleted: not an insect"])

    async with export.material(services, Selection(project=project)) as material:
        rows = await asyncio.to_thread(lambda: list(material.rows("FROM observations")))
    regions = [task["predictions"][0]["result"][0]["id"] for task in tasks]
    determined = {row["observation_id"]: (row["taxon"], row["source"], row["counted"]) for row in rows}
    assert [determined[one] for one in regions] == [
        ("Noctua pronuba", "human", True),
        (None, "human", False),
        ("Noctua comes", "human", True),
    ]
    # The next round begins with it.
    await export.export(services, exporting(out=str(tmp_path / "after")))
    again = (tmp_path / "after/tasks.json").read_text()
    assert "Noctua pronuba" in again and "not an insect" in again and "ana@" not in again
    assert formats.named("label-studio").check(tmp_path / "after").faults == []


@pytest.mark.long
async def test_agreement_is_compared_over_the_derived_observations(
    services: Services, project: str, tmp_path: Path
) -> None:
    job, (one, two) = await job_with_detections(services, project, 2)
    with pytest.raises(errors.NotFound, match="was reviewed"):
        await agreement.compare(services, project)
    key = f"{job.job_id}-"
    await imported(services, f"{key}{one},=moth", f"{key}{two},not an insect")
    with pytest.raises(errors.NotFound, match=f"`antenna tables --project {project}` derives it"):
        await agreement.compare(services, project)

    rows = [
        {
            "project": project, "pipeline": "null", "job_id": job.job_id, "detection_id": one, "detector": "d",
            "detector_version": "1", "classifier": "c", "classifier_version": "1", "label": "=moth", "label_score": 0.9,
        }
    ]  # fmt: skip
    table = pa.Table.from_pylist(rows, schema=SCHEMAS["observations"])
    path = paths.Scope(project=project).path("observations")
    services.lake.write_file(path, lambda sink: pq.write_table(table, sink))

    compared = await agreement.compare(services, project)
    assert (compared.reviewed, compared.missing) == (2, 1)
    [row] = agreement.records(compared.agreement.labels)
    assert (row["label"], row["reviewed"], row["agreed"], row["share"]) == ("=moth", 1, 1, 1.0)

    written = agreement.write(compared, tmp_path / "out", title=project)
    names = ["boxes.csv", "labels.csv", "confusion.csv", "reliability.csv", "unknown.csv", "agreement.png"]
    assert [file.name for file in written] == names
    # Spreadsheets show it, and do not run it.
    assert "c,1,'=moth,1,1," in written[1].read_text()
    assert written[5].read_bytes().startswith(b"\x89PNG")
    with pytest.raises(errors.InvalidInput, match="cannot be written"):
        agreement.write(compared, written[0], title=project)


async def test_a_review_by_mistake_is_taken_back(services: Services, project: str) -> None:
    job, (one, two) = await job_with_detections(services, project, 2)
    key = f"{job.job_id}-{one}"

    async def holding() -> list[tuple[str, str]]:
        stored = await services.catalog.reviews.of(project)
        return [(each.label, each.reviewer) for each in stored if each.detection_id == one]

    for label, reviewer in (("moth", "Ana"), ("fly", "Ben"), ("beetle", "Ana")):
        await imported(services, f"{key},{label}", reviewer=reviewer)
    # Not one of them is withdrawn where any cannot be.
    for wrong, why in (
        ([key, f"{job.job_id}-{two}"], f"no review of {job.job_id}-{two} that holds"),
        ([key, f"{job.job_id + 10**6}-1-0"], "no review of"),
    ):
        with pytest.raises(errors.NotFound, match=why):
            await reviews.withdraw(services, wrong, by="a test")
    for options in ({"reviewer": "Eve"}, {"project": "another"}):
        with pytest.raises(errors.NotFound):
            await reviews.withdraw(services, [key], by="a test", **options)  # type: ignore[arg-type]
    with pytest.raises(errors.InvalidInput, match="does not say of which job"):
        await reviews.withdraw(services, [one], by="a test")
    assert len(await holding()) == 3

    # All that she said of it, whose word counted; then his; then nothing is left.
    [gone] = await reviews.withdraw(services, [one, key], job=job.job_id, project=project, by="a test")
    assert (gone.label, gone.reviewer) == ("beetle", "Ana")
    assert await holding() == [("fly", "Ben")]
    await reviews.withdraw(services, [key], reviewer="Ben", by="a test")
    assert await holding() == []
    with pytest.raises(errors.NotFound):
        await reviews.withdraw(services, [key], by="a test")
    listed = await services.catalog.reviews.list(project=project, job=None, limit=9)
    assert [(each.label, each.withdrawn) for each in listed] == [("beetle", True), ("fly", True), ("moth", True)]
    # Who says it again means it.
    assert (await imported(services, f"{key},moth", reviewer="Ana")).added == 1
    assert await holding() == [("moth", "Ana")]
