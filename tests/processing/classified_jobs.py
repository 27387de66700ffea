"""Finished jobs with classified detections, straight through the verbs."""

from __future__ import annotations

from antenna_orchestration.catalog.pipelines import AlgorithmRow, PipelineRow
from antenna_orchestration.domain.job import Job
from antenna_orchestration.domain.messages import AlgorithmRef, Classification, Detection
from antenna_orchestration.processing import collect, finish, publish
from antenna_orchestration.processing.services import Services
from tests.processing.jobs_by_hand import ALGORITHM, claimed, hands, make_job

MOTHS = AlgorithmRef("moth_names", "1")
LABELS = ["Autographa gamma", "Noctua pronuba", "Noctua fimbriata"]
FORMULA = "=Noctua"
"""A label that a spreadsheet would take for a formula."""
LINEAGE = {"family": "Noctuidae", "genus": "Noctua"}


async def finished_job(
    services: Services, project: str, labels: list[str], *, failing: int = 0, reprocess: bool = False
) -> Job:
    """A finished job of one photograph a label, of which the last ones failed."""
    slug = await registered(services, project)
    urls = [f"http://192.0.2.1/{project}/2026060{number + 1}233000.jpg" for number in range(len(labels))]
    made = await make_job(services, project, len(urls), urls=urls, pipeline=slug, reprocess=reprocess)
    job = await claimed(services, made)
    await processed(services, job, labels, failing=failing)
    return await services.catalog.jobs.get(job.job_id)


async def registered(services: Services, project: str) -> str:
    """The slug of a pipeline with a detector and a classifier."""
    slug = f"moths-{project}"
    detector = AlgorithmRow(
        key=ALGORITHM.key, version="1", name="boxes", task="localization", description="", uri=None, labels=[]
    )
    classifier = AlgorithmRow(
        key=MOTHS.key,
        version="1",
        name="moths",
        task="classification",
        description="",
        uri=None,
        labels=[*LABELS, FORMULA],
    )
    await services.catalog.pipelines.register(
        PipelineRow(
            slug=slug, name=slug, version="1", description="", default_config={}, algorithms=[detector, classifier]
        )
    )
    return slug


async def processed(services: Services, job: Job, labels: list[str], *, failing: int = 0) -> None:
    await publish.publish(services, job.job_id)
    job = await services.catalog.jobs.get(job.job_id)
    async with hands(services) as worker:
        left = (await services.catalog.images.count(job.job_id)).pending
        while left:
            leases = await worker.lease(job, left)
            for lease in leases:
                number = int(lease.task.uri.removesuffix("233000.jpg")[-2:]) - 1
                if number >= len(labels) - failing:
                    await worker.report([lease], outcome="failed", reason="no such file", detections=[])
                else:
                    await worker.report([lease], detections=[found(labels[number])], algorithms=[ALGORITHM, MOTHS])
            left -= len(leases)
    await collect.collect(services, job, observer=collect.Observer())
    await finish.write_final_tables(services, job)
    await finish.finish_job(services, job)


def found(label: str) -> Detection:
    said = Classification(algorithm=MOTHS, label=label, score=0.875, top_labels=[label], top_scores=[0.875])
    return Detection(box=(1.0, 2.0, 6.0, 4.0), score=0.5, algorithm=ALGORITHM, classifications=[said])
