"""Jobs for tests, straight through the verbs, and a worker that is only the queue's side of one."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from antenna_orchestration.catalog.jobs import NewJob, SubmittedImage
from antenna_orchestration.catalog.pipelines import PipelineRow
from antenna_orchestration.domain import messages
from antenna_orchestration.domain.ids import PipelineSlug
from antenna_orchestration.domain.job import Job
from antenna_orchestration.pipelines.null import NULL
from antenna_orchestration.processing.services import Services
from antenna_orchestration.queue.leasing import Lease, Leaser
from antenna_orchestration.queue.results import ResultSender

ALGORITHM = messages.AlgorithmRef("null_detector", "1")


async def make_job(
    services: Services,
    project: str,
    images: int,
    *,
    urls: Sequence[str] | None = None,
    named: Sequence[SubmittedImage] | None = None,
    **changes: object,
) -> Job:
    """A queued job, nothing published yet: of the null pipeline if no other is named, and of these images or URLs, or
    as many that lead nowhere.
    """
    slug = str(changes.get("pipeline", "null"))
    # One that is registered stays as it is.
    if await services.catalog.pipelines.find(slug) is None:
        version = NULL.version if slug == NULL.slug else "1"
        await services.catalog.pipelines.register(
            PipelineRow(slug=slug, name=slug, version=version, description="", default_config={}, algorithms=[])
        )
    values = {
        "project": project, "name": "test", "pipeline": PipelineSlug("null"), "config": {}, "config_hash": "0",
        "priority": 1, "interactive": False, "reprocess": False, "duplicates": 0, "source_kinds": ["http"],
    }  # fmt: skip
    job = await services.catalog.jobs.create(
        NewJob(**{**values, **changes}),  # type: ignore[arg-type]
        named
        or [
            SubmittedImage(url, None, None)
            for url in urls or [f"http://192.0.2.1/{project}/{n}.jpg" for n in range(images)]
        ],
    )
    return await services.catalog.jobs.get(job)


async def claimed(services: Services, job: Job) -> Job:
    """The job as a run finds it: claimed and started."""
    await services.catalog.jobs.claim(1, job_id=job.job_id)
    assert await services.catalog.jobs.start(job.job_run, "run")
    return await services.catalog.jobs.get(job.job_id)


def result_of(lease: Lease, **changes: object) -> messages.Result:
    """A result with one detection."""
    values = {
        "job": lease.task.job, "generation": lease.task.generation, "image": lease.task.image, "worker": "test",
        "delivery": lease.delivery, "outcome": "done", "width": 10, "height": 10,
        "detections": [messages.Detection(box=(1.0, 2.0, 3.0, 4.0), score=0.5, algorithm=ALGORITHM)],
    }  # fmt: skip
    return messages.Result(**{**values, **changes})  # type: ignore[arg-type]


class Hands:
    """Leases, reports and acknowledges by hand."""

    def __init__(self, leaser: Leaser, sender: ResultSender) -> None:
        self.leaser = leaser
        self.sender = sender

    async def lease(self, job: Job, wanted: int, *, wait: float = 2.0) -> list[Lease]:
        """Up to so many leases of a job."""
        assert job.epoch is not None
        return await self.leaser.lease(job.job_run, job.epoch, wanted, wait=wait) or []

    async def report(self, leases: list[Lease], *, acknowledge: bool = True, **changes: object) -> None:
        """Publish a result for each lease and acknowledge it."""
        await self.sender.send([(result_of(lease, **changes), lease) for lease in leases])
        if acknowledge:
            for lease in leases:
                await lease.acknowledge()


@asynccontextmanager
async def hands(services: Services) -> AsyncIterator[Hands]:
    """A worker's hands on the queue."""
    async with (
        Leaser(services.connection, ack_wait=services.settings.task_ack_wait) as leaser,
        ResultSender(services.connection) as sender,
    ):
        yield Hands(leaser, sender)
