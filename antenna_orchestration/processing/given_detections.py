"""The boxes of a finished job, for a job that classifies them anew."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from antenna_orchestration import errors
from antenna_orchestration.catalog.jobs import SubmittedImage
from antenna_orchestration.domain import given_boxes
from antenna_orchestration.domain.ids import ImageId, JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.domain.messages import GivenBox
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.processing.services import Services

if TYPE_CHECKING:
    from antenna_orchestration.lake.store import Lake

FINISHED = (JobStatus.SUCCESS, JobStatus.FAILURE)


async def source_of(services: Services, number: int | None, project: str) -> Job | None:
    """The job whose boxes are wanted; None if none are.

    Raises `NotFound`, `Conflict` for a job without final tables, and `InvalidInput` for one of another project than a
    submission names; "default" names none, as it stands for no choice.
    """
    if number is None:
        return None
    job = await services.catalog.jobs.get(JobId(number))
    if project not in ("default", job.project):
        raise errors.InvalidInput(f"job {number} is of project {job.project}, not of {project}: its images are, too")
    if job.status is JobStatus.CANCELED:
        raise errors.Conflict(
            f"job {number} is CANCELED, so it has no boxes to classify: `antenna jobs retry {number}` finishes it"
        )
    if job.status not in FINISHED or not job.compacted:
        raise errors.Conflict(f"job {number} is {job.status}: its boxes can be classified once it is finished")
    if not job.total:
        raise errors.InvalidSource(f"job {number} has no boxes, as it has no images: {job.status_reason}")
    return job


async def images_of(
    services: Services, source: Job, named: Sequence[SubmittedImage] | None, *, deployment: str | None
) -> tuple[dict[ImageId, SubmittedImage], str | None]:
    """The job's done images, of the `named` ones only unless that is None, and a warning about those it has not done.

    What is said of the named ones now counts, as in any submission; what is not said stays as the catalog has it.
    `deployment` is said of all if none are named. Raises `InvalidSource` if there are none.
    """
    done = await services.catalog.images.done(source.job_id)
    if named is None:
        known = {number: one._replace(deployment=deployment or one.deployment) for number, one in done.items()}
    else:
        said = {one.uri: one for one in named}
        known = {number: with_news(one, said[one.uri]) for number, one in done.items() if one.uri in said}
    if not known:
        of_these = "" if named is None else " of these"
        raise errors.InvalidSource(f"job {source.job_id} has done no image{of_these}")
    missing = 0 if named is None else len({one.uri for one in named} - {one.uri for one in known.values()})
    warning = f"{counted(missing, 'image')} left out that job {source.job_id} has not done" if missing else None
    return known, warning


def with_news(known: SubmittedImage, said: SubmittedImage) -> SubmittedImage:
    """The image whose boxes are known, by what is said of it now: the version stays the one that the boxes are of."""
    news = known._replace(deployment=said.deployment or known.deployment, link=said.link or known.link)
    if said.captured_at is None:
        return news
    return news._replace(captured_at=said.captured_at, stamp=said.stamp, stamp_offset=said.stamp_offset)


def about_boxes(images: Sequence[SubmittedImage]) -> str:
    """Whether there is anything to classify, for people: a warning if no image has a box, else empty."""
    if any(image.boxes for image in images):
        return ""
    what = "the one image has no box" if len(images) == 1 else f"none of the {len(images):,} images has a box"
    return f"{what}: there is nothing to classify, and the job ends without a worker"


def with_boxes(
    lake: Lake,
    source: Job,
    known: Mapping[ImageId, SubmittedImage],
    choose: Callable[[list[SubmittedImage]], list[SubmittedImage]],
) -> list[SubmittedImage]:
    """Those of the images that are chosen, with their boxes in the order of the job's detections.

    Raises `Conflict` if the lake lacks the job's detections, `Unavailable` if it does not answer.
    """
    if not lake.has_table("detections", source.job_id):
        raise errors.Conflict(
            f"the lake has no detections of job {source.job_id}: is this the lake that the job was written to, and is "
            "it mounted?"
        )
    numbers = {image: number for number, image in known.items()}
    chosen = choose(list(known.values()))
    found: dict[ImageId, list[GivenBox]] = {numbers[image]: [] for image in chosen}
    columns = ["image_id", "x1", "y1", "x2", "y2", "score", "algorithm", "algorithm_version"]
    for batch in lake.batches("detections", source.job_id, columns):
        boxes = given_boxes.from_columns(
            zip(*(batch[name].to_pylist() for name in ("x1", "y1", "x2", "y2")), strict=True),
            batch["score"].to_pylist(),
            batch["algorithm"].to_pylist(),
            batch["algorithm_version"].to_pylist(),
        )
        for number, box in zip(batch["image_id"].to_pylist(), boxes, strict=True):
            if number in found:
                found[number].append(box)
    return [image._replace(boxes=given_boxes.packed(found[numbers[image]])) for image in chosen]
