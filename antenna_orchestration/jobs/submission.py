"""The Dagster job that queues a processing job, for the launchpad and for scripts."""

from typing import Any, cast, get_args

import dagster as dg
from pydantic import Field

from antenna_orchestration.assets.partitions import processing_jobs
from antenna_orchestration.domain import capture_sets, ids, terminal, who
from antenna_orchestration.domain import run_tags as tags
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.domain.texts import counted
from antenna_orchestration.jobs.refusals import check_choice, told_in_one_line
from antenna_orchestration.pipelines.registry import DEFAULT_PIPELINE
from antenna_orchestration.processing import submit as verb
from antenna_orchestration.resources.stores import Stores
from antenna_orchestration.submission import kinds, sources
from antenna_orchestration.submission.capture_times import ExifMode


class SubmitConfig(dg.Config):
    """What to process, and how: the same as the options of `antenna submit`."""

    sources: list[str] = Field(
        default=[],
        description="Folders, file patterns, s3:// or http(s):// locations, or .txt, .csv, .json or .parquet lists of "
        "these; local ones lie on the machine that runs Dagster.",
    )
    pipeline: str = Field(
        default=DEFAULT_PIPELINE, description="Slug of the pipeline to run; `antenna pipelines list` shows all."
    )
    project: str = Field(
        default=verb.DEFAULT_PROJECT,
        description="Slug of the images' project; within it, the same URL is the same image.",
    )
    name: str = Field(default="", description="Name of the job, shown in lists; empty: made from the first source.")
    deployment: str | None = Field(
        default=None, description="Say of which deployment images are for which no list names one."
    )
    time_zone: str = Field(
        default="",
        description="Cut nights at noon there, such as Europe/Berlin; empty: ANTENNA_TIME_ZONE, or UTC.",
    )
    priority: int = Field(default=1, description="Share of the workers, 1 to 100: 2 gets twice as much as 1.")
    due: str = Field(
        default="",
        description="When the results are wanted, such as 6h or 2026-06-13T06:00+02:00: more workers are started for "
        "it; empty: no matter.",
    )
    interactive: bool = Field(
        default=False, description=f"Process before all other jobs; for at most {verb.MAX_INTERACTIVE} images."
    )
    limit: int | None = Field(default=None, description="Submit at most this many images, 1 or more; not given: all.")
    shuffle: bool = Field(default=False, description="Process in random order; with limit, a random sample.")
    seed: int | None = Field(default=None, description="Random seed, to repeat a shuffle; not given: random.")
    reprocess: bool = Field(
        default=False, description="Also take images that this pipeline has processed before, instead of skipping them."
    )
    exif: str = Field(
        default="auto",
        description="Whether to read capture times from EXIF where file names have none: auto (for up to 2,000 files), "
        "always or never.",
    )
    dispatch_mode: str | None = Field(
        default=None,
        description="async_api: workers fetch the images; sync_api: `antenna push` sends them to a processing service; "
        "not given: the project's.",
    )
    detections_of: int | None = Field(
        default=None,
        description="Number of a finished job whose boxes the pipeline classifies, without a detector; no sources: "
        "all images that it has done.",
    )
    known: bool = Field(default=False, description="Instead of sources: all photographs of the project that are known.")
    capture_set: str | None = Field(
        default=None, description="Instead of sources: the photographs of the project's capture set of this name."
    )
    only_deployments: list[str] = Field(
        default=[], description="Take only photographs of these deployments; empty: of all."
    )
    nights: str = Field(
        default="",
        description="Take only these nights: 2026-06-12, 2026-06-12..2026-06-20, 2026-06-12.. or ..2026-06-20; "
        "empty: all.",
    )
    every: str = Field(
        default="",
        description="Take only the first photograph of each deployment in each interval, such as 10m, counted from "
        "noon; empty: all.",
    )
    config: dict[str, Any] = Field(
        default={},
        description="Pipeline settings to change, such as {min_score: 0.5}; `antenna pipelines show SLUG` lists them.",
    )


@dg.op
def submit(context: dg.OpExecutionContext, config: SubmitConfig, stores: Stores) -> None:
    """Queue a job; refuses with one clear line and writes nothing when the input cannot be used."""
    # People at the launchpad are not users of this host: if folders are set, only those are read.
    roots = stores.settings.image_roots or None
    with told_in_one_line():
        submission = _submission(config, context.run_id)
        submitted = stores.call(lambda services: verb.submit(services, submission, allowed_roots=roots))
    for warning in submitted.warnings:
        context.log.warning(terminal.line(warning))
    if left_out := kinds.summary(sources.count_left_out(submitted.left_out)):
        context.log.info(terminal.line(f"left out: {left_out}"))
    key = ids.partition_key(submitted.job_id)
    if submitted.not_chosen:
        context.log.info(f"not chosen: {capture_sets.in_words(submitted.not_chosen)}")
    if submitted.status.is_terminal:
        context.log.info(f"{key} is over already: nothing to process")
    else:
        # The sensor adds the key as well; added here, `dagster job execute -j process_job` can use it at once.
        context.instance.add_dynamic_partitions(processing_jobs.name or "", [key])
        context.log.info(f"queued {key}: {counted(submitted.total, 'image')}, {submitted.skipped} skipped")
    context.add_output_metadata({"job_id": submitted.job_id, "total": submitted.total, "skipped": submitted.skipped})


def _submission(config: SubmitConfig, run_id: str) -> verb.Submission:
    """What the configuration asks for. Raises `InvalidInput` for words that are none of the choices."""
    check_choice("dispatch_mode", config.dispatch_mode, tuple(map(str, DispatchMode)))
    check_choice("exif", config.exif, get_args(ExifMode))
    return verb.Submission(
        sources=tuple(config.sources),
        pipeline=config.pipeline,
        project=config.project,
        name=config.name,
        deployment=config.deployment,
        time_zone=config.time_zone,
        priority=config.priority,
        due=config.due,
        interactive=config.interactive,
        limit=config.limit,
        shuffle=config.shuffle,
        seed=config.seed,
        reprocess=config.reprocess,
        exif=cast(ExifMode, config.exif),
        dispatch_mode=DispatchMode(config.dispatch_mode) if config.dispatch_mode else None,
        config=config.config,
        detections_of=config.detections_of,
        known=config.known,
        capture_set=config.capture_set,
        only_deployments=tuple(config.only_deployments),
        nights=config.nights,
        every=config.every,
        created_by=who.dagster_run(run_id),
    )


@dg.job(tags={tags.ROLE: tags.OPERATIONS})
def submit_job() -> None:
    """Queue images for processing, as `antenna submit` does.

    The sensor queued_jobs then starts a run of process_job for the job.
    """
    submit()
