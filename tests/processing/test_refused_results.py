"""Results of workers on the queue that say what the job's pipeline does not declare: they fail, and are told why."""

from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.domain.job import JobStatus
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
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
    job = await claimed(services, await make_job(services, project, 8, pipeline=slug))
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    told = [FINDER, NAMER]
    [alien_label] = box(FINDER, NAMER, "wasp")[0].classifications
    async with hands(services) as worker:
        leases = await worker.lease(job, 8)
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
            ],
            strict=True,
        ):
            await worker.report([lease], **said)
    counts = await collect.collect(services, job, observer=collect.Observer())
    assert (counts.done, counts.failed, counts.detections) == (3, 5, 3)
    await finish.write_final_tables(services, job)
    failed = services.lake.read_table("failed_images", job.job_id).to_pylist()
    reasons = {row["image_id"]: row["reason"] for row in failed}
    undeclared = "its result was refused: algorithm x 1 is none of those that the pipeline declares: "
    unknown = "its result was refused: label 'wasp' is not among the 2 labels of declared_namer 1: moth, fly"
    assert [reasons.get(lease.task.image) for lease in leases] == [
        None, f"{undeclared}declared_finder 1, declared_namer 1", f"{undeclared}declared_finder 1, declared_namer 1",
        unknown, unknown, unknown, None, None,
    ]  # fmt: skip
    assert services.lake.read_table("detections", job.job_id).num_rows == 3
    assert await finish.finish_job(services, job) is JobStatus.FAILURE
