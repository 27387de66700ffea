"""`antenna submit`: queue images for processing."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from antenna_orchestration import errors
from antenna_orchestration.cli import output
from antenna_orchestration.domain.job import DispatchMode
from antenna_orchestration.domain.texts import counted

if TYPE_CHECKING:
    from antenna_orchestration.ecology.model import Place
    from antenna_orchestration.processing.preview import Preview
    from antenna_orchestration.processing.services import Services
    from antenna_orchestration.processing.submit import Selection, Submission
    from antenna_orchestration.settings import Settings


logger = logging.getLogger(__name__)


class Exif(StrEnum):
    """Whether to open files for their capture time."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


def submit(
    sources: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="SOURCE...",
            help="Folder, file pattern, s3:// or http(s):// location, or a list: .txt, .csv, .parquet or .json.",
            show_default=False,
        ),
    ] = None,
    *,
    pipeline: Annotated[
        str | None,
        typer.Option(
            metavar="SLUG", help="Pipeline to run; see `antenna pipelines list`.", show_default="the built-in one"
        ),
    ] = None,
    project: Annotated[
        str, typer.Option(metavar="SLUG", help="Project of the images; within it, the same URL is the same image.")
    ] = "default",
    detections_of: Annotated[
        int | None,
        typer.Option(
            metavar="JOB",
            min=1,
            help="Classify the boxes of this finished job, with no detector; without SOURCE, all its images.",
            show_default=False,
        ),
    ] = None,
    known: Annotated[
        bool, typer.Option("--known", help="Instead of SOURCE: all photographs of the project that are known.")
    ] = False,
    capture_set: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="NAME",
            help="Instead of SOURCE: the photographs of a capture set; see `antenna sets`.",
            show_default=False,
        ),
    ] = None,
    nights: Annotated[
        str,
        typer.Option(
            metavar="A..B",
            help="Take only these nights: 2026-06-12, 2026-06-12..2026-06-20, 2026-06-12.. or ..2026-06-20.",
            show_default="all",
        ),
    ] = "",
    every: Annotated[
        str,
        typer.Option(
            metavar="TIME",
            help="Take only the first photograph of each deployment in each interval, such as 10m, from noon on.",
            show_default="all",
        ),
    ] = "",
    only_deployments: Annotated[
        list[str] | None,
        typer.Option(
            "--only-deployment",
            metavar="NAME",
            help="Take only photographs of this deployment; may be repeated.",
            show_default="all",
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the job, shown in lists.", show_default="from the source")] = "",
    priority: Annotated[int, typer.Option(min=1, max=100, help="Share of the workers: 2 gets twice as much as 1.")] = 1,
    due: Annotated[
        str,
        typer.Option(
            metavar="WHEN",
            help="When the results are wanted, such as 6h or 2026-06-13T06:00+02:00: more workers are started for it.",
            show_default="no matter",
        ),
    ] = "",
    interactive: Annotated[
        bool, typer.Option("--interactive", help="Process before all other jobs; for a few images only.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Submit at most this many images.", show_default="all")
    ] = None,
    shuffle: Annotated[
        bool, typer.Option("--shuffle", help="Process in random order; with --limit, a random sample.")
    ] = False,
    seed: Annotated[int | None, typer.Option(help="Random seed, to repeat a --shuffle.", show_default="random")] = None,
    reprocess: Annotated[
        bool, typer.Option("--reprocess", help="Include images that this pipeline has processed before.")
    ] = False,
    deployment: Annotated[
        str | None,
        typer.Option(help="Say of which deployment images are for which no list names one.", show_default="none"),
    ] = None,
    time_zone: Annotated[
        str,
        typer.Option(
            metavar="ZONE",
            help="Cut nights at noon there, such as Europe/Berlin; capture times stay as they are.",
            show_default="ANTENNA_TIME_ZONE, or UTC",
        ),
    ] = "",
    exif: Annotated[
        Exif,
        typer.Option(
            help="Whether to read capture times from EXIF where file names have none; auto: for up to 2,000 files."
        ),
    ] = Exif.AUTO,
    dispatch_mode: Annotated[
        DispatchMode | None,
        typer.Option(
            help="async_api: workers fetch the images; sync_api: `antenna push` sends them to a processing service.",
            show_default="the project's",
        ),
    ] = None,
    config: Annotated[
        str, typer.Option(metavar="JSON", help="Pipeline settings to change, such as '{\"min_score\": 0.5}'.")
    ] = "{}",
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Show what would be submitted, and submit nothing; needs no stack."),
    ] = False,
    list_left_out: Annotated[
        bool, typer.Option("--list-left-out", help="Name each file and folder that is not taken, and why.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the job to end and show its progress.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print the job as JSON.")] = False,
) -> None:
    """Queue images for processing.

    A folder is searched with all its subfolders, without hidden files. A list is a text file with one location per
    line, or a table with a column url, uri, path, file or image and, optionally, the columns captured_at (ISO 8601)
    and deployment; tables of Timelapse, AddaxAI, MegaDetector and exiftool are read as they are. Images that the
    pipeline has processed before are skipped.

    --nights, --every and --only-deployment choose among what is named; --known and --set name photographs that were
    submitted before.

    With --wait, the exit code is 0 for SUCCESS and 1 for FAILURE or CANCELED.
    """
    values = parse_config(config)

    from antenna_orchestration.cli.connecting import with_services
    from antenna_orchestration.pipelines import registry
    from antenna_orchestration.processing.submit import Submission

    submission = Submission(
        sources=tuple(sources or ()),
        detections_of=detections_of,
        pipeline=registry.DEFAULT_PIPELINE if pipeline is None else pipeline,
        project=project,
        name=name,
        config=values,
        priority=priority,
        due=due,
        interactive=interactive,
        limit=limit,
        shuffle=shuffle,
        seed=seed,
        reprocess=reprocess,
        deployment=deployment,
        time_zone=time_zone,
        exif=exif.value,
        dispatch_mode=dispatch_mode,
        known=known,
        capture_set=capture_set,
        only_deployments=tuple(only_deployments or ()),
        nights=nights,
        every=every,
    )
    if dry_run and detections_of is not None:
        raise errors.InvalidInput("--dry-run looks at sources only: leave it or --detections-of out")
    if dry_run:
        _preview(submission, as_json=json_, list_left_out=list_left_out)
        return
    raise typer.Exit(
        with_services(
            lambda services: _submit(services, submission, wait=wait, as_json=json_, list_left_out=list_left_out)
        )
    )


