"""Results of workers on the queue that say what the job's pipeline does not declare: they fail, and are told why."""

from math import inf, nan
from typing import Any

import msgspec
import pytest

from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.domain import messages, more_than_boxes
from antenna_orchestration.domain.ids import Generation, ImageId, JobId
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection, Mask, RotatedBox
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import claimed, hands, make_job

FINDER, NAMER, ALIEN = AlgorithmRef("declared_finder", "1"), AlgorithmRef("declared_namer", "1"), AlgorithmRef("x", "1")


def algorithm(ref: AlgorithmRef, task: str, *labels: str) -> AlgorithmRow:
    return AlgorithmRow(
        key=ref.key, version=ref.version, name=ref.key, task=task, description="", uri=None, labels=labels
    )


def box(finder: AlgorithmRef, namer: AlgorithmRef, label: str, *more: str) -> list[Detection]:
    scores = [0.9, *[0.05] * len(more)]
    said = Classification(algorithm=namer, label=label, score=0.9, top_labels=[label, *more], top_scores=scores)
    return [Detection(box=(1.0, 2.0, 3.0, 4.0), score=0.5, algorithm=finder, classifications=[said])]


async def test_results_beyond_the_declared_fail_their_images(services: Services, project: str) -> None:
    slug = project[:40]
    await services.catalog.pipelines.register(
        PipelineRow(
            slug=slug, name=slug, version="1", description="", default_config={},
            algorithms=[algorithm(FINDER, "localization"), algorithm(NAMER, "classification", "moth", "fly")],
        )
    )  # fmt: skip
    job = await claimed(services, await make_job(services, project, 9, pipeline=slug))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    told = [FINDER, NAMER]
    odd: dict[str, Any] = {"attributes": {"Odd Name": 1}}
    [alien_label] = box(FINDER, NAMER, "wasp")[0].classifications
    async with hands(services) as worker:
        leases = await worker.lease(job, 9)
        for lease, said in zip(
            leases,
            [
                {"detections": box(FINDER, NAMER, "moth", "fly"), "algorithms": told},
                {"detections": box(ALIEN, NAMER, "moth"), "algorithms": told},
                {"detections": box(FINDER, ALIEN, "moth"), "algorithms": [*told, ALIEN]},
                {"detections": box(FINDER, NAMER, "wasp"), "algorithms": told},
                {"detections": box(FINDER, NAMER, "moth", "wasp"), "algorithms": told},
                {"detections": [], "labels": [alien_label], "algorithms": told},
                # Workers behind the gateway do not tell what ran, and their words are taken as before.
                {"detections": box(ALIEN, ALIEN, "wasp"), "algorithms": []},
                {"detections": box(FINDER, NAMER, "wasp"), "algorithms": []},
                odd,
            ],
            strict=True,
        ):
            await worker.report([lease], **said)  # type: ignore[arg-type]
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed, counts.detections) == (3, 6, 3)
    await finish.write_final_tables(services, job)
    failed = services.lake.read_table("failed_images", job.job_id).to_pylist()
    reasons = {row["image_id"]: row["reason"] for row in failed}
    undeclared = "its result was refused: algorithm x 1 is none of those that the pipeline declares: "
    unknown = "its result was refused: label 'wasp' is not among the 2 labels of declared_namer 1: moth, fly"
    assert [reasons.get(lease.task.image) for lease in leases] == [
        None, f"{undeclared}declared_finder 1, declared_namer 1", f"{undeclared}declared_finder 1, declared_namer 1",
        unknown, unknown, unknown, None, None,
        "its result was refused: an attribute's name is 'Odd Name'; names are 1 to 50 of the characters a-z, 0-9 and _",
    ]  # fmt: skip
    assert services.lake.read_table("detections", job.job_id).num_rows == 3
    assert await finish.finish_job(services, job) is JobStatus.FAILURE


WHOLE = Mask(10, 10, "0T3")
"""All of a photograph of 10 x 10 pixels."""


def said(**changes: Any) -> messages.Result:
    """A result as the collector reads it, of a photograph of 10 x 10 pixels."""
    in_detection = {"mask", "rotated"} & changes.keys()
    detection = msgspec.structs.replace(box(FINDER, NAMER, "moth")[0], **{one: changes[one] for one in in_detection})
    of_image: dict[str, Any] = {"width": 10, "height": 10, "detections": [detection]}
    of_image |= {key: value for key, value in changes.items() if key not in in_detection}
    result = messages.Result(
        job=JobId(1), generation=Generation(1), image=ImageId(1), worker="w", delivery=1, outcome="done",
        **of_image,
    )  # fmt: skip
    return messages.decode(messages.Result, messages.encode(result))


def test_what_pipelines_say_beyond_boxes_is_taken() -> None:
    label = box(FINDER, NAMER, "moth")[0].classifications
    taken = said(
        mask=WHOLE,
        rotated=RotatedBox(5.0, 5.0, 0.0, 4.0, -180.0),
        attributes={"sex": "f", "wing_length_mm": 17.5, "legs": -(2**53), "damaged": False},
        labels=label * 1_000,
    )
    assert more_than_boxes.why_refused(taken) is None
    assert more_than_boxes.why_refused(said(mask=WHOLE, width=None, height=None)) is None


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"mask": Mask(10, 10, "garbage!")}, "detections[0]: a mask's counts are not COCO's"),
        ({"mask": Mask(5, 20, WHOLE.counts)}, "detections[0]: its mask is of 20 x 5 pixels, the photograph of 10 x 10"),
        ({"mask": Mask(2**30, 2**30, "0"), "width": None}, "a mask of 1073741824 x 1073741824 pixels is of no photo"),
        ({"mask": Mask(10, 10, "1" * 3_000_000)}, "have 3,000,000 characters; the most are"),
        ({"rotated": RotatedBox(nan, 1.0, 1.0, 1.0, 0.0)}, "is not a box in pixels with an angle in degrees"),
        ({"rotated": RotatedBox(1.0, 1.0, 1e300, 1.0, 0.0)}, "is not a box in pixels with an angle in degrees"),
        ({"rotated": RotatedBox(1.0, 1.0, 1.0, 1.0, 270.0)}, "is not a box in pixels with an angle in degrees"),
        ({"attributes": {f"n{number}": 1 for number in range(51)}}, "51 attributes; the most are 50"),
        ({"attributes": {"Wing mm": 1}}, "an attribute's name is 'Wing mm'; names are"),
        ({"attributes": {"wing": "x" * 501}}, "attribute wing is 'xxx"),
        ({"attributes": {"wing": "a\0b"}}, "attribute wing is 'a"),
        ({"attributes": {"wing": -inf}}, "attribute wing is '-inf'; wanted is"),
        ({"attributes": {"wing": 2**60}}, "attribute wing is '1152921504606846976'; wanted is"),
        ({"labels": box(FINDER, NAMER, "moth")[0].classifications * 1_001}, "1,001 labels of one photograph"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_a_hostile_worker_says_beyond_boxes_is_refused(changes: dict[str, Any], why: str) -> None:
    """It came into the lake as it was: a mask of ten bytes was decoded to gigabytes by whoever drew it."""
    assert why in (more_than_boxes.why_refused(said(**changes)) or "")
