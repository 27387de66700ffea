"""Retry: open a job's next generation with the images that failed or are missing."""

from __future__ import annotations

from dataclasses import dataclass

from antenna_orchestration import errors, kernel
from antenna_orchestration.domain.ids import Generation, JobId
from antenna_orchestration.domain.job import Job, JobStatus
from antenna_orchestration.pipelines import registry
from antenna_orchestration.processing import publish
from antenna_orchestration.processing.bound import Binding, bind
from antenna_orchestration.processing.services import Services
from antenna_orchestration.processing.submit import pipeline_row, registered_spec


@dataclass(frozen=True, kw_only=True, slots=True)
class Retried:
    """The job's generation now, and how many images it holds; none if there was nothing to retry."""

    generation: Generation
    images: int
    # Warnings for people.
    warnings: tuple[str, ...] = ()


async def retry(services: Services, job_id: JobId, *, by: str = "", most_interactive: int | None = None) -> Retried:
    """Queue the job's failed and missing images again; images that are done stay as they are.

    Of a SUCCESS without any, nothing is queued, and a warning says so: the job stays as it is, in its generation.

    `by` is who asked for it, for the log: whoever runs this process if not said. `most_interactive` is how many
    interactive jobs of the project may be under way, if this is one; None for any number.

    Leases and results of earlier generations name their generation, so they are never mixed in. Raises `Conflict` when
    the job is not over, when there are too many interactive ones, or when its pipeline does not take its boxes any
    more, `OtherVersion` when the pipeline changed under its version, `NotFound`, `Unavailable`.
    """
    job = await services.catalog.jobs.get(job_id)
    counts = await services.catalog.images.count(job_id)
    if job.status is JobStatus.SUCCESS and job.compacted and counts.done == counts.total:
        which = "the one image" if job.total == 1 else f"all {job.total} images"
        why = f"{which} of job {job_id} {'is' if job.total == 1 else 'are'} done" if job.total else job.status_reason
        nothing = f"nothing to retry: {why}"
        return Retried(generation=job.generation, images=0, warnings=(nothing,))
    if not job.status.is_terminal:
        raise _not_over(job)
    here = job.pipeline in registry.all_pipelines()
    pipeline = None if here else await services.catalog.pipelines.find(job.pipeline)
    # The new generation takes the pipeline as it is now: the version that workers have.
    spec = registry.get(job.pipeline) if here else registered_spec(pipeline) if pipeline else None
    if job.detections_of is not None and not (spec and spec.takes_detections):
        raise errors.Conflict(
            f"job {job_id} is given the boxes of job {job.detections_of}, and {job.pipeline} takes none any more"
        )
    # After what refuses: it says what this version is.
    binding = await bind(services, spec, job.config) if spec else Binding(None)
    if spec and here:
        await services.catalog.pipelines.register(pipeline_row(spec))
    opened = await services.catalog.jobs.retry(
        job_id,
        by=by or kernel.user_of_this_process(),
        digest=binding.digest,
        of_version=binding.of_version,
        most_interactive=most_interactive,
    )
    if opened is None:
        raise _not_over(await services.catalog.jobs.get(job_id))
    generation, images = opened
    warnings = [*binding.warnings]
    if warning := await publish.publish_first(services, job_id):
        warnings.append(warning)
    return Retried(generation=generation, images=images, warnings=tuple(warnings))


def _not_over(job: Job) -> errors.Conflict:
    return errors.Conflict(f"job {job.job_id} is {job.status}; only a job that is over can be retried")