def _preview(submission: Submission, *, as_json: bool, list_left_out: bool) -> None:
    from antenna_orchestration import settings
    from antenna_orchestration.cli import submission_view
    from antenna_orchestration.processing import preview

    allowed = _AllowedFolders(settings.get(), submission)
    known, selection = asyncio.run(_known(settings.get(), submission))
    with submission_view.progress() as progress:
        found = preview.preview(
            settings.get(),
            submission,
            allowed_roots=allowed.roots,
            known=known,
            selection=selection,
            progress=progress,
        )
    copies = asyncio.run(_likely_copies(settings.get(), submission, found))
    for warning in (*found.warnings, *([copies] if copies else []), *allowed.warnings()):
        output.warn(warning)
    if as_json:
        output.as_json({**found.as_dict(), **submission_view.left_out_fields(found.left_out, listed=list_left_out)})
    else:
        submission_view.print_preview(found, list_left_out=list_left_out)


async def _known(settings: Settings, submission: Submission) -> tuple[Mapping[str, Place] | None, Selection | None]:
    """What is known of the project's deployments, None if no stack runs to ask; and the known photographs it takes."""
    from antenna_orchestration.catalog import catalog as catalog_module
    from antenna_orchestration.pipelines import registry
    from antenna_orchestration.processing import submit as verb

    if submission.takes_known:
        settings.require("database_url")
        verb.check(submission, registry.get(submission.pipeline))
    if not settings.database_url:
        return None, None
    try:
        async with catalog_module.opened(settings.database_url, max_connections=1) as catalog:
            places = await catalog.deployments.places(submission.project)
            if submission.takes_known:
                return places, await verb.select_known(catalog, submission, settings)
            return places, None
    except errors.Unavailable as error:
        if submission.takes_known:
            raise
        logger.debug("no catalog to ask for time zones: %s", error)
        return None, None


