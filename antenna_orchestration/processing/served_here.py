"""Whether a worker of this installation would serve a job: the rule of the autoscaler, and what people are told."""

from __future__ import annotations

import asyncio
from collections.abc import Container, Sequence

from antenna_orchestration import errors
from antenna_orchestration.catalog.generations import Terms
from antenna_orchestration.domain import algorithms, reach
from antenna_orchestration.domain.ids import JobId
from antenna_orchestration.domain.job import DispatchMode, Job
from antenna_orchestration.pipelines import identity, registry
from antenna_orchestration.pipelines.interface import PipelineSpec
from antenna_orchestration.processing.services import Services

_UNKNOWN = Terms("", ())


def is_for_workers_here(job: Job, ours: Container[str]) -> bool:
    """Whether the job is for such workers as this installation, whose pipelines are `ours`, starts.

    They serve neither pipelines that HTTP workers registered nor jobs that are pushed to a processing service.
    """
    return job.total > 0 and job.pipeline in ours and job.dispatch_mode is DispatchMode.ASYNC


async def why_not(services: Services, jobs: Sequence[Job]) -> dict[JobId, str]:
    """Those of the jobs that a worker on this machine would leave alone, each with the reason. Raises `Unavailable`.

    Only jobs that are for workers of this installation: of others nothing is known here.
    """
    found_here = await asyncio.to_thread(registry.read, services.settings.pipeline_paths)
    ours = found_here.pipelines
    unknown = _unknown(jobs, found_here)
    of_here = [job for job in jobs if is_for_workers_here(job, ours)]
    if not of_here:
        return unknown
    terms = await services.catalog.generations.terms_of([job.job_id for job in of_here])
    reached = services.settings.loadable_sources

    def find() -> dict[JobId, str]:
        # On a thread: files that changed are read.
        return {
            job.job_id: _why_not(job, ours[job.pipeline], terms.get(job.job_id, _UNKNOWN), reached) for job in of_here
        }

    return unknown | {job: reason for job, reason in (await asyncio.to_thread(find)).items() if reason}


def _unknown(jobs: Sequence[Job], found: registry.Registry) -> dict[JobId, str]:
    """Jobs of pipelines that are not here, while something is broken here that may have defined them."""
    if not found.broken:
        return {}
    reason = f"no pipeline of that name can be read here; broken: {'; '.join(map(str, found.broken))}"
    return {
        job.job_id: reason
        for job in jobs
        if job.total and job.dispatch_mode is DispatchMode.ASYNC and job.pipeline not in found.pipelines
    }


def _why_not(job: Job, spec: PipelineSpec, terms: Terms, reached: Sequence[str]) -> str:
    if not reach.covers(reached, job.source_kinds):
        return f"its images ({', '.join(job.source_kinds)}) are out of reach; see ANTENNA_WORKER_REACHES"
    try:
        config = spec.config_of_job(job.config, version=terms.version, algorithms=terms.algorithms)
    except errors.InvalidInput as error:
        return str(error)
    here = identity.with_files_of(identity.digest_of(spec), config)
    return algorithms.why_other_digest(spec.slug, terms.version, asked=terms.digest, here=here) or ""
