"""The Dagster job that queues a processing job, for the launchpad and for scripts."""

from typing import Any

import dagster as dg

from antenna_orchestration import errors
from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.domain import ids
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.pipelines.registry import DEFAULT_PIPELINE
from antenna_orchestration.processing import submit as verb
from antenna_orchestration.resources.stores import Stores


class SubmitConfig(dg.Config):
    """What to process: folders, globs, s3:// or http(s) URLs, or .txt/.csv/.parquet lists of them."""

    sources: list[str]
    pipeline: str = DEFAULT_PIPELINE
    project: str = "default"
    name: str = ""
    deployment: str | None = None
    time_zone: str = ""
    priority: int = 1
    interactive: bool = False
    limit: int | None = None
    shuffle: bool = False
    reprocess: bool = False
    dispatch_mode: str | None = None
    config: dict[str, Any] = {}  # noqa: RUF012  Dagster's Config is a pydantic model


@dg.op
def submit(context: dg.OpExecutionContext, config: SubmitConfig, stores: Stores) -> None:
    """Queue a job; refuses with one clear line and writes nothing when the input cannot be used."""
    modes = [str(mode) for mode in DispatchMode]
    if config.dispatch_mode not in (None, *modes):
        raise dg.Failure(description=f"dispatch_mode is one of {', '.join(modes)}", allow_retries=False)
    submission = verb.Submission(
        sources=tuple(config.sources),
        pipeline=config.pipeline,
        project=config.project,
        name=config.name,
        deployment=config.deployment,
        time_zone=config.time_zone,
        priority=config.priority,
        interactive=config.interactive,
        limit=config.limit,
        shuffle=config.shuffle,
        reprocess=config.reprocess,
        dispatch_mode=DispatchMode(config.dispatch_mode) if config.dispatch_mode else None,
        config=config.config,
        created_by="Dagster",
    )
    try:
        # People at the launchpad are not users of this host, so only folders that the setting allows are read.
        roots = stores.settings.image_roots
        submitted = stores.call(lambda services: verb.submit(services, submission, allowed_roots=roots))
    except errors.AntennaError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    key = ids.partition_key(submitted.job_id)
    # The sensor adds the key as well; added here, `dagster job execute -j process_job` can use it at once.
    context.instance.add_dynamic_partitions(processing_jobs.name or "", [key])
    for warning in submitted.warnings:
        context.log.warning(warning)
    context.log.info(f"queued {key}: {submitted.total} images, {submitted.skipped} skipped")
    context.add_output_metadata({"job_id": submitted.job_id, "total": submitted.total})


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def submit_job() -> None:
    """Queue a processing job."""
    submit()
