"""`antenna submit`: queue images for processing."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.domain.job import DispatchMode

if TYPE_CHECKING:
    from antenna_orchestration.processing.services import Services
    from antenna_orchestration.processing.submit import Submission


class Exif(StrEnum):
    """Whether to open files for their capture time."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def submit(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE...",
            help="Folder, pattern, s3:// or http(s):// location, or a .txt, .csv or .parquet list of them.",
            show_default=False,
        ),
    ],
    *,
    pipeline: Annotated[
        str | None, typer.Option(metavar="SLUG", help="See `antenna pipelines list`.", show_default="the built-in one")
    ] = None,
    project: Annotated[str, typer.Option(metavar="SLUG", help="Images are known by their URL within it.")] = "default",
    name: Annotated[str, typer.Option(help="Name of the job, for people.", show_default="from the source")] = "",
    priority: Annotated[int, typer.Option(min=1, max=100, help="Share of the workers relative to other jobs.")] = 1,
    interactive: Annotated[bool, typer.Option("--interactive", help="Ahead of everything; a few images only.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Take only so many images.", show_default="all")] = None,
    shuffle: Annotated[bool, typer.Option("--shuffle", help="In random order; with --limit, a sample.")] = False,
    seed: Annotated[
        int | None, typer.Option(help="Make --shuffle repeatable.", show_default="a new one each time")
    ] = None,
    reprocess: Annotated[
        bool, typer.Option("--reprocess", help="Take images too that this pipeline has processed before.")
    ] = False,
    deployment: Annotated[
        str | None, typer.Option(help="Deployment of images whose list names none.", show_default="none")
    ] = None,
    exif: Annotated[
        Exif, typer.Option(help="Read capture times from files whose name has none; auto: up to 2,000 of them.")
    ] = Exif.AUTO,
    dispatch_mode: Annotated[
        DispatchMode | None,
        typer.Option(
            help="async_api: workers lease the images; sync_api: they are pushed to a processing service.",
            show_default="the project's",
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="JSON", help="Values over the pipeline's settings: '{\"threshold\": 0.3}'.")
    ] = "{}",
    wait: Annotated[bool, typer.Option("--wait", help="Show progress until the job is over.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the job as JSON.")] = False,
) -> None:
    """Queue images for processing.

    A folder is searched with everything below it; hidden files are left out. A list is a text file with one location a
    line, or a table with a column url, uri, path, file or image and, if you like, captured_at (ISO 8601) and
    deployment. Images that the pipeline has processed before are skipped.

    With --wait the exit code is 0 for SUCCESS and 1 for FAILURE and CANCELED.
    """
    values = _parse_config(config)

    from antenna_orchestration.cli.connecting import with_services
    from antenna_orchestration.pipelines import registry
    from antenna_orchestration.processing.submit import Submission

    submission = Submission(
        sources=tuple(sources),
        pipeline=registry.DEFAULT_PIPELINE if pipeline is None else pipeline,
        project=project,
        name=name,
        config=values,
        priority=priority,
        interactive=interactive,
        limit=limit,
        shuffle=shuffle,
        seed=seed,
        reprocess=reprocess,
        deployment=deployment,
        exif=exif.value,
        dispatch_mode=dispatch_mode,
    )
    raise typer.Exit(with_services(lambda services: _submit(services, submission, wait=wait, as_json=json_)))


async def _submit(services: Services, submission: Submission, *, wait: bool, as_json: bool) -> int:
    from antenna_orchestration.cli import dagster_ui, job_view, jobs
    from antenna_orchestration.processing import submit as verb
    from antenna_orchestration.submission import sources

    roots = services.settings.image_roots
    # What the setting allows, and what the user names here: they may read it anyway.
    own = sources.own_folders(submission.sources) if roots else []
    submitted = await verb.submit(services, submission, allowed_roots=[*roots, *own] if roots else None)
    dagster_ui.add_partition(services.settings.ui_url, submitted.job_id)
    for warning in submitted.warnings:
        output.warn(warning)
    for folder in own:
        if not any(folder.resolve().is_relative_to(root.resolve()) for root in roots):
            output.warn(f"{folder} lies outside ANTENNA_IMAGE_ROOTS: workers that have this setting do not open it")
    if wait:
        output.note(f"job {submitted.job_id} submitted: {submitted.total} images, pipeline {submitted.pipeline}")
        return await jobs.wait_for(
            services, submitted.job_id, as_json=as_json, extra={"warnings": list(submitted.warnings)}
        )
    if as_json:
        view = await job_view.read_view(services, await services.catalog.jobs.get(submitted.job_id))
        output.as_json({**view.as_dict(), "warnings": list(submitted.warnings)})
    else:
        output.line(f"job {submitted.job_id} submitted: {submitted.total} images, pipeline {submitted.pipeline}")
        output.note(f"follow it with `antenna jobs watch {submitted.job_id}`")
    return 0


def _parse_config(text: str) -> dict[str, Any]:
    try:
        values = json.loads(text)
    except ValueError as error:
        raise errors.InvalidInput(f"--config is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise errors.InvalidInput(f"--config is not a JSON object: {text}")
    return values