async def _likely_copies(settings: Settings, submission: Submission, found: Preview) -> str:
    """A warning about files that were likely only copied again; empty if there are none, or no stack runs to ask."""
    from antenna_orchestration.catalog import catalog as catalog_module
    from antenna_orchestration.processing import submit as verb

    if not settings.database_url:
        return ""
    try:
        async with catalog_module.opened(settings.database_url, max_connections=1) as catalog:
            count = await catalog.images.likely_copies(submission.project, found.selected)
    except errors.Unavailable as error:
        logger.debug("no catalog to compare with: %s", error)
        return ""
    return verb.about_copies(count) if count else ""


class _AllowedFolders:
    """What the setting IMAGE_ROOTS allows, and what the user names here: they may read it anyway."""

    def __init__(self, settings: Settings, submission: Submission) -> None:
        from antenna_orchestration.submission import sources

        self._set = settings.image_roots
        self._own = sources.own_folders(submission.sources) if self._set else []
        # None allows every folder.
        self.roots = [*self._set, *self._own] if self._set else None

    def warnings(self) -> list[str]:
        """For folders that workers with the setting do not open."""
        return [
            f"{folder} lies outside ANTENNA_IMAGE_ROOTS: workers that have this setting do not open it"
            for folder in self._own
            if not any(folder.resolve().is_relative_to(root.resolve()) for root in self._set)
        ]


async def _submit(services: Services, submission: Submission, *, wait: bool, as_json: bool, list_left_out: bool) -> int:
    from antenna_orchestration.answers import known_projects
    from antenna_orchestration.cli import dagster_ui, job_view, jobs, submission_view
    from antenna_orchestration.cli.connecting import note_new
    from antenna_orchestration.domain import capture_sets
    from antenna_orchestration.processing import submit as verb

    allowed = _AllowedFolders(services.settings, submission)
    is_new = not await known_projects.exists(services, submission.project)
    with submission_view.progress() as progress:
        submitted = await verb.submit(services, submission, allowed_roots=allowed.roots, progress=progress)
    # Nobody named the one that is there from the first job on.
    if is_new and not as_json and submitted.project == submission.project != verb.DEFAULT_PROJECT:
        note_new(submitted.project)
    settings = services.settings
    is_over = submitted.status.is_terminal
    if not is_over:
        dagster_ui.add_partition(settings.ui_url, submitted.job_id, password=settings.ui_password)
    for warning in (*submitted.warnings, *allowed.warnings()):
        output.warn(warning)
    if line := submission_view.left_out_line(submitted.left_out, listed=list_left_out):
        output.note(line)
    if line := submission_view.not_chosen_line(submitted.not_chosen):
        output.note(line)
    if list_left_out and not as_json:
        submission_view.print_left_out(submitted.left_out, to_stderr=True)
    extra = {
        "warnings": list(submitted.warnings),
        **submission_view.left_out_fields(submitted.left_out, listed=list_left_out),
        "not_chosen": capture_sets.as_data(submitted.not_chosen),
    }
    images = counted(submitted.total, "image")
    if wait:
        if not is_over:
            output.note(f"job {submitted.job_id} submitted: {images}, pipeline {submitted.pipeline}")
        return await jobs.wait_for(services, submitted.job_id, as_json=as_json, extra=extra)
    if as_json:
        view = await job_view.read_view(services, await services.catalog.jobs.get(submitted.job_id))
        output.outcome_as_json({**view.as_dict(), **extra})
    elif is_over:
        output.outcome(f"job {submitted.job_id} is over already: nothing to process")
    else:
        output.outcome(f"job {submitted.job_id} submitted: {images}, pipeline {submitted.pipeline}")
        output.note(f"follow it with `antenna jobs watch {submitted.job_id}`")
    return 0


def parse_config(text: str) -> dict[str, Any]:
    """The object that `--config` names. Raises `InvalidInput`."""
    try:
        values = json.loads(text)
    except ValueError as error:
        raise errors.InvalidInput(f"--config is not JSON: {error}") from None
    if not isinstance(values, dict):
        raise errors.InvalidInput(f"--config is not a JSON object: {text}")
    return values
