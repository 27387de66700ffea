"""`antenna submit --detections-of`, and the same from Python: what they print, and what they refuse."""

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from antenna_orchestration import errors, settings
from antenna_orchestration.catalog.catalog import Catalog
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.messages import GivenBox
from antenna_orchestration.embedded.stores import EmbeddedStores
from antenna_orchestration.processing import cancel
from antenna_orchestration.processing.services import opened
from antenna_orchestration.processing.submit import submit_images
from tests.cli.shells import Shell
from tests.cli.test_submit import with_catalog
from tests.processing.boxes_by_hand import job_with_boxes
from tests.processing.jobs_by_hand import make_job

pytestmark = pytest.mark.long


def finished(stores: EmbeddedStores, project: str, folder: Path, *boxes: int) -> int:
    """The number of a finished job with as many boxes on each photograph."""

    async def run() -> int:
        async with opened(stores.settings) as services:
            return (await job_with_boxes(services, project, folder, boxes=boxes)).job_id

    return asyncio.run(run())


def unfinished(stores: EmbeddedStores, project: str) -> tuple[int, int]:
    """The numbers of a job that is queued, and of one that was canceled."""

    async def run() -> tuple[int, int]:
        async with opened(stores.settings) as services:
            queued, canceled = [await make_job(services, project, 1) for _ in range(2)]
            await cancel.cancel(services, canceled.job_id, reason="test")
            return queued.job_id, canceled.job_id

    return asyncio.run(run())


async def boxes_of(catalog: Catalog, job: JobId) -> Mapping[ImageId, Sequence[GivenBox]]:
    images = [row["image_id"] async for rows in catalog.images.manifest(job) for row in rows]
    return await catalog.images.boxes(job, images)


def test_boxes_of_a_job_are_submitted_and_retried(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path
) -> None:
    number = finished(shared_stores, project, tmp_path, 3, 0, 1)
    made = antenna("submit", "--detections-of", number, "--pipeline", "null", "--json")
    assert made.code == 0, made.err
    expected = {
        "project": project,
        "detections_of": number,
        "total": 3,
        "done": 1,
        "name": f"null on boxes of {number}",
    }
    assert {name: made.json[name] for name in expected} == expected
    shown = antenna("jobs", "show", made.json["job_id"]).out
    assert f"boxes of         job {number}" in shown
    assert f"with the boxes of job {number}" in antenna("jobs", "logs", made.json["job_id"]).out

    antenna("jobs", "cancel", made.json["job_id"])
    again = antenna("jobs", "retry", made.json["job_id"])
    assert (again.code, "2 images" in again.out) == (0, True), again
    boxes = with_catalog(lambda catalog: boxes_of(catalog, JobId(made.json["job_id"])))
    assert sorted(map(len, boxes.values())) == [0, 1, 3]

    some = antenna("submit", tmp_path / "0.jpg", "--detections-of", number, "--pipeline", "null", "--json")
    assert (some.code, some.json["total"], some.json["detections_of"]) == (0, 1, number)


def test_a_job_without_boxes_says_so(
    antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path
) -> None:
    number = finished(shared_stores, project, tmp_path, 0, 0)
    made = antenna("submit", "--detections-of", number, "--pipeline", "null")
    assert made.err.startswith(
        "antenna: warning: none of the 2 images has a box: there is nothing to classify, and the job ends without a "
    )
    newest = with_catalog(lambda catalog: catalog.jobs.list(project=project))[0]
    # No worker is missing.
    assert "a run to collect its results" in antenna("jobs", "show", newest.job_id).out


def test_every_refusal_is_one_line(antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path) -> None:
    number = finished(shared_stores, project, tmp_path, 1)
    queued, canceled = unfinished(shared_stores, project)
    strange = tmp_path / "strange"
    strange.mkdir()
    (strange / "a.jpg").write_bytes(b"x")
    before = len(with_catalog(lambda catalog: catalog.jobs.list(project=project)))
    for arguments, code, message in (
        (["--detections-of", 10**9], 3, "there is no job 1000000000"),
        (["--detections-of", queued], 4, f"job {queued} is QUEUED: its boxes can be classified once it is finished"),
        (["--detections-of", canceled], 4, f"`antenna jobs retry {canceled}` finishes it"),
        (
            ["--detections-of", number, "--project", "elsewhere"],
            2,
            f"job {number} is of project {project}, not of else",
        ),
        (
            ["--detections-of", number, "--pipeline", "light_trap_insects"],
            2,
            "light_trap_insects cannot classify the b",
        ),
        (["--detections-of", number, strange], 2, f"job {number} has done no image of these"),
        (["--detections-of", number, "--dry-run"], 2, "leave it or --detections-of out"),
    ):
        pipeline = [] if "--pipeline" in arguments else ["--pipeline", "null"]
        antenna("submit", *arguments, *pipeline).refused(code, message)
    assert antenna("submit", "--detections-of", 0).code == 2
    lake = Path(shared_stores.settings.lake_uri) / "detections" / f"job_id={number}"
    for path in lake.iterdir():
        path.unlink()
    gone = f"the lake has no detections of job {number}: is this the lake that the job was written to"
    antenna("submit", "--detections-of", number, "--pipeline", "null").refused(4, gone)
    assert len(with_catalog(lambda catalog: catalog.jobs.list(project=project))) == before


def test_from_python(antenna: Shell, shared_stores: EmbeddedStores, project: str, tmp_path: Path) -> None:
    number = finished(shared_stores, project, tmp_path, 2, 1)
    made = submit_images(detections_of=number, pipeline="null", limit=1, settings=settings.load())
    assert (made.project, made.total, made.pipeline) == (project, 1, "null")
    with pytest.raises(errors.InvalidInput, match="light_trap_insects cannot classify the boxes of another job"):
        submit_images(detections_of=number, settings=settings.load())
    with pytest.raises(errors.NotFound, match="there is no job 999999999"):
        submit_images(detections_of=999999999, pipeline="null", settings=settings.load())
